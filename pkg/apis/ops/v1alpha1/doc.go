// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 holds the stored types of ops.srenix.io: decisions, silences,
// investigations and the audit chain. The host cluster keeps them as custom resources, so that backup,
// access control and GitOps work on them as on anything else. The CRDs in
// artifacts/ are generated from this package.
//
// +kubebuilder:object:generate=true
// +groupName=ops.srenix.io
package v1alpha1
