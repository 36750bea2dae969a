// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package artifacts has manifests compiled in, for programs that have to know whether
// they are what is installed.
package artifacts

import _ "embed" // for the manifest below

// ExecutorLeash is the ValidatingAdmissionPolicy on the executor, and its binding.
//
//go:embed kustomize/base/policies/executor-leash.yaml
var ExecutorLeash []byte
