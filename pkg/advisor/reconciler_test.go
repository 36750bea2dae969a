// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

// own is where srenix runs.
const own = "srenix-system"

var begin = time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)

// world is an advisor beside a store.
type world struct {
	*testing.T
	clock  *testingclock.FakePassiveClock
	client client.WithWatch
	r      *reconciler
	// result is what the next investigations find, and looked how many there were.
	result investigator.Result
	looked int
	// before is called by an investigation before it answers.
	before func()
	writes int
}

func newWorld(t *testing.T, objects ...client.Object) *world {
	t.Helper()
	w := &world{T: t, clock: testingclock.NewFakePassiveClock(begin)}
	w.result = investigator.Result{
		Sufficient: true, Cause: "ConnectionRefused", RootCause: "It is refused.", Reads: 3,
		Evidence: []opsv1alpha1.Evidence{{Tool: opsv1alpha1.ToolObject, Source: "Pod/web", Said: "phase Running", At: metav1.NewTime(begin)}},
	}
	scheme, err := newScheme()
	if err != nil {
		t.Fatal(err)
	}
	count := func(err error) error { w.writes++; return err }
	w.client = fake.NewClientBuilder().WithScheme(scheme).WithObjects(objects...).WithStatusSubresource(&opsv1alpha1.Investigation{}).
		WithIndex(&opsv1alpha1.Investigation{}, byFinding, func(o client.Object) []string {
			return []string{indexed(&o.(*opsv1alpha1.Investigation).Spec.Finding)}
		}).
		WithInterceptorFuncs(interceptor.Funcs{
			Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
				object.SetGeneration(1) // as kube-apiserver does
				object.SetUID(types.UID("uid-of-" + object.GetName()))
				return count(c.Create(ctx, object, options...))
			},
			SubResourceUpdate: func(ctx context.Context, c client.Client, subresource string, object client.Object, options ...client.SubResourceUpdateOption) error {
				return count(c.SubResource(subresource).Update(ctx, object, options...))
			},
		}).Build()
	w.restart()
	return w
}

// restart makes the advisor anew, with nothing in its memory.
func (w *world) restart() {
	w.Helper()
	metrics, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		w.Fatal(err)
	}
	w.r = &reconciler{
		cached: w.client, client: w.client, own: own, clock: w.clock, metrics: metrics, automatic: ranks[string(srenix.SeverityCritical)], maximum: 3,
		investigate: func(context.Context, *srenix.Finding) investigator.Result {
			w.looked++
			if w.before != nil {
				w.before()
			}
			return w.result
		},
	}
}

func newFinding(name string, severity srenix.Severity) *srenix.Finding {
	return &srenix.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)},
		Spec: srenix.FindingSpec{
			Analyzer: "CrashLoop", Reason: "ContainerCrashing", Severity: severity, Message: "It crashes.",
			Subject: srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web"},
		},
	}
}

// reconcile returns after what time the finding is to be looked at again.
func (w *world) reconcile(finding string) time.Duration {
	w.Helper()
	result, err := w.r.Reconcile(w.Context(), reconcile.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: finding}})
	if err != nil {
		w.Fatal(err)
	}
	return result.RequeueAfter
}

// stored returns the Investigation of a finding, nil if there is none.
func (w *world) stored(finding *srenix.Finding) *opsv1alpha1.Investigation {
	w.Helper()
	investigation := &opsv1alpha1.Investigation{}
	key := client.ObjectKey{Namespace: finding.Namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
	switch err := w.client.Get(w.Context(), key, investigation); {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		w.Fatal(err)
	}
	return investigation
}

func (w *world) wants(looked int) {
	w.Helper()
	if w.looked != looked {
		w.Errorf("%d investigations, want %d", w.looked, looked)
	}
}

// ask adds a request to an Investigation, as the API server does.
func (w *world) ask(finding *srenix.Finding) {
	w.Helper()
	request := opsv1alpha1.InvestigationRequest{By: "anna", At: metav1.NewMicroTime(w.clock.Now())}
	investigation := w.stored(finding)
	if investigation != nil {
		investigation.Generation++
		investigation.Spec.Requests = append(investigation.Spec.Requests, request)
		if err := w.client.Update(w.Context(), investigation); err != nil {
			w.Fatal(err)
		}
		return
	}
	investigation = &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: finding.Namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)},
		Spec: opsv1alpha1.InvestigationSpec{
			Finding:  opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID},
			Requests: []opsv1alpha1.InvestigationRequest{request},
		},
	}
	if err := w.client.Create(w.Context(), investigation); err != nil {
		w.Fatal(err)
	}
}

