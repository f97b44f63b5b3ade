# Needs Python >= 3.11 with venv and pip, make and git.
PYTHON ?= python3
PORT ?= 8000

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Caches stay out of the template's directory, which is linted and typed in place.
export MYPY_CACHE_DIR := $(CURDIR)/.cache/mypy
export PYTHONDONTWRITEBYTECODE := 1
export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff

BIN := .venv/bin
# Services wait more than they compute.
WORKERS = $(shell $(PYTHON) -c 'import os; print(os.cpu_count() + 1)')
# PgBouncer is not on every machine; .ci/run installs it.
WITHOUT = $(if $(shell command -v pgbouncer 2> /dev/null),,--ignore tests/test_pgbouncer.py)
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist worksteal $(WITHOUT)
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --custom-compile-command 'make requirements'
FEATURES := sqlalchemy_pool asyncpg_pool aiohttp_pool multi_db monitoring

.PHONY: help check fix test test-fast test-services demo requirements clean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1 - \2/p' $(MAKEFILE_LIST)

check: .venv/dev ## lint, formatting and types; writes nothing
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

fix: .venv/dev ## repair what can be repaired: lint and formatting
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

test: check ## everything that CI runs: check, and every combination rendered, installed, tested, started
	@$(if $(WITHOUT),echo "PgBouncer is not installed: the test that needs it is left out.")
	@$(PYTEST)

test-fast: .venv/dev ## rendering, refusals, identity: about a minute
	@$(PYTEST) -m "not services"

test-services: .venv/dev ## every combination installed, tested and started: minutes
	@$(PYTEST) -m services

demo: .venv/demo ## every feature, on PostgreSQL, at http://127.0.0.1:$PORT (8000); Ctrl-C stops it
	@rm -rf build
	@$(BIN)/python tests/working_tree.py build/template
	@printf 'replay_dir: build/replay\ncookiecutters_dir: build/templates\n' > build/cookiecutter.yaml
	@$(BIN)/cookiecutter --config-file build/cookiecutter.yaml --output-dir build --no-input \
		build/template $(FEATURES:%=%=yes)
	@$(MAKE) --no-print-directory -C build/pooled-service dev RELOAD= PORT=$(PORT)

requirements: .venv/dev ## renew the hashed requirements
	@$(COMPILE) requirements-dev.in --output-file requirements-dev.txt
	@$(COMPILE) requirements-demo.in --output-file requirements-demo.txt

clean: ## delete what the other targets made
	rm -rf .cache .venv build

.venv/dev .venv/demo: .venv/%: requirements-%.txt
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --quiet --require-hashes -r $<
	@touch $@
