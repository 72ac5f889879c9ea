#!/usr/bin/env bash
# Measures this machine, and others' servers on it for comparison: the same media from the same generator, in one run.
# BENCH=short takes about 6 minutes, BENCH=long adds an hour of churn; otherwise about 25, after the release build.
# Everything goes to bench/ (JSON and SVG for each part) and bench.json. A part that cannot be measured is said and passed over:
# what comes out is a report, not a test. `scripts/bench.sh floor janus` runs these parts alone. BUILT=1 takes the programs as they are.
set -eu
. "$(dirname "$0")/lib.sh"

BENCH=${BENCH:-normal}
case $BENCH in
    short) EACH=5 STEP_SECONDS=3 CHURN=30 CHURN_VISITS=10 COARSE=2 ;;
    normal) EACH=20 STEP_SECONDS=6 CHURN=180 CHURN_VISITS=30 COARSE=1 ;;
    long) EACH=20 STEP_SECONDS=6 CHURN=3600 CHURN_VISITS=30 COARSE=1 ;;
    *) fail "BENCH is short, normal or long" ;;
esac
# How the programs are built: `quick` costs a fraction of the time of `release` and nearly reaches it; a debug build serves for trying
# the script, not for numbers.
PROFILE=${PROFILE:-release}
OUT=$ROOT/bench
PARTS=("$@")

install_build_tools
install_web
install_bench_tools
in_web npm run --silent build >&2

build() {
    local flags=(--locked)
    [ "$PROFILE" = debug ] || flags+=(--profile "$PROFILE")
    cargo build "${flags[@]}" --package anteroom --package bench-node --package bench-floor \
        --package flood --package tun-router --package bench-mixer --package bench-books || fail "the build failed"
    # Its own workspace: what only a comparison needs stays out of the product's lock file.
    cargo build "${flags[@]}" --manifest-path benches/str0m/Cargo.toml --target-dir target/bench-str0m || fail "the build of bench-str0m failed"
    if [ -d benches/estimator ]; then
        cargo build "${flags[@]}" --package "$(sed -n 's/^name = "\(.*\)"/\1/p' benches/estimator/Cargo.toml | head -n 1)" || fail "the build of benches/estimator failed"
    fi
}
say "building for $PROFILE (several minutes the first time)"
[ -n "${BUILT:-}" ] || build
BIN=$ROOT/target/$PROFILE
LOAD=$BIN/anteroom

SERVER_CORE=() CLIENT_CORE=()
if [ "$(nproc)" -ge 2 ]; then
    SERVER_CORE=(taskset -c 0)
    CLIENT_CORE=(--pin 1)
fi

rm -rf "$OUT"
mkdir -p "$OUT"
data=$(mktemp -d)
processes=()
stop_all() {
    local process
    for process in "${processes[@]}"; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    processes=()
}
cleanup() {
    stop_all
    rm -rf "$data"
}
trap cleanup EXIT

# start NAME COMMAND...: starts one in the background and waits for its `ready` line; $url and $pid are its address and process then.
start() {
    local name=$1
    shift
    rm -f "$data/$name.ready"
    mkfifo "$data/$name.ready"
    "$@" >"$data/$name.ready" 2>"$data/$name.log" &
    pid=$!
    processes=("$pid" "${processes[@]}")
    if ! read -r _ url <"$data/$name.ready"; then
        tail -n 20 "$data/$name.log" >&2
        say "$name did not start"
        return 1
    fi
}

# measure NAME ARGUMENT...: one run of the generator against $url and $pid.
measure() {
    local name=$1
    shift
    printf '\n--- %s: anteroom load %s\n' "$name" "$*" | tee -a "$OUT/table.txt"
    if "$LOAD" load "$@" --url "$url" --server-pid "$pid" "${CLIENT_CORE[@]}" --json "$OUT/$name.json" --svg "$OUT/$name.svg" \
        >"$OUT/$name.txt" 2>"$data/load.log"; then
        tee -a "$OUT/table.txt" <"$OUT/$name.txt"
    else
        tr '\r' '\n' <"$data/load.log" | tail -n 3 | tee -a "$OUT/table.txt" >&2
        say "$name could not be measured"
    fi
}

# Steps of a ramp: coarser when time is short.
ramp() { printf '%s' "$(($1 * COARSE))"; }

