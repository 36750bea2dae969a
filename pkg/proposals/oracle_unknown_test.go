// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metainternal "k8s.io/apimachinery/pkg/apis/meta/internalversion"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/cache"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failedmounts"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	"github.com/srenix/srenix/pkg/analyzers/proactivesecretkeycheck"
	"github.com/srenix/srenix/pkg/analyzers/secretkeymissing"
	"github.com/srenix/srenix/pkg/analyzers/stuckjobs"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// readers are the rules that read each input.
var readers = sync.OnceValue(func() map[schema.GroupVersionResource][]string {
	all := map[schema.GroupVersionResource][]string{}
	for _, rule := range rulesOfAll() {
		for _, kind := range append([]live.KindRef{rule.Subject}, rule.Reads...) {
			if resource := kind.Resource(); resource.Resource != "" {
				all[resource] = append(all[resource], rule.Name)
			}
		}
	}
	return all
})

// losable are the inputs in a fixed order.
var losable = sync.OnceValue(func() []schema.GroupVersionResource {
	return slices.SortedFunc(maps.Keys(readers()), func(a, b schema.GroupVersionResource) int {
		return strings.Compare(a.String(), b.String())
	})
})

// essential are inputs without which nobody can say anything of some reasons,
// whatever else happens.
var essential = map[schema.GroupVersionResource][]string{
	inputs.Pods.Ref().Resource(): {
		workloadstatedrift.OrdinalZeroMissing, workloadstatedrift.OrdinalZeroNotReady, configdrift.ConfigurationChangedAfterStart, stuckjobs.CannotStart,
	},
	inputs.StatefulSets.Ref().Resource(): {workloadstatedrift.OrdinalZeroMissing, workloadstatedrift.OrdinalZeroNotReady},
	inputs.Jobs.Ref().Resource():         {stuckjobs.CannotStart, stuckjobs.IndexesFailed, stuckjobs.NeverSucceeded},
	inputs.Certificates.Ref().Resource(): {tlssecretmismatch.BetterSecret},
}

// enriching are inputs without which some analyzers go on, with less in the words
// of what they say.
var enriching = map[schema.GroupVersionResource][]string{
	inputs.ExternalSecrets.Ref().Resource(): {secretkeymissing.Name, proactivesecretkeycheck.Name},
	// Whether a fresh pod would be another one is advice (outdated.Advise).
	inputs.ControllerRevisions.Ref().Resource(): {
		crashloop.Name, failedmounts.Name, imagepull.Name, pendingpods.Name, secretkeymissing.Name, stuckrollout.Name, workloadstatedrift.Name,
	},
}

// withoutWords is what is said, but for the words if an input that is lost enriches them.
func withoutWords(spec v1alpha1.FindingSpec, lost schema.GroupVersionResource) v1alpha1.FindingSpec {
	if slices.Contains(enriching[lost], spec.Analyzer) {
		spec.Message, spec.Remediation, spec.Related = "", v1alpha1.Remediation{}, nil
	}
	return spec
}

// saysNothingNew holds whoever cannot see to what it said before.
func saysNothingNew(t testing.TB, h *history) {
	t.Helper()
	for resource := range h.lost {
		for _, finding := range live.List(h.engine, Findings) {
			if !slices.Contains(essential[resource], finding.Spec.Reason) {
				continue
			}
			if diff := cmp.Diff(h.known[finding.Namespace+"/"+finding.Name], finding.Spec); diff != "" {
				t.Errorf("something new is said of %s/%s, though %s cannot be seen (-before +now):\n%s", finding.Namespace, finding.Name, resource.Resource, diff)
			}
		}
	}
}

