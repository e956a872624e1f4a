# Sluice: `make help` lists the targets. Needs make and Python 3.11 or newer with venv; everything else goes into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
MAKEFLAGS += --no-print-directory

# Data sets beside the checkout are used where they are; otherwise the product's own default holds.
ifneq ($(wildcard ../shared/data),)
export SLUICE_DATA_DIR ?= $(abspath ../shared/data)
endif

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.setup
MEMBERS := libs/sluice operator services/trainer services/faiss services/recommender cli
DEPLOYABLES := operator trainer faiss recommender cli
TORCHLESS := operator faiss recommender
TEST_SECONDS := 600
FAULT_SECONDS := 1500
E2E_SECONDS := 2100
FAULT_ARGS ?=
E2E_ARGS ?=
DEMO_ARGS ?=
BACKENDS_ARGS ?=

# The first Python that is new enough and can make an environment.
FIND_PYTHON = for python in $(PYTHON) python3.11 python3; do \
	"$$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break; \
	python=; done; \
	[ -n "$$python" ] || { echo "make setup needs Python 3.11 or newer with venv: install it, or name it: make PYTHON=/path/to/python3.11" >&2; exit 1; }

.PHONY: help setup demo test fault e2e backends backends-down programs cluster-up cluster-down images lint format bench lock clean

help: ## list the targets
	@sed -nE 's/^([a-z-]+):.*## (.*)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 24

setup: $(STAMP) ## make .venv with everything the workspace needs, at the locked versions

$(STAMP): requirements/uv.txt requirements/dev.txt $(MEMBERS:%=%/pyproject.toml)
	@$(FIND_PYTHON); [ -x $(BIN)/pip ] || "$$python" -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/uv.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes -r requirements/dev.txt
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation $(MEMBERS:%=-e %)
	@touch $@

demo: $(STAMP) ## run the platform on a real event stream; DEMO_ARGS="--once" stops after the report
	$(BIN)/sluice demo $(DEMO_ARGS)

# Files share no state and run side by side; each test takes ports, folders and names of its own.
test: $(STAMP) ## unit, contract and integration tests
	timeout $(TEST_SECONDS) $(BIN)/pytest -q -n 2 --dist loadfile $(wildcard tests/unit tests/contract tests/charts)
ifneq ($(wildcard tests/integration/*.py tests/integration/*/*.py),)
	timeout $(TEST_SECONDS) $(BIN)/pytest -q -n 2 --dist loadfile tests/integration
endif

# Kills, full disks, jumping clocks. It must stay green again and again: nothing in it may depend on luck.
fault: $(STAMP) ## faults injected into real processes; FAULT_ARGS="-m smoke" takes the short part
	timeout $(FAULT_SECONDS) $(BIN)/pytest -q -n 2 --dist loadfile $(FAULT_ARGS) tests/fault

# A node of its own, images of this tree, the chart, load. SIGINT: pytest then ends the node that it started.
e2e: $(STAMP) ## install, upgrade, kill and remove Sluice on a real Kubernetes node; E2E_ARGS="-m smoke" takes the short part
	timeout --signal=INT --kill-after=120 $(E2E_SECONDS) $(BIN)/pytest -q $(E2E_ARGS) tests/e2e

programs: $(STAMP) ## build what a node consists of, Helm and kubeconform (Go, cached); needs root for Debian's packages
	@cd tests && ../$(BIN)/python -m cluster build

cluster-up: $(STAMP) ## start a Kubernetes node on this machine (root); make cluster-up again starts what does not run
	@cd tests && ../$(BIN)/python -m cluster up

cluster-down: $(STAMP) ## end that node and remove every trace of it
	@cd tests && ../$(BIN)/python -m cluster down

images: $(STAMP) ## build the four images, their bills of material and the list of digests into dist/
	@cd tests && ../$(BIN)/python -m cluster.sbom

# Real Kafka, MongoDB protocol and Redis for trying things; tests start their own.
backends: $(STAMP) ## run Kafka, MongoDB's protocol and Redis until Ctrl-C; prints what to export
	@$(BIN)/sluice backends $(BACKENDS_ARGS)

backends-down: $(STAMP) ## end what make backends started in another terminal
	@$(BIN)/sluice backends down

lint: $(STAMP) ## format, style, types, layers, locks, and whether generated files are current
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m sluice.crd --check
	$(BIN)/python -m sluice.metrics_page --check
	$(BIN)/python -m sluice_cli.settings_page --check
	$(BIN)/python charts/generate.py --check
	$(BIN)/python charts/readme.py --check
	@! grep -nE '^(torch|triton|nvidia|cuda)' $(TORCHLESS:%=requirements/%.txt) \
		|| { echo "torch belongs to the trainer alone; take it out of that member's dependencies" >&2; exit 1; }

format: $(STAMP) ## bring the sources into the form that lint asks for
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: $(STAMP) ## every benchmark, one after another
	export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1; \
	for file in tests/bench/bench_*.py; do echo "== $$file"; $(BIN)/python "$$file"; done

# Versions stay as locked unless asked for: make lock UPGRADE=--upgrade. Each deployable gets dev.txt's versions.
COMPILE = $(BIN)/uv pip compile --quiet --generate-hashes --no-emit-index-url --no-header --python-version 3.11 \
	$(foreach member,sluice sluice-operator sluice-trainer sluice-faiss sluice-recommender,--no-emit-package $(member))

lock: $(STAMP) ## resolve the requirement files anew from the members' dependencies
	$(COMPILE) $(UPGRADE) requirements/uv.in -o requirements/uv.txt
	$(COMPILE) $(UPGRADE) requirements/dev.in $(MEMBERS:%=%/pyproject.toml) -o requirements/dev.txt
	@for name in $(DEPLOYABLES); do \
		member=services/$$name; [ -d "$$member" ] || member=$$name; \
		$(COMPILE) "$$member/pyproject.toml" -c requirements/dev.txt -o "requirements/$$name.txt"; \
	done

clean: ## remove caches and reports; .venv and data stay
	rm -rf .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache demo-report.html report.json
	find . -path ./$(VENV) -prune -o -name __pycache__ -type d -exec rm -rf {} +
