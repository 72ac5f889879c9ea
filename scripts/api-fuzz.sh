#!/usr/bin/env bash
# Sends generated requests to every route of the OpenAPI document, as each role and as nobody: no answer may be a 5xx, and what is
# answered must be what the document says. Each role sends to each route what stands at the edges of its schema, and EXAMPLES (10) more.
# The seed is fixed, so that what is green here stays green: SEED=$RANDOM looks for more.
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

# Ids that were made up say NOT_FOUND and no more, so half of them are those of visits that each role may see.
token() { target/debug/anteroom token --role "$1" --sub "demo-$1" --data-dir "$data/data"; }
plan() {
    node -e '
        const [url, token, clinicianId, days] = process.argv.slice(1);
        const scheduledAt = new Date(Date.now() + days * 86400e3).toISOString();
        const body = JSON.stringify({ patientId: "demo-patient", clinicianId, scheduledAt, duration: 30, recordingPolicy: "OPT_IN" });
        const headers = { authorization: `Bearer ${token}`, "content-type": "application/json" };
        fetch(`${url}/api/visits`, { method: "POST", headers, body }).then(async (answer) => {
            const visit = await answer.json();
            if (!answer.ok) throw new Error(`no visit could be planned: ${answer.status} ${visit.detail}`);
            console.log(visit.visitId);
        });' "$url" "$admin" "$@"
}
admin=$(token admin)
# Each role has visits of its own: whoever comes first calls them off.
day=0
plan_all() {
    local ids who=demo-clinician
    [ "$day" = 0 ] || who=clinician-$day
    ids=$(plan "$who" 0.01)
    ids+='", "'$(plan "other-$day" 0.01)
    ids+='", "'$(plan "$who" 2)
    day=$((day + 1))
    cat >"$data/schemathesis.toml" <<END
[dictionaries]
ids = { values = ["$ids"] }

[parameters]
"path.id" = { dictionary = "ids", probability = 0.5 }
END
}

# fuzz NAME [HEADER]
fuzz() {
    local name=$1 header=()
    [ $# = 1 ] || header=(--header "$2")
    say "the API as $name"
    plan_all
    # In a folder that goes afterwards: it writes what it found beside itself.
    (cd "$data" && "$CACHE/venv/bin/schemathesis" --config-file schemathesis.toml run "$url/openapi.json" "${header[@]}" \
        --phases examples,coverage,fuzzing --max-examples "${EXAMPLES:-10}" --seed "${SEED:-1}" --workers 2 \
        --checks not_a_server_error,content_type_conformance,status_code_conformance,response_schema_conformance \
        --exclude-path-regex '^/(ws|control/|assets/|api/playback/|\{name\}|j/)' --request-timeout 20 --generation-database :memory: \
        --warnings off --suppress-health-check all) >"$data/$name.log" 2>&1 ||
        { tail -n 120 "$data/$name.log" >&2; grep -a '"level":"ERROR"\| ERROR ' "$log" | tail -n 20 >&2; fail "the API as $name"; }
    grep -aE 'generated' "$data/$name.log" | tail -n 1 >&2
}
for role in clinician scheduler admin auditor patient; do
    fuzz "$role" "Authorization: Bearer $(token "$role")"
done
fuzz nobody
