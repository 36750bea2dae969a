// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// State tells whether what a rule has put out can be relied on.
type State string

const (
	// Healthy: all that the rule reads is known, and no evaluation has failed.
	Healthy State = "Healthy"
	// Degraded: some outputs are missing or as of an earlier time; see Reason.
	Degraded State = "Degraded"
)

// Reasons of a Degraded status.
const (
	// ReasonInputSyncing: an input has not been read for the first time yet.
	ReasonInputSyncing = "InputSyncing"
	// ReasonInputForbidden: the API server refuses to list or watch an input.
	ReasonInputForbidden = "InputForbidden"
	// ReasonInputFailing: listing or watching an input fails for another reason.
	ReasonInputFailing = "InputFailing"
	// ReasonInputNotInstalled: the cluster does not serve an input that is not
	// Optional.
	ReasonInputNotInstalled = "InputNotInstalled"
	// ReasonInputNotRead: the source holds a part of a cluster, without an input.
	ReasonInputNotRead = "InputNotRead"
	// ReasonNotCollected: a Snapshot read a kind which no rule of the engine uses.
	// It never appears in a Status.
	ReasonNotCollected = "NotCollected"
	// ReasonPanicked: Evaluate panicked for some subject.
	ReasonPanicked = "Panicked"
	// ReasonFailed: Evaluate returned an error for some subject, or outputs that
	// the rule may not write.
	ReasonFailed = "Failed"
	// ReasonUndeclaredRead: Evaluate read a kind that is not among its Reads.
	ReasonUndeclaredRead = "UndeclaredRead"
	// ReasonSlow: Evaluate has not returned for half a minute for some subject.
	ReasonSlow = "Slow"
	// ReasonConflict: some output is already written by another subject or rule.
	ReasonConflict = "Conflict"
)

// Status is how one rule fares. Its name is the rule's, lower-cased and made
// DNS-safe; it has no namespace.
type Status struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Rule and Group are those of the Rule.
	Rule  string
	Group string
	State State
	// Reason is one of the Reason constants; empty while Healthy.
	Reason string
	// Message says what is wrong and what would help; empty while Healthy.
	Message string
	// Missing are the RBAC rules that would let forbidden inputs be read.
	Missing []rbacv1.PolicyRule
	// Unread are the resources that a source which holds a part of a cluster lacks.
	Unread []schema.GroupResource
	// Since is when State and Reason became what they are.
	Since metav1.Time
}

// DeepCopyObject implements runtime.Object.
func (s *Status) DeepCopyObject() runtime.Object {
	out := *s
	out.ObjectMeta = *s.ObjectMeta.DeepCopy()
	out.Since = *s.Since.DeepCopy()
	out.Missing = nil
	for i := range s.Missing {
		out.Missing = append(out.Missing, *s.Missing[i].DeepCopy())
	}
	out.Unread = slices.Clone(s.Unread)
	return &out
}

// StatusesByGroup is the index of Statuses by the Group of their rules.
const StatusesByGroup = "group"

var statuses = NewDerived("statuses", map[string]func(*Status) []string{
	StatusesByGroup: func(s *Status) []string { return []string{s.Group} },
})

// Statuses is the built-in collection with one Status per rule. A rule may have
// it as its subject, so that a degraded rule is itself reported.
func Statuses() Kind[*Status] { return statuses }

// statusName makes a DNS subdomain of a rule name.
func statusName(rule string) string {
	name := strings.Map(func(r rune) rune {
		switch {
		case r >= 'a' && r <= 'z', r >= '0' && r <= '9', r == '.':
			return r
		case r >= 'A' && r <= 'Z':
			return r + ('a' - 'A')
		}
		return '-'
	}, rule)
	if name = strings.Trim(name, "-."); name == "" {
		return "rule"
	}
	return name
}
