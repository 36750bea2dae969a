#!/usr/bin/env bash
# Copyright The srenix Authors.
# SPDX-License-Identifier: Apache-2.0

# Fails if anything generated differs from what is committed, if a module file
# is untidy, if something that is linked in has a license that is not allowed, or if
# a shell script does not parse. It changes nothing: the generators run on a copy.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root="$(pwd)"

copy="$(mktemp -d)"
trap 'rm -rf "${copy}"' EXIT
git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -f "$1" ] || printf "%s\0" "$1"' _ {} | tar --null -T - -cf - | tar -C "${copy}" -xf -

echo "checking generated files" >&2
(cd "${copy}" && TOOLS_DIR="${root}/bin/tools" hack/update-codegen.sh)
if ! diff -ru --exclude=.git --exclude=bin --exclude=_output --exclude=.controlplane --exclude='*.test' --exclude='*.out' "${root}" "${copy}"; then
  echo "generated files are out of date: run make generate and commit" >&2
  exit 1
fi

echo "checking module files" >&2
for module in . hack/controlplane hack/controllers hack/tools hack/image hack/krew test/chart test/gitops; do
  (cd "${module}" && go mod tidy -diff)
done

echo "checking licenses" >&2
# Those that a program under Apache-2.0 may be shipped with. Of assembly the tool says
# that it cannot follow it, which is a warning. The module of OpenReports has no file of
# its license; its sources say Apache-2.0.
bin/tools/go-licenses check --allowed_licenses=Apache-2.0,BSD-2-Clause,BSD-3-Clause,ISC,MIT,MPL-2.0,Unlicense \
  --ignore github.com/openreports/reports-api --legacy_stderr_threshold_behavior=false --stderrthreshold=ERROR ./cmd/...

echo "checking scripts" >&2
for script in hack/*.sh hack/*/*.sh .ci/run; do bash -n "${script}"; done
echo "verified" >&2
