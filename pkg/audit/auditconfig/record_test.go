// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package auditconfig

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

func newCluster(t *testing.T) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := opsv1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).Build()
}

// recorded are the configurations that the chain has.
func recorded(t *testing.T, kube client.Client) []opsv1alpha1.AuditEvent {
	t.Helper()
	events := &opsv1alpha1.AuditEventList{}
	if err := kube.List(t.Context(), events, client.MatchingLabels{audit.LabelType: string(opsv1alpha1.AuditConfigurationChanged)}); err != nil {
		t.Fatal(err)
	}
	return events.Items
}

// Two programs with different configurations do not record them in turn, and neither
// can hide a change of the other's.
func TestAProgramIsComparedWithItself(t *testing.T) {
	kube := newCluster(t)
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	for i, step := range []struct {
		component string
		approvals int32
		without   bool
		events    int
		message   string
	}{
		{"apiserver/a", 3, false, 1, "this configuration is in effect; no earlier one is known"},
		{"executor/a", 5, false, 2, "this configuration is in effect; no earlier one is known"},
		{"apiserver/a", 3, false, 2, ""},
		{"executor/b", 5, false, 2, ""},
		{"executor", 5, false, 2, ""},
		{"executor/b", 5, true, 3, "another configuration is in effect, with --without; changed: flags.without"},
		{"apiserver/b", 5, false, 4, "another configuration is in effect; changed: policy.approvalsPerHour"},
		{"executor/a", 5, true, 4, ""},
		{"executor/a", 3, false, 5, "another configuration is in effect; changed: flags.without, policy.approvalsPerHour"},
	} {
		configuration := &configv1alpha1.SrenixConfiguration{}
		configuration.Policy.ApprovalsPerHour = ptr.To(step.approvals)
		configv1alpha1.Default(configuration)
		record := &Record{Chain: audit.NewChain(kube, step.component, clock, nil), Reader: kube, Configuration: configuration}
		if strings.HasPrefix(step.component, audit.ComponentExecutor) {
			record.Flags = map[string]bool{"without": step.without}
		}
		if err := record.Ensure(t.Context()); err != nil {
			t.Fatal(err)
		}
		events := recorded(t, kube)
		if len(events) != step.events {
			t.Fatalf("step %d: %d events, want %d", i, len(events), step.events)
		}
		if last := events[len(events)-1].Spec; step.message != "" && (last.Message != step.message || last.Component != step.component) {
			t.Errorf("step %d: %s says %q", i, last.Component, last.Message)
		}
	}
}

// It is tried again until the chain has it, and then no more.
func TestItIsTriedUntilTheChainHasIt(t *testing.T) {
	refuses, creates := true, 0
	kube := interceptor.NewClient(newCluster(t), interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			creates++
			if refuses {
				return errors.New("no")
			}
			return c.Create(ctx, object, options...)
		},
	})
	configuration := &configv1alpha1.SrenixConfiguration{}
	configv1alpha1.Default(configuration)
	record := &Record{Chain: audit.NewChain(kube, "executor/a", clocktesting.NewFakePassiveClock(time.Unix(0, 0)), nil), Reader: kube, Configuration: configuration}
	for range 2 {
		if err := record.Ensure(t.Context()); err == nil {
			t.Error("it is said to be recorded, and the chain takes nothing")
		}
	}
	refuses = false
	if err := record.Run(t.Context()); err != nil {
		t.Error(err)
	}
	before := creates
	if err := record.Ensure(t.Context()); err != nil || creates != before || len(recorded(t, kube)) != 1 {
		t.Errorf("%v, %d events more, %d in all", err, creates-before, len(recorded(t, kube)))
	}
}

func TestAnotherPolicyIsInTheChainOnce(t *testing.T) {
	kube := newCluster(t)
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	before := ""
	for _, step := range []struct {
		what    string
		change  func(*configv1alpha1.PolicyConfiguration)
		events  int
		message string
	}{
		{"the first start", func(*configv1alpha1.PolicyConfiguration) {}, 1, "no earlier one is known"},
		{"a restart", func(*configv1alpha1.PolicyConfiguration) {}, 1, "no earlier one is known"},
		{"a default that is written out", func(p *configv1alpha1.PolicyConfiguration) {
			p.ApprovalsPerHour = ptr.To[int32](configv1alpha1.DefaultApprovalsPerHour)
		}, 1, "no earlier one is known"},
		{"two other fields", func(p *configv1alpha1.PolicyConfiguration) {
			p.ApprovalsPerHour, p.ProtectedNamespaces = ptr.To[int32](3), []string{"bank"}
		}, 2, "changed: policy.approvalsPerHour, policy.protectedNamespaces"},
		{"one taken back", func(p *configv1alpha1.PolicyConfiguration) { p.ApprovalsPerHour = ptr.To[int32](3) }, 3, "changed: policy.protectedNamespaces"},
	} {
		// Each by three replicas at once.
		var replicas sync.WaitGroup
		for _, pod := range []string{"apiserver/a", "apiserver/b", "apiserver/c"} {
			configuration := &configv1alpha1.SrenixConfiguration{}
			step.change(&configuration.Policy)
			configv1alpha1.Default(configuration)
			record := &Record{Chain: audit.NewChain(kube, pod, clock, nil), Reader: kube, Configuration: configuration}
			replicas.Go(func() {
				if err := record.Ensure(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		replicas.Wait()
		events := recorded(t, kube)
		if len(events) != step.events {
			t.Fatalf("%s: %d events, want %d", step.what, len(events), step.events)
		}
		last := events[len(events)-1].Spec
		if !strings.HasSuffix(last.Message, step.message) || last.Hashes["before"] == last.Hashes["after"] {
			t.Errorf("%s: %q with hashes %v", step.what, last.Message, last.Hashes)
		}
		if last.Hashes["before"] != "" && len(events) > 1 && last.Hashes["before"] != events[len(events)-2].Spec.Hashes["after"] {
			t.Errorf("%s: before it was %s, by the event before %s", step.what, last.Hashes["before"], before)
		}
		if strings.Contains(last.Message, "bank") {
			t.Errorf("%s: the message holds a value: %s", step.what, last.Message)
		}
		before = last.Hashes["after"]
	}
}
