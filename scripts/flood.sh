#!/usr/bin/env bash
# Junk from other addresses against a media port while visits run: what it costs them. Loopback only, bounded in time.
# RATE (default 200000 a second), VISITS (10) and SECONDS_EACH (10) say how much. Writes flood.json. Builds nothing: ANTEROOM_BIN
# and ANTEROOM_FLOOD name other binaries than those of target/release. On two cores, flood, visits and server share them.
set -eu
. "$(dirname "$0")/lib.sh"

anteroom=${ANTEROOM_BIN:-$ROOT/target/release/anteroom}
flood=${ANTEROOM_FLOOD:-$ROOT/target/release/junk-flood}
for binary in "$anteroom" "$flood"; do
    [ -x "$binary" ] || fail "build it first: cargo build --release --package anteroom --package flood"
done
rate=${RATE:-200000} seconds=${SECONDS_EACH:-10} visits=${VISITS:-10}

# The flood must know the port, so it is chosen here.
free_port() {
    local port
    while :; do
        port=$((20000 + RANDOM % 10000))
        grep -qi ":$(printf %04X "$port") " /proc/net/udp /proc/net/udp6 2>/dev/null || { echo "$port"; return; }
    done
}

data=$(mktemp -d)
server='' junk=''
cleanup() {
    local process
    for process in $junk $server; do
        kill -TERM "$process" 2>/dev/null || true
        wait "$process" 2>/dev/null || true
    done
    rm -rf "$data"
}
trap cleanup EXIT

port=$(free_port)
mkfifo "$data/ready"
"$anteroom" dev --data-dir "$data/dev" --http 127.0.0.1:0 --media-port "$port" >"$data/ready" 2>"$data/log" &
server=$!
exec 3<"$data/ready"
read -r _ url <&3 || { cat "$data/log" >&2; fail "the server did not start"; }
token=$("$anteroom" token --role admin --sub load --data-dir "$data/dev")

measure() {
    "$anteroom" load --url "$url" --token "$token" --server-pid "$server" --visits "$visits" --seconds "$seconds" --json "$data/$1.json" >"$data/$1.txt" ||
        { cat "$data/$1.txt" "$data/log" >&2; fail "the visits could not be held"; }
}
say "$visits visits in peace"
measure peace
say "$visits visits under $rate junk datagrams a second"
# It begins before the first join and lasts longer than the visits; then it is told to end.
"$flood" --to "127.0.0.1:$port" --rate "$rate" --seconds 300 >"$data/junk.jsonl" &
junk=$!
measure flood
kill -TERM "$junk" 2>/dev/null || fail "the flood ended before the visits did"
wait "$junk" 2>/dev/null || true
junk=''

node - "$data" "$rate" <<'JS'
const { readFileSync, writeFileSync } = require('node:fs');
const folder = process.argv[2];
const read = (name) => {
  const { failed, join, window } = JSON.parse(readFileSync(`${folder}/${name}.json`, 'utf8'));
  return { failed, joinMs: join.joinMs, ...window };
};
const [peace, flood] = ['peace', 'flood'].map(read);
const junk = JSON.parse(readFileSync(`${folder}/junk.jsonl`, 'utf8').trim().split('\n').at(-1));
const percent = (value) => `${(100 * value).toFixed(3)} %`;
const rows = [
  ['', 'in peace', 'under junk'],
  ['junk datagrams a second', '0', Math.round(junk.perSecond)],
  ['visits that failed', peace.failed, flood.failed],
  ['loss', percent(peace.loss), percent(flood.loss)],
  ['repaired', peace.recovered, flood.recovered],
  ['delay p50 / p99, µs', ...[peace, flood].map(({ delayUs }) => `${delayUs.p50} / ${delayUs.p99}`)],
  ['join p95, ms', ...[peace, flood].map(({ joinMs }) => joinMs.p95.toFixed(1))],
  ['server memory, MiB', ...[peace, flood].map(({ server }) => (server.resident / 2 ** 20).toFixed(0))],
];
for (const [name, ...cells] of rows) console.log(`${name.padEnd(28)}${cells.map((cell) => String(cell).padStart(18)).join('')}`);
const rate = Number(process.argv[3]);
const met = flood.loss < 0.01 && flood.failed === 0;
const attained = junk.perSecond >= 0.9 * rate;
console.log(`bar: less than 1 % loss, everybody has media: ${met ? 'met' : 'NOT MET'}${attained ? '' : `, but this machine sent only ${Math.round(junk.perSecond)} of ${rate} a second`}`);
writeFileSync('flood.json', `${JSON.stringify({ rate, attained, met, junk, peace, flood }, null, 2)}\n`);
JS
say "also written to flood.json"
