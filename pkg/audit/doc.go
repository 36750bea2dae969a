// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package audit is the cluster's hash chain: one AuditEvent after another, each
// holding the hash of the one before. Event N is the object named N, so that
// creating it is the compare-and-swap that orders all writers, whichever
// component and replica they are in.
//
// It does not know what is worth recording, nor who may; and it never sees a
// token or the value of a Secret. Verifying needs no cluster.
package audit
