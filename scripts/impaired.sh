#!/usr/bin/env bash
# Visits between real browsers on bad networks (docs/ARCHITECTURE.md, section 12). `short` runs the few cases of `make test`, a
# word runs the cases whose name holds it. Builds nothing: ANTEROOM_BIN and ANTEROOM_TUN_ROUTER name other binaries than target/debug.
set -eu
. "$(dirname "$0")/lib.sh"

missing=
[ "$(id -u)" = 0 ] || missing="root"
[ -c /dev/net/tun ] || missing="${missing:+$missing and }/dev/net/tun"
if [ -n "$missing" ]; then
    [ -z "${ANTEROOM_REQUIRE_TUN:-}" ] || fail "bad networks cannot be tried without $missing, and ANTEROOM_REQUIRE_TUN is set"
    say "SKIPPED, NOT PASSED: visits on bad networks need $missing"
    exit 0
fi
packages=()
have ip || packages+=(iproute2)
have turnserver || packages+=(coturn)
[ ${#packages[@]} = 0 ] || apt "${packages[@]}"

router=${ANTEROOM_TUN_ROUTER:-$ROOT/target/debug/tun-router}
[ -x "$router" ] || fail "build it first: cargo build --package tun-router"
case "${1:-}" in
    short) export ANTEROOM_IMPAIRED=short ;;
    ?*) export ANTEROOM_IMPAIRED_ONLY=$1 ;;
esac
cd web
exec "$router" -- node --test --test-concurrency=1 --test-reporter=spec e2e/impaired/matrix.spec.mjs
