#!/usr/bin/env bash
# check.sh [STEP...] runs all checks, or those named, and says at the end which failed. CI and pre-commit run the same.
set -uo pipefail
cd "$(dirname "$0")/.."
export PATH="$PWD/.venv/bin:$PATH"
# Pyright's wrapper comes with pyright and with node as packages; it need not ask the network for newer ones.
export PYRIGHT_PYTHON_IGNORE_WARNINGS=1

step_lint() { ruff check .; }
step_format() { ruff format --check .; }
step_mypy() { mypy; }
step_pyright() { pyright; }
step_imports() { lint-imports --no-cache >"$log" 2>&1 || { cat "$log"; return 1; }; }
step_spelling() { codespell; }
step_protobuf() { scripts/protoc.sh --check && scripts/protobuf_range.sh; }
step_prometheus() {
  promtool check rules deploy/prometheus/*.rules.yaml &&
    promtool test rules deploy/prometheus/*.rules.test.yaml &&
    promtool check config deploy/prometheus/prometheus.yml &&
    amtool check-config deploy/alertmanager/alertmanager.yml &&
    python deploy/grafana/dashboard.py --check &&
    python deploy/grafana/alerts.py --check
}
step_guards() { pytest -q tests/project; }

steps=(lint format mypy pyright imports spelling protobuf prometheus guards)
[ $# -gt 0 ] && steps=("$@")
log=$(mktemp)
trap 'rm -f "$log"' EXIT
failed=()
for step in "${steps[@]}"; do
  if ! declare -F "step_$step" >/dev/null; then
    echo "check: there is no step '$step'; there are: $(declare -F | sed -n 's/.*step_//p' | xargs)" >&2
    exit 2
  fi
  echo "== $step"
  "step_$step" </dev/null || failed+=("$step")
done
if [ ${#failed[@]} -gt 0 ]; then
  echo "check: failed: ${failed[*]} (one alone: scripts/check.sh ${failed[0]})" >&2
  exit 1
fi
echo "check: all ${#steps[@]} passed"
