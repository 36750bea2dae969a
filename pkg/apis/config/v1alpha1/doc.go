// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the configuration file of srenix (config.srenix.io),
// shared by its programs. Decoding is strict: an unknown field is an error that
// names it. Configuration can narrow what is allowed, never widen it.
//
// +kubebuilder:object:generate=true
// +groupName=config.srenix.io
package v1alpha1
