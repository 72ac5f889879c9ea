#!/usr/bin/env bash
# Measures this machine: a server built for release, a load generator in a process of its own, one table and bench.json.
# VISITS (default 50) and SECONDS_EACH (default 20) say how much. On two cores the generator and the server share them.
set -eu
. "$(dirname "$0")/lib.sh"

install_build_tools
install_web
in_web npm run --silent build >&2
say "building for release (several minutes the first time)"
cargo build --release --locked --package anteroom

data=$(mktemp -d)
processes=()
cleanup() {
    local process
    for process in "${processes[@]}"; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$data"
}
trap cleanup EXIT

# start NAME COMMAND...: starts one in the background and waits for its `ready` line; the address is in $url then.
start() {
    local name=$1
    shift
    mkfifo "$data/$name.ready"
    "$@" >"$data/$name.ready" 2>"$data/$name.log" &
    processes=("$!" "${processes[@]}")
    read -r _ url <"$data/$name.ready" || { cat "$data/$name.log" >&2; fail "$name did not start"; }
}

# `dev` lends its database and its signing key, and idles; what is measured is `serve`.
start dev target/release/anteroom dev --data-dir "$data/dev" --http 127.0.0.1:0 --media-port 0
token=$(target/release/anteroom token --role clinician --sub demo-clinician --data-dir "$data/dev")
start serve env ANTEROOM_PROFILE=development ANTEROOM_HTTP=127.0.0.1:0 ANTEROOM_KEY_DIR="$data/dev/keys" \
    ANTEROOM_DATABASE_URL="$(cat "$data/dev/database.url")" ANTEROOM_SPOOL="$data/spool" ANTEROOM_STORE_FOLDER="$data/recordings" \
    ANTEROOM_MEDIA_UDP_PORT=0 ANTEROOM_ADDRESSES=127.0.0.1 target/release/anteroom serve
uname -srm
target/release/anteroom load --url "$url" --token "$token" --server-pid "${processes[0]}" \
    --visits "${VISITS:-50}" --seconds "${SECONDS_EACH:-20}" --json bench.json "$@"
say "also written to bench.json"
