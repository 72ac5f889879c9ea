#!/usr/bin/env bash
# Fuzzes what parses bytes from the network: `scripts/fuzz.sh` gives each target SECONDS_EACH (4) seconds, as `make test` does;
# `scripts/fuzz.sh rtp vp8` these alone. RUNS=10000000, as in `make fuzz`, counts executions instead.
# A crash fails this script and is kept in the artifacts folder beside the target; new inputs stay in .cache/fuzz.
set -eu
. "$(dirname "$0")/lib.sh"

nightly=$(install_nightly) || exit 1
if [ -z "$nightly" ]; then
    say "SKIPPED: fuzzing needs rustup and a nightly compiler. The kept inputs are replayed by the ordinary tests."
    exit 0
fi
install_cargo_fuzz

export CARGO_INCREMENTAL=0
if [ -n "${RUNS:-}" ]; then
    export bound=-runs=$RUNS at_once=${AT_ONCE:-1} built=$CACHE/fuzz-build
else
    export bound=-max_total_time=${SECONDS_EACH:-4} at_once=${AT_ONCE:-$(nproc)} built=$CACHE/fuzz-build-short
    # Seconds of running do not repay minutes of optimising.
    export CARGO_PROFILE_RELEASE_OPT_LEVEL=1 CARGO_PROFILE_RELEASE_DEBUG=0
fi

for folder in sfu/fuzz signaling/fuzz; do
    say "building the fuzz targets of $folder"
    # Without a sanitizer: the code under test is safe Rust, and this way a target runs several times as often.
    (cd "$folder" && cargo "+$nightly" fuzz build --fuzz-dir . --sanitizer none --codegen-units 16 --target-dir "$built") >&2 ||
        fail "the fuzz targets could not be built"
done

# fuzz_one FOLDER TARGET: one line on standard output, or the end of the log on standard error.
fuzz_one() {
    local folder=$1 target=$2 began=$SECONDS longest=1500
    local found=$CACHE/fuzz/$target log=$CACHE/fuzz/$target.log
    # Several datagrams, or a text, where the others take one datagram.
    case $target in gate | path | flow | dependency | sdp | message | frames) longest=4096 ;; esac
    mkdir -p "$found" "$folder/artifacts/$target"
    # The first folder takes what is new; the second only seeds.
    if ! "$built/$(uname -m)-unknown-linux-gnu/release/$target" "$found" "$folder/corpus/$target" "$bound" -max_len=$longest \
        -timeout="${TIMEOUT:-10}" -rss_limit_mb=2048 -artifact_prefix="$folder/artifacts/$target/" -print_final_stats=1 >"$log" 2>&1; then
        tail -n 30 "$log" >&2
        printf '%-12s CRASHED\n' "$target"
        return 1
    fi
    printf '%-12s %12s executions %6d s %8s features\n' "$target" \
        "$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")" $((SECONDS - began)) \
        "$(sed -n 's/.* ft: \([0-9]*\) .*/\1/p' "$log" | tail -n 1)"
}
export -f fuzz_one
export CACHE

for file in sfu/fuzz/fuzz_targets/*.rs signaling/fuzz/fuzz_targets/*.rs; do
    target=$(basename "$file" .rs)
    [ $# = 0 ] || [[ " $* " == *" $target "* ]] || continue
    echo "${file%/fuzz_targets/*} $target"
done | xargs -P "$at_once" -L 1 bash -c 'fuzz_one "$@"' fuzz_one ||
    fail "an input crashed its target: it is in the artifacts folder there; keep it in the corpus when that is mended"
