.DEFAULT_GOAL := help
.PHONY: help setup demo test test-all contract lint format bench bench-quick lock clean distclean

SHELL := /bin/bash
BIN := .venv/bin
PACKAGES := preprocessing trainer serving tfx_pipeline
CHECKED := $(PACKAGES) $(wildcard tests benchmarks setup.py)

# Arguments for demo, test, contract and bench: make test ARGS="-k merge"
ARGS ?=
# A file of tests stays in one process, so that what its tests share is made once.
PARALLEL ?= --numprocesses auto --maxprocesses 4 --dist loadfile
# The server that `make contract` asks.
ADDRESS ?=
MODEL ?= mtmh
CA ?=
CERT ?=
KEY ?=

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

setup: ## .venv with the locked dependencies and mtmh in it; quick when nothing changed
	@scripts/setup.sh

demo: setup ## real data, the whole way: preprocess, train, evaluate, export, serve, sample questions
	@$(BIN)/mtmh demo $(ARGS)

test: lint ## linters, types, unit, property and end-to-end tests; as root gets Chromium (MTMH_NO_BROWSER=1: not)
	-@scripts/browser.sh
	@$(BIN)/python -m pytest -m "not slow" $(PARALLEL) $(ARGS)

test-all: lint ## test, and all that is slow
	-@scripts/browser.sh
	@$(BIN)/python -m pytest $(ARGS)

contract: setup ## what callers rely on, against a running server: ADDRESS=host:8500 (MODEL=mtmh; TLS: CA=, CERT=, KEY=)
	@$(if $(ADDRESS),,echo "contract: name the server: make contract ADDRESS=host:8500"; exit 2)
	@MTMH_CONTRACT_ADDRESS="$(ADDRESS)" MTMH_CONTRACT_MODEL="$(MODEL)" MTMH_CONTRACT_CA="$(CA)" \
		MTMH_CONTRACT_CERT="$(CERT)" MTMH_CONTRACT_KEY="$(KEY)" $(BIN)/python -m pytest tests/contract $(ARGS)

lint: setup ## ruff and mypy --strict
	@$(BIN)/ruff check $(CHECKED)
	@$(BIN)/ruff format --check $(CHECKED)
	@$(BIN)/mypy --strict $(PACKAGES)

format: setup ## what ruff can mend by itself
	@$(BIN)/ruff check --fix $(CHECKED)
	@$(BIN)/ruff format $(CHECKED)

bench: setup ## the stages beside their peers and the machine's limits: one table, demo/bench/bench.md and bench.json
	@$(BIN)/python -m benchmarks $(ARGS)

bench-quick: setup ## the same on small sizes
	@$(BIN)/python -m benchmarks --quick $(ARGS)

lock: setup ## requirements.lock anew from requirements.in; keeps versions that still fit (ARGS=--upgrade: newest)
	@$(BIN)/uv pip compile requirements.in --quiet --python-version 3.10 --python-platform linux \
		--generate-hashes --custom-compile-command "make lock" --output-file requirements.lock $(ARGS)

clean: ## remove build products, caches and what the demo made; keeps .venv
	@rm -rf build dist *.egg-info demo .cache .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find . \( -name .venv -o -name .git \) -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## clean, and remove .venv
	@rm -rf .venv
