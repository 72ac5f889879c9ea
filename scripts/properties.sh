#!/usr/bin/env bash
# Runs the property tests ROUNDS (20) times, each time with other inputs: `make test` always takes the same ones.
# A failure prints its input, shrunk, and keeps its seed in proptest-regressions, where every later run begins with it.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
round=0
while [ $round -lt "${ROUNDS:-20}" ]; do
    round=$((round + 1))
    say "properties, round $round"
    cargo test --locked --quiet -p engine -p bandwidth -p mixer -p recorder -p vault --tests >&2 || fail "a property does not hold"
done