func TestACriticalFindingIsLookedIntoOnce(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	w := newWorld(t, finding)
	if wait := w.reconcile("crash"); wait != 0 {
		t.Errorf("it is to be looked at again after %s", wait)
	}
	have := w.stored(finding)
	at := seconds(begin)
	want := opsv1alpha1.InvestigationStatus{
		ObservedGeneration: 1, Trigger: opsv1alpha1.TriggerSeverity, StartedAt: at, CompletedAt: at,
		RootCause: "It is refused.", Cause: "ConnectionRefused", Evidence: w.result.Evidence,
		FindingHash: investigator.FindingHash(finding), EvidenceHash: w.result.EvidenceHash(),
		Conditions: []metav1.Condition{
			{Type: opsv1alpha1.ConditionCompleted, Status: metav1.ConditionTrue, Reason: opsv1alpha1.ReasonRootCauseFound, Message: "It is refused.", LastTransitionTime: *at},
			{Type: opsv1alpha1.ConditionFindingStands, Status: metav1.ConditionTrue, Reason: "Found", Message: "the finding stands", LastTransitionTime: *at},
		},
	}
	if diff := cmp.Diff(want, have.Status); diff != "" {
		t.Errorf("status (-want +have):\n%s", diff)
	}
	// Neither more events, nor a restart, nor time have it looked into again.
	writes := w.writes
	for range 3 {
		w.restart()
		w.clock.SetTime(w.clock.Now().Add(time.Hour))
		w.reconcile("crash")
	}
	w.wants(1)
	if w.writes != writes {
		t.Errorf("%d writes for nothing", w.writes-writes)
	}
}

func TestOthersAreLookedIntoWhenSomebodyAsks(t *testing.T) {
	finding := newFinding("pull", srenix.SeverityWarning)
	w := newWorld(t, finding)
	w.reconcile("pull")
	if w.stored(finding) != nil || w.looked != 0 {
		t.Fatal("nobody has asked")
	}
	w.ask(finding)
	w.reconcile("pull")
	w.reconcile("pull")
	w.wants(1)
	if trigger := w.stored(finding).Status.Trigger; trigger != opsv1alpha1.TriggerRequest {
		t.Errorf("the trigger is %s", trigger)
	}
	w.ask(finding)
	w.reconcile("pull")
	w.wants(2)
	w.restart()
	w.reconcile("pull")
	w.wants(2)
}

// The cache may still have an Investigation that somebody has taken away.
func TestNothingIsMadeAnewThatNobodyAskedFor(t *testing.T) {
	finding := newFinding("pull", srenix.SeverityWarning)
	before, after := newWorld(t, finding), newWorld(t, finding)
	before.ask(finding)
	after.r.cached = before.client
	after.reconcile("pull")
	after.wants(0)
	if have := after.stored(finding); have != nil {
		t.Errorf("have %+v", have)
	}
}

func TestAFindingThatChangesIsLookedIntoAgain(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	w := newWorld(t, finding)
	w.reconcile("crash")
	finding.Spec.Message = "It crashes otherwise."
	if err := w.client.Update(w.Context(), finding); err != nil {
		t.Fatal(err)
	}
	if wait := w.reconcile("crash"); wait != settle {
		t.Errorf("it waits for %s, want %s", wait, settle)
	}
	w.wants(1)
	w.clock.SetTime(begin.Add(settle))
	w.reconcile("crash")
	w.wants(2)
	// What was added to its status is no change of it.
	finding.Status.RootCause = "It is refused."
	if err := w.client.Update(w.Context(), finding); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(begin.Add(time.Hour))
	w.reconcile("crash")
	w.wants(2)
}

