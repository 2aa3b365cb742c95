#!/bin/sh
# The real vLLM server on a CPU, for `make test-vllm`: .venv-vllm at the project's root, from the lock beside this file.
# Does nothing when the lock is the one it was made from. The lock is made anew, in this directory, with:
#   uv pip compile --generate-hashes --no-emit-index-url --no-emit-find-links --no-header --python-version 3.11 \
#       --no-emit-package torch --overrides overrides.txt requirements.in -o requirements.lock
set -eu
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)
root=$(CDPATH='' cd -- "$here/../.." && pwd)
venv=$root/.venv-vllm
python=${CODEACT_PYTHON:-python3}

if [ "$(uname -s)-$(uname -m)" != Linux-x86_64 ]; then
    echo "vLLM's CPU build is for Linux on x86-64; here is $(uname -s) on $(uname -m)." >&2
    exit 1
fi
wanted=$(cat "$here/overrides.txt" "$here/requirements.lock" "$here/setup.sh" | sha256sum)
[ "$(cat "$venv/.setup" 2>/dev/null || true)" = "$wanted" ] && exit 0

echo 'Setting up vLLM for the CPU (some 2.5 GB, once) …' >&2
"$python" -m venv "$venv"
install() {
    "$venv/bin/python" -m pip install --disable-pip-version-check --no-input --quiet --no-deps "$@"
}
# Every index has its own CPU build of torch, under its own hash. One built for GPUs does too, but wants its libraries.
install torch==2.13.0
install --require-hashes -r "$here/requirements.lock"
"$venv/bin/python" -c 'import torch' 2>/dev/null || {
    echo "torch does not load without its GPU libraries. Give pip an index or directory with torch's CPU build" >&2
    echo "(PIP_EXTRA_INDEX_URL or PIP_FIND_LINKS), remove $venv and start again." >&2
    exit 1
}
echo "$wanted" >"$venv/.setup"
