# A stranger's way in: `make demo` to see it, `make test` to trust it. Everything is installed into .venv.

VENV ?= .venv
WORKERS ?= logical
MATRIX ?= all
ARGS ?=

BIN := $(VENV)/bin
READY := $(VENV)/.ready
PYTEST := $(BIN)/python -m pytest -n $(WORKERS) --maxprocesses 8 --dist worksteal $(ARGS)

.DEFAULT_GOAL := help
.PHONY: help demo screenshots test test-sqlite test-postgres docs bench fuzz lint format messages storm wheel-test matrix clean

help: ## Say what can be made
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "make %-15s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

$(READY): requirements.txt pyproject.toml .ci/find-python
	python=$$(PYTHON="$(PYTHON)" sh .ci/find-python) && "$$python" -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.txt
	touch $@

demo: $(READY) ## Seed a bank, then serve it until Ctrl-C (DATABASE_URL=postgres://… moves it to PostgreSQL)
	@exec $(BIN)/python manage.py demo $(ARGS)

test: test-sqlite ## Run the whole suite on SQLite, then on PostgreSQL what uses a database (ARGS="-k name" chooses)
	TEST_DATABASE=postgres $(PYTEST) --only-database

test-sqlite: $(READY) ## Run the suite on SQLite
	TEST_DATABASE=sqlite $(PYTEST)

test-postgres: $(READY) ## Run the suite on PostgreSQL: DATABASE_URL or PG* if given, else a server started for it
	TEST_DATABASE=postgres $(PYTEST)

screenshots: $(READY) ## Take the pictures of the admin in docs/images (SCREENSHOTS=directory: every screen, to look at)
	TEST_DATABASE=sqlite $(BIN)/python -m pytest -q -n 0 --timeout 600 tests/screenshots.py $(ARGS)

storm: $(READY) ## Run the storms on PostgreSQL for longer than the suite does (STORM_SECONDS=600, STORM_SEED=1)
	TEST_DATABASE=postgres STORM_SECONDS=$(or $(STORM_SECONDS),600) $(BIN)/python -m pytest -n 0 -s tests/test_delivery_storm.py $(ARGS)
	TEST_DATABASE=postgres STORM_SECONDS=60 $(BIN)/python -m pytest -n 0 --timeout 900 -s tests/test_settled_storm.py $(ARGS)

fuzz: $(READY) ## Send the API more requests made from its schema than the suite does (FUZZ_EXAMPLES=200)
	FUZZ_EXAMPLES=$(or $(FUZZ_EXAMPLES),200) $(PYTEST) --timeout 3600 tests/test_api_schemathesis.py

docs: $(READY) ## Build the pages of docs/ into build/docs; a warning is an error
	$(BIN)/python -m sphinx -q -W -E -n -d build/doctrees docs build/docs

bench: $(READY) ## Measure beside the peers on PostgreSQL (ARGS="--quick", "read rebuild-check", "--json FILE")
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r tests/benchmarks/requirements.txt
	$(BIN)/python -m tests.benchmarks $(ARGS)

lint: $(READY) docs ## Check style, types, settings and migrations, and that the pages build
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/python -W error manage.py check --fail-level WARNING
	$(BIN)/python -W error manage.py makemigrations --check --dry-run

format: $(READY) ## Put the code into the one style
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

messages: $(READY) ## Gather the texts that people see into the catalogs, and compile these (needs gettext)
	cd eventsourcing_app && $(abspath $(BIN))/python -m django makemessages --all --no-obsolete --add-location file --no-wrap
	sed -i.bak '/^"POT-Creation-Date:/d' eventsourcing_app/locale/*/LC_MESSAGES/django.po  # else every run changes it
	rm eventsourcing_app/locale/*/LC_MESSAGES/django.po.bak
	cd eventsourcing_app && $(abspath $(BIN))/python -m django compilemessages

wheel-test: $(READY) ## Build the wheel, install it into a clean venv and run the README's example there
	$(BIN)/python .ci/wheel_test.py

matrix: $(READY) ## Run the suite on the other Pythons of this machine with the newest Django (MATRIX=newest: one only)
	$(BIN)/python .ci/matrix.py $(MATRIX)

clean: ## Remove what was made here
	rm -rf $(VENV) .venvs build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis staticfiles sent_mail
	rm -f demo_bank.sqlite3 demo_bank.sqlite3-shm demo_bank.sqlite3-wal
