// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"crypto/sha256"
	"encoding/hex"
	"time"
)

// Request is one question.
type Request struct {
	// PromptVersion names the prompt and its version, as "fix/1". It is a label of
	// metrics.
	PromptVersion string
	// System says what the model is for and how it answers, and User is the question.
	// JSON mode asks for the word JSON in one of them.
	System, User string
	// Check tells what is wrong with an answer; nil if nothing can be. It returns
	// ErrWrongType, ErrScreened, or another error if the answer cannot be read. What it says about
	// an answer must not repeat it: it appears in errors and logs.
	Check func(answer string) error
}

// Record is what an audit event says of a call.
type Record struct {
	// Time at which the call began.
	Time time.Time
	// Model as it was asked for.
	Model string
	// PromptVersion of the request.
	PromptVersion string
	// PromptHash and AnswerHash are "sha256:" and the SHA-256 in hex: of what the model
	// was told (System, a zero byte, User), and of the text that it answered. The latter
	// is empty if there was none.
	PromptHash, AnswerHash string
	// PromptTokens and AnswerTokens are what all attempts used, as the endpoint says.
	PromptTokens, AnswerTokens int
	// Estimated tells that the endpoint did not say so of each attempt. What it may have
	// used counts then: the prompt by estimate, and the longest answer.
	Estimated bool
	// Attempts are requests that were sent.
	Attempts int
	// Outcome of the call.
	Outcome Outcome
}

// Spent returns what a record counts for in the hourly budget.
func (r *Record) Spent() Spent {
	return Spent{At: r.Time, Tokens: r.PromptTokens + r.AnswerTokens}
}

// Answered tells whether the model had its say, so that it would say no better if it
// was asked the same again.
func (r *Record) Answered() bool {
	return r.AnswerHash != "" || r.Outcome == Empty || r.Outcome == Refused
}

// Answer is what came of a request.
type Answer struct {
	// Text that the model answered; empty if the outcome is not OK.
	Text string
	// Record of the call, whatever its outcome.
	Record Record
}

// hash is "sha256:" and the SHA-256 in hex.
func hash(content string) string {
	sum := sha256.Sum256([]byte(content))
	return "sha256:" + hex.EncodeToString(sum[:])
}
