#!/usr/bin/env bash
# Tries the generated code on the oldest and the newest protobuf and grpcio that pyproject.toml allows: it is imported
# with warnings as errors, a call is made over a real channel, and each reads what the other wrote.
set -euo pipefail
cd "$(dirname "$0")/.."

environment() { # NAME REQUIREMENT...: an environment of its own, made anew when the requirements change or after a week
  local venv=.venv-protobuf-$1 wanted
  shift
  wanted="$* $(date +%G-%V)"
  if [ "$(cat "$venv/requirements" 2>/dev/null)" != "$wanted" ]; then
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/pip" install -qq --disable-pip-version-check "$@" </dev/null
    echo "$wanted" >"$venv/requirements"
  fi
}

python=$(scripts/python.sh)
# The lower ends and the upper bound are those of the dependencies in pyproject.toml; tests/project holds them together.
environment oldest "protobuf==5.27.*" "grpcio==1.66.*"
environment newest "protobuf>=5.27,<8" "grpcio>=1.66"
messages=$(mktemp -d)
trap 'rm -rf "$messages"' EXIT
for age in oldest newest; do
  PYTHONPATH=proto ".venv-protobuf-$age/bin/python" -W error scripts/protobuf_roundtrip.py write "$messages/$age"
done
for age in oldest newest; do
  for other in oldest newest; do
    PYTHONPATH=proto ".venv-protobuf-$age/bin/python" -W error scripts/protobuf_roundtrip.py read "$messages/$other"
  done
done
