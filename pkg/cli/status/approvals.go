// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/breaker"
	"github.com/srenix/srenix/pkg/cli"
)

// alike are approvals of one proposal of which the same is to be told.
type alike struct {
	Namespace string `json:"namespace"`
	// Name is that of the newest.
	Name     string `json:"name"`
	Proposal string `json:"proposal"`
	// State is where they are on their way, or how they ended; empty until an executor
	// has seen them.
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
	// Time is when the newest came there.
	Time metav1.Time `json:"time"`
	// Count is how many there are.
	Count int `json:"count"`
}

type openBreaker struct {
	ActionKind v1alpha1.ActionKind `json:"actionKind"`
	// Namespace is empty for all.
	Namespace string `json:"namespace,omitempty"`
	Message   string `json:"message"`
}

// readApprovals tells of the approvals that are under way or being verified, and of
// those that did not help.
func (r *reader) readApprovals(ctx context.Context, s *summary) {
	var stored []opsv1alpha1.Approval
	helped := map[string]time.Time{} // when, of each proposal
	s.unread("approvals", cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.client.OpsV1alpha1().Approvals(s.Namespace).List(ctx, options)
	}, func(approval *opsv1alpha1.Approval) {
		stored = append(stored, *approval)
		status := &approval.Status
		one := alike{approval.Namespace, approval.Name, approval.Spec.Proposal.Name, string(status.Phase), status.Message, approval.CreationTimestamp, 1}
		verified := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionVerified)
		if !status.Phase.Finished() {
			s.UnderWay = append(s.UnderWay, one)
		}
		switch {
		case verified != nil:
			one.State, one.Message, one.Time = "being verified", verified.Message, verified.LastTransitionTime
		case status.CompletedAt != nil:
			one.Time = *status.CompletedAt
		}
		switch {
		case verified != nil && verified.Status == metav1.ConditionUnknown:
			s.Verifying = append(s.Verifying, one)
			return
		case verified != nil && verified.Status == metav1.ConditionTrue:
			if one.Time.After(helped[one.of()]) {
				helped[one.of()] = one.Time.Time
			}
			return
		case verified != nil:
			one.State = "not verified"
		case status.Phase == opsv1alpha1.PhaseFailed:
			one.State = "failed"
		case status.Phase == opsv1alpha1.PhaseDenied && approval.Spec.Decision == v1alpha1.DecisionApprove:
			one.State = "refused" // The phase is that of a person's no, too.
		default:
			return
		}
		if r.now.Before(one.Time.Add(lately)) {
			s.Unhelpful = append(s.Unhelpful, one)
		}
	}))
	s.Unhelpful = slices.DeleteFunc(s.Unhelpful, func(one alike) bool { return helped[one.of()].After(one.Time.Time) })
	s.UnderWay, s.Verifying, s.Unhelpful = fold(s.UnderWay), fold(s.Verifying), fold(s.Unhelpful)
	slices.SortFunc(s.Unhelpful, newestFirst)
	if s.Unread["approvals"] == "" { // A part of them may lack the success that ended a row.
		s.Breakers = openBreakers(stored)
	}
}

// openBreakers are those of each kind: that of the cluster, then those of namespaces.
func openBreakers(stored []opsv1alpha1.Approval) (all []openBreaker) {
	for _, kind := range config.BuiltInActionKinds() {
		cluster, namespaces := breaker.Of(stored, kind, config.DefaultBreakerThreshold)
		if cluster != nil {
			all = append(all, openBreaker{kind, "", cluster.Message(fmt.Sprintf("%s in all namespaces", kind))})
		}
		for _, name := range slices.Sorted(maps.Keys(namespaces)) {
			all = append(all, openBreaker{kind, name, namespaces[name].Message(fmt.Sprintf("%s in namespace %s", kind, name))})
		}
	}
	return all
}

// of names the proposal.
func (a alike) of() string { return a.Namespace + "/" + a.Proposal }

func newestFirst(a, b alike) int {
	return cmp.Or(b.Time.Compare(a.Time.Time), cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
}

// fold makes one of those of which the same is to be told, and leaves the order.
func fold(all []alike) []alike {
	var folded []alike
	at := map[alike]int{}
	for _, one := range all {
		same := one
		same.Name, same.Time = "", metav1.Time{}
		i, known := at[same]
		if !known {
			at[same] = len(folded)
			folded = append(folded, one)
			continue
		}
		count := folded[i].Count + 1
		if newestFirst(one, folded[i]) < 0 {
			folded[i] = one
		}
		folded[i].Count = count
	}
	return folded
}

// approvals is how many there are.
func approvals(all []alike) (n int) {
	for _, some := range all {
		n += some.Count
	}
	return n
}

// String names the newest of the approvals, and tells how many others are like it.
func (a alike) String() string {
	others := ""
	if a.Count > 1 {
		others = fmt.Sprintf(" and %d more", a.Count-1)
	}
	return fmt.Sprintf("%s/%s%s of %s", a.Namespace, a.Name, others, a.Proposal)
}
