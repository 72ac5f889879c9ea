#!/usr/bin/env bash
# Sends generated requests to every route of the OpenAPI document, as each role and as nobody: no answer may be a 5xx, and what is
# answered must be what the document says. EXAMPLES (20) requests for each route and role; the seed is fixed, so that what is green here
# stays green: SEED=$RANDOM looks for more.
set -eu
. "$(dirname "$0")/lib.sh"
install_build_tools
install_api_fuzzer
[ -x target/debug/anteroom ] || cargo build -p anteroom --locked

data=$(mktemp -d)
log=$data/server.log
target/debug/anteroom dev --data-dir "$data/data" --http 127.0.0.1:0 --no-fsync >"$data/ready" 2>"$log" &
server=$!
stop() {
    kill "$server" 2>/dev/null || true
    wait "$server" 2>/dev/null || true
    rm -rf "$data"
}
trap stop EXIT
for _ in $(seq 600); do
    grep -q '^ready ' "$data/ready" && break
    kill -0 "$server" 2>/dev/null || { tail -n 30 "$log" >&2; fail "the server did not start"; }
    sleep 0.1
done
url=$(sed -n 's/^ready //p' "$data/ready")
[ -n "$url" ] || fail "the server was not ready in time"

# fuzz NAME [HEADER]
fuzz() {
    local name=$1 header=()
    [ $# = 1 ] || header=(--header "$2")
    say "the API as $name"
    "$CACHE/venv/bin/schemathesis" --config-file scripts/schemathesis.toml run "$url/openapi.json" "${header[@]}" \
        --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-20}" --seed "${SEED:-1}" --workers 2 \
        --checks not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance \
        --exclude-path-regex '^/(ws|control/|assets/|api/playback/|\{name\}|j/)' --request-timeout 20 --generation-database :memory: \
        --warnings off --suppress-health-check all >"$data/$name.log" 2>&1 ||
        { tail -n 120 "$data/$name.log" >&2; grep -a '"level":"ERROR"\| ERROR ' "$log" | tail -n 20 >&2; fail "the API as $name"; }
    grep -aE 'test cases|generated|passed' "$data/$name.log" | tail -n 3 >&2
}
for role in clinician scheduler admin patient; do
    token=$(target/debug/anteroom token --role "$role" --sub "demo-$role" --data-dir "$data/data")
    fuzz "$role" "Authorization: Bearer $token"
done
fuzz nobody