part_anteroom() {
    # `dev` lends its database and its signing key, and idles; what is measured is `serve`.
    start dev "$BIN/anteroom" dev --data-dir "$data/dev" --http 127.0.0.1:0 --media-port 0 || return 0
    ANTEROOM_LOAD_TOKEN=$("$BIN/anteroom" token --role admin --sub load --data-dir "$data/dev")
    export ANTEROOM_LOAD_TOKEN
    start serve env ANTEROOM_PROFILE=development ANTEROOM_HTTP=127.0.0.1:0 ANTEROOM_KEY_DIR="$data/dev/keys" \
        ANTEROOM_DATABASE_URL="$(cat "$data/dev/database.url")" ANTEROOM_SPOOL="$data/spool" ANTEROOM_AUDIT_SPOOL="$data/audit-spool" ANTEROOM_AUDIT_ANCHOR_FOLDER="$data/anchors" \
        ANTEROOM_STORE_FOLDER="$data/recordings" \
        ANTEROOM_MEDIA_UDP_PORT=0 ANTEROOM_ADDRESSES=127.0.0.1 "${SERVER_CORE[@]}" "$BIN/anteroom" serve || return 0
    measure two-party two-party --visits 60 --seconds "$EACH"
    measure joins joins --rate 20 --visits $((10 * EACH / 2))
    measure overlap overlap --visits 50
    measure audio audio --visits 60 --seconds "$EACH"
    measure screen screen --visits 30 --seconds "$EACH"
    measure recording recording --visits 5 --seconds "$EACH"
    measure churn churn --visits "$CHURN_VISITS" --seconds "$CHURN"
    measure ramp two-party --ramp "$(ramp 50)" --seconds "$STEP_SECONDS" --most 600 --quarters
    # Janus gives out no loopback address, so each leg to it has a socket of its own, which costs a server more. The same for us.
    local address
    address=$(hostname -I | tr ' ' '\n' | grep -m 1 '^[0-9.]*$') || { stop_all; return 0; }
    start serve-sockets env ANTEROOM_PROFILE=development ANTEROOM_HTTP=127.0.0.1:0 ANTEROOM_KEY_DIR="$data/dev/keys" \
        ANTEROOM_DATABASE_URL="$(cat "$data/dev/database.url")" ANTEROOM_SPOOL="$data/spool2" ANTEROOM_AUDIT_SPOOL="$data/audit-spool2" ANTEROOM_AUDIT_ANCHOR_FOLDER="$data/anchors" \
        ANTEROOM_STORE_FOLDER="$data/recordings" \
        ANTEROOM_MEDIA_UDP_PORT=0 ANTEROOM_ADDRESSES="$address" "${SERVER_CORE[@]}" "$BIN/anteroom" serve || { stop_all; return 0; }
    measure two-party-sockets two-party --visits 60 --seconds "$EACH"
    stop_all
}

part_node() {
    start node "${SERVER_CORE[@]}" "$BIN/bench-node" || return 0
    measure node-two-party two-party --visits 60 --seconds "$EACH"
    measure node-group group --visits 15 --seconds "$EACH"
    measure node-ramp two-party --ramp "$(ramp 50)" --seconds "$STEP_SECONDS" --most 700
    stop_all
}

part_floor() {
    start floor "${SERVER_CORE[@]}" "$BIN/bench-floor" || return 0
    measure floor-two-party two-party --visits 60 --seconds "$EACH"
    stop_all
}

part_str0m() {
    local program=$ROOT/target/bench-str0m/$PROFILE/bench-str0m
    start str0m "${SERVER_CORE[@]}" "$program" || return 0
    measure str0m-two-party two-party --visits 60 --seconds "$EACH"
    measure str0m-ramp two-party --ramp "$(ramp 40)" --seconds "$STEP_SECONDS" --most 500
    stop_all
    start str0m-segments "${SERVER_CORE[@]}" "$program" --segments || return 0
    measure str0m-segments-two-party two-party --visits 60 --seconds "$EACH"
    stop_all
}

