#!/usr/bin/env bash
# Prints the interpreter to build environments with: $PYTHON, or the first Python >= 3.11 on the path.
set -euo pipefail
for candidate in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    command -v "$candidate"
    exit 0
  fi
done
if [ -n "${PYTHON:-}" ]; then
  echo "steersman: PYTHON=$PYTHON is not a Python 3.11 or later that runs" >&2
else
  echo "steersman: no Python 3.11 or later was found on the path" >&2
  echo "  install one (Debian and Ubuntu: apt-get install python3 python3-venv), or name it: make setup PYTHON=/path/to/python3" >&2
fi
exit 1
