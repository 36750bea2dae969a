// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	scripted "github.com/srenix/srenix/test/model"
)

// troubles are as many findings of an analyzer, each looked into.
func (n *narrated) troubles(analyzer string, count int) []*srenix.Finding {
	n.Helper()
	n.r.maximum = 1000
	var all []*srenix.Finding
	for i := range count {
		finding := newFinding(fmt.Sprintf("%s-%d", analyzer, i), srenix.SeverityCritical)
		finding.Spec.Analyzer = analyzer
		if err := n.client.Create(n.Context(), finding); err != nil {
			n.Fatal(err)
		}
		finding.UID = types.UID("uid-of-" + finding.Name) // as the store gives it
		n.reconcile(finding.Name)
		all = append(all, finding)
	}
	return all
}

func TestAModelInvestigatesTenTimesAnHourForEachClass(t *testing.T) {
	n := newNarrated(t, nil)
	first := n.troubles("CrashLoop", inquiriesPerHour+2)
	other := n.troubles("ImagePull", 1)
	for i, finding := range first {
		if wait := n.narrate(finding); i < inquiriesPerHour && wait != 0 {
			t.Fatalf("the model is asked about finding %d in %s", i, wait)
		}
		n.time.Step(time.Minute)
	}
	n.asked(inquiriesPerHour)
	if have := testutil.ToFloat64(n.r.metrics.postponed); have != 2 {
		t.Errorf("%v were postponed", have)
	}
	n.narrate(other[0]) // which is of another class
	n.asked(inquiriesPerHour + 1)
	// It holds across restarts, and tells when the next is free.
	n.restartAll()
	wait := n.narrate(first[inquiriesPerHour])
	if want := time.Hour - (inquiriesPerHour+2)*time.Minute; wait != want {
		t.Errorf("it waits for %s, want %s", wait, want)
	}
	n.asked(inquiriesPerHour + 1)
	// Somebody who asks has a budget of their own.
	n.ask(first[inquiriesPerHour])
	n.reconcile(first[inquiriesPerHour].Name)
	n.narrate(first[inquiriesPerHour])
	n.asked(inquiriesPerHour + 2)
	n.time.Step(wait)
	n.narrate(first[inquiriesPerHour+1])
	n.asked(inquiriesPerHour + 3)
}

