// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package offline computes findings and proposals of a cluster that is not there: from a
// folder, an archive or a file of what `kubectl get -o yaml` or `-o json` printed, or of
// what must-gather left. Engine, analyzers and policy are those of the API server.
//
// What is in the files is taken for all that there is of its kind. A kind of which they
// have nothing is not read, unless they have the CustomResourceDefinitions and none is of
// it: what an analyzer would find that needs it is unknown, and said to be. Time stands
// still at that of the files. Values of Secrets and ConfigMaps are dropped while a file
// is decoded.
//
// Nothing is written, and no cluster is asked.
package offline
