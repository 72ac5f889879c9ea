#!/usr/bin/env bash
# Measures this machine: a server built for release, a load generator in a process of its own, one table and bench.json.
# VISITS (default 50) and SECONDS_EACH (default 20) say how much. On two cores the generator and the server share them.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
install_web
in_web npm run --silent build >&2
say "building for release (several minutes the first time)"
cargo build --release --package anteroom

data=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then
        kill -TERM "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$data"
}
trap cleanup EXIT

# The server role by role is what `anteroom serve` runs; `dev` adds the database that it needs.
mkfifo "$data/ready"
target/release/anteroom dev --data-dir "$data/server" --http 127.0.0.1:0 --media-port 0 >"$data/ready" 2>"$data/log" &
server=$!
read -r _ url <"$data/ready" || { cat "$data/log" >&2; fail "the server did not start"; }
token=$(target/release/anteroom token --role clinician --sub demo-clinician --data-dir "$data/server")
target/release/anteroom load --url "$url" --token "$token" --server-pid "$server" \
    --visits "${VISITS:-50}" --seconds "${SECONDS_EACH:-20}" --json bench.json "$@"
say "also written to bench.json"
