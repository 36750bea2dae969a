// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestARestoredClusterIsComparedByValue: after a restore, the same version may be that of
// another content.
func TestARestoredClusterIsComparedByValue(t *testing.T) {
	version := func(said, version string) *corev1.ConfigMap {
		c := text("ns", "a", said)
		c.ResourceVersion, c.UID = version, "u"
		return c
	}
	f := newFixture(t, readsConfig("rule"))
	live.Feed(t, f.engine)
	live.FeedReplace(f.engine, pods, pod("ns", "a", nil))
	live.FeedReplaceAt(f.engine, configs, "104", version("older", "104"))
	live.FeedSet(f.engine, configs, version("before the restore", "105"))
	livetest.Eventually(t, "synced", func() bool { return f.engine.Synced() && f.engine.Settled() })
	live.FeedReplaceAt(f.engine, configs, "107", version("before the restore", "105"))
	live.FeedReplaceAt(f.engine, configs, "106", version("after the restore", "105"))
	livetest.Eventually(t, "settled", f.engine.Settled)
	noted(t, f, map[string]string{"ns/a": "after the restore"})
}

// TestAListDoesNotGoBackInTime when the reflector starts anew, as kube-apiservers of which
// one is behind may otherwise have it do.
func TestAListDoesNotGoBackInTime(t *testing.T) {
	f := newFixture(t, readsConfig("rule"))
	f.cluster.NoStreaming = true
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	source := &listening{Cluster: f.cluster, resource: configResource}
	livetest.Run(t, f.engine, source)
	f.settle()
	f.cluster.Set(configResource, text("ns", "a", "y"))
	f.settle()
	config, _ := live.Get(f.engine, configs, key("ns", "a"))
	before := len(source.asked())
	live.StartAnew(f.engine, configs.Ref())
	livetest.Eventually(t, "it is listed again", func() bool { return len(source.asked()) > before })
	again := source.asked()[before]
	if again.ResourceVersion != config.ResourceVersion || again.ResourceVersionMatch != metav1.ResourceVersionMatchNotOlderThan || again.Limit != 0 {
		t.Errorf("it is listed again with %+v, want all, not older than %s", again, config.ResourceVersion)
	}
}

// listening is a cluster that notes how a resource is listed.
type listening struct {
	*livetest.Cluster
	resource schema.GroupVersionResource

	mu    sync.Mutex
	lists []metav1.ListOptions
}

func (l *listening) asked() []metav1.ListOptions {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lists
}

func (l *listening) ListerWatcher(resource schema.GroupVersionResource, example live.Object) (cache.ListerWatcher, error) {
	lw, err := l.Cluster.ListerWatcher(resource, example)
	if resource != l.resource || err != nil {
		return lw, err
	}
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			l.mu.Lock()
			l.lists = append(l.lists, options)
			l.mu.Unlock()
			return cache.ToListerWithContext(lw).ListWithContext(ctx, options)
		},
		WatchFuncWithContext: cache.ToListerWatcherWithContext(lw).WatchWithContext,
	}, nil
}
