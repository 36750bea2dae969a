// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"errors"
	"fmt"
	"time"
)

// Outcome is what became of a call.
type Outcome string

// The outcomes of calls. All but OK come with an Error.
const (
	// OK is an answer that passed the check of the request.
	OK Outcome = "OK"
	// Timeout is a call that was not over in time.
	Timeout Outcome = "Timeout"
	// RateLimited is a 429, or a call before the end of a pause that the endpoint asked
	// all calls to make.
	RateLimited Outcome = "RateLimited"
	// ServerError is a 5xx.
	ServerError Outcome = "ServerError"
	// Unauthorized is a 401 or 403.
	Unauthorized Outcome = "Unauthorized"
	// NoKey is a key file that cannot be read or holds no key. Nothing was sent.
	NoKey Outcome = "NoKey"
	// Rejected is another status than 200, such as 404 for a model that is not there.
	Rejected Outcome = "Rejected"
	// Unreachable is an endpoint that cannot be connected to or that drops the connection.
	Unreachable Outcome = "Unreachable"
	// Truncated is an answer that ran into the limit of its tokens.
	Truncated Outcome = "Truncated"
	// Malformed is a response or an answer that cannot be read.
	Malformed Outcome = "Malformed"
	// WrongType is a response or an answer with something else where a text belongs.
	WrongType Outcome = "WrongType"
	// Empty is a response without an answer.
	Empty Outcome = "Empty"
	// TooLarge is a response that goes on past the limit of its bytes.
	TooLarge Outcome = "TooLarge"
	// Looping is an answer that says the same again and again.
	Looping Outcome = "Looping"
	// Refused is an answer that the endpoint withholds for its content.
	Refused Outcome = "Refused"
	// Screened is an answer that can be read, and holds what may not be kept.
	Screened Outcome = "Screened"
	// Budget is a prompt that is too long, or one for which the hour has no tokens left.
	// Nothing was sent.
	Budget Outcome = "Budget"
	// BreakerOpen is a call while the endpoint is left alone. Nothing was sent.
	BreakerOpen Outcome = "BreakerOpen"
	// Canceled is a call that the caller gave up.
	Canceled Outcome = "Canceled"
)

// Outcomes are all of them.
func Outcomes() []Outcome {
	return []Outcome{OK, Timeout, RateLimited, ServerError, Unauthorized, NoKey, Rejected, Unreachable, Truncated, Malformed, WrongType, Empty, TooLarge, Looping, Refused, Screened, Budget, BreakerOpen, Canceled}
}

// ErrWrongType is what the check of a request returns, or wraps, if an answer can be
// read and holds something of another type than was asked for. Every other error of a
// check but ErrScreened means that the answer cannot be read.
var ErrWrongType = errors.New("it has another type than was asked for")

// ErrScreened is what the check of a request returns, or wraps, if an answer holds what
// may not be kept, as something that looks like a secret.
var ErrScreened = errors.New("the answer may not be kept")

// Error tells why a call gave no answer.
type Error struct {
	Outcome Outcome
	// Status is the HTTP status, if that is the reason; else 0.
	Status int
	// RetryAfter is how long the endpoint asks to be left alone, or how long it is until
	// the hour has tokens again; 0 if unknown.
	RetryAfter time.Duration
	// detail tells more. It comes from this package, the standard library or the check
	// of the request, never from the endpoint.
	detail string
}

// Error tells what happened and what to do.
func (e *Error) Error() string {
	text := advice[e.Outcome]
	if e.Status != 0 {
		text = fmt.Sprintf("it answered %d: %s", e.Status, text)
	}
	if e.detail != "" {
		text = fmt.Sprintf("%s (%s)", text, e.detail)
	}
	if e.RetryAfter > 0 {
		text = fmt.Sprintf("%s; ask again in %s", text, e.RetryAfter.Round(time.Second))
	}
	return "asking the model: " + text
}

var advice = map[Outcome]string{
	Timeout:      "it did not answer in time: raise the timeout, or take a faster model",
	RateLimited:  "the endpoint asks to be left alone for a while: raise its limit, or lower the hourly tokens",
	ServerError:  "the endpoint fails: look at its logs or status page",
	Unauthorized: "the endpoint does not take the key: check the key file and what the key may do",
	NoKey:        "the key file gives no key: mount a file with the key in one line",
	Rejected:     "the endpoint does not take the request: check the base URL, the name of the model and whether it has JSON mode",
	Unreachable:  "there is no connection to the endpoint: check the base URL, the proxy, the authorities and network policies",
	Truncated:    "the answer was cut off: raise the answer tokens",
	Malformed:    "the answer cannot be read: check that the endpoint speaks the chat-completions protocol and that the model has JSON mode",
	WrongType:    "the answer has something else where a text belongs",
	Empty:        "the response holds no answer",
	TooLarge:     "the response is larger than it may be",
	Looping:      "the answer says the same again and again",
	Refused:      "the endpoint withholds the answer for its content",
	Screened:     "the answer is thrown away for what it holds: take another model if that is so often",
	Budget:       "no tokens are left for it: raise the prompt tokens or the hourly tokens",
	BreakerOpen:  "it failed too often in a row and is left alone",
	Canceled:     "the caller gave up",
}

// OutcomeOf returns the outcome that an error of Ask stands for, and OK for nil.
func OutcomeOf(err error) Outcome {
	var failed *Error
	switch {
	case err == nil:
		return OK
	case errors.As(err, &failed):
		return failed.Outcome
	}
	return Canceled
}
