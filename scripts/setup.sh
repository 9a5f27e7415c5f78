#!/usr/bin/env bash
# setup.sh demo|dev builds .venv with what the demo needs, or with everything that tests and checks need.
# Can be run again at any time; make only does so when pyproject.toml or these scripts have changed.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:?usage: scripts/setup.sh demo|dev}
venv=${STEERSMAN_VENV:-.venv}
# A version of its own, so that figures can be compared; any torch >= 2.4 will do: make setup TORCH=torch
torch=${TORCH:-torch==2.13.0}

if [ ! -x "$venv/bin/pip" ]; then
  python=$(scripts/python.sh)
  # Debian and Ubuntu keep ensurepip in a package of its own, without which venv fails half way.
  if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
    version=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
    scripts/apt.sh "python$version-venv"
  fi
  rm -rf "$venv"
  "$python" -m venv "$venv"
fi

pip() {
  "$venv/bin/pip" install -qq --disable-pip-version-check --retries 5 --timeout 60 "$@" </dev/null || {
    echo "steersman: pip could not install $*; what it said is above. Is a package index reachable?" >&2
    exit 1
  }
}
if ! "$venv/bin/python" -c 'import torch' 2>/dev/null; then
  echo "steersman: installing $torch (the largest part)"
  pip "$torch"
fi
echo "steersman: installing Steersman and what '$extra' needs"
pip --editable ".[$extra]"

if [ "$extra" = dev ] && [ "${STEERSMAN_SYSTEM:-}" != skip ]; then
  missing=()
  command -v prometheus >/dev/null && command -v promtool >/dev/null || missing+=(prometheus)
  command -v amtool >/dev/null || missing+=(prometheus-alertmanager)
  command -v initdb >/dev/null || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 || missing+=(postgresql)
  command -v tmux >/dev/null || missing+=(tmux)
  if [ ${#missing[@]} -gt 0 ] && ! scripts/apt.sh "${missing[@]}"; then
    echo "  or go on without (the tests that need them will fail): make setup STEERSMAN_SYSTEM=skip" >&2
    exit 1
  fi
fi
