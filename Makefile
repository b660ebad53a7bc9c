# make train    sets up .venv and trains the quick start: 2 cores, no download, a few minutes
# make test     sets up .venv, checks style, types and imports, builds the site strictly, runs the tests
# make check    style, types and the order of imports alone
# make format   formats the code and mends what ruff can mend
# make docs     builds the site from README.md, docs/ and the docstrings into site/
# The two knobs: PYTHON=python3.12 for the interpreter, VENV=/some/folder for the environment.

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed

.DEFAULT_GOAL := help
.PHONY: help setup train test check format docs

help:
	@sed -n 's/^# \(make .*\)/\1/p' Makefile

setup: $(STAMP)

# Made anew whenever what is to be installed has changed; otherwise a second call costs nothing.
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "almeta needs Python 3.11 or later; name one with: make PYTHON=python3.12 ..." >&2; exit 1; }
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

train: $(STAMP)
	$(BIN)/python scripts/train.py experiment=one_shot/quickstart

# The tests read the real data sets of a folder beside the checkout where there is one (named in full, since some of
# them run elsewhere). They do many small tensor operations, for which one thread is as fast as several.
# tests/docs builds the site.
test: check
	@if [ -z "$${ALMETA_DATA:-}" ] && [ -d ../shared/data ]; then \
		ALMETA_DATA=$$(cd ../shared/data && pwd); export ALMETA_DATA; \
	fi; \
	OMP_NUM_THREADS=$${OMP_NUM_THREADS:-1} $(BIN)/python -m pytest --numprocesses auto --dist loadfile

check: $(STAMP)
	$(BIN)/python -m ruff format --check .
	$(BIN)/python -m ruff check .
	$(BIN)/lint-imports --no-cache --no-logo
	$(BIN)/python -m mypy

format: $(STAMP)
	$(BIN)/python -m ruff format .
	$(BIN)/python -m ruff check --fix .

docs: $(STAMP)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