func TestInsufficientDataAreLookedForAgain(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	w := newWorld(t, finding)
	sufficient := w.result
	w.result = investigator.Result{Cause: "LogNotReadable", RootCause: "Insufficient data: there is no log.", Evidence: w.result.Evidence}
	if wait := w.reconcile("crash"); wait != again {
		t.Errorf("it waits for %s, want %s", wait, again)
	}
	w.clock.SetTime(begin.Add(again / 2))
	w.restart()
	if wait := w.reconcile("crash"); wait != again/2 {
		t.Errorf("it waits for %s, want %s", wait, again/2)
	}
	w.wants(1)
	w.result = sufficient
	w.clock.SetTime(begin.Add(again))
	w.reconcile("crash")
	w.wants(2)
	completed := meta.FindStatusCondition(w.stored(finding).Status.Conditions, opsv1alpha1.ConditionCompleted)
	if completed.Reason != opsv1alpha1.ReasonRootCauseFound {
		t.Errorf("it is %+v", completed)
	}
}

func TestAnInvestigationOutlivesItsFindingForSomeTime(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	w := newWorld(t, finding)
	w.reconcile("crash")
	if err := w.client.Delete(w.Context(), finding); err != nil {
		t.Fatal(err)
	}
	w.clock.SetTime(begin.Add(time.Minute))
	if wait := w.reconcile("crash"); wait != keep {
		t.Errorf("it waits for %s, want %s", wait, keep)
	}
	w.clock.SetTime(begin.Add(time.Minute + keep/2))
	w.restart()
	if wait := w.reconcile("crash"); wait != keep/2 {
		t.Errorf("it waits for %s, want %s", wait, keep/2)
	}
	// It is back, as it was: nothing is asked again.
	finding.ResourceVersion = ""
	if err := w.client.Create(w.Context(), finding); err != nil {
		t.Fatal(err)
	}
	finding.UID = "crash"
	if err := w.client.Update(w.Context(), finding); err != nil {
		t.Fatal(err)
	}
	w.reconcile("crash")
	w.wants(1)
	if !meta.IsStatusConditionTrue(w.stored(finding).Status.Conditions, opsv1alpha1.ConditionFindingStands) {
		t.Error("its finding is said to be gone")
	}
	// Another incarnation of its subject is another finding.
	next := finding.DeepCopy()
	next.UID = "other"
	if err := w.client.Update(w.Context(), next); err != nil {
		t.Fatal(err)
	}
	if wait := w.reconcile("crash"); wait != keep {
		t.Errorf("it waits for %s, want %s", wait, keep)
	}
	w.wants(2)
	w.clock.SetTime(w.clock.Now().Add(keep))
	w.reconcile("crash")
	if w.stored(finding) != nil || w.stored(next) == nil {
		t.Error("the one of the finding that is gone is to go, and the other to stay")
	}
}

func TestWhatOthersStoreIsLeftAlone(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	runbook := &opsv1alpha1.Runbook{Title: "Unseal", Text: "1. ..."}
	other := &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "vault"},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: "gone", UID: "gone"}},
		Status:     opsv1alpha1.InvestigationStatus{Runbook: runbook},
	}
	w := newWorld(t, finding, other)
	for range 2 {
		w.reconcile("gone")
		w.clock.SetTime(w.clock.Now().Add(2 * keep))
	}
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(other), other); err != nil || len(other.Status.Conditions) > 0 {
		t.Errorf("an Investigation of another name is touched: %v %+v", err, other.Status)
	}
	// A draft that somebody writes meanwhile stays.
	w.before = func() {
		mine := w.stored(finding)
		mine.Status.Runbook = runbook
		if err := w.client.Status().Update(t.Context(), mine); err != nil {
			t.Fatal(err)
		}
	}
	w.reconcile("crash")
	if have := w.stored(finding).Status; have.Runbook == nil || have.RootCause == "" {
		t.Errorf("have %+v", have)
	}
}

