#!/usr/bin/env bash
# Makes Docker usable for tests on a bare Debian or Ubuntu machine, as root: installs the engine where it is missing, starts
# it where none answers, and sees to it that the Python image which the project's own are built on is there. Does only what
# has not been done; says in its last line why it cannot be, and then ends with status 1.
#
#   test-engine.sh            all of it
#   test-engine.sh --no-install   installs nothing
#
# Where no registry can be reached, the base image is put together from Debian's own packages, under the same name: good
# enough for tests, not the same bytes. It trusts the certificate authorities that this machine trusts. (BASE_IMAGE=… asks
# for another name.)
set -euo pipefail

BASE=${BASE_IMAGE:-python:3.11-slim-bookworm}
LOG=/var/log/codeact-dockerd.log
PULL_S=60
INSTALL=yes
[[ ${1:-} == --no-install ]] && INSTALL=no
export DEBIAN_FRONTEND=noninteractive

say() { echo "test-engine: $*" >&2; }
fail() { say "$*"; exit 1; }
have() { command -v "$1" >/dev/null 2>&1; }
answers() { timeout 20 docker info >/dev/null 2>&1; }
is_root() { [[ $(id -u) -eq 0 ]]; }

install() {
    [[ $INSTALL == yes ]] || fail "missing: $*"
    is_root || fail "missing: $*. Install them with: sudo apt-get install -y $*"
    have apt-get || fail "missing: $*, and there is no apt-get to install them with"
    say "installing $*"
    local log
    log=$(mktemp)
    if ! { apt-get update -qq && apt-get install -y -qq --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 20 "$log" >&2
        fail "these packages could not be installed: $*"
    fi
    rm -f "$log"
}

# Until the engine answers, or the process $1 (if any) has ended.
wait_for_answer() {
    for _ in $(seq 120); do
        answers && return 0
        [[ -z ${1:-} ]] || kill -0 "$1" 2>/dev/null || return 1
        sleep 0.5
    done
    return 1
}

# The installation of the package may have started one already, which then needs a moment.
is_starting() {
    local pid
    pid=$(cat /var/run/docker.pid 2>/dev/null) && [[ -n $pid ]] && kill -0 "$pid" 2>/dev/null
}

start() {
    is_root || fail "no Docker engine answers, and to start one takes root: sudo $0"
    if is_starting && wait_for_answer; then return; fi
    say "starting dockerd (log: $LOG)"
    setsid dockerd >>"$LOG" 2>&1 </dev/null &
    local daemon=$!
    if ! wait_for_answer "$daemon"; then
        tail -n 5 "$LOG" >&2
        fail "dockerd does not start here (see $LOG): it needs cgroups, iptables and the right to mount"
    fi
}

bootstrap() {
    is_root || fail "$BASE cannot be pulled, and to put it together takes root: sudo $0"
    have debootstrap || install debootstrap debian-archive-keyring
    say "no registry has $BASE: putting it together from Debian's packages (a minute or two)"
    local work
    work=$(mktemp -d)
    if ! debootstrap --variant=minbase --include=python3,python3-venv,ca-certificates bookworm "$work/root" >"$work/log" 2>&1; then
        tail -n 10 "$work/log" >&2
        rm -rf "$work"
        fail "debootstrap failed"
    fi
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/var/lib/apt/lists/*
    ln -s ../../bin/python3 "$work/root/usr/local/bin/python"
    if [[ -r /etc/ssl/certs/ca-certificates.crt ]]; then
        cp /etc/ssl/certs/ca-certificates.crt "$work/root/etc/ssl/certs/ca-certificates.crt"
    fi
    tar -C "$work/root" -cf - . | docker import --message "stand-in for tests" \
        --change 'ENV PIP_CERT=/etc/ssl/certs/ca-certificates.crt' --change 'CMD ["python3"]' - "$BASE" >/dev/null
    rm -rf "$work"
}

have docker && (answers || have dockerd) || install docker.io iptables ca-certificates
answers || start
if ! docker image inspect "$BASE" >/dev/null 2>&1; then
    timeout "$PULL_S" docker pull -q "$BASE" >/dev/null 2>&1 || bootstrap
fi
say "ready: $(docker version --format 'Docker {{.Server.Version}}'), $BASE"
