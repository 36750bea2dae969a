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
)

// TestConnectionsThatAreClosedWithoutAnAnswerAreNoNews: a load balancer with nothing
// behind it takes connections and closes them. client-go makes an empty watch of that
// after some tries, and its Reflector goes on with the next one if they took a second.
func TestConnectionsThatAreClosedWithoutAnAnswerAreNoNews(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		f, source := onScript(t)
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
