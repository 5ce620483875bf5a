# The targets of a release (docs/release-checklist.md tells their order).
#@ For the release engineer
# VERSION=1.2.0 REPOSITORY=709825985650.dkr.ecr.us-east-1.amazonaws.com/SELLER/storescp TEMPLATE_BUCKET=... BASE=image@sha256:...
# and, if they are known, PRODUCT_ID=prod-... PRODUCT_CODE=... REGIONS="us-east-1 eu-west-1" (all if there are none), DIST=folder
RELEASE = $(VERSION:v%=%)
RELEASE_IMAGE = $(REPOSITORY):$(RELEASE)
DIST ?= dist
RELEASE_FILES := build/release
TRIVY := $(BIN)/trivy --quiet image --disable-telemetry --skip-version-check

.PHONY: release-image
release-image: # Build for both architectures into build/release, without attestations (VERSION=... BASE=image@sha256:...)
	@[[ "$(BASE)" == *@sha256:* ]] || { echo "BASE=$(BASE) does not name the base image by its digest (image@sha256:...)." >&2; exit 1; }
	@mkdir -p $(RELEASE_FILES)
	docker buildx build --platform linux/amd64,linux/arm64 --provenance=false --sbom=false \
	  --build-arg BASE="$(BASE)" --build-arg VERSION="$(RELEASE)" --build-arg REVISION="$$(git rev-parse HEAD)" \
	  --build-arg PRODUCT_CODE="$(PRODUCT_CODE)" --output type=oci,dest=$(RELEASE_FILES)/image.tar container

.PHONY: release-scan
release-scan: install # Look for known vulnerabilities in both architectures before anything is pushed; write SBOM and licences
	@$(BIN)/python -m pip install --quiet --requirement tests/image/requirements.txt
	@mkdir -p $(IMAGE_FILES)
	@for architecture in amd64 arm64; do \
	  rm -f $(RELEASE_FILES)/$$architecture.tar; \
	  skopeo copy --quiet --override-os linux --override-arch $$architecture oci-archive:$(RELEASE_FILES)/image.tar docker-archive:$(RELEASE_FILES)/$$architecture.tar && \
	  $(TRIVY) --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed --input $(RELEASE_FILES)/$$architecture.tar || exit 1; \
	done
	@$(TRIVY) --format cyclonedx --input $(RELEASE_FILES)/amd64.tar --output $(IMAGE_FILES)/sbom.cdx.json
	@$(BIN)/python scripts/licences.py $(IMAGE_FILES)/sbom.cdx.json > $(IMAGE_FILES)/licences.md

.PHONY: release-programs
release-programs: install # Build the operators' command line below build/programs: a wheel and a single file, with checksums
	@$(BIN)/python scripts/programs.py build/programs $(RELEASE)

.PHONY: package
package: install # Make the Marketplace version below dist/ (VERSION=1.2.0 REPOSITORY=... TEMPLATE_BUCKET=...)
	@$(BIN)/storescp-cfn package --version "$(RELEASE)" --image "$(RELEASE_IMAGE)" --template-bucket "$(TEMPLATE_BUCKET)" \
	  $(foreach region,$(REGIONS),--region $(region)) $(if $(PRODUCT_ID),--product-id "$(PRODUCT_ID)") \
	  $(if $(PRODUCT_CODE),--product-code "$(PRODUCT_CODE)") --image-files $(IMAGE_FILES) --output "$(DIST)"

.PHONY: release-push
release-push: # Push the built and scanned image to Marketplace's registry (VERSION=1.2.0 REPOSITORY=...)
	@aws ecr get-login-password --region us-east-1 | skopeo login --username AWS --password-stdin "$(firstword $(subst /, ,$(REPOSITORY)))"
	skopeo copy --all oci-archive:$(RELEASE_FILES)/image.tar "docker://$(RELEASE_IMAGE)"

.PHONY: publish-validate
publish-validate: install # Upload the template and ask the Catalog about dist/; publishes nothing
	@$(BIN)/storescp-cfn publish "$(DIST)" --validate

.PHONY: publish-apply
publish-apply: install # Publish dist/ for good; asks before it does (YES=1 where a reviewer has been asked)
	@$(BIN)/storescp-cfn publish "$(DIST)" --apply $(if $(YES),--yes)
