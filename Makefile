# The verbs of this project. Each does its own set-up: a fresh machine needs Python >= 3.11 and make.
PYTHON ?= python3
BIN := .venv/bin
# modules are compiled when they are first imported: all of them at once would take a minute and a half
PIP := $(BIN)/pip install --quiet --disable-pip-version-check --no-compile -c constraints.txt

.PHONY: study test soak check docs bench bench-quick clean

study: .venv/.ready  ## the quickstart: a finished study with its report
	$(BIN)/harness run studies/quickstart.yaml
	$(BIN)/harness report quickstart

test: .venv/.ready-to-develop  ## every test
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist loadscope --no-loadscope-reorder $(PYTEST_ARGS)

soak: .venv/.ready-to-develop  ## the faults of tests/reliability, some thousand times each: hours
	OMP_NUM_THREADS=1 $(BIN)/python -m pytest tests/reliability --soak -n 2 --dist loadscope $(PYTEST_ARGS)

check: .venv/.ready-to-develop  ## style, types, docs up to date
	$(BIN)/ruff check harness tests benchmarks
	$(BIN)/ruff format --check harness tests benchmarks
	$(BIN)/mypy
	$(BIN)/python -m harness.reference --check docs

docs: .venv/.ready-to-develop  ## generate what is generated in docs/
	$(BIN)/python -m harness.reference --write docs

bench: .venv/.ready-to-develop  ## against the plain Trainer; BENCH_ARGS names model and data (benchmarks/README.md)
	$(BIN)/python -m benchmarks.run --validate --quality-seeds 5 $(BENCH_ARGS); code=$$?; \
		$(BIN)/python -m benchmarks.table && exit $$code

bench-quick: .venv/.ready-to-develop  ## the same within minutes, on few built-in reviews
	$(BIN)/python -m benchmarks.run --name quick --out build/benchmarks --cases full,classifier --repeats 1 \
		--train 600 --validation 200 --steps 20 --whole-below 20 --quality-seeds 3 --quality-rows 300 \
		--quality-cases classifier $(BENCH_ARGS)

.venv/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	$(PYTHON) -m venv .venv

.venv/.ready: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e .
	touch $@

.venv/.ready-to-develop: .venv/bin/python pyproject.toml constraints.txt
	$(PIP) -e '.[dev]'
	touch .venv/.ready $@

clean:  ## the environment and caches; never results
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis build harness.egg-info
