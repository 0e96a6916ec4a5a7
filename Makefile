# make help
.DEFAULT_GOAL := help
PYTHON ?= python3
BIN := .venv/bin
# Made anew when the dependencies change; everything a stage, a test or the linter needs is in it.
READY := .venv/.installed

.PHONY: help demo gate test test-all picture lint format clean

help:  ## this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):[^#]*## */  make \1\t/' | expand -t 18

$(READY): pyproject.toml
	$(PYTHON) -c 'import sys; assert sys.version_info >= (3, 11), f"Python 3.11 or newer is needed, this is {sys.version}"'
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --disable-pip-version-check --quiet -e '.[demo,lucene,bm25s,dev]'
	@touch $(READY)

demo: $(READY)  ## the three stages on the built-in benchmark and encoder: 18 languages, no network, a few minutes
	$(BIN)/python step0_embed.py experiment=demo
	$(BIN)/python step1_search.py experiment=demo
	$(BIN)/python step2_eval.py experiment=demo

gate: $(READY)  ## are the demo's scores still those in gates/demo?
	$(BIN)/python -m m3eval.commands.gate experiment=demo

test: $(READY)  ## the tests; those that are skipped say why
	$(BIN)/python -m pytest -rs

test-all: $(READY)  ## the tests, the slow ones too
	$(BIN)/python -m pytest -rs -m 'not gpu and not network'

picture: $(READY)  ## docs/site.png of README anew, from results/; needs chromium
	SITE_PICTURE=docs/site.png $(BIN)/python -m pytest -rs tests/test_site_browser.py -k picture

lint: $(READY)  ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY)  ## let ruff mend what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean:  ## remove the environment and the caches; outputs stay
	rm -rf .venv .pytest_cache .ruff_cache
