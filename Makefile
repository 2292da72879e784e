# Every word of this project's work; `make` alone lists them. One line each: what it runs can be typed by hand as well.
# PYTHON: the interpreter that makes the virtual environment, 3.11 or later. ARGS: more arguments for the command.

PYTHON ?= python3
CORES := $(shell getconf _NPROCESSORS_ONLN)
BIN := .venv/bin

.DEFAULT_GOAL := help
.PHONY: help install format lint types test e2e docs bench autobahn ecosystem build serve coverage clean

help: ## list these words
	@awk -F ':.*## ' '/^[a-z0-9]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' Makefile

# An environment is made again when what it is made from changed. `serve` needs no test tools, hence two stamps.
$(BIN)/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or later is needed: make PYTHON=python3.12 ...")'
	$(PYTHON) -m venv .venv || { echo "on Debian and Ubuntu: apt-get install python3-venv" >&2; rm -rf .venv; exit 1; }
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade "pip>=25.1"

.venv/serves: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[standard]"
	@touch $@

.venv/tests: pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable ".[standard]" --group dev
	@touch $@ .venv/serves

install: .venv/tests ## make .venv with everything that the words below need

serve: .venv/serves ## run the example with four workers; open http://127.0.0.1:8000
	$(BIN)/uvicorn examples.tour:app --workers 4 --timeout-graceful-shutdown 3 $(ARGS)

test: .venv/tests ## run the whole suite, in parallel
	@tests/install_tools.sh
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal $(ARGS)

e2e: .venv/tests ## run only the tests of real processes, sockets and applications
	$(BIN)/python -m pytest -n $(CORES) --dist worksteal tests/processes tests/wire tests/apps tests/contrib $(ARGS)

format: .venv/tests ## put every file into the one style
	$(BIN)/ruff check --quiet --fix-only . ; $(BIN)/ruff format .

lint: .venv/tests ## check style, and that generated documents are up to date
	$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/python docs/make_settings.py --check && $(BIN)/python docs/make_manager_pages.py --check && $(BIN)/python docs/make_migrating.py --check && $(BIN)/python docs/include_configs.py --check

types: .venv/tests ## check types
	$(BIN)/mypy

coverage: .venv/tests ## run the suite and show the lines that no test of this process reached
	$(BIN)/coverage run -m pytest $(ARGS) ; $(BIN)/coverage report --skip-covered --show-missing

bench: .venv/tests ## measure against other servers, each in an environment of its own
	$(BIN)/python -m tests.benchmarks $(ARGS)

autobahn: .venv/tests ## play all 517 cases of the Autobahn suite against the WebSockets
	$(BIN)/python -m tests.autobahn $(ARGS)

ecosystem: .venv/tests ## play FastAPI, Django, Gradio, MCP and others with this uvicorn in place of upstream's
	$(BIN)/python -m tests.ecosystem $(ARGS)

build: .venv/tests ## build the wheel and the source archive into dist/
	rm -rf build dist && $(BIN)/python -m pip install --quiet --disable-pip-version-check build && $(BIN)/python -m build

clean: ## remove everything that these words made
	rm -rf .venv build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage
