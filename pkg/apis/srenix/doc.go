// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package srenix holds the internal version of the aggregated group srenix.io,
// in which the server's storage keeps objects. Fields are documented in the
// served version, package v1alpha1; the shapes are the same, so that converting
// shares memory and copies nothing.
//
// +k8s:deepcopy-gen=package
// +groupName=srenix.io
package srenix
