# Everything a newcomer needs: `make run` shows a job, `make test` runs every check.

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PYTEST_ARGS ?=

.PHONY: run test lint check docs dist bench clean

run: $(VENV)/.installed
	$(BIN)/hqtrio run configs/jobs/hello.yaml

test: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest $(PYTEST_ARGS)

lint: $(VENV)/.installed-dev
	$(BIN)/ruff check hqtrio actors tests benchmarks docs tools
	$(BIN)/ruff format --check hqtrio actors tests benchmarks docs tools
	$(BIN)/mypy
	$(BIN)/lint-imports

# The same with a report of what the tests did not reach.
check: $(VENV)/.installed-dev lint
	$(BIN)/python -m pytest --cov --cov-report=term-missing:skip-covered $(PYTEST_ARGS)

# The user guide, in build/docs; every command of its reference comes from the program.
docs: $(VENV)/.installed-dev
	$(BIN)/mkdocs build --strict --quiet

# A wheel, and dist/hqtrio: one file for machines that have nothing but Python.
dist: $(VENV)/.installed-dev
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .
	$(BIN)/python tools/single_file.py dist/hqtrio 3.11 3.12 3.13 3.14

bench: $(VENV)/.installed-bench
	$(BIN)/python -m benchmarks

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "hqtrio needs Python 3.11 or newer; set PYTHON=/path/to/python3.11" >&2; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "cannot make a virtual environment; on Debian: apt install python3-venv" >&2; exit 1; }

$(VENV)/.installed: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable .
	@touch $@

$(VENV)/.installed-dev: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[test,lint,docs,dist]'
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-bench: pyproject.toml | $(VENV)/bin/python
	$(BIN)/python -m pip install --quiet --editable '.[bench]'
	@touch $@ $(VENV)/.installed

clean:
	rm -rf $(VENV) build dist *.egg-info