func TestNoMoreAreStoredThanMayBe(t *testing.T) {
	w := newWorld(t)
	for _, name := range []string{"a", "b", "c", "d"} {
		if err := w.client.Create(t.Context(), newFinding(name, srenix.SeverityCritical)); err != nil {
			t.Fatal(err)
		}
	}
	waits := map[string]time.Duration{}
	for _, name := range []string{"a", "b", "c", "d"} {
		waits[name] = w.reconcile(name)
	}
	w.wants(3)
	if waits["d"] != crowded || waits["a"] != 0 || testutil.ToFloat64(w.r.metrics.withheld) != 1 {
		t.Errorf("they wait %v, and %v were withheld", waits, testutil.ToFloat64(w.r.metrics.withheld))
	}
}

func TestAnAdvisorThatStopsWritesNothing(t *testing.T) {
	finding := newFinding("crash", srenix.SeverityCritical)
	w := newWorld(t, finding)
	ctx, cancel := context.WithCancel(t.Context())
	w.before = cancel
	_, err := w.r.Reconcile(ctx, reconcile.Request{NamespacedName: client.ObjectKeyFromObject(finding)})
	if !errors.Is(err, context.Canceled) || len(w.stored(finding).Status.Conditions) > 0 {
		t.Errorf("it ends with %v, and %+v", err, w.stored(finding).Status)
	}
	w.before = nil
	w.restart()
	w.reconcile("crash")
	if w.stored(finding).Status.RootCause == "" {
		t.Error("it is not looked into after a restart")
	}
}

// docs/metrics.md has the advisor's metrics, with their types and labels, and no others.
func TestMetricsAreThoseOfTheirDocument(t *testing.T) {
	page, err := os.ReadFile(filepath.Join("..", "..", "docs", "metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(page), "## srenix-advisor\n")
	section, _, _ = strings.Cut(section, "\n## ")
	documented := map[string]string{}
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\|").FindAllStringSubmatch(section, -1) {
		documented[row[1]] = row[2] + " " + strings.Join(regexp.MustCompile("[a-z_]+").FindAllString(row[3], -1), " ")
	}
	registry := prometheus.NewRegistry()
	m, err := newMetrics(registry)
	if err != nil {
		t.Fatal(err)
	}
	m.investigated(opsv1alpha1.TriggerSeverity, opsv1alpha1.ReasonRootCauseFound, 1, time.Second)
	server := scripted.Start(reply)
	defer server.Close()
	asked, err := model.New(model.Options{BaseURL: server.BaseURL(), Model: scripted.Name, Registerer: registry})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := asked.Ask(t.Context(), model.Request{PromptVersion: "narrate/1", User: "JSON"}); err != nil {
		t.Fatal(err)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	served := map[string]string{}
	for _, family := range families {
		var labels []string
		for _, label := range family.Metric[0].Label {
			labels = append(labels, label.GetName())
		}
		slices.Sort(labels)
		served[family.GetName()] = strings.ToLower(family.GetType().String()) + " " + strings.Join(labels, " ")
	}
	for name, is := range documented {
		words := strings.Fields(is)
		slices.Sort(words[1:])
		documented[name] = words[0] + " " + strings.Join(words[1:], " ")
	}
	if diff := cmp.Diff(documented, served); diff != "" {
		t.Errorf("metrics (-documented +served):\n%s", diff)
	}
}

func TestMetrics(t *testing.T) {
	w := newWorld(t, newFinding("crash", srenix.SeverityCritical))
	w.reconcile("crash")
	if have := testutil.ToFloat64(w.r.metrics.investigations.WithLabelValues("Severity", "RootCauseFound")); have != 1 {
		t.Errorf("%v investigations are counted", have)
	}
	if have := testutil.ToFloat64(w.r.metrics.reads); have != 3 {
		t.Errorf("%v reads are counted", have)
	}
}
