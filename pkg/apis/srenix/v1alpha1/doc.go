// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package v1alpha1 is the served version of the aggregated group srenix.io:
// findings (what is wrong), clusterfindings (the same for cluster-scoped
// subjects) and proposals (what could safely be done about it). The kinds are
// virtual: the server computes them, nobody creates, updates or deletes them.
//
// +k8s:deepcopy-gen=package
// +k8s:conversion-gen=github.com/srenix/srenix/pkg/apis/srenix
// +k8s:defaulter-gen=TypeMeta
// +k8s:openapi-gen=true
// +k8s:openapi-model-package=io.srenix.v1alpha1
// +groupName=srenix.io
package v1alpha1
