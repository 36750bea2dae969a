// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/cache"
)

// inputState is what is known of an input.
type inputState string

const (
	stateSyncing      inputState = "Syncing"
	stateSynced       inputState = "Synced"
	stateNotInstalled inputState = "NotInstalled"
	stateForbidden    inputState = "Forbidden"
	stateFailing      inputState = "Failing"
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
	}
	return ReasonInputSyncing
}

// toleratedFailures is how many failures in a row are still taken for a hiccup,
// where the error itself does not say what is the matter. With the default retry
// backoff the next one comes after some three to six seconds.
const toleratedFailures = 2

// condition is the state of an input at one time.
type condition struct {
	state  inputState
	err    error
	since  time.Time
	synced bool // there was a first list
}

// sound tells whether the input holds what the cluster has.
func (c condition) sound(k *kind) bool {
	return c.state == stateSynced || c.state == stateNotInstalled && k.optional
}

// known tells whether rules go by what the input holds.
func (c condition) known(k *kind) bool {
	return c.sound(k) || k.advisory && (c.state == stateForbidden || c.state == stateFailing)
}

// fault is what listing, or watching, last ended with. The zero fault is success.
type fault struct {
	state    inputState
	err      error
	failures int
}

// input follows one resource of the API server: it receives what the reflector
// reads, and learns how the reading goes from the observed ListerWatcher.
type input struct {
	c *collection
	// again has one element if the resource may have been installed or removed.
	again chan struct{}

	// turn serializes changes of state together with all that follows from them.
	turn sync.Mutex

	mu          sync.Mutex
	condition   condition
	list, watch fault
	streaming   bool  // the last answer was a watch that sends the initial objects
	trimming    error // Trim panicked
}

func newInput(c *collection) *input {
	return &input{c: c, again: make(chan struct{}, 1), condition: condition{state: stateSyncing, since: c.engine.now()}}
}

func (in *input) current() condition {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.condition
}

// add counts one more failure in a row.
func (f *fault) add(err error) {
	f.failures++
	switch {
	case apierrors.IsForbidden(err):
		f.state, f.err = stateForbidden, err
	case apierrors.IsNotFound(err), meta.IsNoMatchError(err):
		f.state, f.err = stateNotInstalled, err
	case f.failures > toleratedFailures:
		f.state, f.err = stateFailing, err
	}
}

// relist tells whether an error only says that the reflector has to list again.
func relist(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || apierrors.IsTimeout(err) && apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

func (in *input) listFailed(err error) {
	if relist(err) {
		return
	}
	in.transition(func() { in.list.add(err) })
}

func (in *input) listSucceeded() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.streaming = false // replace follows
}

// watchFailed notes that a watch did not start. initial tells that it was to send
// the initial objects: the reflector then falls back to listing, which has the
// last word on whether the resource is there and may be read.
func (in *input) watchFailed(err error, initial bool) {
	if relist(err) || apierrors.IsNotFound(err) {
		return
	}
	if initial && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		return
	}
	in.transition(func() { in.watch.add(err) })
}

func (in *input) watchSucceeded(initial bool) {
	if initial {
		in.mu.Lock()
		in.streaming = true // replace follows
		in.mu.Unlock()
		return
	}
	in.transition(func() { in.watch = fault{} })
}

// unanswered declares an input failing that has not been read in time.
func (in *input) unanswered(after time.Duration) {
	if in.current().state != stateSyncing {
		return
	}
	in.transition(func() {
		if in.condition.state == stateSyncing {
			in.list.state, in.list.err = stateFailing, fmt.Errorf("no answer within %s", after)
		}
	})
}

// transition applies what happened and does what follows from a new state.
func (in *input) transition(happened func()) {
	in.c.engine.changing.Add(1)
	defer in.c.engine.changing.Add(-1)
	in.turn.Lock()
	defer in.turn.Unlock()
	before, after := in.move(happened)
	if before.state == after.state {
		return
	}
	if after.state == stateNotInstalled && in.c.kind.optional {
		in.c.writing.Lock()
		gone := in.c.replace(nil)
		in.c.setKnown(true)
		in.c.announce(gone)
		in.c.writing.Unlock()
	} else {
		in.c.setKnown(after.known(in.c.kind))
	}
	in.settle(after)
}

