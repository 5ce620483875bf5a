# The targets of a release (docs/release-checklist.md tells their order).
#@ For the release engineer
# A release: VERSION=1.2.0 REPOSITORY=709825985650.dkr.ecr.us-east-1.amazonaws.com/SELLER/storescp TEMPLATE_BUCKET=...
# and, if they are known, PRODUCT_ID=prod-... PRODUCT_CODE=... REGIONS="us-east-1 eu-west-1" BASE=image@sha256:...
# docs/release-checklist.md tells the order.
RELEASE = $(VERSION:v%=%)
RELEASE_IMAGE = $(REPOSITORY):$(RELEASE)

.PHONY: registry-login
registry-login: # Log docker in to Marketplace's registry (REPOSITORY=...)
	@aws ecr get-login-password --region us-east-1 | docker login --username AWS --password-stdin "$(firstword $(subst /, ,$(REPOSITORY)))"

.PHONY: release-image
release-image: # Build for both architectures and push, without attestations (VERSION=1.2.0 REPOSITORY=...)
	docker buildx build --platform linux/amd64,linux/arm64 --provenance=false --sbom=false --push \
	  $(if $(BASE),--build-arg BASE="$(BASE)") --build-arg VERSION="$(RELEASE)" \
	  --build-arg REVISION="$$(git rev-parse HEAD)" --tag "$(RELEASE_IMAGE)" container

.PHONY: release-scan
release-scan: # Look for known vulnerabilities in the pushed image; needs trivy and the network
	trivy image --exit-code 1 --severity HIGH,CRITICAL --ignore-unfixed "$(RELEASE_IMAGE)"

.PHONY: package
package: install # Make the Marketplace version below dist/ (VERSION=1.2.0 REPOSITORY=... TEMPLATE_BUCKET=...)
	@$(BIN)/storescp-cfn package --version "$(RELEASE)" --image "$(RELEASE_IMAGE)" --template-bucket "$(TEMPLATE_BUCKET)" \
	  $(foreach region,$(REGIONS),--region $(region)) $(if $(PRODUCT_ID),--product-id "$(PRODUCT_ID)") \
	  $(if $(PRODUCT_CODE),--product-code "$(PRODUCT_CODE)")

.PHONY: publish-validate
publish-validate: install # Upload the template and ask the Catalog about dist/; publishes nothing
	@$(BIN)/storescp-cfn publish dist/ --validate

.PHONY: publish-apply
publish-apply: install # Publish dist/ for good; asks before it does
	@$(BIN)/storescp-cfn publish dist/ --apply
