// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/token"
)

// datingSlack is how much later than an event a clock may have put the beginning of
// the finding that the event is about.
const datingSlack = time.Hour

// inEffect finds the audit events that decisions still depend on: what was decided
// and done about digests that can be approved now, or that an unfinished approval is
// for; and what was denied, intended or done for a finding that stands, whether anything is
// offered for it now or not, because the same digest is offered again when a silence
// ends or a matcher sees fit. The digest of a finding that is gone never comes back,
// since the next one begins later, and no token outlives the retention.
type inEffect struct {
	engine *live.Engine
	reader client.Reader
	clock  clock.PassiveClock
}

type decidable struct {
	proposal types.UID
	digest   string
}

func (i inEffect) oldest(ctx context.Context) (oldest int64, any bool, err error) {
	if !i.engine.Synced() {
		return 0, false, errors.New("the live view is not complete yet")
	}
	// Where approvals cannot be read, proposals are not known either.
	view := i.engine.Snapshot()
	proposals.Approvals.List(view, "", nil)
	if err := view.Unknown(); err != nil {
		return 0, false, err
	}
	keep := func(index int64) {
		if !any || index < oldest {
			oldest, any = index, true
		}
	}
	needed := i.decidable()
	if err := i.addStepsBefore(needed); err != nil {
		return 0, false, err
	}
	for one := range needed {
		events, err := audit.AboutDigest(ctx, i.reader, one.proposal, one.digest)
		if err != nil {
			return 0, false, err
		}
		// They are in the chain's order, so the first is the oldest.
		if first := slices.IndexFunc(events, counts); first >= 0 {
			keep(events[first].Spec.Index)
		}
	}
	binding, err := audit.Binding(ctx, i.reader)
	if err != nil {
		return 0, false, err
	}
	standing := i.findings()
	for n := range binding {
		if spec := &binding[n].Spec; standing.depend(spec) {
			keep(spec.Index)
			break // the oldest comes first
		}
	}
	return oldest, any, nil
}

// counts tells whether something may still depend on an event about a decidable
// digest. Minting and refusals cost whoever provokes them nothing, so that they must
// not hold up pruning for as long as a proposal stands. While the token that they are
// about may be valid, the retention keeps them.
func counts(event opsv1alpha1.AuditEvent) bool {
	switch event.Spec.Type {
	case opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditDenialRecorded,
		opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditActionDone, opsv1alpha1.AuditActionFailed, opsv1alpha1.AuditActionUnsettled,
		opsv1alpha1.AuditRunbookReleased, opsv1alpha1.AuditVerified, opsv1alpha1.AuditNotVerified:
		return true
	}
	return false
}

// decidable are the digests of standing proposals, and of unfinished approvals that
// are no older than any token gets. An older one, which may be kept by a finalizer
// or for want of an executor, is not carried out any more.
func (i inEffect) decidable() map[decidable]bool {
	standing := map[decidable]bool{}
	for _, proposal := range live.List(i.engine, proposals.Proposals) {
		standing[decidable{proposal.UID, proposal.Spec.Digest}] = true
	}
	for _, approval := range live.List(i.engine, proposals.Approvals) {
		old := i.clock.Since(approval.CreationTimestamp.Time) > token.MaximumLifetime+token.Skew
		if !old && (!approval.Status.Phase.Finished() || approval.Status.CompletedAt == nil) {
			standing[decidable{approval.Spec.Proposal.UID, approval.Spec.Proposal.Digest}] = true
		}
	}
	return standing
}

// addStepsBefore adds the steps before those steps of plans that have proposals: these
// depend on whether they were verified, and they have no proposals any more.
func (i inEffect) addStepsBefore(needed map[decidable]bool) error {
	for _, proposal := range live.List(i.engine, proposals.Proposals) {
		plan := proposal.Spec.Plan
		for step := int32(1); plan != nil && step < plan.Step; step++ {
			sum, err := digest.Step(proposal.Namespace, plan, step)
			if err != nil {
				return fmt.Errorf("taking the digest of step %d of plan %s in namespace %s: %w", step, plan.Name, proposal.Namespace, err)
			}
			needed[decidable{plan.Steps[step-1].UID, sum}] = true
		}
	}
	return nil
}

// findings are those that stand, by namespace, and the analyzers that cannot tell
// whether theirs do.
type findings struct {
	in       map[string][]*v1alpha1.Finding
	degraded map[string]bool
}

func (i inEffect) findings() findings {
	all := findings{in: map[string][]*v1alpha1.Finding{}, degraded: map[string]bool{}}
	for _, finding := range live.List(i.engine, analyzers.DetectedFindings) {
		all.in[finding.Namespace] = append(all.in[finding.Namespace], finding)
	}
	for _, report := range live.List(i.engine, proposals.ClusterFindings) {
		if report.Spec.Reason == v1alpha1.ReasonAnalyzerDegraded {
			all.degraded[report.Spec.Analyzer] = true
		}
	}
	return all
}

// depend tells whether the event is about a finding that stands, or may stand.
func (f findings) depend(event *opsv1alpha1.AuditEventSpec) bool {
	about := &event.References
	if f.degraded[about.DiagnosticClass] {
		return true
	}
	for _, finding := range f.in[about.Namespace] {
		// One of an earlier time of the same trouble had another digest.
		present := !event.Time.Time.Before(finding.Spec.Since.Add(-datingSlack))
		if present && proposals.MayOfferAgain(finding, about) {
			return true
		}
	}
	return false
}
