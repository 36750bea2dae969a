// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/srenix/srenix/pkg/live"
)

// TestAChangeBetweenReadAndRecordIsNotLost races a change of what a subject reads
// for the first time with the evaluation that reads it.
func TestAChangeBetweenReadAndRecordIsNotLost(t *testing.T) {
	for name, read := range map[string]func(v *live.View, of string) bool{
		"by key":      func(v *live.View, of string) bool { _, ok := pods.Get(v, key("ns", of)); return ok },
		"by index":    func(v *live.View, of string) bool { return len(pods.ByIndex(v, "node", of)) > 0 },
		"by selector": func(v *live.View, of string) bool { return len(pods.List(v, of, nil)) > 0 },
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, live.Rule{
				Name: "rule", Subject: configs.Ref(), Reads: []live.KindRef{pods.Ref()}, Outputs: []live.KindRef{notes.Ref()},
				Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
					config, _ := configs.Get(v, subject)
					return []live.Output{note(subject, fmt.Sprint(read(v, config.Data["text"])))}, nil
				},
			})
			live.Feed(t, f.engine)
			live.FeedReplace(f.engine, pods)
			live.FeedReplace(f.engine, configs)
			for i := range 5000 {
				of := fmt.Sprint(i)
				changed := pod("ns", of, nil)
				if name == "by selector" {
					changed.Namespace = of
				}
				changed.Spec.NodeName = of
				start := make(chan struct{})
				var racing sync.WaitGroup
				racing.Go(func() {
					<-start
					for range i % 97 * 20 { // meets the evaluation at different places
						runtime.KeepAlive(of)
					}
					live.FeedSet(f.engine, pods, changed)
				})
				close(start)
				live.FeedSet(f.engine, configs, text("ns", "a", of))
				racing.Wait()
				for !f.engine.Settled() {
					runtime.Gosched()
				}
				if said := texts(f.engine, notes)["ns/a"]; said != "true" {
					t.Fatalf("round %d: a change was lost", i)
				}
				live.FeedDelete(f.engine, pods, changed)
			}
		})
	}
}
