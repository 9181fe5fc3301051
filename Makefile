# Every target does its own set-up in an environment of its own; versions are pinned in constraints.txt.
PYTHON ?= python3
PIP_INSTALL = python -m pip install --quiet --no-compile --disable-pip-version-check
PIP = $(PIP_INSTALL) --constraint constraints.txt
DEMO = .venv-demo
DEV = .venv
FUZZ_SECONDS ?= 60
LOWEST = .venv-lowest

CODE = src tests benchmarks demo fuzz tools

.PHONY: help demo test check unit slow fuzz mutation coverage test-lowest dist sbom docs format clean

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 12

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

fuzz: $(DEV)/installed-slow ## fuzz each parser, FUZZ_SECONDS=60 seconds each
	for target in $$($(DEV)/bin/python -m fuzz.targets); do \
	  $(DEV)/bin/python -m fuzz.run $$target -max_total_time=$(FUZZ_SECONDS) || exit 1; \
	done

mutation: $(DEV)/installed-slow ## changes of the core that no test notices; hours
	$(DEV)/bin/python -m tools.mutation

coverage: $(DEV)/installed-slow ## line coverage of all tests, the slow ones too; hours
	$(DEV)/bin/pytest -q -m 'slow or not slow' --cov --cov-report=term --cov-report=html:build/coverage --cov-fail-under=90

test-lowest: $(LOWEST)/installed ## the fast tests with the oldest supported versions of dependencies
	$(LOWEST)/bin/pytest -q --numprocesses 2

constraints-lowest.txt: pyproject.toml | $(DEV)/installed-slow
	$(DEV)/bin/uv pip compile --quiet --resolution lowest-direct --python-version 3.11 --no-header --no-annotate \
		$(foreach extra,batch data eval openvino parquet sbd serve track train video,--extra $(extra)) \
		--override tools/lowest-overrides.txt --output-file $@.all pyproject.toml
	echo '# The oldest supported versions of direct dependencies, written by `make $@` for `make test-lowest`' > $@
	grep --extended-regexp --invert-match '^(nvidia-|cuda-|triton==)' $@.all >> $@
	rm $@.all

dist: $(DEV)/installed-slow ## both wheels and source archives in dist/, checked
	rm -rf dist
	$(DEV)/bin/python -m build --outdir dist .
	$(DEV)/bin/python -m build --outdir dist weights
	$(DEV)/bin/twine check --strict dist/*

sbom: $(DEV)/installed-slow $(DEMO)/installed ## CycloneDX lists of the dependencies in dist/, of an installation and of everything
	mkdir -p dist
	$(DEV)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/blitznet.cdx.json $(DEMO)/bin/python
	$(DEV)/bin/cyclonedx-py environment --output-reproducible --pyproject pyproject.toml --output-file dist/blitznet-all.cdx.json $(DEV)/bin/python

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

$(LOWEST)/installed: pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST)
	$(LOWEST)/bin/$(PIP_INSTALL) --constraint constraints-lowest.txt --editable '.[dev]'
	touch $@

clean: ## remove environments and outputs
	rm -rf $(DEMO) $(DEV) $(LOWEST) blitznet-out build dist site
