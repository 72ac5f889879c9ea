#!/usr/bin/env bash
# Installs what tests need and runs every test, cheapest first.
set -eu
. "$(dirname "$0")/lib.sh"

step "build tools" install_build_tools
step "test tools" install_test_tools
step "npm packages" install_web
export ANTEROOM_TEST_WEED=$CACHE/venv/bin/weed
export ANTEROOM_TEST_VENV=$CACHE/venv
export ANTEROOM_TEST_MOTO=$CACHE/venv/bin/moto_server
# Properties see the same inputs every time, so that what is green here stays green; `make fuzz` looks for new ones.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

step "format" cargo fmt --all --check
step "web: types and lints" in_web npm run --silent check
step "web: unit tests" in_web npm test --silent
step "web: build" in_web npm run --silent build
step "cargo-deny" install_cargo_deny
# The check looks at what every platform would build, and a fresh machine has fetched nothing of that yet.
step "crates of all platforms" cargo fetch --locked --quiet
step "licences, sources, duplicates" cargo deny --offline --log-level error check bans licenses sources
step "clippy" cargo clippy --workspace --all-targets --locked -- -D warnings
step "documentation" env RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --locked --quiet
step "build" cargo build --workspace --all-targets --locked
step "Rust tests" cargo test --workspace --locked --quiet
step "the API, fuzzed" scripts/api-fuzz.sh
step "fuzzing" scripts/fuzz.sh
step "browsers" in_web npm run --silent e2e
step "browsers on bad networks" scripts/impaired.sh short
print_timings
say "all green"
