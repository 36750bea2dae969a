// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// definitions are the CustomResourceDefinitions, watched by their metadata where
// some input is Optional. They tell what a 404 means: a resource without a definition
// is not installed, one with a definition is unknown, and so is any where definitions
// were never read. And a change of one is reason to look for its resource at once; one
// that has none is hardly looked for.
var definitions = NewInput(
	schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
	InputOptions[*metav1.PartialObjectMetadata]{Trim: func(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
		// The resourceVersion stays, so that every change counts.
		return &metav1.PartialObjectMetadata{TypeMeta: in.TypeMeta, ObjectMeta: metav1.ObjectMeta{
			Name: in.Name, UID: in.UID, ResourceVersion: in.ResourceVersion,
		}}
	}},
)

// InstallationResource is what an engine lists and watches, beside what rules
// declare, if any input is Optional.
func InstallationResource() schema.GroupVersionResource { return definitions.kind.resource }

// watchInstallations has inputs that are Optional go by their definitions.
func (e *Engine) watchInstallations() error {
	e.mu.RLock()
	optional := map[string][]*input{}
	for k, c := range e.collections {
		if c.input != nil && k.optional {
			name := k.definition()
			optional[name] = append(optional[name], c.input)
		}
	}
	e.mu.RUnlock()
	if len(optional) == 0 {
		return nil
	}
	err := Subscribe(e, definitions, func(before, after *metav1.PartialObjectMetadata) {
		if after == nil {
			for _, in := range optional[before.Name] {
				in.lookAgain()
			}
			return
		}
		// It may be there now, or in a version that is preferred.
		for _, in := range optional[after.Name] {
			in.installed()
			switch {
			case !in.current().sound(in.c.kind):
				in.lookAgain()
			case in.version.Load() != 0:
				in.looks.Store(laterLooks)
				in.lookAgain()
			}
		}
	})
	if err != nil {
		return fmt.Errorf("watching what is installed: %w", err)
	}
	all := e.lookup(definitions.kind)
	for _, inputs := range optional {
		for _, in := range inputs {
			in.definitions = all
		}
	}
	return nil
}

// definition is the name of the CustomResourceDefinition of an input.
func (k *kind) definition() string { return k.resource.GroupResource().String() }

// defined tells whether there is a definition of the resource of an input, or was one
// when definitions were read last.
func (in *input) defined() bool {
	_, exists := in.definitions.get(Key{Name: in.c.kind.definition()})
	return exists
}

// judge tells what it means that an Optional resource is not found. Without a definition
// it is not installed, also by the definitions that were read last, should they be lost.
// Anything else is unknown.
func (in *input) judge(err error) error {
	if in.definitions == nil {
		return err
	}
	definitions := in.definitions.input.current()
	switch {
	case definitions.synced && !in.defined() && (definitions.state == stateSynced || !in.condition.synced):
		return err // what was read since, though definitions are lost, is installed
	case definitions.state == stateSynced:
		return &notFoundError{versions: in.c.kind.versions, err: err}
	}
	return &undecidedError{versions: in.c.kind.versions, definitions: definitions}
}

// installed ends that an input is not installed: its definition is there.
func (in *input) installed() {
	in.transition(func() {
		if in.list.state == stateNotInstalled && in.defined() {
			in.list = fault{}
			in.lapse.begin(in.c.engine.options.Clock.Now())
		}
	})
}

// awaitDefinitions waits until the definitions are read, or cannot be: nothing else
// tells whether what is not found is not installed.
func (in *input) awaitDefinitions(ctx context.Context) {
	if in.definitions == nil {
		return
	}
	select {
	case <-ctx.Done():
	case <-in.definitions.input.answered:
	}
}

// absentRetry is how often a resource is looked for of which it is known that it has no
// definition. It may be served all the same, by an API server of its own.
const absentRetry = 2 * time.Minute

// absent tells whether the resource is neither found nor defined.
func (in *input) absent() bool {
	return in.definitions != nil && in.current().state == stateNotInstalled &&
		in.definitions.input.current().state == stateSynced && !in.defined()
}

// rest waits for the definition of a resource that is absent.
func (in *input) rest(ctx context.Context) {
	if !in.absent() {
		return
	}
	in.mu.Lock()
	if in.list.state == stateNotInstalled {
		in.lapse = lapse{} // of a request that was given up for the rest: nothing is waited for
	}
	in.mu.Unlock()
	timer := time.NewTimer(absentRetry)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-in.look:
	case <-timer.C:
	}
}

// notFoundError is the answer that a resource is not found which is installed.
type notFoundError struct {
	versions []string
	err      error
}

func (e *notFoundError) Error() string {
	return fmt.Sprintf("it is installed, but answers 404 in version %s: it may be served only in versions that are not read here, "+
		"or what answers is not the API server; have such a version served, or look at what is between (%v)", strings.Join(e.versions, " and "), e.err)
}

func (e *notFoundError) Unwrap() error { return e.err }

// undecidedError is the answer that a resource is not found while nothing tells whether
// it is installed. What it takes to know is to read the definitions, so the input is as
// they are.
type undecidedError struct {
	versions    []string
	definitions condition
}

func (e *undecidedError) Error() string {
	return fmt.Sprintf("it answers 404 in version %s, and nothing tells whether it is installed: %s",
		strings.Join(e.versions, " and "), e.definitions.describe(definitions.kind))
}

func (e *undecidedError) Unwrap() error { return e.definitions.err }

// laterLooks is how many times more a preferred version is looked for, at
// longestWait, once a definition has changed: it is served a little later. Unlike
// a resource that is not installed, one that is read in another version is not
// retried.
const laterLooks = 2

// lookLater is called every few seconds.
func (in *input) lookLater() {
	if left := in.looks.Load(); left > 0 && in.looks.CompareAndSwap(left, left-1) && in.version.Load() != 0 {
		in.lookAgain()
	}
}

// promptLooks is how many changes of a definition are followed at once: it takes a few
// until a new resource is served. Those that go on are followed as often as what fails
// is retried at most.
const promptLooks = 5

// retryPause is the longest time between two attempts, but for jitter.
func (e *Engine) retryPause() time.Duration {
	return max(e.options.RetryBackoff.Cap, e.options.RetryBackoff.Duration, time.Millisecond)
}

// lookAgain has the resource looked for, soon.
func (in *input) lookAgain() { signal(in.look) }

// followLooks has the reflector start anew for what lookAgain asked for, until ctx
// ends. What is being listed is listed to its end, since definitions may go on changing.
// What is read in another version than the preferred one goes on being read so, unless
// moves tells that a better one is served.
func (in *input) followLooks(ctx context.Context, moves func(context.Context) bool) {
	for {
		select {
		case <-ctx.Done():
			return
		case <-in.look:
		}
		if in.looking.Wait(ctx) != nil {
			return
		}
		in.mu.Lock()
		listed := in.listed
		in.mu.Unlock()
		if listed != nil {
			select {
			case <-ctx.Done():
				return
			case <-listed:
			}
		}
		if in.current().state == stateSynced && in.defined() && (listed != nil || in.version.Load() != 0) && !moves(ctx) {
			continue
		}
		in.startAnew()
		return
	}
}
