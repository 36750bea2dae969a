// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package live keeps materialized views of a Kubernetes cluster.
package live
