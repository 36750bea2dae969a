// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package generated holds what generators write, in subfolders: a typed client, its
// listers and informers for other programs, and the OpenAPI models that the server
// publishes.
//
//   - clientset/versioned reads findings, clusterfindings and proposals, mints the token
//     of an approval and posts it (SrenixV1alpha1), and keeps approvals, silences,
//     investigations and the audit chain (OpsV1alpha1). Its fake is for the tests of who
//     uses it.
//   - informers and listers hold copies that follow the cluster. Findings are computed
//     and stored nowhere, so their names are the same after a restart of the server, and
//     their resourceVersions are not: an informer lists again by itself.
//
// What a client may do is what RBAC gives to the user that it runs as: srenix-viewer is
// enough for findings and proposals.
package generated
