// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/secondleash"
)

// held is a leash that is always there.
type held struct{}

func (held) Err() error { return nil }

// isConfigured is a configuration that the audit chain has.
func isConfigured(context.Context) error { return nil }

// Which configuration decides is in the chain before anything is done by it.
func TestNothingIsDoneUntilTheConfigurationIsInTheChain(t *testing.T) {
	for _, kind := range []srenix.ActionKind{srenix.ActionPatchDeploymentAnnotation, srenix.ActionRunbook} {
		w := newWorld(t, kind)
		approval, p := w.approve(approver), w.newProcess("executor-0")
		cause := errors.New("the chain takes nothing")
		p.configured = func(context.Context) error { return cause }
		before := w.get(approval)
		for range 3 {
			if _, err := p.Reconcile(t.Context(), ctrl.Request{NamespacedName: client.ObjectKeyFromObject(approval)}); !errors.Is(err, cause) {
				t.Errorf("%s: %v", kind, err)
			}
		}
		if diff := cmp.Diff(before, w.get(approval)); diff != "" || len(w.acts) != 0 {
			t.Errorf("%s: acted %v (-before +after):\n%s", kind, w.acts, diff)
		}
		p.configured = isConfigured
		p.run(approval)
		if after := w.get(approval); after.Status.Phase == before.Status.Phase {
			t.Errorf("%s: nothing is done once it is there: %+v", kind, after.Status)
		}
	}
}

// installed is an API server that has the second leash, as a change leaves it.
func installed(t *testing.T, change func(*admissionregistrationv1.ValidatingAdmissionPolicySpec)) client.WithWatch {
	t.Helper()
	policy, binding, err := secondleash.Shipped()
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&policy.Spec)
	}
	return fake.NewClientBuilder().WithObjects(policy, binding).Build()
}

func TestAnExecutorNeedsItsSecondLeash(t *testing.T) {
	reduced := func(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) {
		spec.Validations = spec.Validations[:1]
	}
	leases := schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}
	byLeash := apierrors.NewForbidden(leases, "x", errors.New("ValidatingAdmissionPolicy '"+leashName+"' with binding '"+leashName+"' denied request: layer ActionKindAllowlist"))
	for name, test := range map[string]struct {
		answers []error
		is      func(*admissionregistrationv1.ValidatingAdmissionPolicySpec)
		allow   bool
		starts  bool
		holds   float64
	}{
		"it holds":                           {answers: []error{byLeash}, starts: true, holds: 1},
		"it holds after a moment":            {answers: []error{nil, byLeash}, starts: true, holds: 1},
		"it does not":                        {answers: []error{nil}},
		"it does not, which is allowed":      {answers: []error{nil}, allow: true, starts: true},
		"it is reduced":                      {answers: []error{byLeash}, is: reduced},
		"it is reduced, which is allowed":    {answers: []error{byLeash}, is: reduced, allow: true, starts: true},
		"something else forbids it":          {answers: []error{apierrors.NewForbidden(leases, "x", errors.New("no role lets it"))}},
		"another error that names the leash": {answers: []error{apierrors.NewInternalError(errors.New("evaluating " + leashName))}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			api := interceptor.NewClient(installed(t, test.is), interceptor.Funcs{
				Create: func(_ context.Context, _ client.WithWatch, object client.Object, options ...client.CreateOption) error {
					if _, is := object.(*coordinationv1.Lease); !is || object.GetNamespace() != "srenix-system" || len((&client.CreateOptions{}).ApplyOptions(options).DryRun) == 0 {
						t.Errorf("asked for %T %s/%s, and not dry", object, object.GetNamespace(), object.GetName())
					}
					asked++
					return test.answers[min(asked, len(test.answers))-1]
				},
			})
			metrics, err := newMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			config := &Config{Namespace: "srenix-system", AllowWithoutSecondLeash: test.allow}
			second, err := config.requireLeash(t.Context(), api, metrics, 1500*time.Millisecond)
			if (err == nil) != test.starts || err != nil && !errors.Is(err, errNoLeash) {
				t.Errorf("it starts: %t, want %t: %v", err == nil, test.starts, err)
			}
			if test.starts && second.Err() != nil {
				t.Errorf("it starts and does nothing: %v", second.Err())
			}
			if holds := testutil.ToFloat64(metrics.leash); holds != test.holds {
				t.Errorf("the metric says %v, want %v", holds, test.holds)
			}
		})
	}
}

