// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"strings"
	"sync"
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

func TestAnotherPolicyIsInTheChainOnce(t *testing.T) {
	scheme, err := newClientScheme()
	if err != nil {
		t.Fatal(err)
	}
	kube := fake.NewClientBuilder().WithScheme(scheme).Build()
	clock := clocktesting.NewFakePassiveClock(time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC))
	recorded := func() []opsv1alpha1.AuditEvent {
		t.Helper()
		events := &opsv1alpha1.AuditEventList{}
		if err := kube.List(t.Context(), events, client.MatchingLabels{audit.LabelType: string(opsv1alpha1.AuditConfigurationChanged)}); err != nil {
			t.Fatal(err)
		}
		return events.Items
	}
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
			record := configurationRecord{chain: audit.NewChain(kube, pod, clock, nil), reader: kube, configuration: configuration}
			replicas.Go(func() {
				if err := record.record(t.Context()); err != nil {
					t.Error(err)
				}
			})
		}
		replicas.Wait()
		events := recorded()
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
