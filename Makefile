# Copyright The srenix Authors.
# SPDX-License-Identifier: Apache-2.0

.DEFAULT_GOAL := help
SHELL := /usr/bin/env bash -o pipefail

BIN := bin
TOOLS := $(BIN)/tools
KUBERNETES_VERSION := v1.37.2
GOLANGCI_LINT_VERSION := v2.15.0
GOVULNCHECK_VERSION := v1.9.0

# component-base wants a version that begins like v1.2.3.
VERSION ?= $(shell git describe --tags --match 'v*' --dirty 2>/dev/null || echo "v0.0.0-$$(git rev-parse --short HEAD 2>/dev/null || echo dev)")
COMMANDS := advisor apiserver executor kubectl-create-approval kubectl-srenix

version_package := k8s.io/component-base/version
LDFLAGS := -s -w -X $(version_package).gitVersion=$(VERSION)
PLANE_LDFLAGS := -s -w \
  -X $(version_package).gitVersion=$(KUBERNETES_VERSION) -X $(version_package).gitMajor=1 -X $(version_package).gitMinor=37 \
  -X k8s.io/client-go/pkg/version.gitVersion=$(KUBERNETES_VERSION) -X k8s.io/client-go/pkg/version.gitMajor=1 -X k8s.io/client-go/pkg/version.gitMinor=37

## Try it

.PHONY: demo
demo: build controlplane ## Set everything up and run the main job on a local control plane (DEMO_KEEP=0 takes it down afterwards)
	go run ./hack/demo

.PHONY: demo-down
demo-down: ## Remove everything that the demo left
	@if [ -x $(BIN)/controlplane ]; then go run ./hack/demo --down; fi

## Build

.PHONY: build
build: $(addprefix build-,$(COMMANDS)) ## Build the programs into bin/

.PHONY: build-%
build-%:
	@echo "building $*" >&2
	@CGO_ENABLED=0 go build -trimpath -ldflags '$(LDFLAGS)' -o $(BIN)/$* ./cmd/$*

.PHONY: controlplane
controlplane: ## Build the local control plane into bin/ (about 10 minutes the first time, for it compiles Kubernetes)
	@[ -n "$$(ls $(BIN)/controlplane 2>/dev/null)" ] || echo "building the local control plane; the first time this compiles Kubernetes, about 10 minutes on two cores" >&2
	@cd hack/controlplane && { while sleep 30; do echo "still compiling Kubernetes after $$((n += 30)) s" >&2; done & ticker=$$!; trap "kill $$ticker 2>/dev/null || true" EXIT; \
	  CGO_ENABLED=0 go build -trimpath -ldflags '$(PLANE_LDFLAGS)' -o ../../$(BIN)/controlplane .; }

# Other projects' programs, which tests run so that what they judge is not ours.
.PHONY: controllers
controllers: $(BIN)/kustomize-controller $(BIN)/cloudnative-pg $(BIN)/certmanager-controllers $(BIN)/vaultdev

$(BIN)/kustomize-controller: hack/crds/go.mod hack/controllers/released.sh
	@echo "building Flux's kustomize-controller; the first time about 5 minutes on two cores" >&2
	@hack/controllers/released.sh github.com/fluxcd/kustomize-controller . $@

$(BIN)/cloudnative-pg: hack/crds/go.mod hack/controllers/released.sh
	@echo "building CloudNativePG's manager; the first time about 5 minutes on two cores" >&2
	@hack/controllers/released.sh github.com/cloudnative-pg/cloudnative-pg ./cmd/manager $@

$(BIN)/certmanager-controllers: hack/controllers/main.go hack/controllers/go.mod hack/controllers/go.sum
	@echo "building cert-manager's controllers; the first time about 5 minutes on two cores" >&2
	@cd hack/controllers && CGO_ENABLED=0 go build -trimpath -ldflags '-s -w' -o ../../$@ .

