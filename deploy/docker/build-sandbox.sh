#!/usr/bin/env bash
# Builds the sandbox image (executor/image/) under the name that says what it is made of, unless it is there already, and
# prints that name. BASE_IMAGE=… builds on another Python 3.11; --no-cache and other options are handed to `docker build`.
set -euo pipefail
cd "$(dirname "$0")/../.."

exec 9<executor/image/Dockerfile
flock 9 # two at once would build it twice
name=$(python3 executor/executor/sandbox/image.py)
if ! docker image inspect "$name" >/dev/null 2>&1; then
    log=$(mktemp)
    trap 'rm -f "$log"' EXIT
    echo "Building $name (a few minutes the first time) …" >&2
    # The classic builder is what every engine has.
    DOCKER_BUILDKIT=0 docker build --tag "$name" --label codeact.image=sandbox \
        ${BASE_IMAGE:+--build-arg BASE="$BASE_IMAGE"} "$@" executor/image >"$log" 2>&1 9<&- || { tail -n 30 "$log" >&2; exit 1; }
fi
echo "$name"
