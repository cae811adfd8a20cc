# Everything runs from .venv, made on first need; `make help` lists the targets.
PYTHON ?= python3
MINUTES ?= 3
OUT ?= runs/demo
ARGS ?=
PIP_ARGS ?=

BIN := .venv/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt $(PIP_ARGS)

.DEFAULT_GOAL := help
.PHONY: help venv demo test test-slow check bench starter docs clean

help:  ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 12

venv: .venv/.dev  ## make .venv with everything the tests need

# torch first and alone: what comes after then finds the pinned build and asks for no other.
.venv/.runtime: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.version_info >= (3, 11) or sys.exit("clozelm needs Python 3.11 or newer: make PYTHON=python3.12")'
	@test -x $(BIN)/python || { echo "making .venv (once; a few minutes)"; $(PYTHON) -m venv .venv; }
	@$(PIP) torch==2.13.0
	@$(PIP) --editable .
	@touch $@

.venv/.dev: .venv/.runtime
	@$(PIP) --editable '.[dev]'
	@touch $@

demo: .venv/.runtime  ## train, evaluate and ask a small model (MINUTES=3, OUT=runs/demo)
	@$(BIN)/cloze demo --out $(OUT) --minutes $(MINUTES) $(ARGS)

test: .venv/.dev  ## run the tests (ARGS='-k masking')
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not slow and not bench' $(ARGS)

test-slow: .venv/.dev  ## run the long tests as well
	@$(BIN)/python -m pytest -n 2 --dist worksteal -q -m 'not bench' $(ARGS)

check: .venv/.dev  ## format, lint, types, generated docs, and the tests (layers and budgets among them)
	@$(BIN)/ruff format --check --quiet .
	@$(BIN)/ruff check --quiet .
	@$(BIN)/mypy
	@$(BIN)/python tools/docs.py --check
	@$(MAKE) --no-print-directory test

bench: .venv/.dev  ## measure pretraining beside transformers' Trainer (minutes; ARGS='--help')
	@$(BIN)/python -m bench.pretrain $(ARGS)

starter: .venv/.runtime  ## make the model that ships with the package (CORPUS=DIR, ARGS=--dry-run); hours
	@test -n "$(CORPUS)" || { echo "make starter CORPUS=DIR: the directory of the files in tools/starter/corpus.toml"; exit 2; }
	@$(BIN)/python -m tools.starter $(CORPUS) $(ARGS)

docs: .venv/.runtime  ## write docs/reference/settings.md and cli.md from the code
	@$(BIN)/python tools/docs.py

clean:  ## remove caches and build outputs; .venv and runs stay
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . -name __pycache__ -not -path './.venv/*' -prune -exec rm -rf {} +
