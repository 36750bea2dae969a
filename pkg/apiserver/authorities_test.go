// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"testing"

	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// running is a provider as the library's: it takes no listener once it runs.
type running struct {
	dynamiccertificates.CAContentProvider
	ran       bool
	late      int
	listeners []dynamiccertificates.Listener
}

func (r *running) AddListener(listener dynamiccertificates.Listener) {
	if r.ran {
		r.late++
	}
	r.listeners = append(r.listeners, listener)
}

func (r *running) RunOnce(context.Context) error { r.ran = true; return nil }

func (r *running) Run(context.Context, int) {
	for _, listener := range r.listeners {
		listener.Enqueue()
	}
}

type hears int

func (h *hears) Enqueue() { *h++ }

// TestAListenerThatComesLateHearsOfAuthorities: the server begins to listen once it
// serves, and the authorities are loaded before.
func TestAListenerThatComesLateHearsOfAuthorities(t *testing.T) {
	provider := &running{}
	generic := &genericapiserver.RecommendedConfig{}
	generic.SecureServing = &genericapiserver.SecureServingInfo{ClientCA: provider}
	authorities := newAuthorities(generic, NewOptions())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := authorities.run(ctx); err != nil {
		t.Fatal(err)
	}
	var heard hears
	generic.SecureServing.ClientCA.AddListener(&heard)
	if provider.late > 0 {
		t.Error("the provider, which runs, was given a listener")
	}
	provider.Run(ctx, 1) // of which the authorities have changed
	if heard != 1 {
		t.Errorf("heard of %d changes, want 1", heard)
	}
}
