#!/usr/bin/env bash
# Installs what is missing, builds, and starts everything in one process. Arguments go to `anteroom dev`.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
install_web
say "building the pages"
in_web npm run --silent build >&2
say "building anteroom (the first time takes a few minutes)"
cargo build --package anteroom
exec target/debug/anteroom dev "$@"
