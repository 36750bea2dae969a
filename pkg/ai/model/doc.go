// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model asks a language model over any endpoint that speaks the
// chat-completions protocol of OpenAI, in JSON mode.
//
// Whatever goes wrong ends as one of a closed list of outcomes, soon, and without a
// lasting effect on other calls: the caller goes on with what it has without a model.
// What keeps calls bounded, in the order in which a call meets it:
//
//   - the length of the prompt and of the answer, in tokens;
//   - a breaker, which opens when the endpoint fails several times in a row;
//   - a time for the call with all its attempts;
//   - what the endpoint asked for by Retry-After, which holds for all calls;
//   - how many requests are under way at once;
//   - the tokens of the last hour;
//   - the size of a response.
//
// Each call leaves a Record, whatever its outcome: it says what an audit event has to
// say, and the texts appear in it as hashes only. The tokens of past records, given to
// Client.Restore, let the budget of an hour outlive a process.
//
// No error, log line or metric holds the key, a prompt or what an endpoint says in
// prose. The package knows nothing of what it asks, of the cluster or of redaction:
// callers give texts that are fit to leave.
package model
