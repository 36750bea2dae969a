// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	testingclock "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// askers is a requester beside a store.
type askers struct {
	*testing.T
	clock  *testingclock.FakePassiveClock
	client client.WithWatch
	r      *requester
}

func newAskers(t *testing.T, funcs interceptor.Funcs) *askers {
	t.Helper()
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	a := &askers{T: t, clock: testingclock.NewFakePassiveClock(time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC))}
	a.client = fake.NewClientBuilder().WithScheme(scheme).WithInterceptorFuncs(funcs).Build()
	a.r = newRequester(a.client, "srenix-system", a.clock)
	return a
}

func askedAbout(namespace, name, analyzer string) *v1alpha1.Finding {
	return &v1alpha1.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(namespace + name)}, Spec: v1alpha1.FindingSpec{Analyzer: analyzer},
	}
}

func (a *askers) ask(person string, of *v1alpha1.Finding) error {
	a.Helper()
	_, _, err := a.r.Request(a.Context(), &user.DefaultInfo{Name: person}, of, false)
	return err
}

func (a *askers) stored(of *v1alpha1.Finding) *opsv1alpha1.Investigation {
	a.Helper()
	investigation := &opsv1alpha1.Investigation{}
	key := client.ObjectKey{Namespace: of.Namespace, Name: opsv1alpha1.InvestigationName(of.Name, of.UID)}
	if err := a.client.Get(a.Context(), key, investigation); err != nil {
		a.Fatal(err)
	}
	return investigation
}

func TestARequestIsStored(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	of := askedAbout("shop", "pull", "ImagePull")
	name, at, err := a.r.Request(t.Context(), &user.DefaultInfo{Name: "anna"}, of, true)
	if err != nil || !at.IsZero() {
		t.Fatalf("a dry run answers %s, %v", at, err)
	}
	if err := a.client.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: name}, &opsv1alpha1.Investigation{}); !apierrors.IsNotFound(err) {
		t.Fatalf("a dry run stores something: %v", err)
	}
	if err := a.ask("anna", of); err != nil {
		t.Fatal(err)
	}
	a.clock.SetTime(a.clock.Now().Add(time.Minute))
	if err := a.ask("ben", of); err != nil {
		t.Fatal(err)
	}
	have := a.stored(of)
	if n := len(have.Spec.Requests); n != 2 || have.Spec.Requests[0].By != "anna" || have.Spec.Requests[1].By != "ben" || have.Spec.Finding.UID != of.UID {
		t.Errorf("have %+v", have.Spec)
	}
	// Those of the hour before are kept, for the budget counts by them.
	a.clock.SetTime(a.clock.Now().Add(requestWindow))
	if err := a.ask("anna", of); err != nil {
		t.Fatal(err)
	}
	if have := a.stored(of).Spec.Requests; len(have) != 1 || have[0].By != "anna" {
		t.Errorf("have %+v", have)
	}
}

func TestRequestsOfAPersonAreLimitedInEachClass(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	begin := a.clock.Now()
	for i := range requestsPerHour {
		a.clock.SetTime(begin.Add(time.Duration(i) * time.Minute))
		if err := a.ask("anna", askedAbout(fmt.Sprintf("ns-%d", i%3), fmt.Sprintf("f-%d", i), "ImagePull")); err != nil {
			t.Fatal(err)
		}
	}
	// Neither another finding nor another process has a budget of its own.
	a.r = newRequester(a.client, "srenix-system", a.clock)
	next := askedAbout("shop", "other", "ImagePull")
	err := a.ask("anna", next)
	if !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "ask again in 51m0s") {
		t.Errorf("have %v", err)
	}
	for name, ask := range map[string]func() error{
		"another person": func() error { return a.ask("ben", next) },
		"another class":  func() error { return a.ask("anna", askedAbout("shop", "crash", "CrashLoop")) },
	} {
		if err := ask(); err != nil {
			t.Errorf("%s is refused: %v", name, err)
		}
	}
	a.clock.SetTime(begin.Add(requestWindow - time.Second))
	if err := a.ask("anna", next); !apierrors.IsTooManyRequests(err) {
		t.Errorf("a second too soon: %v", err)
	}
	a.clock.SetTime(begin.Add(requestWindow))
	if err := a.ask("anna", next); err != nil {
		t.Errorf("an hour after the first: %v", err)
	}
	if err := a.ask("anna", next); !apierrors.IsTooManyRequests(err) {
		t.Errorf("there was room for one: %v", err)
	}
}

