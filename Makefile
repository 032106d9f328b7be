# The verbs of this project. Each does its own set-up: a fresh machine needs Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
PIP := $(BIN)/pip install --quiet --disable-pip-version-check -c constraints.txt

.PHONY: study test check docs clean

study: .venv/.ready  ## the quickstart: a finished study with its report
	$(BIN)/harness run studies/quickstart.yaml
	$(BIN)/harness report quickstart

test: .venv/.ready-to-develop  ## every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope $(PYTEST_ARGS)

check: .venv/.ready-to-develop  ## style, types, docs up to date
	$(BIN)/ruff check harness tests
	$(BIN)/ruff format --check harness tests
	$(BIN)/mypy
	$(BIN)/python -m harness.reference --check docs

docs: .venv/.ready-to-develop  ## generate what is generated in docs/
	$(BIN)/python -m harness.reference --write docs

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.ready: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/.ready-to-develop: .venv/.ready
	$(PIP) -e '.[dev]'
	touch $@

clean:  ## the environment and caches; never results
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build harness.egg-info