// The leash is taken away while the executor runs, and comes back.
func TestTheSecondLeashIsLookedForAgain(t *testing.T) {
	for name, optional := range map[string]bool{"needed": false, "optional": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				metrics, err := newMetrics(prometheus.NewRegistry())
				if err != nil {
					t.Fatal(err)
				}
				taken := false
				api := interceptor.NewClient(installed(t, nil), interceptor.Funcs{
					Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
						if taken {
							return nil
						}
						return apierrors.NewForbidden(schema.GroupResource{}, "x", errors.New("by "+leashName))
					},
				})
				log := &lines{}
				ctx, stop := context.WithCancel(klog.NewContext(t.Context(), logr.New(log)))
				defer stop()
				second, err := (&Config{Namespace: "srenix-system", AllowWithoutSecondLeash: optional}).requireLeash(ctx, api, metrics, leashDeadline)
				if err != nil {
					t.Fatal(err)
				}
				ended := make(chan error)
				go func() { ended <- second.Start(ctx) }()
				for _, then := range []struct {
					taken  bool
					within time.Duration
					said   int
				}{
					{false, 2 * leashPeriod, 1},
					{true, leashPeriod + leashDeadline + time.Second, 2},
					{true, time.Hour, 2},
					{false, leashRetry + time.Second, 3},
					{false, time.Hour, 3},
					{true, leashPeriod + leashDeadline + time.Second, 4},
				} {
					taken = then.taken
					time.Sleep(then.within)
					synctest.Wait()
					if holds := testutil.ToFloat64(metrics.leash); (holds == 1) == then.taken {
						t.Errorf("taken away: %t, and the metric says %v", then.taken, holds)
					}
					if (second.Err() != nil) != (then.taken && !optional) {
						t.Errorf("taken away: %t, and it says %v", then.taken, second.Err())
					}
					if log.said != then.said {
						t.Errorf("it has said %d things, want %d", log.said, then.said)
					}
				}
				stop()
				if err := <-ended; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// lines counts what is logged.
type lines struct{ said int }

func (l *lines) Init(logr.RuntimeInfo)          {}
func (l *lines) Enabled(int) bool               { return true }
func (l *lines) Info(int, string, ...any)       { l.said++ }
func (l *lines) Error(error, string, ...any)    { l.said++ }
func (l *lines) WithValues(...any) logr.LogSink { return l }
func (l *lines) WithName(string) logr.LogSink   { return l }

// fickle is a leash that is gone while err is set.
type fickle struct{ err error }

func (f *fickle) Err() error { return f.err }

func TestNothingIsClaimedWithoutTheSecondLeash(t *testing.T) {
	w := newWorld(t, srenix.ActionPatchDeploymentAnnotation)
	approval, p, second := w.approve(approver), w.newProcess("executor-0"), &fickle{err: errNoLeash}
	p.leash = second
	p.run(approval)
	stored := w.get(approval)
	if stored.Status.Phase != opsv1alpha1.PhasePending || stored.Status.Execution != nil || !strings.Contains(stored.Status.Message, leashName) || len(w.acts) != 0 {
		t.Errorf("without a leash: acted %v, %+v", w.acts, stored.Status)
	}
	second.err = nil
	p.run(approval)
	w.checkOnce(approval)
	if len(w.acts) != 1 {
		t.Errorf("with the leash again it acted %d times", len(w.acts))
	}
}

// It is taken away at each moment of an execution: what has no intent by then has none later.
func TestAClaimIsGivenBackWithoutTheSecondLeash(t *testing.T) {
	const kind = srenix.ActionPatchDeploymentAnnotation
	for call := range callsOf(t, newWorld, kind) {
		w := newWorld(t, kind)
		approval, p, second := w.approve(approver), w.newProcess("executor-0"), &fickle{}
		intended := false
		p.leash, p.pauseAt, p.pause = second, call, func() {
			intended = w.has(approval, opsv1alpha1.AuditActionIntended)
			second.err = errNoLeash
		}
		p.run(approval)
		status := w.get(approval).Status
		switch {
		case intended:
			w.checkOnce(approval)
		case len(w.acts) == 0 && (status.Phase != opsv1alpha1.PhasePending || status.Execution != nil):
			t.Errorf("call %d: nothing was done, and it is %s: %s", call, status.Phase, status.Message)
		}
		second.err = nil
		p.run(approval)
		w.checkOnce(approval)
		if len(w.acts) != 1 {
			t.Errorf("call %d: acted %d times", call, len(w.acts))
		}
	}
}
