# Everything here sets up what it needs first and can be run again; `make help` lists the targets.
SHELL := /bin/bash
.DEFAULT_GOAL := help
VENV := .venv
export STEERSMAN_SYSTEM TORCH PYTHON

.PHONY: help setup demo test test-programs check bench bench-diagnosis clean

help:  ## Say what there is.
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

# The stamps lie in the environment, so that they go when it goes.
SETUP := pyproject.toml scripts/setup.sh scripts/apt.sh scripts/python.sh
$(VENV)/.demo-is-set-up: $(SETUP)
	@scripts/setup.sh demo
	@touch $@
$(VENV)/.dev-is-set-up: $(SETUP)
	@scripts/setup.sh dev
	@touch $(VENV)/.demo-is-set-up $@

setup: $(VENV)/.dev-is-set-up  ## Make .venv with everything that tests and checks need; installs Debian packages where it may.

demo: $(VENV)/.demo-is-set-up  ## Watch a real training job being diagnosed and corrected. LR=0.01 and SEED=1 choose others.
	@$(VENV)/bin/steersman demo $(if $(LR),--lr $(LR)) $(if $(SEED),--seed $(SEED))

test: $(VENV)/.dev-is-set-up  ## Run all tests but those of make test-programs. ARGS="-k plateau" goes to pytest.
	@$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile -m "not programs" $(ARGS)

test-programs: $(VENV)/.dev-is-set-up  ## Watch programs of others, by run and by attach, from their start to their end.
	@$(VENV)/bin/pytest -n auto --maxprocesses 4 --dist loadfile -m programs $(ARGS)

check: $(VENV)/.dev-is-set-up  ## Run all linters, type checkers and guards. ARGS="lint mypy" names some.
	@scripts/check.sh $(ARGS)

bench: $(VENV)/.dev-is-set-up  ## Measure what Steersman costs a job, and write docs/benchmarks.md.
	@$(VENV)/bin/pip install -qq --disable-pip-version-check --editable ".[dev,bench]"
	@$(VENV)/bin/python -m benchmarks $(ARGS)

bench-diagnosis: $(VENV)/.dev-is-set-up  ## Measure what the diagnosis gets right, and write docs/diagnosis.md. ARGS="--quick" takes minutes.
	@$(VENV)/bin/pip install -qq --disable-pip-version-check --editable ".[dev,bench-diagnosis]"
	@$(VENV)/bin/python -m benchmarks.diagnosis $(ARGS)

clean:  ## Remove what the targets above made, the environments included.
	rm -rf $(VENV) .venv-* build dist .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
