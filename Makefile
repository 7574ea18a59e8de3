# Every target sets up what it needs; a second call does no set-up work again.
PYTHON ?= python3.11
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STORE ?= .
PORT ?= 5000
export PATH := $(CURDIR)/$(BIN):$(PATH)
# Nothing phones home.
export DO_NOT_TRACK := true
export MLFLOW_DISABLE_TELEMETRY := true
export DVC_NO_ANALYTICS := true

.DEFAULT_GOAL := help
.PHONY: help demo test repro release ui app chromium postgres screenshots lint format lock clean

help:  ## Show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | awk -F'\t' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY)  ## Run the whole pipeline on embedded phantoms, in demo/
	@python -m pipeline.demo

test: lint  ## Run all checks and tests
	pytest -n 2 --dist loadfile

repro: $(READY)  ## Run the pipeline on the real radiographs (dvc repro)
	dvc repro

release: $(READY)  ## Train and judge the released network anew (needs dvc repro; about an hour)
	python -m pipeline.release

ui: $(READY)  ## Open the runs in the MLflow UI on localhost (STORE=demo for the demo's)
	@pneumonia ui --root $(STORE) --port $(PORT)

app: $(READY)  ## Open the radiologist's page on localhost: champion or release answers
	@pneumonia serve

screenshots: demo  ## Take the README's pictures of the page anew, with the demo's network
	python -m tests.app.screenshots demo/artifacts/models/cnn

chromium:  ## Install Chromium on Debian (needs root), in which the page is tested
	apt-get install --yes --no-install-recommends chromium

postgres:  ## Install PostgreSQL on Debian (needs root), so that the tests of the store run on it, too
	apt-get install --yes --no-install-recommends postgresql

lint: $(READY)  ## Check style, types and imports
	ruff check .
	ruff format --check .
	mypy
	PYTHONPATH=. lint-imports

format: $(READY)  ## Put the code into its usual form
	ruff check --fix .
	ruff format .

lock: $(READY)  ## Resolve the dependencies anew into requirements.lock
	uv pip compile pyproject.toml --extra dev --generate-hashes --no-emit-index-url --no-header \
		--python-version 3.11 --output-file requirements.lock --upgrade

clean:  ## Remove the environment and the demo
	rm -rf $(VENV) demo

$(READY): requirements.lock pyproject.toml
	@echo "Setting up $(VENV): about 2.5 GB, once"
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check uv
	@uv pip install --quiet --python $(BIN)/python --require-hashes --requirements requirements.lock
	@uv pip install --quiet --python $(BIN)/python --no-deps --editable .
	@touch $@
