#!/usr/bin/env bash
# Copyright The srenix Authors.
# SPDX-License-Identifier: Apache-2.0

# Builds another project's program out of its own module, with the versions that it
# was released with: released.sh MODULE PACKAGE OUTPUT. Some take their API from a
# folder beside their go.mod, which a module does not contain; the published module
# of the API is the same.
set -euo pipefail
module="$1" package="$2" output="$(realpath -m "$3")"
cd "$(dirname "${BASH_SOURCE[0]}")/../crds"
version="$(go list -m -f '{{.Version}}' "${module}")"
go mod download "${module}"
source="$(go list -m -f '{{.Dir}}' "${module}")"
build="$(mktemp -d)"
trap 'rm -rf "${build}"' EXIT
sed "s#^replace ${module}/api => ./api#replace ${module}/api => ${module}/api ${version}#" "${source}/go.mod" > "${build}/go.mod"
cp "${source}/go.sum" "${build}/go.sum"
chmod u+w "${build}/go.sum"
CGO_ENABLED=0 go build -C "${source}" -modfile="${build}/go.mod" -mod=mod -trimpath -ldflags '-s -w' -o "${output}" "${package}"
