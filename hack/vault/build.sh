#!/usr/bin/env bash
# Copyright The srenix Authors.
# SPDX-License-Identifier: Apache-2.0

# Builds HashiCorp Vault in memory (main.go) with the versions that Vault was released
# with: build.sh OUTPUT. It is built as a folder of a copy of Vault's module: what that
# takes from folders which a module does not contain is published as modules too, and
# what finds the servers of a cluster in clouds, which takes most of the time, is
# replaced by discover/, which finds none.
set -euo pipefail
output="$(realpath -m "$1")"
here="$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)"
cd "${here}/../crds"
go mod download github.com/hashicorp/vault
source="$(go list -m -f '{{.Dir}}' github.com/hashicorp/vault)"
build="$(mktemp -d)"
trap 'rm -rf "${build}"' EXIT
tar -C "${source}" --exclude=./ui --exclude=./website --exclude='*_test.go' -cf - . | tar -C "${build}" --no-same-permissions -xf -
chmod -R u+w "${build}"
cd "${build}"
mkdir vaultdev
cp "${here}/main.go" vaultdev/
# The sdk is that beside this Vault, which is an earlier one than its go.mod names.
go mod edit -replace github.com/hashicorp/vault/api=github.com/hashicorp/vault/api@v1.22.0 \
  -replace github.com/hashicorp/vault/sdk=github.com/hashicorp/vault/sdk@v0.20.0
for login in approle kubernetes userpass; do go mod edit -dropreplace "github.com/hashicorp/vault/api/auth/${login}"; done
go mod edit -replace "github.com/hashicorp/go-discover=${here}/discover"
CGO_ENABLED=0 go build -mod=mod -trimpath -ldflags '-s -w' -o "${output}" ./vaultdev
