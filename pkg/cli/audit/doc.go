// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit is `kubectl srenix audit`: verify checks the hash chain of a
// cluster, or a file of it with no cluster at all, and export prints it.
//
// What makes a chain right is package audit's to say (github.com/srenix/srenix/pkg/audit).
// This package reads events from where they are, and adds what only a cluster
// can get wrong: the name of the object that holds an event, and where a chain begins.
package audit
