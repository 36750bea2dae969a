// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"time"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// BudgetWindow is the time over which approvals are counted.
const BudgetWindow = time.Hour

// rateBudget is layer 8: how many approvals one person gives for one diagnostic
// class within an hour. Denials cost nothing.
func rateBudget(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	if f.Stage == StageStanding {
		return pending("counted for each approver when one approves")
	}
	if f.claims == nil {
		return denied(fmt.Sprintf("it is not known whose budget counts: %v", f.tokenErr), mintAnother)
	}
	if f.Spent == nil {
		return unread("how much of the budget is spent")
	}
	end := f.Now
	if f.Stage == StageExecution {
		end = f.AcceptedAt.Earliest
	}
	spent := slices.Clone(*f.Spent)
	slices.SortFunc(spent, time.Time.Compare)
	spent = slices.DeleteFunc(spent, func(t time.Time) bool { return !t.After(end.Add(-BudgetWindow)) })
	limit, class := budget(f.Config), f.Proposal.Spec.DiagnosticClass
	switch {
	case limit <= 0:
		return denied("this cluster's configuration allows no approvals", "an administrator can raise policy.approvalsPerHour")
	case len(spent) >= limit:
		free := spent[len(spent)-limit].Add(BudgetWindow)
		return denied(fmt.Sprintf("%s has approved %d times within an hour for %s, and %d is the most", f.claims.Subject, len(spent), class, limit),
			"the next one is free at "+instant(free))
	}
	return allowed(fmt.Sprintf("%d of %d approvals for %s within an hour", len(spent)+1, limit, class))
}

// budget is the configured one, and never more than what is compiled in.
func budget(cfg *config.PolicyConfiguration) int {
	limit := int32(config.DefaultApprovalsPerHour)
	if cfg.ApprovalsPerHour != nil {
		limit = min(limit, *cfg.ApprovalsPerHour)
	}
	return int(limit)
}
