# shellcheck shell=bash
# Shared by the scripts beside it: building, nats-server, free ports, and children that are stopped whatever happens.
# Source it after `set -euo pipefail`. Needs bash 3.2, Rust and Python 3, nothing else.

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
SCRIPT=$(basename "$0")
CHILDREN=()

say() { printf '%s: %s\n' "$SCRIPT" "$*" >&2; }
fail() {
    say "error: $*"
    exit 1
}

# The text between the first two lines of `#=`: a script's own help.
usage() {
    sed -n '/^#=/,/^#=/p' "$0" | sed -e '/^#=/d' -e 's/^# \{0,1\}//'
}

# have COMMAND: whether it can be run.
have() { command -v "$1" >/dev/null 2>&1; }

# absolute PATH: the same path, whatever folder a child runs in.
absolute() {
    case $1 in /*) printf '%s\n' "$1" ;; *) printf '%s\n' "$PWD/$1" ;; esac
}

# have_node: whether there is Node 20 or newer, with npm.
have_node() { have node && have npm && [ "$(node -p 'process.versions.node.split(".")[0]')" -ge 20 ]; }

# npm_install FOLDER: what is installed there is what its lock file names, or it is installed anew.
npm_install() {
    local folder=$1
    cmp -s "$folder/package-lock.json" "$folder/node_modules/.trunkline-lock" && return 0
    say "installing what ${folder#"$ROOT"/}/package-lock.json names"
    # Nothing that comes with the packages runs: none of them needs to be compiled.
    (cd "$folder" && npm ci --ignore-scripts --no-audit --no-fund --loglevel=error >&2)
    cp "$folder/package-lock.json" "$folder/node_modules/.trunkline-lock"
}

require() {
    local tool
    for tool in "$@"; do have "$tool" || fail "$tool is needed and isn't on PATH"; done
}

# build PROFILE: builds the binary and sets TRUNKLINE to its path. PROFILE is `dev` or `release`. Cargo's own cache
# makes the second time quick. The path is cargo's answer, so CARGO_TARGET_DIR and any configured directory are honoured.
build() {
    local profile=$1 folder=$1 target
    [ "$profile" = dev ] && folder=debug
    say "building trunkline ($profile)"
    (cd "$ROOT" && cargo build --locked --profile "$profile" --bin trunkline >&2)
    target=$(cd "$ROOT" && cargo metadata --locked --no-deps --format-version 1 |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["target_directory"])')
    TRUNKLINE=$target/$folder/trunkline
    [ -x "$TRUNKLINE" ] || fail "cargo built no $TRUNKLINE"
}

# nats_server: sets NATS_SERVER to a binary of 2.12 or newer and puts it in front of PATH, where `trunkline serve` and
# the tests look first.
nats_server() {
    NATS_SERVER=$("$ROOT/scripts/nats" path)
    [ -x "$NATS_SERVER" ] || fail "scripts/nats found no nats-server"
    PATH=$(dirname "$NATS_SERVER"):$PATH
    export PATH
    say "using $("$NATS_SERVER" --version)"
}

# screens_in_browser PROFILE: builds the screens and the binary that embeds them, and sets TRUNKLINE, NATS_SERVER and CHROMIUM for programs of
# web/e2e.
screens_in_browser() {
    have_node || fail "Node 20 or newer with npm is needed; this is $(node --version 2>/dev/null || echo none)"
    "$ROOT/scripts/web"
    CHROMIUM=$("$ROOT/scripts/chromium" path)
    nats_server
    build "$1"
    export TRUNKLINE NATS_SERVER CHROMIUM
}

# free_port: a port of 127.0.0.1 that nobody listens on right now.
free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

# port_is_free HOST:PORT
port_is_free() {
    python3 - "$1" <<'PY'
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
with socket.socket() as s:
    s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        s.bind((host.strip("[]"), int(port)))
    except OSError:
        sys.exit(1)
PY
}

# start LOG COMMAND…: runs it in the background, in a process group of its own so that Ctrl-C reaches only the script,
# and sets STARTED to its process id.
start() {
    local log=$1
    shift
    set -m
    "$@" >"$log" 2>&1 </dev/null &
    STARTED=$!
    set +m
    CHILDREN+=("$STARTED")
}

alive() { kill -0 "$1" 2>/dev/null; }

# await PID SECONDS: waits until it has ended; 1 if it hasn't by then.
await() {
    local tenths=$(($2 * 10))
    while alive "$1"; do
        [ "$tenths" -gt 0 ] || return 1
        tenths=$((tenths - 1))
        sleep 0.1
    done
}

# stop PID [SIGNAL [SECONDS]]: asks it to end, waits, and kills its process group if it doesn't.
stop() {
    local pid=$1 signal=${2:-TERM} seconds=${3:-15}
    alive "$pid" || return 0
    kill -s "$signal" "$pid" 2>/dev/null || true
    if ! await "$pid" "$seconds"; then
        say "process $pid didn't end within $seconds s; killing it"
        kill -s KILL -- "-$pid" 2>/dev/null || kill -s KILL "$pid" 2>/dev/null || true
    fi
}

# Stops every child, the youngest first.
stop_all() {
    local i
    for ((i = ${#CHILDREN[@]} - 1; i >= 0; i--)); do stop "${CHILDREN[i]}"; done
    CHILDREN=()
}

# wait_for SECONDS PID LOG WHAT COMMAND…: repeats the command until it succeeds. Gives up, and shows the log, when PID
# ends or the time is over.
wait_for() {
    local tenths=$(($1 * 10)) pid=$2 log=$3 what=$4
    shift 4
    until "$@" >/dev/null 2>&1; do
        if ! alive "$pid" || [ "$tenths" -le 0 ]; then
            tail -n 30 "$log" >&2 || true
            alive "$pid" || fail "it ended before there was $what (log above)"
            fail "no $what in time (log above)"
        fi
        tenths=$((tenths - 2))
        sleep 0.2
    done
}

# http_ok URL: whether it answers 200.
http_ok() {
    python3 - "$1" <<'PY'
import sys, urllib.request
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
try:
    sys.exit(opener.open(sys.argv[1], timeout=2).status != 200)
except OSError:
    sys.exit(1)
PY
}

# nats_speaks HOST:PORT: whether a nats-server greets there.
nats_speaks() {
    python3 - "$1" <<'PY'
import socket, sys
host, _, port = sys.argv[1].rpartition(":")
try:
    with socket.create_connection((host, int(port)), 2) as s:
        sys.exit(s.recv(4) != b"INFO")
except OSError:
    sys.exit(1)
PY
}
