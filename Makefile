# Needs Python >= 3.11 with venv and pip, make and git.
PYTHON ?= python3
PORT ?= 8000

export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Caches stay out of the template's directory, which is linted and typed in place.
export MYPY_CACHE_DIR := $(CURDIR)/.cache/mypy
export PYTHONDONTWRITEBYTECODE := 1
export RUFF_CACHE_DIR := $(CURDIR)/.cache/ruff

BIN := .venv/bin
# Services wait more than they compute; what is only rendered is not waited for.
WORKERS = $(shell $(PYTHON) -c 'import os; print(2 * os.cpu_count())')
# These are not on every machine; .ci/run installs them. A test that needs one is left out without.
NEEDED := pgbouncer:tests/faults/test_pgbouncer.py prometheus:tests/test_prometheus.py \
	prometheus:tests/test_commands.py chromium:tests/test_pools_page.py
MISSING = $(foreach pair,$(NEEDED),$(if $(shell command -v $(firstword $(subst :, ,$(pair))) 2> /dev/null),,$(pair)))
WITHOUT = $(foreach pair,$(MISSING),--ignore $(lastword $(subst :, ,$(pair))))
PYTEST = $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadgroup --no-loadscope-reorder $(WITHOUT)
# These watch the clock, so that nothing else is to run.
FAULTS = $(BIN)/python -m pytest -m faults
ALL_FAULTS = $(BIN)/python -m pytest tests/faults $(WITHOUT) -m "not plain" -k "not soak" --capture=no --quiet
COMPILE := $(BIN)/uv pip compile --quiet --upgrade --generate-hashes --universal --python-version 3.11 \
	--no-emit-index-url --custom-compile-command 'make requirements'
FEATURES := sqlalchemy_pool asyncpg_pool aiohttp_pool multi_db monitoring
SERVICE := build/pooled-service
# What it is compared to when it is measured.
VARIANTS := build/unmonitored build/sqlalchemy build/asyncpg
COOKIECUTTER = $(BIN)/cookiecutter --config-file build/cookiecutter.yaml --no-input
BENCHMARKS ?= routes overload scaling batch

.PHONY: help check fix test test-fast test-services test-newest test-lowest faults faults-long soak demo bench service requirements clean

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
	@$(foreach pair,$(MISSING),echo "$(firstword $(subst :, ,$(pair))) is not installed: $(lastword $(subst :, ,$(pair))) is left out.";)
	@$(PYTEST) -m "not faults and not plain and not versions"
	@$(if $(filter prometheus:%,$(MISSING)),echo "prometheus is not installed: faults that watch the clock are left out.",$(FAULTS))

test-fast: WORKERS = auto
test-fast: .venv/dev ## rendering, refusals, identity: less than a minute
	@$(PYTEST) -m "not services"

test-services: .venv/dev ## every combination installed, tested and started: minutes
	@$(PYTEST) -m "services and not faults and not plain and not versions"

test-newest: .venv/dev ## every combination with the newest versions of what it depends on, by each Python: an hour
	@RESOLUTION=highest PYTHONS="$(PYTHONS)" $(PYTEST) -m versions

test-lowest: .venv/dev ## the same with the lowest versions that are allowed
	@RESOLUTION=lowest-direct PYTHONS="$(PYTHONS)" $(PYTEST) -m versions

faults: .venv/dev ## outages, kills, overload and ends, made on a real service: a table of what it does, and of what others do
	@$(ALL_FAULTS)
	@$(BIN)/python -m pytest -m plain --capture=no --quiet

faults-long: .venv/dev ## the same with outages of two minutes; five times, then written to the documents
	@rm -rf build/faults
	@for round in 1 2 3 4 5; do OUTAGE=120 $(ALL_FAULTS) || failed=yes; done; test -z "$$failed"
	@$(BIN)/python -m pytest -m plain --capture=no --quiet
	@cd tests && ../$(BIN)/python -m faults.publish

soak: .venv/dev ## an hour of load with one fault after another
	@SOAK=3600 $(BIN)/python -m pytest tests/faults/test_soak.py --capture=no --quiet

demo: service ## every feature, on PostgreSQL, at http://127.0.0.1:$PORT (8000); Ctrl-C stops it
	@$(MAKE) --no-print-directory -C $(SERVICE) dev RELOAD= PORT=$(PORT)

bench: service $(VARIANTS) ## the service beside common ways, measured, then written to the documents
	@$(MAKE) --no-print-directory -C $(SERVICE) .venv
	@$(SERVICE)/.venv/bin/uv pip install --quiet --python $(SERVICE)/.venv/bin/python \
		--require-hashes --requirement requirements-bench.txt
	@for each in $(BENCHMARKS); do \
		PYTHONPATH=$(SERVICE):tests $(SERVICE)/.venv/bin/python benchmarks/$$each.py || exit; \
	done
	@PYTHONPATH=tests $(BIN)/python benchmarks/publish.py
	@PYTHONPATH=tests $(SERVICE)/.venv/bin/python benchmarks/plot.py

service: build/template
	@rm -rf $(SERVICE)
	@$(COOKIECUTTER) --output-dir build build/template $(FEATURES:%=%=yes)

build/unmonitored: ANSWERS = $(FEATURES:%=%=yes) monitoring=no
build/sqlalchemy: ANSWERS = $(FEATURES:%=%=no) sqlalchemy_pool=yes monitoring=yes
build/asyncpg: ANSWERS = $(FEATURES:%=%=no) asyncpg_pool=yes monitoring=yes
$(VARIANTS): build/template
	@rm -rf $@
	@mkdir -p $@
	@$(COOKIECUTTER) --output-dir $@ build/template $(ANSWERS) > /dev/null

.PHONY: build/template $(VARIANTS)
build/template: .venv/demo
	@rm -rf build/template
	@$(BIN)/python tests/working_tree.py build/template
	@printf 'replay_dir: build/replay\ncookiecutters_dir: build/templates\n' > build/cookiecutter.yaml

requirements: .venv/dev ## renew the hashed requirements
	@$(COMPILE) requirements-dev.in --output-file requirements-dev.txt
	@$(COMPILE) requirements-demo.in --output-file requirements-demo.txt
	@$(COMPILE) requirements-bench.in --output-file requirements-bench.txt

clean: ## delete what the other targets made
	rm -rf .cache .venv build

.venv/dev .venv/demo: .venv/%: requirements-%.txt
	@test -d .venv || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --quiet --require-hashes -r $<
	@touch $@
