// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package advisor has findings looked into and stores what comes out as
// Investigations: one for each finding that is critical or that somebody asked
// about. It reads what an investigation needs, no Secrets, and writes nothing but
// Investigations. It knows no tokens and no actions.
//
// Rules come first, and do not wait for anything. Where a model is configured, it is
// asked in a second queue to narrate what the rules have found. Nothing depends on
// what it answers, or on whether it answers.
package advisor
