# What one does with this repository. Needs a Debian machine, root (or sudo), git and make; `make setup` sees to the rest.
SHELL := /bin/bash
.DEFAULT_GOAL := help
BIN := .venv/bin
# The clients that setup has fetched come after the machine's own.
export PATH := $(PATH):/usr/sbin:/sbin:$(CURDIR)/.clients/bin
AS_ROOT := $(if $(filter 0,$(shell id -u)),,sudo -E env PATH="$(PATH)")
DATA_DIR ?= /var/lib/kumo
PORT ?= 6443
SUITE ?= bookworm

.PHONY: help setup lint format test unit component e2e demo bench machine lock clean

help: ## Show this list
	@sed -n 's/^\([a-z0-9]*\):.*## \(.*\)/  make \1@\2/p' $(MAKEFILE_LIST) | column -t -s @

setup: ## Packages, .venv with kumo, clients, generated files; quick when all is there
	@tools/setup/setup.sh

lint: setup ## Types, style, layers, sizes
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python tools/check_sizes.py

format: setup ## Bring the code into the common form
	$(BIN)/ruff check --fix
	$(BIN)/ruff format

test: setup lint ## Everything: lint, then unit, component and end-to-end tests
	$(AS_ROOT) $(BIN)/pytest -n auto tests/unit
	$(AS_ROOT) $(BIN)/pytest -n 2 --dist loadfile tests/component
	$(AS_ROOT) $(BIN)/pytest tests/e2e

unit: setup ## The tests without I/O
	$(BIN)/pytest -n auto tests/unit

component: setup ## One component each, with its real neighbours; two files at a time
	$(AS_ROOT) $(BIN)/pytest -n 2 --dist loadfile tests/component

e2e: setup ## Real clients, real pods, real virtual machines
	$(AS_ROOT) $(BIN)/pytest tests/e2e

demo: setup ## The walk-through on this machine, every command with its output
	PYTHONPATH=tools $(AS_ROOT) $(BIN)/python -m demo.walkthrough --data-dir $(DATA_DIR) --port $(PORT)

bench: setup ## Measure what ARCHITECTURE.md promises; one table
	$(AS_ROOT) $(BIN)/python -m benchmarks.cloud

machine: setup ## kumo in a whole Debian machine under QEMU, SUITE=bookworm or trixie; slow, not part of `make test`
	PYTHONPATH=tools $(AS_ROOT) $(BIN)/python -m machine --suite $(SUITE)

lock: setup ## Choose the newest versions of all dependencies anew
	$(BIN)/python tools/setup/lock.py

clean: ## Remove what setup and checks have made here (instances are removed by `kumo reset`)
	rm -rf .venv .clients .cache .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache build dist
	rm -rf src/kumo/kubernetes/apiserver/protobuf/fields.txt src/kumo/api/data src/kumo/host/containerd/stubs src/kumo/host/csi/stubs src/kumo/store/etcd/stubs \
		src/kumo/kubernetes/kubelet/claims/stubs src/kumo/kubernetes/kubelet/devices/stubs \
		src/kumo/host/native/bin
	find src tests tools benchmarks -name __pycache__ -prune -exec rm -rf {} +