$(BIN)/vaultdev: hack/crds/go.mod hack/vault/build.sh hack/vault/main.go $(shell find hack/vault/discover -type f)
	@echo "building HashiCorp Vault in memory; the first time about 5 minutes on two cores" >&2
	@hack/vault/build.sh $@

.PHONY: image
image: ## Write the container image of the servers as an OCI layout into _output/image, and its bill of materials beside
	@rm -rf _output/rootfs
	@# What is not stamped with the state of a repository is the same from an archive of the sources.
	@for command in advisor apiserver executor; do CGO_ENABLED=0 go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' -o _output/rootfs/$$command ./cmd/$$command || exit 1; done
	cd hack/image && go run . --root ../../_output/rootfs --output ../../_output/image --sbom ../../_output/sbom.cdx.json --version '$(VERSION)'

PLATFORMS := darwin-amd64 darwin-arm64 linux-amd64 linux-arm64 windows-amd64
RELEASES := https://github.com/srenix/srenix/releases/download

.PHONY: krew
krew: ## Write an archive of the kubectl plugins for each platform, and krew's manifest of them, into _output/krew
	@rm -rf _output/plugins _output/krew
	@for platform in $(PLATFORMS); do \
	  for command in kubectl-create-approval kubectl-srenix; do \
	    echo "building $$command for $$platform" >&2; \
	    case $$platform in windows-*) end=.exe ;; *) end= ;; esac; \
	    CGO_ENABLED=0 GOOS=$${platform%-*} GOARCH=$${platform#*-} go build -trimpath -buildvcs=false -ldflags '$(LDFLAGS)' \
	      -o _output/plugins/$$platform/$$command$$end ./cmd/$$command || exit 1; \
	  done; \
	done
	cd hack/krew && go run . --programs ../../_output/plugins --license ../../LICENSE --output ../../_output/krew --version '$(VERSION)' --url '$(RELEASES)/$(VERSION)'

## Check

.PHONY: test
test: ## Run all tests
	@$(MAKE) --no-print-directory test-unit SHORT=
	@$(MAKE) --no-print-directory test-race
	@$(MAKE) --no-print-directory fuzz FUZZTIME=1000x
	@$(MAKE) --no-print-directory mutation KINDS='boundary,swapped verdict'
	@$(MAKE) --no-print-directory test-plane

# What many goroutines share. The race detector needs a C compiler; a machine of
# somebody who changes something may lack one, CI may not.
.PHONY: test-race
test-race:
	@if command -v "$$(go env CC)" >/dev/null; then set -x; go test -race -short ./pkg/live/... ./pkg/observations/... ./pkg/registry/... ./pkg/audit/... ./pkg/apiserver/... ./pkg/proposals/... \
	  ./pkg/policy/... ./pkg/token/... ./pkg/evidence/... ./pkg/webhook/... ./pkg/approvalpage/... ./pkg/tracing/... ./pkg/offline/...; \
	else echo "skipped: the race detector needs a C compiler, and there is no $$(go env CC)" >&2; [ "$${CI:-false}" = false ]; fi

# Random histories are cut short, for a quick look.
SHORT = -short

.PHONY: test-unit
test-unit: ## Run the tests that need no control plane, with fewer random histories
	go test -timeout 45m $(SHORT) ./cmd/... ./pkg/... ./hack/...
	cd hack/image && go test -timeout 30m .
	cd hack/krew && go test .
	cd test/chart && go test .

FUZZTIME = 1m

KINDS =

.PHONY: mutation
mutation: ## Change pkg/policy and pkg/token in small ways, one at a time, and tell what no test notices: all up to an hour, or KINDS='swapped verdict'
	go run ./hack/mutation --kinds '$(KINDS)' ./pkg/policy ./pkg/token

.PHONY: fuzz
fuzz: ## Run every fuzz target for FUZZTIME (1m, or as 1000x)
	@for file in $$(grep -rl --include='*_test.go' '^func Fuzz' pkg); do \
	  for target in $$(sed -n 's/^func \(Fuzz[A-Za-z]*\).*/\1/p' $$file); do \
	    echo "$$target in $$(dirname $$file)"; \
	    go test ./$$(dirname $$file) -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) || exit 1; \
	  done; \
	done

