#!/usr/bin/env bash
# Copyright The srenix Authors.
# SPDX-License-Identifier: Apache-2.0

# Regenerates every zz_generated file, pkg/generated, the CRDs, docs/api.md, and what the Helm
# chart takes from the kustomize base and from its own values. The generators are
# pinned in hack/tools/go.mod. `make verify` fails if the result differs from what
# is committed.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

tools="${TOOLS_DIR:-bin/tools}"
mkdir -p "${tools}"
(cd hack/tools && GOBIN="$(cd ../.. && mkdir -p "${tools}" && cd "${tools}" && pwd)" go install tool)

header=hack/boilerplate/boilerplate.go.txt
module=github.com/srenix/srenix

echo "generating deep copies" >&2
"${tools}/deepcopy-gen" --go-header-file "${header}" --output-file zz_generated.deepcopy.go \
  "${module}/pkg/apis/srenix" "${module}/pkg/apis/srenix/v1alpha1"
"${tools}/controller-gen" "object:headerFile=${header}" paths=./pkg/apis/ops/... paths=./pkg/apis/config/...

echo "generating conversions" >&2
"${tools}/conversion-gen" --go-header-file "${header}" --output-file zz_generated.conversion.go \
  "${module}/pkg/apis/srenix/v1alpha1"

echo "generating OpenAPI" >&2
mkdir -p pkg/generated/openapi
"${tools}/openapi-gen" --go-header-file "${header}" --output-file zz_generated.openapi.go \
  --output-model-name-file zz_generated.model_name.go \
  --output-dir pkg/generated/openapi --output-pkg "${module}/pkg/generated/openapi" --report-filename /dev/null \
  "${module}/pkg/apis/srenix/v1alpha1" \
  k8s.io/apimachinery/pkg/apis/meta/v1 k8s.io/apimachinery/pkg/runtime k8s.io/apimachinery/pkg/version

echo "generating the typed client" >&2
clients=pkg/generated
rm -rf "${clients}/clientset" "${clients}/listers" "${clients}/informers"
"${tools}/client-gen" --go-header-file "${header}" --clientset-name versioned --input-base "${module}/pkg/apis" \
  --input srenix/v1alpha1 --input ops/v1alpha1 \
  --output-dir "${clients}/clientset" --output-pkg "${module}/${clients}/clientset"
"${tools}/lister-gen" --go-header-file "${header}" \
  --output-dir "${clients}/listers" --output-pkg "${module}/${clients}/listers" \
  "${module}/pkg/apis/srenix/v1alpha1" "${module}/pkg/apis/ops/v1alpha1"
"${tools}/informer-gen" --go-header-file "${header}" \
  --versioned-clientset-package "${module}/${clients}/clientset/versioned" --listers-package "${module}/${clients}/listers" \
  --output-dir "${clients}/informers" --output-pkg "${module}/${clients}/informers" \
  "${module}/pkg/apis/srenix/v1alpha1" "${module}/pkg/apis/ops/v1alpha1"

echo "generating CRDs" >&2
"${tools}/controller-gen" crd paths=./pkg/apis/ops/... output:crd:artifacts:config=artifacts/kustomize/base/crds

echo "generating the API reference" >&2
"${tools}/crd-ref-docs" --log-level ERROR --source-path pkg/apis --config hack/apidocs/config.yaml --templates-dir hack/apidocs \
  --renderer markdown --output-path docs/api.md

echo "generating the reader ClusterRole" >&2
role=artifacts/kustomize/base/rbac/apiserver-reader.yaml
go run ./hack/readerrole > "${role}.new"
mv "${role}.new" "${role}"

echo "copying what the Helm chart takes from the kustomize base" >&2
base=artifacts/kustomize/base
files=artifacts/charts/srenix/files
rm -rf "${files}"
mkdir -p "${files}"
cp -R "${base}/crds" "${base}/policies" "${base}/rbac" "${base}/apiservice.yaml" "${base}/webhook.yaml" "${base}/config.yaml" "${files}/"
mkdir "${files}/advisor"
cp artifacts/kustomize/advisor/rbac.yaml "${files}/advisor/"

echo "generating the Helm chart's table of values" >&2
go run ./hack/chartvalues artifacts/charts/srenix