func TestAFindingIsAskedAboutSoOftenAtMost(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	of := askedAbout("shop", "pull", "ImagePull")
	for i := range opsv1alpha1.MaximumRequests {
		if err := a.ask(fmt.Sprintf("person-%d", i), of); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.ask("one more", of); !apierrors.IsTooManyRequests(err) {
		t.Errorf("have %v", err)
	}
	if n := len(a.stored(of).Spec.Requests); n != opsv1alpha1.MaximumRequests {
		t.Errorf("%d requests are stored", n)
	}
}

// What cannot be counted is not allowed.
func TestARequestThatCannotBeCountedIsRefused(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
		return errors.New("etcd is away")
	}})
	if err := a.ask("anna", askedAbout("shop", "pull", "ImagePull")); !apierrors.IsInternalError(err) {
		t.Errorf("have %v", err)
	}
}

// The advisor may store the Investigation in the same moment.
func TestARequestMeetsTheAdvisor(t *testing.T) {
	of, first := askedAbout("shop", "pull", "ImagePull"), true
	a := newAskers(t, interceptor.Funcs{Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
		if first {
			first = false
			own := object.DeepCopyObject().(*opsv1alpha1.Investigation)
			own.Spec.Requests = nil
			if err := c.Create(ctx, own); err != nil {
				return err
			}
		}
		return c.Create(ctx, object, options...)
	}})
	if err := a.ask("anna", of); err != nil {
		t.Fatal(err)
	}
	if have := a.stored(of).Spec.Requests; len(have) != 1 {
		t.Errorf("have %+v", have)
	}
}

func TestRequestsOfTheFutureLockNobodyOut(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	of := askedAbout("shop", "pull", "ImagePull")
	if err := a.ask("ben", of); err != nil {
		t.Fatal(err)
	}
	forged := a.stored(of)
	for n := range requestsPerHour {
		at := metav1.NewMicroTime(a.clock.Now().Add(time.Duration(n+1) * 24 * time.Hour))
		forged.Spec.Requests = append(forged.Spec.Requests, opsv1alpha1.InvestigationRequest{By: "anna", At: at})
	}
	if err := a.client.Update(t.Context(), forged); err != nil {
		t.Fatal(err)
	}
	if err := a.ask("anna", askedAbout("shop", "other", "ImagePull")); err != nil {
		t.Error(err)
	}
}

func TestDeletingInvestigationsGivesNothingBack(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	of := askedAbout("shop", "pull", "ImagePull")
	for range requestsPerHour {
		if err := a.ask("anna", of); err != nil {
			t.Fatal(err)
		}
		if err := a.client.Delete(t.Context(), a.stored(of)); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.ask("anna", of); !apierrors.IsTooManyRequests(err) || !strings.Contains(err.Error(), "anna has asked for 10 investigations of what ImagePull finds") {
		t.Errorf("have %v", err)
	}
	if err := a.ask("ben", of); err != nil {
		t.Error(err)
	}
}

// A finding without a namespace is a clusterfinding, and counts in the same budget.
func TestARequestAboutAClusterFindingIsStoredWhereSrenixRuns(t *testing.T) {
	a := newAskers(t, interceptor.Funcs{})
	of := askedAbout("", "lost", "Nodes")
	for range requestsPerHour {
		if err := a.ask("anna", of); err != nil {
			t.Fatal(err)
		}
	}
	if err := a.ask("anna", of); !apierrors.IsTooManyRequests(err) {
		t.Errorf("have %v", err)
	}
	stored := askedAbout("", "lost", "Nodes")
	stored.Namespace = "srenix-system"
	if have := a.stored(stored); have.Spec.Finding.Kind != opsv1alpha1.KindClusterFinding || have.Spec.Finding.UID != of.UID || len(have.Spec.Requests) != requestsPerHour {
		t.Errorf("have %+v", have.Spec)
	}
}
