#!/bin/sh
# Finds a Python that is new enough and hands over to setup.py, which does the work.
# CODEACT_PYTHON names one where the system's own is too old.
set -u
here=$(CDPATH='' cd -- "$(dirname -- "$0")" && pwd)

for candidate in ${CODEACT_PYTHON:-} python3 python3.14 python3.13 python3.12 python3.11 python; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        exec "$candidate" "$here/setup.py" "$@"
    fi
done

found=$(python3 --version 2>/dev/null || echo 'no Python at all')
cat >&2 <<WORDS
Python 3.11 or newer is needed; here is $found.
  Debian 12 or newer, Ubuntu 24.04 or newer:   sudo apt-get install -y python3 python3-venv
  elsewhere:                                   https://www.python.org/downloads/
A Python in an unusual place: CODEACT_PYTHON=/path/to/python3 make run
WORDS
exit 1
