// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestOneCannotRelyOnWhatIsDerivedFromWhatIsUnknown, however many rules there are
// between, and can on all else.
func TestOneCannotRelyOnWhatIsDerivedFromWhatIsUnknown(t *testing.T) {
	derived := func(name string) live.KindRef { return live.NewDerived[*live.Status](name, nil).Ref() }
	first, second, third, other := derived("first"), derived("second"), derived("third"), derived("other")
	var fails atomic.Bool
	rule := func(name string, subject live.KindRef, reads, writes []live.KindRef) live.Rule {
		return live.Rule{
			Name: name, Subject: subject, Reads: reads, Outputs: writes,
			Evaluate: func(*live.View, live.Key) ([]live.Output, error) {
				if name == "writes first" && fails.Load() {
					return nil, errors.New("no")
				}
				return nil, nil
			},
		}
	}
	f := newFixture(t,
		// In an order in which no rule comes after those that it depends on.
		rule("reads third", configs.Ref(), []live.KindRef{third}, nil),
		rule("writes third", second, nil, []live.KindRef{third}),
		rule("writes second", configs.Ref(), []live.KindRef{other, first}, []live.KindRef{second}),
		rule("writes first", pods.Ref(), nil, []live.KindRef{first}),
		rule("writes other", configs.Ref(), nil, []live.KindRef{other}),
		rule("reads other", other, nil, nil),
		rule("is of statuses", live.Statuses().Ref(), nil, nil),
	)
	all := []string{"reads third", "writes third", "writes second", "writes first", "writes other", "reads other", "is of statuses"}
	if have := f.engine.Unreliable(); !slices.Equal(have, all) {
		t.Errorf("before it runs one cannot rely on %q, want %q", have, all)
	}
	eventually := func(what string, want []string) {
		t.Helper()
		livetest.Eventually(t, what, func() bool { return slices.Equal(f.engine.Unreliable(), want) })
	}
	f.cluster.Set(podResource, pod("ns", "a", nil))
	f.cluster.Forbid(podResource)
	f.run()
	eventually("one cannot rely on what comes of pods", all[:4])
	f.cluster.Serve(podResource)
	eventually("one can rely on all", nil)
	fails.Store(true)
	f.cluster.Set(podResource, pod("ns", "a", map[string]string{"changed": "yes"}))
	eventually("one cannot rely on what comes of a rule that fails", all[:4])
	f.cluster.Forbid(configResource)
	eventually("one can rely on what comes of statuses only", all[:6])
}
