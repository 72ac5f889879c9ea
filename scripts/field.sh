#!/usr/bin/env bash
# What people would notice, measured with a release build: a flood of junk, admissions in real browsers, visits on bad networks.
# `make bench` runs it. Each part writes its result as JSON: flood.json, web/e2e/out/admission.json, web/e2e/out/impaired.json.
# A part that misses its bar is told at the end, and the others run all the same.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
install_test_tools
install_web
in_web npm run --silent build >&2
say "building for release (several minutes the first time)"
cargo build --release --locked --package anteroom --package flood --package tun-router
export ANTEROOM_BIN=$ROOT/target/release/anteroom ANTEROOM_TUN_ROUTER=$ROOT/target/release/tun-router

missed=()
part() {
    local name=$1
    shift
    say "$name"
    "$@" || missed+=("$name")
}
part "a flood of junk" scripts/flood.sh
part "admissions in real browsers" in_web npm run --silent admission
part "visits on bad networks" scripts/impaired.sh
[ ${#missed[@]} = 0 ] || fail "did not go as it should: $(printf '%s; ' "${missed[@]}")"
