// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

func modelCall(n int, outcome string) opsv1alpha1.ModelCall {
	return opsv1alpha1.ModelCall{
		ID: fmt.Sprintf("00000000-0000-4000-8000-%012d", n), By: "system:srenix", At: metav1.NewTime(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)),
		Model: "scripted", Prompt: "narrate/1", PromptHash: "sha256:" + strings.Repeat("a", 64), PromptTokens: 800, AnswerTokens: 90, Attempts: 1, Outcome: outcome,
	}
}

func investigationWith(calls ...opsv1alpha1.ModelCall) *opsv1alpha1.Investigation {
	return &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "crash-1", Labels: map[string]string{analyzers.AnalyzerLabel: "CrashLoop"}},
		Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: "crash"}},
		Status:     opsv1alpha1.InvestigationStatus{Calls: calls},
	}
}

// Three replicas see the same calls, some of them again and again, and kube-apiserver
// refuses now and then.
func TestEachCallOfAModelIsInTheChainOnce(t *testing.T) {
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	var creations atomic.Int64
	kube := fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if creations.Add(1)%5 == 2 {
				return errors.New("not now")
			}
			return c.Create(ctx, object, options...)
		},
	}).Build()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	calls := []opsv1alpha1.ModelCall{modelCall(1, "OK"), modelCall(2, "Timeout"), modelCall(3, opsv1alpha1.OutcomeInterrupted), modelCall(4, "")}
	ctx, stop := context.WithCancel(t.Context())
	var replicas sync.WaitGroup
	for _, pod := range []string{"apiserver/a", "apiserver/b", "apiserver/c"} {
		m := newModelCalls(audit.NewChain(kube, pod, clock, nil), kube, clock)
		replicas.Go(func() {
			if err := m.run(ctx); err != nil {
				t.Error(err)
			}
		})
		for n := range calls {
			m.take(investigationWith(calls[:n+1]...), false)
		}
	}
	recorded := func() map[string]opsv1alpha1.AuditEventSpec {
		events := &opsv1alpha1.AuditEventList{}
		if err := kube.List(t.Context(), events, client.MatchingLabels{audit.LabelType: string(opsv1alpha1.AuditModelCalled)}); err != nil {
			t.Fatal(err)
		}
		of := map[string]opsv1alpha1.AuditEventSpec{}
		for _, event := range events.Items {
			if _, twice := of[event.Spec.ModelCall.ID]; twice {
				t.Errorf("call %s is in the chain twice", event.Spec.ModelCall.ID)
			}
			of[event.Spec.ModelCall.ID] = event.Spec
		}
		return of
	}
	if err := wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return len(recorded()) == 3, nil
	}); err != nil {
		t.Fatalf("%v: in the chain are %v", err, recorded())
	}
	// The one that was under way is over now, another is when the Investigation is deleted,
	// and a replica that has just started sees all of them.
	late := newModelCalls(audit.NewChain(kube, "apiserver/d", clock, nil), kube, clock)
	calls[3] = modelCall(4, "OK")
	old := modelCall(7, "OK") // whose event may have been pruned
	old.At = metav1.NewTime(old.At.Add(-25 * time.Hour))
	refused := modelCall(6, "Budget") // nobody was asked
	refused.Attempts = 0
	late.take(investigationWith(append(calls, modelCall(5, ""), refused, old)...), true)
	for n := range 7 {
		for late.record(t.Context(), modelCall(n+1, "").ID) != nil {
		}
	}
	stop()
	replicas.Wait()
	have := recorded()
	if len(have) != 5 || have[modelCall(5, "").ID].ModelCall.Outcome != opsv1alpha1.OutcomeInterrupted {
		t.Errorf("in the chain are %v", have)
	}
	of := have[calls[0].ID]
	if diff := cmp.Diff(&calls[0], of.ModelCall); diff != "" {
		t.Errorf("the call (-made +recorded):\n%s", diff)
	}
	if of.Actor != "advisor" || of.References.Namespace != "shop" || of.References.DiagnosticClass != "CrashLoop" || of.Hashes["prompt"] != calls[0].PromptHash || len(of.Hashes) != 1 ||
		of.Message != "the advisor asked the model scripted about finding crash by prompt narrate/1, for system:srenix: OK; 890 tokens" {
		t.Errorf("the event is %+v", of)
	}
	if err := audit.NewChain(kube, "apiserver/e", clock, nil).CheckHead(t.Context()); err != nil {
		t.Error(err)
	}
}

// An advisor that was taken over may note any number of calls.
func TestCallsOfModelsAreBoundedInTheChain(t *testing.T) {
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	kube := fake.NewClientBuilder().WithScheme(scheme).Build()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	m := newModelCalls(audit.NewChain(kube, "apiserver/a", clock, nil), kube, clock)
	m.limit = audit.NewLimiter(3, clock)
	for n := range 10 {
		m.take(investigationWith(modelCall(n, "OK")), false)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = m.run(ctx) })
	err = wait.PollUntilContextTimeout(t.Context(), 20*time.Millisecond, time.Minute, true, func(context.Context) (bool, error) {
		return m.queue.Len() == 0, nil
	})
	stop()
	running.Wait()
	events := &opsv1alpha1.AuditEventList{}
	if err := errors.Join(err, kube.List(t.Context(), events, client.MatchingLabels{audit.LabelType: string(opsv1alpha1.AuditModelCalled)})); err != nil || len(events.Items) != 3 {
		t.Errorf("%d calls are in the chain (%v), want 3 within the hour", len(events.Items), err)
	}
}
