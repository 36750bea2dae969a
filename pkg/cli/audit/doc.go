// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit is `kubectl srenix audit`: verify checks the hash chain of a
// cluster, or a file of it with no cluster at all, and export prints it;
// checkpoint prints what was signed of it, and prove and check-proof show a single
// event to somebody who has neither the cluster nor the chain.
//
// What makes a chain right is package audit's to say (github.com/srenix/srenix/pkg/audit).
// This package reads events, checkpoints and keys from where they are, and adds
// what only a cluster can get wrong: the name of the object that holds an event.
package audit
