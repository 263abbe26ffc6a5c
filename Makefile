# Everything starts here: `make demo` shows the system running, `make test` says whether a change may land.

BIN := .venv/bin
INSTALLED := .venv/.installed
MEMBERS := core schema server $(patsubst %/pyproject.toml,%,$(wildcard plugins/*/pyproject.toml))

# mypy refuses a folder without Python, so only those that have some.
CODE := $(foreach folder,$(addsuffix /src,$(MEMBERS) docs/tutorial/plugin) \
	$(addsuffix /tests,$(MEMBERS) docs/tutorial/plugin) tests bench scripts,\
	$(if $(wildcard $(folder)/*.py $(folder)/*/*.py),$(folder)))

# Yours to set: make demo DEMO_ARGS="--port 9000", make test PYTEST_ARGS="-n0 core -k refund".
export PYTHON
DEMO_ARGS ?=
BENCH_ARGS ?=
CHAOS_ARGS ?= --runs 10
TRUTH_ARGS ?= --payments 10000 --seed 1
# More workers than cores: the tests mostly wait, for processes and for PostgreSQL.
PYTEST_ARGS ?= -n 4 --dist worksteal

.DEFAULT_GOAL := help
.PHONY: help demo test lint types pytest fmt docs chaos truth bench lock install clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*  ## /\1	/p' $(MAKEFILE_LIST) | while IFS='	' read -r name does; do \
		printf '  make %-10s %s\n' "$$name" "$$does"; done

demo: $(INSTALLED)  ## everything running, with sample data; Ctrl-C stops it
	@exec $(BIN)/dusangire demo $(DEMO_ARGS)

test: lint types pytest  ## what must pass before a change lands

lint: $(INSTALLED)  ## ruff: rules and format
	@$(BIN)/ruff check
	@$(BIN)/ruff format --check --quiet

types: $(INSTALLED)  ## mypy, strict
	@$(BIN)/mypy $(CODE)

pytest: $(INSTALLED)  ## the tests alone; PYTEST_ARGS="…" chooses
	@$(BIN)/pytest $(PYTEST_ARGS)

fmt: $(INSTALLED)  ## format, and repair what ruff can
	@$(BIN)/ruff check --fix-only --quiet
	@$(BIN)/ruff format

docs: $(INSTALLED)  ## write the tables in the docs anew
	@$(BIN)/python scripts/docs.py

chaos: $(INSTALLED)  ## ten runs of 200 payments and refunds, kill -9, a faulty line; CHAOS_ARGS="…" chooses
	@$(BIN)/python -m tests.harness $(CHAOS_ARGS)

truth: $(INSTALLED)  ## a month of 10,000 payments with faults, reconciled and judged; TRUTH_ARGS="…" chooses
	@$(BIN)/python -m tests.truth $(TRUTH_ARGS)

bench: $(INSTALLED)  ## the benchmarks; BENCH_ARGS="…" chooses
	@$(BIN)/python -m bench $(BENCH_ARGS)

lock: $(INSTALLED)  ## write requirements.txt anew; UPGRADE=1 takes the newest of everything
	@scripts/lock $(if $(UPGRADE),--upgrade) $(MEMBERS)

install: $(INSTALLED)  ## .venv with everything in it, and nothing more

clean:  ## remove .venv and caches; data in .dusangire stays
	@rm -rf .venv .mypy_cache .pytest_cache .ruff_cache .hypothesis dist
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): requirements.txt requirements-bootstrap.txt scripts/install pyproject.toml $(addsuffix /pyproject.toml,$(MEMBERS))
	@echo "Installing into .venv …" >&2
	@scripts/install $(MEMBERS)
	@touch $@
