// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apiserver/pkg/authentication/serviceaccount"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// dualApproval is layer 6: enough distinct people, far enough apart in time, and
// nobody who said no. Distinct means by the identity in the token. Of a plan, no step
// counts before those ahead of it are verified.
func dualApproval(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	if f.Approvals == nil {
		return unread("who else approved or denied this")
	}
	others := *f.Approvals
	for _, record := range others {
		if record.Decision != v1alpha1.DecisionApprove {
			return denied(fmt.Sprintf("%s denied this proposal at %s (Approval %s)", record.Approver, instant(record.Time.Latest), record.Name),
				"nobody can take that back: it holds until the finding clears, or what would be done changes, and comes back as a proposal with another digest; until then, mend it by hand as the finding says")
		}
	}
	if verdict := outOfTurn(f); verdict.Result != "" {
		return verdict
	}
	needed, interval := ApproversNeeded(f.Proposal.Spec.ActionKind, f.Config), ApprovalInterval(f.Config)
	if f.Stage == StageStanding {
		return awaiting(needed, counted(others, interval), interval)
	}
	if f.claims == nil {
		return denied(fmt.Sprintf("it is not known who approves: %v", f.tokenErr), mintAnother)
	}
	if needed == 1 {
		return allowed("one approver is enough")
	}
	if isServiceAccount(f.claims.Subject) {
		return denied(fmt.Sprintf("%d distinct people have to approve, and %s is a ServiceAccount: whoever uses it could count twice", needed, f.claims.Subject),
			"approve as a person, with a login of your own")
	}
	// kube-apiserver's clock, by which the executor judges this again, tells whole seconds.
	own := ApprovalRecord{
		Name: f.ApprovalName, Approver: f.claims.Subject, Decision: v1alpha1.DecisionApprove,
		Time: Span{Earliest: f.Now.Truncate(time.Second), Latest: f.Now},
	}
	count := counted(others, interval)
	if f.Stage == StageExecution {
		own.Time = f.AcceptedAt
		count = counted(append(slices.Clone(others), own), interval)
		itself := slices.ContainsFunc(count, func(record ApprovalRecord) bool { return record.Name == own.Name })
		if itself || len(count) >= needed {
			return awaiting(needed, count, interval)
		}
		if own.Time.Earliest.IsZero() {
			return unread("when this approval was accepted")
		}
	}
	for _, record := range count {
		if record.Approver == own.Approver {
			return denied(fmt.Sprintf("%s approved already (Approval %s), and nobody counts twice", own.Approver, record.Name), "somebody else has to approve")
		}
		if free := record.Time.Latest.Add(interval); own.Time.Earliest.Before(free) {
			return denied(fmt.Sprintf("approvals must be at least %s apart, and %s approved at %s", interval, record.Approver, instant(record.Time.Latest)),
				"approve again from "+wholeInstant(free)+" on")
		}
	}
	return awaiting(needed, append(count, own), interval)
}

// awaiting judges by the approvals that count, oldest first. They are not limited in
// time: they are of one digest, and end with it.
func awaiting(needed int, have []ApprovalRecord, interval time.Duration) v1alpha1.Verdict {
	n := len(have)
	switch {
	case needed == 1:
		return allowed("one approver is enough")
	case n >= needed:
		return allowed(fmt.Sprintf("%d distinct approvers", n))
	}
	message := fmt.Sprintf("%d of %d distinct approvers so far", n, needed)
	if n > 0 {
		message += fmt.Sprintf("; that holds while the proposal stays as it is, and another person can approve from %s on",
			wholeInstant(have[n-1].Time.Latest.Add(interval)))
	}
	return pending(message)
}

// isServiceAccount tells whether a user name is that of a ServiceAccount, which is
// no person: people can get tokens of it besides their own login.
func isServiceAccount(name string) bool {
	return strings.HasPrefix(name, serviceaccount.ServiceAccountUsernamePrefix)
}

// counted are the approvals that count where more than one is needed: the first of
// each person, each at least interval after the one counted before it by either clock
// that was read.
func counted(records []ApprovalRecord, interval time.Duration) []ApprovalRecord {
	ordered := slices.Clone(records)
	slices.SortStableFunc(ordered, func(a, b ApprovalRecord) int { return a.Time.Latest.Compare(b.Time.Latest) })
	var count []ApprovalRecord
	for _, record := range ordered {
		known := slices.ContainsFunc(count, func(other ApprovalRecord) bool { return other.Approver == record.Approver })
		if known || record.Time.Earliest.IsZero() || record.Approver == "" || isServiceAccount(record.Approver) {
			continue
		}
		if n := len(count); n > 0 && record.Time.Earliest.Before(count[n-1].Time.Latest.Add(interval)) {
			continue
		}
		count = append(count, record)
	}
	return count
}

// ApproversNeeded is how many distinct approvers an action kind needs:
// configuration can ask for more than is compiled in, never for fewer.
func ApproversNeeded(kind v1alpha1.ActionKind, cfg *config.PolicyConfiguration) int {
	return int(max(config.MinimumApprovers(kind), cfg.Approvers[kind]))
}

// ApprovalInterval is the least time between two approvals where more than one
// is needed: configuration can lengthen it, never shorten it.
func ApprovalInterval(cfg *config.PolicyConfiguration) time.Duration {
	interval := config.DefaultApprovalInterval
	if cfg.ApprovalInterval != nil {
		interval = max(interval, cfg.ApprovalInterval.Duration)
	}
	return interval
}

// wholeInstant is the first whole second that is not before t.
func wholeInstant(t time.Time) string {
	if whole := t.Truncate(time.Second); whole.Before(t) {
		t = whole.Add(time.Second)
	}
	return instant(t)
}

func instant(t time.Time) string { return t.UTC().Format(time.RFC3339) }
