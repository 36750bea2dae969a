// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// pageSize is how many events are asked for at a time.
const pageSize = 500

// ByJTI returns every event about the token with this ID, oldest first. The
// reader must ask kube-apiserver and not a cache, here and below.
func ByJTI(ctx context.Context, reader client.Reader, jti string) ([]opsv1alpha1.AuditEvent, error) {
	events, err := find(ctx, reader, LabelJTI, jti, time.Time{}, func(spec *opsv1alpha1.AuditEventSpec) bool {
		return spec.References.JTI == jti
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit events of token %s: %w", jti, err)
	}
	return events, nil
}

// AcceptedByJTI returns the decisions that the token with this ID was used for
// and that counted, approvals and denials, oldest first. One is enough to call
// the token used.
func AcceptedByJTI(ctx context.Context, reader client.Reader, jti string) ([]opsv1alpha1.AuditEvent, error) {
	events, err := ByJTI(ctx, reader, jti)
	return slices.DeleteFunc(events, func(event opsv1alpha1.AuditEvent) bool { return !IsDecision(event.Spec.Type) }), err
}

// typeSet are types of events; none means all.
type typeSet []opsv1alpha1.AuditType

func (t typeSet) has(label string) bool {
	return len(t) == 0 || slices.Contains(t, opsv1alpha1.AuditType(label))
}

// lookedFor are the labels by which events are looked for, and of which types. What
// somebody may bring about as often as they like, as minting and being refused, is
// looked for by nothing that others share.
var lookedFor = map[string]typeSet{
	LabelJTI:       nil,
	LabelBudget:    {opsv1alpha1.AuditApprovalAccepted},
	LabelModelCall: {opsv1alpha1.AuditModelCalled},
	LabelProposalUID: {
		opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditApprovalDenied, opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditSuperseded,
		opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled,
		opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditVerified, opsv1alpha1.AuditNotVerified,
	},
}

// OfModelCall returns the event of the call of a model with this ID, or nil if there
// is none.
func OfModelCall(ctx context.Context, reader client.Reader, id string) (*opsv1alpha1.AuditEventSpec, error) {
	events, err := find(ctx, reader, LabelModelCall, id, time.Time{}, func(spec *opsv1alpha1.AuditEventSpec) bool {
		return spec.Type == opsv1alpha1.AuditModelCalled && spec.ModelCall != nil && spec.ModelCall.ID == id
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit event of call %s of a model: %w", id, err)
	}
	if len(events) == 0 {
		return nil, nil
	}
	return &events[0].Spec, nil
}

// AboutDigest returns what was decided about one digest of one proposal and done for
// it, oldest first: not the tokens that were minted.
func AboutDigest(ctx context.Context, reader client.Reader, proposal types.UID, digest string) ([]opsv1alpha1.AuditEvent, error) {
	events, err := find(ctx, reader, LabelProposalUID, string(proposal), time.Time{}, func(spec *opsv1alpha1.AuditEventSpec) bool {
		return spec.References.ProposalUID == proposal && spec.References.Digest == digest && lookedFor[LabelProposalUID].has(string(spec.Type))
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit events of proposal %s: %w", proposal, err)
	}
	return events, nil
}

// Binding returns the events by which a digest stays decided or done, whatever
// becomes of its Approvals, oldest first: what people said, intents with what became of
// them, and runbooks that were released. What an intent led to is looked for in the
// chain alone.
func Binding(ctx context.Context, reader client.Reader) ([]opsv1alpha1.AuditEvent, error) {
	kinds := typeSet{
		opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditActionIntended,
		opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled,
		opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditRunbookReleased,
	}
	events, err := list(ctx, reader, kinds, nil, func(spec *opsv1alpha1.AuditEventSpec) bool {
		return slices.Contains(kinds, spec.Type)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the audit events that bind digests: %w", err)
	}
	return events, nil
}

// LastOfType returns the newest event of a type that a program appended, whichever of
// its pods, or nil if there is none.
func LastOfType(ctx context.Context, reader client.Reader, kind opsv1alpha1.AuditType, program string) (*opsv1alpha1.AuditEventSpec, error) {
	events, err := list(ctx, reader, typeSet{kind}, nil, func(spec *opsv1alpha1.AuditEventSpec) bool {
		by, _, _ := strings.Cut(spec.Component, "/")
		return spec.Type == kind && by == program
	})
	if err != nil {
		return nil, fmt.Errorf("reading the last audit event of type %s by %s: %w", kind, program, err)
	}
	if len(events) == 0 {
		return nil, nil
	}
	return &events[len(events)-1].Spec, nil
}

// Recorded is when an event was appended, as early and as late as the two clocks have
// it that tell: that of who appended it, and that of the kube-apiserver which stored it,
// in whole seconds.
func Recorded(event *opsv1alpha1.AuditEvent) (earliest, latest time.Time) {
	earliest, latest = event.Spec.Time.Time, event.Spec.Time.Time
	switch stored := event.CreationTimestamp.Time; {
	case stored.IsZero(): // it was never in an API server
	case stored.Before(earliest):
		earliest = stored
	case stored.After(latest):
		latest = stored
	}
	return earliest, latest
}

// AcceptedSince returns the accepted approvals of one approver, and of who else is of
// the same Source, for one diagnostic class after a time, oldest first.
func AcceptedSince(ctx context.Context, reader client.Reader, approver, class string, since time.Time) ([]opsv1alpha1.AuditEvent, error) {
	events, err := find(ctx, reader, LabelBudget, BudgetKey(approver, class), since, func(spec *opsv1alpha1.AuditEventSpec) bool {
		return spec.Type == opsv1alpha1.AuditApprovalAccepted && Source(spec.References.Approver) == Source(approver) &&
			spec.References.DiagnosticClass == class
	})
	events = slices.DeleteFunc(events, func(event opsv1alpha1.AuditEvent) bool {
		_, latest := Recorded(&event)
		return !latest.After(since)
	})
	if err != nil {
		return nil, fmt.Errorf("reading the accepted approvals of class %q: %w", class, err)
	}
	return events, nil
}

// IsDecision tells whether an event of this type records a person's decision that counted.
func IsDecision(t opsv1alpha1.AuditType) bool {
	return t == opsv1alpha1.AuditApprovalAccepted || t == opsv1alpha1.AuditDenialRecorded
}

// ComponentExecutor begins the component of every event that an executor appends;
// the pod's name may follow.
const ComponentExecutor = "executor"

// ByExecutor tells whether an executor appended the event.
func ByExecutor(spec *opsv1alpha1.AuditEventSpec) bool {
	return strings.HasPrefix(spec.Component, ComponentExecutor)
}

// find returns the events with a label that match, oldest first, and may leave out
// those from before since.
func find(ctx context.Context, reader client.Reader, label, value string, since time.Time, matches func(*opsv1alpha1.AuditEventSpec) bool) ([]opsv1alpha1.AuditEvent, error) {
	if f, ok := reader.(finder); ok {
		events, found, err := f.find(ctx, label, value, since)
		if err != nil {
			return nil, err
		}
		if found {
			return checked(events, matches)
		}
	}
	return list(ctx, reader, lookedFor[label], labels.Set{label: value}, matches)
}

// list reads the events of some types and with a label that match, oldest first.
func list(ctx context.Context, reader client.Reader, of typeSet, with labels.Set, matches func(*opsv1alpha1.AuditEventSpec) bool) ([]opsv1alpha1.AuditEvent, error) {
	selector := labels.SelectorFromSet(with)
	if len(of) > 0 {
		var values []string
		for _, kind := range of {
			values = append(values, string(kind))
		}
		among, err := labels.NewRequirement(LabelType, selection.In, values)
		if err != nil {
			return nil, fmt.Errorf("selecting audit events by type: %w", err)
		}
		selector = selector.Add(*among)
	}
	var events []opsv1alpha1.AuditEvent
	for next := ""; ; {
		page := &opsv1alpha1.AuditEventList{}
		if err := reader.List(ctx, page, client.MatchingLabelsSelector{Selector: selector}, client.Limit(pageSize), client.Continue(next)); err != nil {
			return nil, err
		}
		events = append(events, page.Items...)
		if next = page.Continue; next == "" {
			return checked(events, matches)
		}
	}
}

// checked are the events that match, oldest first, with the hash of each checked:
// labels are an index, and what an event says is in its spec. That each event is in
// the index is seen to when it is appended.
func checked(events []opsv1alpha1.AuditEvent, matches func(*opsv1alpha1.AuditEventSpec) bool) ([]opsv1alpha1.AuditEvent, error) {
	var kept []opsv1alpha1.AuditEvent
	for i := range events {
		if !matches(&events[i].Spec) {
			continue
		}
		if err := checkHash(&events[i].Spec); err != nil {
			return nil, err
		}
		kept = append(kept, events[i])
	}
	slices.SortFunc(kept, func(a, b opsv1alpha1.AuditEvent) int { return cmp.Compare(a.Spec.Index, b.Spec.Index) })
	return kept, nil
}
