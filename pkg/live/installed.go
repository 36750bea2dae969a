// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// definitions are the CustomResourceDefinitions, watched by their metadata where
// some input is Optional: a change of one is reason to look for its resource at
// once and not at the next retry. Without the right to watch them it is found at
// the next retry.
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

// watchInstallations has inputs that are not installed looked for again when
// their CustomResourceDefinition changes.
func (e *Engine) watchInstallations() error {
	e.mu.RLock()
	optional := map[string][]*input{}
	for k, c := range e.collections {
		if c.input != nil && k.optional {
			// The name of a CustomResourceDefinition is that of its resource.
			name := k.resource.GroupResource().String()
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
			switch {
			case in.current().state == stateNotInstalled:
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
	return nil
}

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

// lookAgain has the reflector start anew.
func (in *input) lookAgain() {
	select {
	case in.again <- struct{}{}:
	default:
	}
}
