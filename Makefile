# Every target works on a machine with only Python 3.11, make and git.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
export PREFECT_SERVER_ANALYTICS_ENABLED := false
export DO_NOT_TRACK := 1

.PHONY: help setup demo up test soak check bench docs clean
.DEFAULT_GOAL := help

help:  ## list the targets
	@grep -E '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*## /\t/' | expand -t 10

$(BIN)/.installed: requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -r requirements.lock
	@# The build tool warns of what an editable installation is; that is just what is wanted.
	PYTHONWARNINGS=ignore $(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--no-deps --no-build-isolation -e .
	@touch $@

setup: $(BIN)/.installed  ## install into .venv

demo: setup  ## the whole pipeline on examples/, against a simulator: no key, no costs
	$(BIN)/obm demo

up: setup  ## run it until Ctrl-C (needs OPENAI_API_KEY)
	$(BIN)/obm up

test: setup  ## all tests
	$(BIN)/python -m pytest -q -n 2 --dist loadfile

soak: setup  ## the long proof that nothing is lost or paid twice (an hour)
	$(BIN)/python -m pytest -q -n 2 --dist loadfile -m soak

check: setup  ## style, types, import direction
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-cache

bench: setup  ## measured figures, printed as a table
	$(BIN)/python -m benchmarks

docs: setup  ## write anew what documents take from the code
	$(BIN)/python tests/documents.py

clean:  ## remove what setup and the demo made
	rm -rf $(VENV) demo-data *.egg-info
