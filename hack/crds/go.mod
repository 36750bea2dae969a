// The modules that tests take real CustomResourceDefinitions from, or that
// hack/controllers and hack/vault build programs of. Nothing is compiled here: `go mod download -json MODULE` in this folder, which
// test/harness runs, fetches a module's files and checks them against go.sum.
module github.com/srenix/srenix/hack/crds

go 1.26.0

require (
	github.com/argoproj/argo-cd/v3 v3.1.0
	github.com/cert-manager/cert-manager v1.21.2
	github.com/cloudnative-pg/cloudnative-pg v1.27.0
	github.com/external-secrets/external-secrets v1.3.2
	github.com/fluxcd/kustomize-controller v1.6.0
	github.com/hashicorp/vault v1.21.4
	github.com/openreports/reports-api v0.2.1
	sigs.k8s.io/gateway-api v1.4.0
)
