// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"context"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// Nobody is told to switch off what is no analyzer.
func TestOnlyAnalyzersCanBeSwitchedOff(t *testing.T) {
	missing := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"list"}}}
	for group, want := range map[string]bool{"ConfigDrift": true, Proposing: false} {
		remedy := remedy(&live.Status{Group: group, Missing: missing}, "srenix-system:srenix-apiserver")
		if told := strings.Contains(remedy.Text, "switch the analyzer off"); told != want || len(remedy.Commands) != 2 {
			t.Errorf("%s: %+v", group, remedy)
		}
	}
}

// TestAReportStaysForAsLongAsTheSameIsLacking, whichever rules lack it, and whatever else
// they lack or do not see.
func TestAReportStaysForAsLongAsTheSameIsLacking(t *testing.T) {
	secrets := live.NewInput(corev1.SchemeGroupVersion.WithResource("secrets"), live.InputOptions[*corev1.Secret]{})
	configs := live.NewInput(corev1.SchemeGroupVersion.WithResource("configmaps"), live.InputOptions[*corev1.ConfigMap]{})
	none := func(*live.View, live.Key) ([]live.Output, error) { return nil, nil }
	epoch := time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC)
	clock, cluster := testingclock.NewFakeClock(epoch), &livetest.Cluster{}
	engine := live.New(live.Options{Clock: clock, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1}})
	for _, rule := range []live.Rule{
		{Name: "a", Group: "Test", Subject: configs.Ref(), Reads: []live.KindRef{secrets.Ref()}, Evaluate: none},
		{Name: "b", Group: "Test", Subject: secrets.Ref(), Evaluate: none},
		{Name: "c", Group: "Test", Subject: secrets.Ref(), Evaluate: none},
		DegradedRule("srenix-system:srenix-apiserver"),
	} {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster.Forbid(secrets.Ref().Resource())
	cluster.Forbid(configs.Ref().Resource())
	livetest.Run(t, engine, cluster)
	reports := func(what string, want map[string]time.Duration) {
		t.Helper()
		var have map[string]time.Duration
		defer func() {
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("%s: reported, and how long after the start (-want +have):\n%s", what, diff)
			}
		}()
		livetest.Eventually(t, what, func() bool {
			have = map[string]time.Duration{}
			for _, f := range live.List(engine, DetectedClusterFindings) {
				have[f.Spec.Discriminator] = f.Spec.Since.Sub(epoch)
			}
			return engine.Settled() && cmp.Equal(want, have)
		})
	}
	reports("both are forbidden", map[string]time.Duration{"configmaps,secrets": 0, "secrets": 0})
	var mu sync.Mutex
	var withdrawn, conflicts []string
	if err := live.Subscribe(engine, DetectedClusterFindings, func(before, after *v1alpha1.ClusterFinding) {
		mu.Lock()
		defer mu.Unlock()
		if after == nil {
			withdrawn = append(withdrawn, before.Spec.Discriminator)
		}
	}); err != nil {
		t.Fatal(err)
	}
	if err := live.Subscribe(engine, live.Statuses(), func(_, after *live.Status) {
		mu.Lock()
		defer mu.Unlock()
		if after.Reason == live.ReasonConflict {
			conflicts = append(conflicts, after.Message)
		}
	}); err != nil {
		t.Fatal(err)
	}
	clock.Step(time.Hour)
	cluster.Fail(configs.Ref().Resource(), errors.New("away"))
	reports("one fails", map[string]time.Duration{"secrets": 0})
	clock.Step(time.Hour)
	cluster.Serve(configs.Ref().Resource())
	reports("one is back", map[string]time.Duration{"secrets": 0})
	cluster.Forbid(configs.Ref().Resource())
	reports("it goes again", map[string]time.Duration{"configmaps,secrets": 2 * time.Hour, "secrets": 0})
	cluster.Serve(configs.Ref().Resource())
	reports("and is back", map[string]time.Duration{"secrets": 0})
	mu.Lock()
	defer mu.Unlock()
	if diff := cmp.Diff([]string{"configmaps,secrets", "configmaps,secrets"}, withdrawn); diff != "" {
		t.Errorf("withdrawn (-want +have):\n%s", diff)
	}
	if len(conflicts) > 0 {
		t.Errorf("conflicts: %q", conflicts)
	}
}

// gated is a source whose resource answers nobody until the gate is closed, if there is one.
type gated struct {
	*livetest.Cluster
	resource schema.GroupVersionResource
	gate     atomic.Pointer[chan struct{}]
}

func (g *gated) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	source, err := g.Cluster.ListerWatcher(resource, example)
	if err != nil || resource != g.resource {
		return source, err
	}
	behind := cache.ToListerWatcherWithContext(source)
	pass := func(ctx context.Context) error {
		gate := g.gate.Load()
		if gate == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-*gate:
			return nil
		}
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			if err := pass(ctx); err != nil {
				return nil, err
			}
			return behind.ListWithContext(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			if err := pass(ctx); err != nil {
				return nil, err
			}
			return behind.WatchWithContext(ctx, options)
		},
	}, nil
}

// TestWhatWasJustInstalledIsReportedOnceItTakesLong to read it: whoever installs
// something is not told of what passes by itself.
func TestWhatWasJustInstalledIsReportedOnceItTakesLong(t *testing.T) {
	widgets := live.NewInput(schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}, live.InputOptions[*metav1.PartialObjectMetadata]{Optional: true})
	clock := testingclock.NewFakeClock(time.Date(2030, 1, 1, 0, 0, 0, 0, time.UTC))
	engine := live.New(live.Options{Clock: clock, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1}})
	for _, rule := range []live.Rule{DegradedRule("srenix-system:srenix"), {
		Name: "widgets", Group: "Widgets", Subject: widgets.Ref(),
		Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil },
	}} {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	source := &gated{Cluster: &livetest.Cluster{}, resource: widgets.Ref().Resource()}
	reports := func() int { return len(live.List(engine, DetectedClusterFindings)) }
	source.NotInstalled(source.resource)
	livetest.Run(t, engine, source)
	gate := make(chan struct{})
	source.gate.Store(&gate)
	source.Serve(source.resource)
	livetest.Eventually(t, "it is being read", func() bool {
		status, _ := live.Get(engine, live.Statuses(), live.Key{Name: "widgets"})
		return status.Reason == live.ReasonInputSyncing
	})
	clock.Step(syncingGrace - time.Second)
	livetest.Eventually(t, "it settles", engine.Settled)
	if n := reports(); n > 0 {
		t.Errorf("%d reports of what was just installed", n)
	}
	clock.Step(time.Second)
	livetest.Eventually(t, "it is reported", func() bool { return reports() == 1 })
	close(gate)
	livetest.Eventually(t, "it has been read", func() bool { return reports() == 0 })
}