// lost has an input refused or failing until it is back. Whoever reads it is
// degraded, and says nothing else than before: neither because it is lost, nor when
// all else is looked at again. Only what is about an object that goes, goes.
func lost(random *rand.Rand) event {
	resources := losable()
	if random.IntN(2) == 0 {
		resources = slices.DeleteFunc(slices.Clone(resources), func(r schema.GroupVersionResource) bool { return essential[r] == nil })
	}
	resource, forbidden, which := resources[random.IntN(len(resources))], random.IntN(2) == 0, random.IntN(100)
	return event{fmt.Sprintf("%s is lost, forbidden %t, and subject %d goes", resource.Resource, forbidden, which), func(t testing.TB, h *history) {
		if h.uninstalled[resource] {
			return // nobody asks for it
		}
		back.apply(t, h) // one at a time, so that it is known what it should say
		caughtUp(t, h.engine, h)
		if diff := afresh(t, h); diff != "" {
			t.Errorf("afresh and incrementally (-want +got):\n%s", diff)
			return
		}
		before := detected(t, h.engine, resource)
		h.known = map[string]v1alpha1.FindingSpec{}
		for _, finding := range live.List(h.engine, Findings) {
			h.known[finding.Namespace+"/"+finding.Name] = finding.Spec
		}
		h.lost[resource] = true
		if forbidden {
			h.cluster.Forbid(resource)
		} else {
			h.cluster.Fail(resource, apierrors.NewInternalError(errors.New("etcd is away")))
		}
		livetest.Eventually(t, "whoever reads "+resource.Resource+" is degraded", func() bool { return degraded(h.engine, resource) })
		caughtUp(t, h.engine, h)
		if diff := cmp.Diff(before, detected(t, h.engine, resource)); diff != "" {
			t.Errorf("what is said changed as %s was lost (-before +now):\n%s", resource.Resource, diff)
		}
		for other, objects := range readable(t, h) {
			for _, object := range objects {
				annotations := map[string]string{"touched": object.GetResourceVersion()}
				for key, value := range object.GetAnnotations() {
					if key != "touched" {
						annotations[key] = value
					}
				}
				object.SetAnnotations(annotations)
				h.cluster.Set(other, object)
			}
		}
		caughtUp(t, h.engine, h)
		if diff := cmp.Diff(before, detected(t, h.engine, resource)); diff != "" {
			t.Errorf("what is said changed as all was looked at again without %s (-before +now):\n%s", resource.Resource, diff)
		}
		reportsAlike(t, h)
		subjectGoes(t, h, resource, which)
	}}
}

// reportsAlike holds what is said of what cannot be seen to what a replica says that
// has started since.
func reportsAlike(t testing.TB, h *history) {
	t.(*testing.T).Run("reports", func(t *testing.T) {
		clock := testingclock.NewFakeClock(h.clock.Now())
		fresh := newEngineOfAll(t, clock, h.memory.Copy())
		livetest.RunPast(t, fresh, h.cluster, func() { clock.Step(syncTimeout) })
		caughtUp(t, fresh, h)
		want := reported(t, h.engine)
		var said map[string]string
		defer func() {
			if diff := cmp.Diff(said, want); diff != "" {
				t.Errorf("what cannot be seen is told otherwise by a new engine (-new +this):\n%s", diff)
			}
		}()
		// What fails may have to do so more than once until it is known with what.
		livetest.Eventually(t, "a new engine to report the same", func() bool {
			said = reported(t, fresh)
			if h.lost[live.InstallationResource()] {
				// What is not installed, only who has seen the definitions can know.
				maps.DeleteFunc(said, func(name, _ string) bool { _, told := want[name]; return !told })
			}
			return maps.Equal(said, want)
		})
	})
}

// reported are the reports of what cannot be seen.
func reported(t testing.TB, engine *live.Engine) map[string]string {
	t.Helper()
	all := said(t, engine)
	maps.DeleteFunc(all, func(_, content string) bool { return !strings.Contains(content, v1alpha1.ReasonAnalyzerDegraded) })
	return all
}