// replaced makes objects the content of the collection: the input is synced.
func (in *input) replaced(objects map[Key]Object) {
	in.c.engine.changing.Add(1)
	defer in.c.engine.changing.Add(-1)
	in.turn.Lock()
	defer in.turn.Unlock()
	in.c.writing.Lock()
	changes := in.c.replace(objects)
	before, after := in.move(func() {
		in.condition.synced = true
		in.list = fault{}
		if in.streaming {
			in.watch = fault{}
		}
	})
	in.c.setKnown(after.known(in.c.kind))
	in.c.announce(changes)
	in.c.writing.Unlock()
	if before.state != after.state {
		in.settle(after)
	}
}

// move applies what happened and derives the state anew.
func (in *input) move(happened func()) (before, after condition) {
	in.mu.Lock()
	defer in.mu.Unlock()
	before = in.condition
	happened()
	if in.list.state == stateNotInstalled && in.c.kind.optional {
		in.condition.synced = false // what there was goes
	}
	state, err := stateSynced, error(nil)
	switch {
	case in.trimming != nil:
		state, err = stateFailing, in.trimming
	case in.list.state != "":
		state, err = in.list.state, in.list.err
	case in.watch.state != "":
		state, err = in.watch.state, in.watch.err
	case !in.condition.synced:
		state = stateSyncing
	}
	if state != before.state {
		in.condition.state, in.condition.err, in.condition.since = state, err, in.c.engine.now()
	}
	return before, in.condition
}

// settle tells the rules, and lets those start that waited for a first state.
func (in *input) settle(after condition) {
	logger := in.c.engine.options.Logger.WithValues("input", in.c.kind.name, "state", after.state)
	if after.sound(in.c.kind) {
		logger.V(1).Info("Input is known")
	} else {
		logger.Info("Input is not known", "err", after.err)
	}
	for _, r := range in.c.readBy {
		r.refreshStatus()
	}
	if after.state != stateSyncing && !in.c.reached.Load() {
		in.c.reached.Store(true)
		in.c.engine.advance()
	}
}

// Add, Update, Delete, Replace, Resync and Transformer make the input the store
// of a client-go Reflector, which calls them from one goroutine.
var _ cache.TransformingStore = &input{}

// Add stores an object that a watch sent, trimmed.
func (in *input) Add(obj any) error {
	object, err := in.accept(obj)
	if err != nil {
		return err
	}
	if object, err = in.trim(object); err != nil {
		return err
	}
	in.write(keyOf(object), object)
	return nil
}

// Update is Add.
func (in *input) Update(obj any) error { return in.Add(obj) }

// Delete removes an object.
func (in *input) Delete(obj any) error {
	object, err := in.accept(obj)
	if err != nil {
		return err
	}
	in.write(keyOf(object), nil)
	return nil
}

// Replace takes a whole list, whose items are trimmed already: by the observed
// ListerWatcher, or by the Reflector, which asks for the Transformer.
func (in *input) Replace(items []any, _ string) error {
	objects := make(map[Key]Object, len(items))
	for _, item := range items {
		object, err := in.accept(item)
		if err != nil {
			return err
		}
		objects[keyOf(object)] = object
	}
	in.replaced(objects)
	return nil
}

// Resync has nothing to do: nothing here is ever behind the store.
func (in *input) Resync() error { return nil }

// Transformer lets the Reflector trim what a streamed list brings, as it comes.
func (in *input) Transformer() cache.TransformFunc {
	if in.c.kind.trim == nil {
		return nil
	}
	return func(obj any) (any, error) {
		object, err := in.accept(obj)
		if err != nil {
			return obj, nil //nolint:nilerr // for example DeletedFinalStateUnknown
		}
		return in.trim(object)
	}
}

func (in *input) write(key Key, object Object) {
	in.c.engine.changing.Add(1)
	defer in.c.engine.changing.Add(-1)
	in.c.writing.Lock()
	defer in.c.writing.Unlock()
	in.c.write(key, object)
}

func (in *input) accept(obj any) (Object, error) {
	object, ok := obj.(Object)
	if !ok || !in.c.kind.holds(object) {
		return nil, fmt.Errorf("%s holds %T, not %T", in.c.kind.name, in.c.kind.example(), obj)
	}
	return object, nil
}

// trim runs Trim. If it panics, the object is not stored, since what Trim was to
// remove may be secret, and the input fails for good.
func (in *input) trim(object Object) (trimmed Object, err error) {
	if in.c.kind.trim == nil {
		return object, nil
	}
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("trimming %s %s panicked: %v", in.c.kind.name, keyOf(object), p)
			in.c.engine.options.Logger.Error(err, "Trim panicked", "stack", string(debug.Stack()))
			in.transition(func() { in.trimming = err })
		}
	}()
	return in.c.kind.trim(object), nil
}
