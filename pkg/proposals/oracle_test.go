// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/rbacdrift"
	"github.com/srenix/srenix/pkg/analyzers/stuckjobs"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/silences"
)

// The oracle of the whole view: after every step of a random history, findings
// and proposals that one engine kept up to date equal those that a new engine
// computes, as a replica does that has just started.

// history is a cluster that random things happen to, and the engine that follows.
type history struct {
	cluster *livetest.Cluster
	clock   *testingclock.FakeClock
	memory  *livetest.Memory
	engine  *live.Engine
	// lost are the inputs that cannot be read just now.
	lost map[schema.GroupVersionResource]bool
	// uninstalled are those that the cluster does not serve.
	uninstalled map[schema.GroupVersionResource]bool
	// known is what was said when they were lost, by namespace and name.
	known map[string]v1alpha1.FindingSpec
	// set are the objects of goldens that are there.
	set []live.Object
}

// event is one of the things that happen; independent of all others, so that any
// of a history can be left out. It fails the test if what follows at once from it
// does not.
type event struct {
	name  string
	apply func(testing.TB, *history)
}

// rulesOfAll are the rules of the server, as it is configured by default.
func rulesOfAll() []live.Rule {
	configuration := &config.SrenixConfiguration{}
	config.Default(configuration)
	rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		panic(err)
	}
	return append(rules, Rules(configuration, "srenix-system")...)
}

// syncTimeout is shorter than any time that an engine tells.
const syncTimeout = time.Nanosecond

func newEngineOfAll(t testing.TB, clock *testingclock.FakeClock, memory live.Memory) *live.Engine {
	t.Helper()
	engine := live.New(live.Options{
		Clock: clock, Memory: memory, Workers: 3, SyncTimeout: syncTimeout,
		RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1},
	})
	for _, rule := range rulesOfAll() {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	return engine
}

// said is all that an engine serves, as a client sees it.
func said(t testing.TB, engine *live.Engine) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(kind string, object live.Object) {
		content, err := json.MarshalIndent(object, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		all[kind+" "+object.GetNamespace()+"/"+object.GetName()] = string(content)
	}
	for _, f := range live.List(engine, Findings) {
		add("finding", f)
	}
	for _, f := range live.List(engine, ClusterFindings) {
		add("clusterfinding", f)
	}
	for _, p := range live.List(engine, Proposals) {
		add("proposal", p)
	}
	return all
}

// settles are waits for the inputs whose resourceVersions are kept.
var settles = map[schema.GroupVersionResource]func(testing.TB, *live.Engine, *livetest.Cluster){}

func settle[T live.Object](kind live.Kind[T]) {
	settles[kind.Ref().Resource()] = func(t testing.TB, engine *live.Engine, cluster *livetest.Cluster) {
		livetest.Settle(t, engine, cluster, kind)
	}
}

func init() {
	settle(inputs.Pods)
	settle(inputs.StatefulSets)
	settle(inputs.Deployments)
	settle(inputs.DaemonSets)
	settle(inputs.ReplicaSets)
	settle(inputs.Jobs)
	settle(inputs.CronJobs)
	settle(inputs.ConfigMaps)
	settle(inputs.Namespaces)
	settle(inputs.Roles)
	settle(inputs.ClusterRoles)
	settle(inputs.Ingresses)
	settle(inputs.Gateways)
	settle(inputs.Certificates)
	settle(inputs.CertificateRequests)
	settle(inputs.Issuers)
	settle(inputs.ClusterIssuers)
	settle(Approvals)
	settle(Recorded)
	settle(Investigations)
	settle(silences.Silences)
}

// caughtUp waits until an engine has seen all that can be read and evaluated all.
func caughtUp(t testing.TB, engine *live.Engine, h *history) {
	t.Helper()
	defer func() {
		for _, status := range live.List(engine, live.Statuses()) {
			if t.Failed() && status.State != live.Healthy {
				t.Logf("degraded: %+v", *status)
			}
		}
	}()
	for range 2 { // what the first kinds caused is over once the last are in
		for resource, settle := range settles {
			if !h.lost[resource] {
				settle(t, engine, h.cluster)
			}
		}
	}
	livetest.Eventually(t, "no rule is degraded", func() bool {
		return engine.Settled() && (len(h.lost) > 0 || healthy(engine))
	})
}

func healthy(engine *live.Engine) bool {
	return !slices.ContainsFunc(live.List(engine, live.Statuses()), func(s *live.Status) bool { return s.State != live.Healthy })
}

// afresh says how what an engine has kept up to date differs from what a new one
// computes. Inputs whose resourceVersions are not kept may take a moment to arrive.
func afresh(t testing.TB, h *history) (difference string) {
	t.(*testing.T).Run("afresh", func(t *testing.T) {
		fresh := newEngineOfAll(t, testingclock.NewFakeClock(h.clock.Now()), h.memory.Copy())
		livetest.Run(t, fresh, h.cluster)
		caughtUp(t, fresh, h)
		_ = wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 5*time.Second, true, func(context.Context) (bool, error) {
			difference = cmp.Diff(said(t, fresh), said(t, h.engine))
			return difference == "", nil
		})
	})
	return difference
}

