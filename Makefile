# What a developer does here. Needs make and Python 3.11 or newer; everything else comes from the lock file.
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-full lint format shots clean

VENV := .venv
STAMP := $(VENV)/.synced
PY := $(VENV)/bin/python

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(STAMP) ## make the virtual environment from the lock file, hashes checked; does nothing when it is up to date

$(STAMP): uv.lock pyproject.toml .ci/uv.txt .ci/setup
	@.ci/setup $(VENV)
	@touch $@

demo: setup ## run everything on this machine with a demo inventory, at http://localhost:8000 (PORT=… for another)
	@exec $(PY) manage.py up --demo $(if $(PORT),--port $(PORT))

test: setup ## lint and the whole test suite on real engines (ARGS=… for pytest)
	@.ci/test $(ARGS)

test-full: setup ## the same with ten times the examples of each property test; for nights
	@.ci/test -p tests.full --timeout=1800 $(ARGS)

lint: setup ## every static check; needs no database
	@$(PY) .ci/lint.py

format: setup ## format Python and templates
	@$(VENV)/bin/ruff format .
	@$(VENV)/bin/ruff check --fix-only --quiet .
	@git ls-files --cached --others --exclude-standard 'templates/*.html' | xargs $(VENV)/bin/djade --target-version 5.2

shots: setup ## screenshots of every page into shots/, light and dark, wide and narrow
	@$(PY) -m tests.browser.shots shots

clean: ## remove what tools leave behind; keeps the virtual environment and the data in var/
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache staticfiles shots
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
