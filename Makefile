# Every target does its own set-up in an environment of its own; versions are pinned in constraints.txt.
PYTHON ?= python3
PIP = python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO = .venv-demo
DEV = .venv

CODE = src tests benchmarks demo tools

.PHONY: help demo test check unit slow mutation docs format clean

help: ## list the targets
	@grep -hE '^[a-z]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

demo: $(DEMO)/installed ## predict the sample images with the embedded model
	$(DEMO)/bin/blitznet predict --out blitznet-out

test: check unit ## all checks and fast tests

check: $(DEV)/installed ## formatting, lint, import rules, types
	$(DEV)/bin/ruff format --check $(CODE)
	$(DEV)/bin/ruff check $(CODE)
	$(DEV)/bin/lint-imports --no-logo
	$(DEV)/bin/mypy

unit: $(DEV)/installed ## the fast tests
	$(DEV)/bin/pytest -q --numprocesses 2

slow: $(DEV)/installed-slow ## tests that take minutes or need the shared data
	$(DEV)/bin/pytest -q -m slow

mutation: $(DEV)/installed-slow ## changes of the core that no test notices; hours
	$(DEV)/bin/python -m tools.mutation

docs: $(DEV)/installed ## build the documentation in site/
	$(DEV)/bin/sphinx-build -q -W --keep-going -b html docs site

format: $(DEV)/installed ## format the code and fix lint errors
	$(DEV)/bin/ruff format $(CODE)
	$(DEV)/bin/ruff check --fix $(CODE)

$(DEMO)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/$(PIP) --editable .
	touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/$(PIP) --editable '.[dev]'
	touch $@

$(DEV)/installed-slow: $(DEV)/installed
	$(DEV)/bin/$(PIP) --editable '.[dev,slow]'
	touch $@

clean: ## remove environments and outputs
	rm -rf $(DEMO) $(DEV) blitznet-out build site
