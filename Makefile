# make help
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
EXTRAS := splade,lucene,bm25s,dev
PIP_INSTALL := pip install --disable-pip-version-check --quiet
# A process for each core, four at most: beyond that importing torch takes longer than the tests it
# shares.
PYTEST := -m pytest -n auto --maxprocesses 4 --dist worksteal
# Made anew when the dependencies change; everything a stage, a test or the linter needs is in it.
READY := .venv/.installed
NEWEST := .venv-newest/.installed

.PHONY: help demo gate test test-all faults test-newest constraints notebook wheel wheel-test \
	picture lint format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | \
		sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 20

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), \
		f"Python 3.11 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv .venv
	$(BIN)/$(PIP_INSTALL) -c constraints.txt -e '.[$(EXTRAS)]'
	@touch $(READY)

$(NEWEST): pyproject.toml
	rm -rf .venv-newest
	$(PYTHON) -m venv .venv-newest
	.venv-newest/bin/$(PIP_INSTALL) -e '.[$(EXTRAS)]'
	@touch $(NEWEST)

demo: $(READY)  ## the three stages on the built-in benchmark: 18 languages, no network
	$(BIN)/m3eval demo

gate: $(READY)  ## are the demo's scores still those in gates/demo?
	$(BIN)/m3eval gate experiment=demo

test: $(READY)  ## the tests; those that are skipped say why
	$(BIN)/python $(PYTEST)

test-all: $(READY)  ## the tests, the slow ones too
	$(BIN)/python $(PYTEST) -m 'not gpu and not network'

faults: $(READY)  ## every fault put in on purpose; writes results/reliability.md
	$(BIN)/python $(PYTEST) tests/faults -m 'not gpu and not network' --reliability

test-newest:  ## the tests on the newest versions that pip brings, in .venv-newest
	rm -f $(NEWEST)
	$(MAKE) $(NEWEST)
	.venv-newest/bin/python $(PYTEST)

constraints: $(NEWEST)  ## write the versions in .venv-newest into constraints.txt
	{ grep '^#' constraints.txt; \
		.venv-newest/bin/pip freeze --exclude-editable | sed 's/+.*//' | sort -f; \
	} > constraints.new
	mv constraints.new constraints.txt

notebook: $(READY)  ## run docs/notebook.ipynb and write what it shows into it
	NOTEBOOK=docs/notebook.ipynb $(BIN)/python -m pytest tests/test_notebook.py

wheel: $(READY)  ## build the wheel, in dist/
	rm -rf dist
	$(BIN)/pip wheel --disable-pip-version-check --quiet --no-deps --wheel-dir dist .

wheel-test: wheel demo  ## the demo from the wheel, outside the checkout: the same scores
	.ci/wheel

picture: $(READY)  ## docs/site.png of README anew, from results/; needs chromium
	SITE_PICTURE=docs/site.png $(BIN)/python -m pytest tests/test_site_browser.py -k picture

lint: $(READY)  ## ruff's rules and format, pyright's types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environments and the caches; outputs stay
	rm -rf .venv .venv-newest .pytest_cache .ruff_cache