part_janus() {
    have janus || { say "SKIP: Janus is not installed"; return 0; }
    local port
    port=$(node -e 'const s = require("net").createServer().listen(0, "127.0.0.1", () => { console.log(s.address().port); s.close(); })')
    mkdir -p "$data/janus"
    cat >"$data/janus/janus.jcfg" <<END
general: {
    configs_folder = "$data/janus"
    debug_level = 2
    session_timeout = 0
}
media: { rtp_port_range = "20000-40000" }
nat: {
    ice_lite = true
    }
plugins: { disable = "libjanus_audiobridge.so,libjanus_duktape.so,libjanus_echotest.so,libjanus_lua.so,libjanus_nosip.so,libjanus_recordplay.so,libjanus_sip.so,libjanus_streaming.so,libjanus_textroom.so,libjanus_videocall.so,libjanus_voicemail.so" }
transports: { disable = "libjanus_http.so,libjanus_mqtt.so,libjanus_nanomsg.so,libjanus_pfunix.so,libjanus_rabbitmq.so" }
events: { broadcast = false }
END
    printf 'general: { ws = true\n ws_port = %s\n ws_ip = "127.0.0.1"\n}\nadmin: { admin_ws = false }\n' "$port" >"$data/janus/janus.transport.websockets.jcfg"
    printf 'general: { }\n' >"$data/janus/janus.plugin.videoroom.jcfg"
    "${SERVER_CORE[@]}" janus -F "$data/janus" -C "$data/janus/janus.jcfg" >"$data/janus.log" 2>&1 &
    pid=$!
    processes=("$pid" "${processes[@]}")
    url=janus://127.0.0.1:$port
    local tries=100
    until (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
        tries=$((tries - 1))
        if [ "$tries" = 0 ] || ! kill -0 "$pid" 2>/dev/null; then
            tail -n 20 "$data/janus.log" >&2
            say "Janus did not start"
            stop_all
            return 0
        fi
        sleep 0.1
    done
    measure janus-two-party two-party --visits 60 --seconds "$EACH"
    stop_all
    # A server of its own for the ramp: what the run before left in it is not its load.
    "${SERVER_CORE[@]}" janus -F "$data/janus" -C "$data/janus/janus.jcfg" >"$data/janus.log" 2>&1 &
    pid=$!
    processes=("$pid" "${processes[@]}")
    sleep 2
    measure janus-ramp two-party --ramp "$(ramp 20)" --seconds "$STEP_SECONDS" --most 200
    stop_all
}

# other NAME COMMAND...: a part that another program measures and prints.
other() {
    local name=$1
    shift
    printf '\n--- %s: %s\n' "$name" "$*" | tee -a "$OUT/table.txt"
    "$@" 2>&1 | tee "$OUT/$name.txt" | tee -a "$OUT/table.txt" || say "$name reports a miss, or could not be measured"
}

part_estimator() {
    [ -d benches/estimator ] || { say "SKIP: there is no benches/estimator"; return 0; }
    local name
    name=$(sed -n 's/^name = "\(.*\)"/\1/p' benches/estimator/Cargo.toml | head -n 1)
    other estimator "$BIN/$name" --json "$OUT/estimator.json"
}

part_mixer() {
    local seconds=60
    [ "$BENCH" = short ] && seconds=20
    other mixer "${SERVER_CORE[@]}" "$BIN/bench-mixer" --seconds "$seconds" --json "$OUT/mixer.json"
}

# What the database costs, and what of that is ours: each act against pgbench with the same number of statements on the same cluster.
part_books() {
    other books "$BIN/bench-books" --seconds "$EACH" --json "$OUT/books.json"
}

# What people would notice, in real browsers and under a flood; scripts/field.sh runs the same three alone.
part_field() {
    if [ "$BENCH" = short ]; then say "SKIP: flood and browsers, because time is short"; return 0; fi
    install_test_tools
    export ANTEROOM_BIN=$BIN/anteroom ANTEROOM_TUN_ROUTER=$BIN/tun-router ANTEROOM_FLOOD=$BIN/junk-flood
    other flood scripts/flood.sh
    other admission in_web npm run --silent admission
    other impaired scripts/impaired.sh
    local file
    for file in flood.json web/e2e/out/admission.json web/e2e/out/impaired.json; do
        [ -e "$file" ] && cp "$file" "$OUT/"
    done
    return 0
}

{
    date -u '+%Y-%m-%d %H:%M UTC'
    uname -srm
    sed -n 's/^model name\s*: //p' /proc/cpuinfo | sort | uniq -c
    printf 'load average %s\n' "$(cut -d' ' -f1-3 /proc/loadavg)"
    printf 'commit %s, BENCH=%s, profile %s\n' "$(git rev-parse --short HEAD 2>/dev/null || echo unknown)" "$BENCH" "$PROFILE"
    printf 'server: %s; generator: %s\n' "${SERVER_CORE[*]:-not pinned}" "${CLIENT_CORE[*]:-not pinned}"
} | tee "$OUT/machine.txt" | tee "$OUT/table.txt"

[ ${#PARTS[@]} -gt 0 ] || PARTS=(floor str0m janus node anteroom books estimator mixer field)
for part in "${PARTS[@]}"; do
    case $part in
        anteroom | node | floor | str0m | janus | books | estimator | mixer | field) say "$part"; "part_$part"; stop_all ;;
        *) fail "there is no part called $part" ;;
    esac
done

say "the bars"
node scripts/bench-report.mjs "$OUT" "$ROOT/bench.json" | tee -a "$OUT/table.txt"
say "also written to bench.json and bench/"