// subjectGoes deletes what a finding is about. What those who read the lost input
// have said of other things stays.
func subjectGoes(t testing.TB, h *history, lost schema.GroupVersionResource, which int) {
	// What somebody needs is missing, whether the object is there or not.
	findings := slices.DeleteFunc(live.List(h.engine, Findings), func(f *v1alpha1.Finding) bool {
		return f.Spec.Analyzer == secretkeymissing.Name || f.Spec.Analyzer == proactivesecretkeycheck.Name || f.Spec.Reason == failedmounts.VolumeContentMissing
	})
	if len(findings) == 0 {
		return
	}
	slices.SortFunc(findings, func(a, b *v1alpha1.Finding) int { return strings.Compare(string(a.UID), string(b.UID)) })
	finding := findings[which%len(findings)]
	subject := live.Key{Namespace: finding.Spec.Subject.Namespace, Name: finding.Spec.Subject.Name}
	of, exists := resourceOf(t, h, &finding.Spec.Subject)
	if !exists {
		return // it is lost, or gone before
	}
	h.cluster.Delete(of, subject)
	livetest.Eventually(t, finding.Name+" goes with "+subject.String(), func() bool {
		_, exists := live.Get(h.engine, Findings, live.Key{Namespace: finding.Namespace, Name: finding.Name})
		return !exists
	})
	caughtUp(t, h.engine, h)
	for _, before := range findings {
		if !blind(before.Spec.Analyzer, lost) || strings.Contains(fmt.Sprint(before.Spec), subject.Name) {
			continue
		}
		now, exists := live.Get(h.engine, Findings, live.Key{Namespace: before.Namespace, Name: before.Name})
		if !exists || !equality.Semantic.DeepEqual(withoutWords(before.Spec, lost), withoutWords(now.Spec, lost)) {
			t.Errorf("as %s went without %s to be seen, %s changed: it was %v, and is %v", subject, lost.Resource, before.Name, before, now)
		}
	}
}

// resourceOf names the resource of a subject, if that can be read.
func resourceOf(t testing.TB, h *history, subject *v1alpha1.ObjectReference) (schema.GroupVersionResource, bool) {
	for resource, objects := range readable(t, h) {
		kind := strings.ToLower(subject.Kind)
		if resource.GroupVersion().String() == subject.APIVersion && (resource.Resource == kind+"s" || resource.Resource == kind+"es") &&
			slices.ContainsFunc(objects, func(o live.Object) bool {
				return o.GetUID() == subject.UID && o.GetNamespace() == subject.Namespace && o.GetName() == subject.Name
			}) {
			return resource, true
		}
	}
	return schema.GroupVersionResource{}, false
}

// blind tells whether every rule of an analyzer reads an input.
func blind(analyzer string, lost schema.GroupVersionResource) bool {
	for _, rule := range rulesOfAll() {
		if rule.Group == analyzer && !slices.Contains(readers()[lost], rule.Name) {
			return false
		}
	}
	return true
}

// readable are the objects of the cluster that can be read.
func readable(t testing.TB, h *history) map[schema.GroupVersionResource][]live.Object {
	t.Helper()
	all := map[schema.GroupVersionResource][]live.Object{}
	for _, resource := range losable() {
		source, err := h.cluster.ListerWatcher(resource, &corev1.Pod{})
		if err != nil {
			t.Fatal(err)
		}
		list, err := cache.ToListerWatcherWithContext(source).ListWithContext(t.Context(), metav1.ListOptions{})
		if err != nil {
			continue // lost, or not installed
		}
		for _, item := range list.(*metainternal.List).Items {
			all[resource] = append(all[resource], item.(live.Object))
		}
	}
	return all
}

// back has all that was lost served again.
var back = event{"what was lost is back", func(_ testing.TB, h *history) {
	for resource := range h.lost {
		h.cluster.Serve(resource)
	}
	clear(h.lost)
}}

// degraded tells whether all rules that read an input are.
func degraded(engine *live.Engine, resource schema.GroupVersionResource) bool {
	for _, status := range live.List(engine, live.Statuses()) {
		if slices.Contains(readers()[resource], status.Rule) && status.State != live.Degraded {
			return false
		}
	}
	return true
}

// detected is all that is said but for reports of what cannot be seen, and for the
// words that an input enriches which is lost.
func detected(t testing.TB, engine *live.Engine, lost schema.GroupVersionResource) map[string]string {
	t.Helper()
	all := said(t, engine)
	for _, finding := range live.List(engine, Findings) {
		if slices.Contains(enriching[lost], finding.Spec.Analyzer) {
			finding = finding.DeepCopy()
			finding.Spec = withoutWords(finding.Spec, lost)
			content, err := json.Marshal(finding)
			if err != nil {
				t.Fatal(err)
			}
			all["finding "+finding.Namespace+"/"+finding.Name] = string(content)
		}
	}
	maps.DeleteFunc(all, func(_, content string) bool { return strings.Contains(content, v1alpha1.ReasonAnalyzerDegraded) })
	return all
}