func TestAllThatIsAskedAboutTheSameIsOneInvestigation(t *testing.T) {
	n := newNarrated(t, nil)
	n.questions = []question{narration, choice}
	n.restartAll()
	n.server.Reply(answering)
	all := n.troubles("CrashLoop", inquiriesPerHour)
	for _, finding := range all {
		n.narrate(finding)
		n.narrate(finding)
	}
	n.asked(3 * inquiriesPerHour) // with the control of each choice
	last := n.stored(all[0]).Status
	if last.Narrative != told || last.Fix == nil || last.Fix.Fixer != fixers.RestartDeployment || last.Calls[0].About == "" || last.Calls[0].About != last.Calls[1].About {
		t.Errorf("have %+v", last)
	}
	// What else is found out of one of them is another.
	n.r.maximum = 1000
	n.result.Evidence[0].Said = "phase Failed"
	finding := all[0]
	finding.Spec.Message = "It crashes otherwise."
	fresh := &srenix.Finding{}
	if err := n.client.Get(t.Context(), client.ObjectKeyFromObject(finding), fresh); err != nil {
		t.Fatal(err)
	}
	fresh.Spec.Message = finding.Spec.Message
	if err := n.client.Update(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	n.clock.SetTime(begin.Add(settle))
	n.reconcile(finding.Name)
	if wait := n.narrate(finding); wait == 0 {
		t.Error("an eleventh investigation is made")
	}
	n.asked(3 * inquiriesPerHour)
}

func TestACallThatWasNotMadeIsNoInvestigation(t *testing.T) {
	n := newNarrated(t, nil)
	all := n.troubles("CrashLoop", inquiriesPerHour+1)
	for i, finding := range all[:inquiriesPerHour] {
		call := opsv1alpha1.ModelCall{
			ID: fmt.Sprintf("5f0c6f3e-8a43-4b7e-9d55-0c0c6a1f2b%02d", i), By: onItsOwn, At: metav1.NewTime(begin), Model: "other", Prompt: "narrate/1", Outcome: "BreakerOpen",
		}
		investigation := n.stored(finding)
		investigation.Status.Calls = []opsv1alpha1.ModelCall{call}
		if err := n.client.Status().Update(t.Context(), investigation); err != nil {
			t.Fatal(err)
		}
	}
	if wait := n.narrate(all[inquiriesPerHour]); wait != 0 {
		t.Errorf("it waits for %s", wait)
	}
	n.asked(1)
}

// unread answers nothing.
type unread struct{ client.Reader }

func (unread) List(context.Context, client.ObjectList, ...client.ListOption) error {
	return errors.New("it is not to be asked")
}

func TestSeveralWorkersTakeNoMoreThanThereIs(t *testing.T) {
	n := newNarrated(t, nil)
	const workers = 4
	from := bucket{by: onItsOwn, class: "CrashLoop"}
	var wait sync.WaitGroup
	let := make(chan bool, workers*inquiriesPerHour)
	for worker := range workers {
		wait.Go(func() {
			for i := range inquiriesPerHour {
				later, err := n.n.buckets.take(t.Context(), from, inquiry{of: client.ObjectKey{Name: fmt.Sprint(worker, " ", i)}})
				if err != nil {
					t.Error(err)
				}
				let <- later == 0
			}
		})
	}
	wait.Wait()
	close(let)
	through := 0
	for passed := range let {
		if passed {
			through++
		}
	}
	if through != inquiriesPerHour {
		t.Errorf("%d were let through, want %d", through, inquiriesPerHour)
	}
	// Those that wait ask nobody, and what was made counts whatever is stored.
	var some []inquiry
	for of := range n.n.buckets.taken[from] {
		some = append(some, of)
	}
	n.n.buckets.end(from, some[0], true)
	n.n.buckets.client = unread{}
	n.time.Step(time.Minute)
	another := inquiry{about: "another"}
	if later, err := n.n.buckets.take(t.Context(), from, another); err != nil || later != 59*time.Minute {
		t.Errorf("it waits for %s, want 59m: %v", later, err)
	}
	// What was let through with no call to tell of is free again.
	n.n.buckets.client = n.client
	n.n.buckets.end(from, some[1], false)
	if later, err := n.n.buckets.take(t.Context(), from, another); err != nil || later != 0 {
		t.Errorf("it waits for %s, %v", later, err)
	}
	if later, err := n.n.buckets.take(t.Context(), from, inquiry{about: "a third"}); err != nil || later != 59*time.Minute {
		t.Errorf("a third waits for %s, want 59m: %v", later, err)
	}
}

// The ServiceAccounts of a namespace are one.
func TestServiceAccountsOfANamespaceShareABucket(t *testing.T) {
	n := newNarrated(t, nil)
	all := n.troubles("CrashLoop", 1)
	var calls []opsv1alpha1.ModelCall
	for i := range inquiriesPerHour {
		calls = append(calls, opsv1alpha1.ModelCall{
			ID: fmt.Sprint("call-", i), By: fmt.Sprint("system:serviceaccount:shop:robot-", i), At: metav1.NewTime(begin), About: fmt.Sprint(i),
			Model: scripted.Name, Prompt: "narrate/1", Outcome: "OK", Attempts: 1,
		})
	}
	investigation := n.stored(all[0])
	investigation.Status.Calls = calls
	if err := n.client.Status().Update(t.Context(), investigation); err != nil {
		t.Fatal(err)
	}
	if investigation.Labels[analyzers.AnalyzerLabel] != "CrashLoop" {
		t.Fatalf("its labels are %v", investigation.Labels)
	}
	for by, want := range map[string]time.Duration{"system:serviceaccounts:shop": time.Hour, "anna": 0} {
		if wait, err := n.n.buckets.take(t.Context(), bucket{by: by, class: "CrashLoop"}, inquiry{about: "another"}); err != nil || wait != want {
			t.Errorf("%s waits for %s, want %s; %v", by, wait, want, err)
		}
	}
}
