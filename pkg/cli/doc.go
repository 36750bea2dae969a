// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package cli is what the kubectl plugins have in common: running a command as
// kubectl runs its own, telling an error with what to do next, progress, and
// typed REST clients. Each command is a package below it.
//
// It does not know what any command is for.
package cli
