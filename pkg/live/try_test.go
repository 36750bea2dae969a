// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// triesConfig notes the text of the config map of a pod's name, where it is known.
func triesConfig(after func(*live.View)) live.Rule {
	return live.Rule{
		Name: "tries", Subject: pods.Ref(), Reads: []live.KindRef{configs.Ref(), widgets.Ref()}, Outputs: []live.KindRef{notes.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			says := "missing"
			known := v.Try(func() {
				if config, exists := configs.Get(v, subject); exists {
					says = config.Data["text"]
				}
			})
			if !known {
				says = "unknown"
			}
			after(v)
			return []live.Output{note(subject, says)}, nil
		},
	}
}

func TestWhatIsTriedDecidesNothing(t *testing.T) {
	f := newFixture(t, triesConfig(func(*live.View) {}))
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Set(configResource, text("ns", "a", "x"))
	f.cluster.Forbid(configResource)
	f.run()
	livetest.Settle(t, f.engine, f.cluster, pods)
	noted(t, f, map[string]string{"ns/a": "unknown"})
	f.eventuallyStatus("tries", live.ReasonInputForbidden)

	f.cluster.Serve(configResource)
	f.eventuallyStatus("tries", "")
	f.settle()
	noted(t, f, map[string]string{"ns/a": "x"})

	f.cluster.Set(configResource, text("ns", "a", "y"))
	f.settle()
	noted(t, f, map[string]string{"ns/a": "y"})
}

func TestWhatIsReadBesideATryIsUnknownAllTheSame(t *testing.T) {
	for name, before := range map[string]bool{"before it": true, "after it": false} {
		t.Run(name, func(t *testing.T) {
			read := func(v *live.View) { widgets.List(v, "ns", nil) }
			rule := triesConfig(read)
			if before {
				tries := triesConfig(func(*live.View) {}).Evaluate
				rule.Evaluate = func(v *live.View, subject live.Key) ([]live.Output, error) {
					read(v)
					return tries(v, subject)
				}
			}
			f := newFixture(t, rule)
			f.cluster.Set(podResource, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "a"}})
			f.cluster.Forbid(widgetResource)
			f.run()
			livetest.Settle(t, f.engine, f.cluster, pods)
			noted(t, f, map[string]string{})
		})
	}
}
