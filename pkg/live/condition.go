// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"errors"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// inputState is what is known of an input.
type inputState string

const (
	stateSyncing      inputState = "Syncing"
	stateSynced       inputState = "Synced"
	stateNotInstalled inputState = "NotInstalled"
	stateForbidden    inputState = "Forbidden"
	stateFailing      inputState = "Failing"
	// stateNotRead is of sources that hold a part of a cluster only. No server has it.
	stateNotRead inputState = "NotRead"
)

var inputStates = [...]inputState{stateSyncing, stateSynced, stateNotInstalled, stateForbidden, stateFailing}

func (s inputState) reason() string {
	switch s {
	case stateForbidden:
		return ReasonInputForbidden
	case stateFailing:
		return ReasonInputFailing
	case stateNotInstalled:
		return ReasonInputNotInstalled
	case stateNotRead:
		return ReasonInputNotRead
	}
	return ReasonInputSyncing
}

// toleratedFailures is how many failures in a row are still taken for a hiccup,
// where the error itself does not say what is the matter. With the default retry
// backoff the next one comes after some three to six seconds, if requests fail at
// once; longestLapse bounds how long it takes if they do not.
const toleratedFailures = 2

// longestLapse is how long an input may go without news before it counts as
// failing, whatever its requests are doing. A watch is reopened, and a list read
// anew, in much less.
const longestLapse = 30 * time.Second

// A request without an answer is given up after firstPatience, and made again. What
// is slow is to end at last: each one more is given twice as long, up to lastPatience.
const (
	firstPatience = 2 * longestLapse
	lastPatience  = 8 * firstPatience
)

// longestSilence is how long an open watch may bring nothing before it counts as
// lost: three times as long as from one bookmark to the next (k8s.io/apiserver,
// pkg/storage/cacher, defaultBookmarkFrequency).
const longestSilence = 3 * time.Minute

// requote is how long a failing input is described by one error before another
// text of the same kind of error takes its place: many name ports or times, and
// differ with each attempt.
const requote = time.Minute

// condition is the state of an input at one time.
type condition struct {
	state  inputState
	err    error
	since  time.Time
	synced bool      // there was a first list
	quoted time.Time // when err was set
	quotes int       // how many times it was
	// awaited tells that the first sync waits for an answer.
	awaited bool
}

// answered tells whether the first sync can go on: with what the input holds, or
// with that it cannot be read. As long as the sync waits, errors do not tell that:
// what is evaluated without the input would be missing, and taken for gone.
func (c condition) answered() bool {
	var unfit *unfitError // is in an answer, and waiting does not help
	return !c.awaited || c.state != stateSyncing && c.state != stateFailing || errors.As(c.err, &unfit)
}

// quote makes err what is said of the input.
func (c *condition) quote(err error, now time.Time) {
	c.err, c.quoted = err, now
	c.quotes++
}

// outdated tells whether err is to be said of the input, whose state is the same.
func (c condition) outdated(err error, now time.Time) bool {
	if err == nil || causeText(err) == causeText(c.err) {
		return false
	}
	var unfit *unfitError
	return errors.As(err, &unfit) || apierrors.ReasonForError(err) != apierrors.ReasonForError(c.err) ||
		now.Before(c.quoted) || now.Sub(c.quoted) >= requote
}

// sound tells whether the input holds what the cluster has.
func (c condition) sound(k *kind) bool {
	return c.state == stateSynced || c.state == stateNotInstalled && k.optional
}

// known tells whether rules go by what the input holds.
func (c condition) known(k *kind) bool {
	return c.sound(k) || k.advisory && (c.state == stateForbidden || c.state == stateFailing || c.state == stateNotRead)
}

// fault is what listing, or watching, last ended with. The zero fault is success.
type fault struct {
	state    inputState
	err      error
	failures int
}

// add counts one more failure in a row.
func (f *fault) add(err error) {
	f.failures++
	var notRead *NotReadError
	switch {
	case errors.As(err, &notRead):
		f.state, f.err = stateNotRead, err
	case apierrors.IsForbidden(err):
		f.state, f.err = stateForbidden, err
	case notServed(err):
		f.state, f.err = stateNotInstalled, err
	case f.failures > toleratedFailures, f.state == stateFailing:
		f.state, f.err = stateFailing, err
	}
}

// notServed tells whether an error says that the cluster does not have the resource.
func notServed(err error) bool {
	var defined *notFoundError
	var undecided *undecidedError
	return (apierrors.IsNotFound(err) || meta.IsNoMatchError(err)) && !errors.As(err, &defined) && !errors.As(err, &undecided)
}

// relist tells whether an error only says that the reflector has to list again.
func relist(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err) && apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// lapse is a time without news: between the end of a watch and the next one, or a
// list. The zero lapse is none.
type lapse struct {
	since    time.Time
	listing  bool          // the last request was for a list
	err      error         // what was answered last, if anything
	asked    time.Time     // when, by the real clock, the request began that has no answer yet
	patience time.Duration // how long that is waited for; firstPatience if zero
}

func (l *lapse) begin(now time.Time) {
	if l.since.IsZero() {
		*l = lapse{since: now}
	}
}

// answered notes that the last request has ended, and how.
func (l *lapse) answered(err error) { l.asked, l.err = time.Time{}, err }

// giveUp tells whether the last request is waited for no longer.
func (l *lapse) giveUp(now time.Time) bool {
	patience := max(l.patience, firstPatience)
	if l.asked.IsZero() || now.Sub(l.asked) < patience {
		return false
	}
	l.asked, l.patience = now, min(2*patience, lastPatience)
	return true
}

// hearing is what comes on the watches of an input.
type hearing struct {
	// last is when the last event or bookmark came, or the watch began; zero while
	// none is open.
	last time.Time
	// news is when the last event, bookmark or list came, on whatever watch.
	news time.Time
	// bookmarks tells that one came, be it on a watch before, and so that more are
	// due: not every API server sends any.
	bookmarks bool
}

func (h *hearing) add(bookmark bool, now time.Time) {
	h.last, h.news, h.bookmarks = now, now, h.bookmarks || bookmark
}

func (h *hearing) begin(now time.Time) { h.last = now }

func (h *hearing) end() { h.last = time.Time{} }

// stale tells whether watches that begin and end anew have brought nothing for too long.
func (h *hearing) stale(now time.Time) bool {
	return !h.news.IsZero() && now.Sub(h.news) >= longestSilence
}

func (h *hearing) late(now time.Time) bool {
	return h.bookmarks && !h.last.IsZero() && now.Sub(h.last) >= longestSilence
}

func (l *lapse) failure() error {
	if l.err != nil {
		return fmt.Errorf("it has not been read for more than %s: %w", longestLapse, l.err)
	}
	return fmt.Errorf("it has not been read for more than %s, and the API server does not answer", longestLapse)
}
