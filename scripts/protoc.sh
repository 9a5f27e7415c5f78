#!/usr/bin/env bash
# Generates the Python code beside the .proto files, with the oldest tools we support (training images carry old
# protobufs, and generated code refuses a runtime older than itself). With --check: fails when what is checked in differs.
set -euo pipefail
cd "$(dirname "$0")/.."
venv=${STEERSMAN_PROTOC_VENV:-.venv-protoc}
if [ ! -x "$venv/bin/protoc-gen-mypy" ]; then
  rm -rf "$venv"
  "$(scripts/python.sh)" -m venv "$venv"
  # grpcio-tools 1.66 imports pkg_resources, which setuptools 81 dropped.
  "$venv/bin/pip" install -qq --disable-pip-version-check "grpcio-tools==1.66.2" "mypy-protobuf==3.6.0" "setuptools<81"
fi
out=proto
[ "${1:-}" = --check ] && out=$(mktemp -d) && trap 'rm -rf "$out"' EXIT
[ "$out" = proto ] && rm -f proto/steersman/v1/*_pb2*.py*
case $venv in /*) ;; *) venv=$PWD/$venv ;; esac
PATH="$venv/bin:$PATH" "$venv/bin/python" -m grpc_tools.protoc -Iproto \
  --python_out="$out" --grpc_python_out="$out" --mypy_out=quiet:"$out" --mypy_grpc_out=quiet:"$out" \
  proto/steersman/v1/*.proto
if [ "$out" != proto ]; then
  for f in "$out"/steersman/v1/*; do
    cmp -s "$f" "proto/steersman/v1/$(basename "$f")" || { echo "proto/steersman/v1/$(basename "$f") is not what its .proto gives; run scripts/protoc.sh" >&2; exit 1; }
  done
  echo "generated protobuf code is up to date"
fi