// differs runs a history and returns the first difference from a new engine. It
// compares after those steps that compares says, and at the end, when all can be read.
func differs(t testing.TB, events []event, compares func() bool, note func(*live.Engine)) (difference string) {
	t.(*testing.T).Run("history", func(t *testing.T) {
		h := &history{
			cluster: &livetest.Cluster{}, clock: testingclock.NewFakeClock(now), memory: &livetest.Memory{},
			lost: map[schema.GroupVersionResource]bool{}, uninstalled: map[schema.GroupVersionResource]bool{},
		}
		h.engine = newEngineOfAll(t, h.clock, h.memory)
		livetest.Run(t, h.engine, h.cluster)
		for i, e := range append(slices.Clone(events), back) {
			e.apply(t, h)
			caughtUp(t, h.engine, h)
			saysNothingNew(t, h)
			if t.Failed() {
				difference = fmt.Sprintf("at step %d (%s)", i, e.name)
				return
			}
			note(h.engine)
			if len(h.lost) > 0 || i < len(events) && !compares() {
				continue
			}
			if diff := afresh(t, h); diff != "" {
				difference = fmt.Sprintf("after step %d (%s), afresh and incrementally (-want +got):\n%s", i, e.name, diff)
				return
			}
		}
	})
	return difference
}

// analyzersThatFind must each have found something in the course of all histories.
var analyzersThatFind = []string{
	certexpiry.Name, configdrift.Name, rbacdrift.Name, silences.Name, stuckjobs.Name, tlssecretmismatch.Name, workloadstatedrift.Name,
}

// actionsThatArise must each have been proposed.
var actionsThatArise = []v1alpha1.ActionKind{
	v1alpha1.ActionDeletePod, v1alpha1.ActionDeleteJob, v1alpha1.ActionDeleteCertificateRequest,
	v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS,
}

// seen is what came about in all histories: those in which nothing happens would
// prove nothing.
type seen struct {
	analyzers, reasons, actions, phases, decisions, silenced, tiers atomicSet
}

func (s *seen) note(engine *live.Engine) {
	found := func(spec *v1alpha1.FindingSpec, silencedBy string) {
		s.analyzers.add(spec.Analyzer)
		s.reasons.add(spec.Reason)
		if silencedBy != "" {
			s.silenced.add(spec.Reason)
		}
	}
	for _, f := range live.List(engine, Findings) {
		found(&f.Spec, f.Status.SilencedBy)
	}
	for _, f := range live.List(engine, ClusterFindings) {
		found(&f.Spec, f.Status.SilencedBy)
	}
	for _, p := range live.List(engine, Proposals) {
		s.actions.add(string(p.Spec.ActionKind))
		s.tiers.add(string(p.Spec.Tier))
		s.phases.add(string(p.Spec.ActionKind) + " " + string(p.Status.Phase))
		for _, a := range p.Status.Approvals {
			s.decisions.add(a.Phase)
		}
	}
}

func (s *seen) check(t *testing.T) {
	t.Helper()
	for what, seen := range map[string]*atomicSet{
		"reasons of findings": &s.reasons, "actions and phases of proposals": &s.phases,
		"phases of approvals": &s.decisions, "reasons of silenced findings": &s.silenced,
	} {
		t.Logf("%s that came about: %v", what, seen.all())
		if seen.len() < 3 {
			t.Errorf("few %s came about: %v", what, seen.all())
		}
	}
	for _, analyzer := range analyzersThatFind {
		if !slices.Contains(s.analyzers.all(), analyzer) {
			t.Errorf("%s never found anything", analyzer)
		}
	}
	if !slices.Contains(s.tiers.all(), string(v1alpha1.TierPlan)) {
		t.Errorf("nobody ever planned anything")
	}
	for _, action := range actionsThatArise {
		if !slices.Contains(s.actions.all(), string(action)) {
			t.Errorf("%s was never proposed", action)
		}
	}
}

var onlySeed = flag.Int("seed", -1, "The one random history to run.")

func TestFindingsAndProposalsEqualThoseComputedAfresh(t *testing.T) {
	seeds := uint64(2000)
	if testing.Short() {
		seeds = 10
	}
	const shards = 5
	var seen seen
	t.Run("shards", func(t *testing.T) {
		for shard := range uint64(shards) {
			t.Run(fmt.Sprint(shard), func(t *testing.T) {
				t.Parallel()
				for seed := shard; seed < seeds && !t.Failed(); seed += shards {
					if *onlySeed >= 0 && seed != uint64(*onlySeed) {
						continue
					}
					random := rand.New(rand.NewPCG(seed, 2))
					events := randomEvents(random)
					oneOfThree := func() bool { return random.IntN(3) == 0 }
					if diff := differs(t, events, oneOfThree, seen.note); diff != "" {
						events, diff = shrinkEvents(t, events, seen.note, diff)
						var names []string
						for _, e := range events {
							names = append(names, e.name)
						}
						t.Fatalf("seed %d, shrunk to:\n%s\n%s", seed, strings.Join(names, "\n"), diff)
					}
				}
			})
		}
	})
	if !testing.Short() && !t.Failed() && *onlySeed < 0 {
		seen.check(t)
	}
}

// shrinkEvents leaves out what a difference does not need. It compares after every step.
func shrinkEvents(t testing.TB, events []event, note func(*live.Engine), diff string) ([]event, string) {
	always := func() bool { return true }
	for i := 0; i < len(events); {
		without := append(append([]event{}, events[:i]...), events[i+1:]...)
		if shorter := differs(t, without, always, note); shorter != "" {
			events, diff = without, shorter
			continue
		}
		i++
	}
	return events, diff
}
