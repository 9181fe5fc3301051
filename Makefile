# Every target does its own set-up in an environment of its own; versions are pinned in constraints.txt.
PYTHON ?= python3
PIP = python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt
DEMO = .venv-demo
DEV = .venv

.PHONY: demo test check unit slow docs format clean

demo: $(DEMO)/installed ## predict the sample photos with the embedded model
	$(DEMO)/bin/blitznet predict --out blitznet-out

test: check unit ## all fast checks and tests

check: $(DEV)/installed
	$(DEV)/bin/ruff format --check src tests benchmarks demo
	$(DEV)/bin/ruff check src tests benchmarks demo
	$(DEV)/bin/lint-imports --no-logo
	$(DEV)/bin/mypy

unit: $(DEV)/installed
	$(DEV)/bin/pytest -q --numprocesses 2

slow: $(DEV)/installed ## tests that need the shared photographs, or minutes
	$(DEV)/bin/pytest -q -m slow

docs: $(DEV)/installed ## the documentation, as a site in site/
	$(DEV)/bin/sphinx-build -q -W --keep-going -b html docs site

format: $(DEV)/installed
	$(DEV)/bin/ruff format src tests benchmarks demo
	$(DEV)/bin/ruff check --fix src tests benchmarks demo

$(DEMO)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEMO)
	$(DEMO)/bin/$(PIP) --editable .
	touch $@

$(DEV)/installed: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DEV)
	$(DEV)/bin/$(PIP) --editable '.[dev]'
	touch $@

clean:
	rm -rf $(DEMO) $(DEV) blitznet-out build site
