// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/watch"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestConnectionsThatAreClosedWithoutAnAnswerAreNoNews: a load balancer with nothing
// behind it takes connections and closes them. client-go makes an empty watch of that
// after some tries, and its Reflector goes on with the next one if they took a second.
func TestConnectionsThatAreClosedWithoutAnAnswerAreNoNews(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		engine := live.New(live.Options{Workers: 1})
		if err := engine.AddRule(readsConfig("rule")); err != nil {
			t.Fatal(err)
		}
		f := &fixture{TB: t, cluster: &livetest.Cluster{}, engine: engine}
		source := &scripted{Cluster: f.cluster}
		f.cluster.Set(podResource, pod("ns", "a", nil))
		f.cluster.Set(configResource, text("ns", "a", "x"))
		livetest.Run(t, engine, source)
		f.settle()
		source.script(nil, func(ctx context.Context, _ bool) (watch.Interface, error) {
			select {
			case <-ctx.Done():
			case <-time.After(2 * time.Second):
			}
			return watch.NewEmptyWatch(), nil
		})
		f.cluster.CloseWatches(configResource)
		f.cluster.Set(configResource, text("ns", "a", "missed"))
		status := f.eventuallyStatus("rule", live.ReasonInputFailing)
		if want := "closed before there was an answer"; !strings.Contains(status.Message, want) {
			t.Errorf("got message %q, want %q", status.Message, want)
		}
		noted(t, f, map[string]string{"ns/a": "x"})
		source.script(nil, nil)
		f.eventuallyStatus("rule", "")
		f.settle()
		noted(t, f, map[string]string{"ns/a": "missed"})
	})
}
