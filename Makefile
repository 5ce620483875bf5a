# Everything a target needs, the target installs: a virtual environment below .venv and, through
# `make system-packages`, the Debian packages that the demonstration and the tests call.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
export PIP_DISABLE_PIP_VERSION_CHECK := 1

.PHONY: help
help: ## Show what can be done here
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

.PHONY: demo
demo: install system-packages ## Send a study through the whole chain on this machine (DICOM=folder, PORT=number)
	@$(BIN)/storescp-cfn demo $(if $(DICOM),--dicom "$(DICOM)") $(if $(PORT),--port $(PORT))

.PHONY: up
up: install system-packages ## The same, and stay up for any DICOM program until Ctrl-C
	@$(BIN)/storescp-cfn up $(if $(DICOM),--dicom "$(DICOM)") $(if $(PORT),--port $(PORT))

.PHONY: test
test: install system-packages ## Run all tests
	@$(BIN)/python -m pytest $(PYTEST_ARGS)

.PHONY: lint
lint: install ## Check style, types, the template and that the rendered files are fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/storescp-cfn render-template --check
	@$(BIN)/cfn-lint templates/storescp.yaml

.PHONY: fix
fix: install ## Mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: render
render: install ## Write the rendered template below templates/
	@scripts/embed-importer
	@$(BIN)/storescp-cfn render-template --format yaml --output templates/storescp.yaml
	@$(BIN)/storescp-cfn render-template --format json --output templates/storescp.json

.PHONY: clean
clean: ## Remove what the targets made
	rm -rf $(VENV) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

.PHONY: install
install: $(INSTALLED)

# pynetdicom, which the tests use as a peer, installs a `storescp` of its own: ours goes in last, and wins.
$(INSTALLED): pyproject.toml container/pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a minute or two, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "A virtual environment could not be made: install Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,dev]'
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ./container
	@touch $@

.PHONY: system-packages
system-packages:
	@scripts/system-packages dcmtk:/usr/bin/storescu
