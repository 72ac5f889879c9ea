#!/usr/bin/env bash
# The fast part of the tests: what to run before each commit.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
install_web
step "format" cargo fmt --all --check
step "web: types and lints" in_web npm run --silent check
step "web: unit tests" in_web npm test --silent
step "clippy" cargo clippy --workspace --all-targets -- -D warnings
step "unit tests" cargo test --workspace --lib --quiet
print_timings