.PHONY: test-plane
test-plane: build controlplane controllers ## Run the tests on local control planes
	go test -count=1 -timeout 40m ./test/...
	cd test/chart && go test -count=1 ./install
	cd test/gitops && go test -count=1 .

TEAMS = 12

.PHONY: chaos
chaos: build controlplane ## Approve TEAMS times four repairs while programs are killed and storage hangs (make test has a short one)
	go test -count=1 -timeout 40m -v ./test/survive -run TestApprovalsInChaos -chaos-teams $(TEAMS)

.PHONY: e2e-model
e2e-model: ## Ask the model MODEL at OPENAI_BASE_URL, with OPENAI_API_KEY, about findings on a local control plane
	@if [ -n "$${OPENAI_BASE_URL:-}" ] && [ -n "$${MODEL:-}" ]; then set -x && $(MAKE) --no-print-directory build controlplane && go test -count=1 -v -timeout 20m -run '^TestTheModelOfTheEnvironment$$' ./test/advisor; \
	else echo "SKIPPED: no model was asked. Set OPENAI_BASE_URL (as https://api.openai.com/v1), MODEL, and OPENAI_API_KEY where the endpoint wants one." >&2; fi

SIZE = 1k,10k

.PHONY: bench
bench: build controlplane ## Measure against a baseline in the same run: SIZE=1k,10k pods (or 50k), OUT=FILE for JSON, CHART=FILE for SVG
	go run ./hack/bench --size $(SIZE) $(if $(OUT),--out $(OUT)) $(if $(CHART),--chart $(CHART))

.PHONY: bench-functions
bench-functions: ## Run the benchmarks of the hot functions
	go test -run '^$$' -bench . -benchmem ./pkg/...

.PHONY: verify
verify: lint ## Check formatting, lint, generated files, manifests and licenses
	hack/verify.sh

.PHONY: lint
lint: $(TOOLS)/golangci-lint
	$(TOOLS)/golangci-lint run ./...
	for module in hack/controlplane hack/image hack/krew test/chart test/gitops; do (cd $$module && ../../$(TOOLS)/golangci-lint run --config ../../.golangci.yml ./...) || exit 1; done

$(TOOLS)/golangci-lint: Makefile
	@echo "building golangci-lint $(GOLANGCI_LINT_VERSION); the first time takes some minutes" >&2
	@GOBIN=$(abspath $(TOOLS)) go install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	@touch $@

# Not part of verify: what it says changes with the world and not with the sources.
VULNDB = https://vuln.go.dev

.PHONY: vulncheck
vulncheck: $(TOOLS)/govulncheck ## Look for known vulnerabilities in what the programs call (VULNDB=URL for a mirror of the Go vulnerability database)
	@$(TOOLS)/govulncheck -db $(VULNDB) ./cmd/... || { status=$$?; \
	  [ $$status = 3 ] || echo "nothing was checked, because govulncheck failed: it needs $(VULNDB); where that is out of reach, give a mirror, VULNDB=file:///PATH or VULNDB=https://HOST" >&2; exit $$status; }

$(TOOLS)/govulncheck: Makefile
	@echo "building govulncheck $(GOVULNCHECK_VERSION)" >&2
	@GOBIN=$(abspath $(TOOLS)) go install golang.org/x/vuln/cmd/govulncheck@$(GOVULNCHECK_VERSION)
	@touch $@

.PHONY: generate
generate: ## Regenerate code, CRDs, docs/api.md, the reader ClusterRole, and what the Helm chart takes from elsewhere
	hack/update-codegen.sh

.PHONY: clean
clean: demo-down ## Remove what was built
	rm -rf $(BIN) _output

.PHONY: help
help: ## Show this help
	@awk 'BEGIN {FS = ":.*## "} /^## / {printf "\n%s\n", substr($$0, 4)} /^[a-zA-Z_-]+:.*## / {printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
