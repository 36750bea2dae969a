// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package silences tells which findings people do not want to hear of for now,
// and which silences want looking after: those that are over, match everything,
// or match nothing. It hides nothing: a silenced finding is marked.
package silences
