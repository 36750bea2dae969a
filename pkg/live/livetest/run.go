// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package livetest

import (
	"context"
	"slices"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/srenix/srenix/pkg/live"
)

// patience is how long a condition may take; far more than any should.
const patience = 20 * time.Second

// Run runs an engine until it is stopped, or the test ends, and waits for its first sync.
func Run(t testing.TB, engine *live.Engine, source live.Source) (stop func()) {
	t.Helper()
	stop = Start(t, engine, source)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := engine.WaitForSync(ctx); err != nil {
		t.Fatal(err)
	}
	return stop
}

// RunPast is Run where inputs of the cluster may fail from the start. Once no others are
// awaited, but for those that wait for definitions that fail, timeout is to step the
// engine's clock past its SyncTimeout.
func RunPast(t testing.TB, engine *live.Engine, cluster *Cluster, timeout func()) {
	t.Helper()
	Start(t, engine, cluster)
	Eventually(t, "the first sync awaits nothing but what fails", func() bool {
		undefined := cluster.fails(live.InstallationResource())
		return !slices.ContainsFunc(engine.Awaited(), func(kind live.KindRef) bool {
			return !cluster.fails(kind.Resource()) && (!undefined || !kind.Optional())
		})
	})
	Eventually(t, "the first sync to be over", func() bool {
		if !engine.Synced() && len(engine.Awaited()) > 0 {
			timeout()
		}
		return engine.Synced()
	})
}

// Start runs an engine until it is stopped, or the test ends. Once stop returns, the
// engine does nothing more.
func Start(t testing.TB, engine *live.Engine, source live.Source) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx, source) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("running the engine: %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

// Eventually waits for a condition, and fails the test if it does not come true.
func Eventually(t testing.TB, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(context.Background(), 200*time.Microsecond, patience, true, func(context.Context) (bool, error) {
		return condition(), nil
	})
	if err != nil {
		t.Fatalf("still not so after %s: %s", patience, what)
	}
}

// Settle waits until an input has every object as the cluster has it, and nothing
// is left to evaluate. The kind must not trim resourceVersions. With several
// inputs, call it for each.
func Settle[T live.Object](t testing.TB, engine *live.Engine, cluster *Cluster, kind live.Kind[T]) {
	t.Helper()
	Eventually(t, kind.Ref().String()+" is as in the cluster and evaluated", func() bool {
		want := cluster.versionsOf(kind.Ref().Resource())
		objects := live.List(engine, kind)
		for _, object := range objects {
			if want[keyOf(object)] != object.GetResourceVersion() {
				return false
			}
		}
		return len(objects) == len(want) && engine.Settled()
	})
}
