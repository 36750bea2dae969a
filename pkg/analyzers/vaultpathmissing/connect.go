// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

// Connect returns a source from which an engine reads, beside what another one gives,
// what Vault has at the paths that its ExternalSecrets refer to. It has to be called
// before the engine runs, and after the analyzer's rules are added.
func Connect(engine *live.Engine, source live.Source, options Options, clock clock.WithTicker) (live.Source, error) {
	client, err := vault.New(options.Client())
	if err != nil {
		return nil, err
	}
	poller := vault.NewPoller(client, func(ctx context.Context) ([]vault.Path, error) { return options.wanted(ctx, engine) }, options.RefreshInterval.Duration, clock)
	// What the operator notes in a status changes no generation.
	changes := func(before, after *unstructured.Unstructured) bool {
		return before == nil || after == nil || before.GetGeneration() != after.GetGeneration() || before.GetUID() != after.GetUID()
	}
	wants := func(before, after *unstructured.Unstructured) {
		if !changes(before, after) {
			return
		}
		var paths []vault.Path
		if after != nil {
			for _, want := range options.wants(engine.Snapshot(), after) {
				paths = append(paths, want.path)
			}
		}
		poller.Changed(paths...)
	}
	stores := func(before, after *unstructured.Unstructured) {
		if changes(before, after) {
			poller.Changed()
		}
	}
	for kind, changed := range map[live.Kind[*unstructured.Unstructured]]func(before, after *unstructured.Unstructured){
		inputs.ExternalSecrets: wants, inputs.SecretStores: stores, inputs.ClusterSecretStores: stores,
	} {
		if err := live.Subscribe(engine, kind, changed); err != nil {
			return nil, fmt.Errorf("following what is wanted of Vault: %w", err)
		}
	}
	return poller.Source(source), nil
}

const (
	// knownWithin is how long is waited for the cluster to say what is wanted.
	knownWithin = 10 * time.Second
	look        = 50 * time.Millisecond
)

// wanted waits until the engine knows what is wanted.
func (o Options) wanted(ctx context.Context, engine *live.Engine) ([]vault.Path, error) {
	var paths []vault.Path
	var unknown error
	err := wait.PollUntilContextTimeout(ctx, look, knownWithin, true, func(context.Context) (bool, error) {
		view := engine.Snapshot()
		paths = o.Paths(view)
		unknown = view.Unknown()
		return unknown == nil, nil
	})
	if err != nil && unknown != nil {
		return nil, unknown
	}
	return paths, err
}
