// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func yes(who string, before time.Duration) ApprovalRecord {
	return ApprovalRecord{Name: "approval-of-" + who, Approver: who, Decision: v1alpha1.DecisionApprove, Time: At(start.Add(-before))}
}

// unsure is an approval of which one clock says that it was made so long before, and the
// other that it was made just now.
func unsure(who string, before time.Duration) ApprovalRecord {
	record := yes(who, before)
	record.Time.Latest = start
	return record
}

func no(who string) ApprovalRecord {
	return ApprovalRecord{Name: "denial-of-" + who, Approver: who, Decision: v1alpha1.DecisionDeny, Time: At(start.Add(-time.Minute))}
}

func TestDualApproval(t *testing.T) {
	const runbook, pod = v1alpha1.ActionRunbook, v1alpha1.ActionDeletePod
	const robot = "system:serviceaccount:shop:alice-s-bot"
	three := func(c *config.PolicyConfiguration) {
		c.Approvers = map[v1alpha1.ActionKind]int32{pod: 3}
	}
	for name, test := range map[string]struct {
		kind      v1alpha1.ActionKind
		stage     Stage
		configure func(*config.PolicyConfiguration)
		others    []ApprovalRecord
		want      v1alpha1.VerdictResult
		message   string
	}{
		"an action needs one":                  {kind: pod, want: v1alpha1.VerdictAllowed},
		"somebody approved an action before":   {kind: pod, others: []ApprovalRecord{yes("bob", time.Second)}, want: v1alpha1.VerdictAllowed},
		"somebody denied it":                   {kind: pod, others: []ApprovalRecord{no("bob")}, want: v1alpha1.VerdictDenied, message: "bob denied this proposal at 2026-03-01T11:59:00Z (Approval denial-of-bob)"},
		"somebody denied it before execution":  {kind: pod, stage: StageExecution, others: []ApprovalRecord{no("bob")}, want: v1alpha1.VerdictDenied},
		"somebody denied a standing one":       {kind: pod, stage: StageStanding, others: []ApprovalRecord{no("bob")}, want: v1alpha1.VerdictDenied},
		"the approver denied it before":        {kind: pod, others: []ApprovalRecord{no("alice")}, want: v1alpha1.VerdictDenied},
		"a record of an unknown decision":      {kind: pod, others: []ApprovalRecord{{Approver: "bob", Time: At(start)}}, want: v1alpha1.VerdictDenied},
		"a standing runbook":                   {kind: runbook, stage: StageStanding, want: v1alpha1.VerdictPending, message: "0 of 2 distinct approvers so far"},
		"a standing runbook with two":          {kind: runbook, stage: StageStanding, others: []ApprovalRecord{yes("bob", 2*time.Hour), yes("carol", time.Hour)}, want: v1alpha1.VerdictAllowed},
		"the first of a runbook":               {kind: runbook, want: v1alpha1.VerdictPending, message: "1 of 2 distinct approvers so far; that holds while the proposal stays as it is, and another person can approve from 2026-03-01T12:30:00Z on"},
		"the second after 30 minutes":          {kind: runbook, others: []ApprovalRecord{yes("bob", 30*time.Minute)}, want: v1alpha1.VerdictAllowed, message: "2 distinct approvers"},
		"the second before 30 minutes":         {kind: runbook, others: []ApprovalRecord{yes("bob", 30*time.Minute-time.Second)}, want: v1alpha1.VerdictDenied, message: "approvals must be at least 30m0s apart, and bob approved at 2026-03-01T11:30:01Z"},
		"the same person again":                {kind: runbook, others: []ApprovalRecord{yes("alice", time.Hour)}, want: v1alpha1.VerdictDenied, message: "alice approved already (Approval approval-of-alice), and nobody counts twice"},
		"a record without a time":              {kind: runbook, others: []ApprovalRecord{{Approver: "bob", Decision: v1alpha1.DecisionApprove}}, want: v1alpha1.VerdictPending},
		"a record without an approver":         {kind: runbook, others: []ApprovalRecord{{Decision: v1alpha1.DecisionApprove, Time: At(start.Add(-time.Hour))}}, want: v1alpha1.VerdictPending},
		"execution of the first, alone":        {kind: runbook, stage: StageExecution, want: v1alpha1.VerdictPending},
		"execution of the first, with a later": {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes("bob", -30*time.Minute)}, want: v1alpha1.VerdictAllowed},
		"execution of the second":              {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes("bob", 30*time.Minute)}, want: v1alpha1.VerdictAllowed},
		"execution of two that raced":          {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes("bob", time.Second)}, want: v1alpha1.VerdictDenied, message: "approvals must be at least 30m0s apart, and bob approved at 2026-03-01T11:59:59Z"},
		"execution of one person's two":        {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes("alice", time.Hour)}, want: v1alpha1.VerdictDenied, message: "alice approved already (Approval approval-of-alice), and nobody counts twice"},
		"the second, by one of two clocks":     {kind: runbook, others: []ApprovalRecord{unsure("bob", 30*time.Minute)}, want: v1alpha1.VerdictDenied, message: "approvals must be at least 30m0s apart, and bob approved at 2026-03-01T12:00:00Z"},
		"execution by one of two clocks":       {kind: runbook, stage: StageExecution, others: []ApprovalRecord{unsure("bob", 30*time.Minute)}, want: v1alpha1.VerdictDenied, message: "approvals must be at least 30m0s apart, and bob approved at 2026-03-01T12:00:00Z"},
		"execution of one too many":            {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes("bob", time.Hour), yes("carol", time.Second)}, want: v1alpha1.VerdictAllowed, message: "2 distinct approvers"},
		"a standing one, by one of two clocks": {kind: runbook, stage: StageStanding, others: []ApprovalRecord{yes("carol", time.Hour), unsure("bob", time.Hour)}, want: v1alpha1.VerdictPending, message: "1 of 2 distinct approvers so far; that holds while the proposal stays as it is, and another person can approve from 2026-03-01T11:30:00Z on"},
		"a configuration that asks for three": {
			kind: pod, configure: three, others: []ApprovalRecord{yes("bob", 2*time.Hour), yes("carol", time.Hour)}, want: v1alpha1.VerdictAllowed, message: "3 distinct approvers",
		},
		"three, of whom two raced": {
			kind: pod, configure: three, others: []ApprovalRecord{yes("bob", time.Hour), yes("carol", time.Hour-time.Second)}, want: v1alpha1.VerdictPending, message: "2 of 3 distinct approvers so far; that holds while the proposal stays as it is, and another person can approve from 2026-03-01T12:30:00Z on",
		},
		"a ServiceAccount as the first of two":         {kind: runbook, others: []ApprovalRecord{yes(robot, time.Hour)}, want: v1alpha1.VerdictPending, message: "1 of 2 distinct approvers so far; that holds while the proposal stays as it is, and another person can approve from 2026-03-01T12:30:00Z on"},
		"execution with a ServiceAccount as the other": {kind: runbook, stage: StageExecution, others: []ApprovalRecord{yes(robot, time.Hour)}, want: v1alpha1.VerdictPending},
		"a standing one with a ServiceAccount's":       {kind: runbook, stage: StageStanding, others: []ApprovalRecord{yes("bob", 2*time.Hour), yes(robot, time.Hour)}, want: v1alpha1.VerdictPending, message: "1 of 2 distinct approvers so far; that holds while the proposal stays as it is, and another person can approve from 2026-03-01T10:30:00Z on"},
		"a ServiceAccount's no":                        {kind: runbook, others: []ApprovalRecord{no(robot)}, want: v1alpha1.VerdictDenied},
		"a configuration that asks for fewer": {
			kind: runbook, want: v1alpha1.VerdictPending,
			configure: func(c *config.PolicyConfiguration) { c.Approvers = map[v1alpha1.ActionKind]int32{runbook: 1} },
		},
		"a longer interval": {
			kind: runbook, others: []ApprovalRecord{yes("bob", time.Hour)}, want: v1alpha1.VerdictDenied,
			configure: func(c *config.PolicyConfiguration) { c.ApprovalInterval = &metav1.Duration{Duration: 2 * time.Hour} },
		},
		"a shorter interval does not count": {
			kind: runbook, others: []ApprovalRecord{yes("bob", time.Minute)}, want: v1alpha1.VerdictDenied,
			configure: func(c *config.PolicyConfiguration) { c.ApprovalInterval = &metav1.Duration{Duration: time.Second} },
		},
	} {
		t.Run(name, func(t *testing.T) {
			if test.stage == "" {
				test.stage = StageApproval
			}
			in := good(t, test.stage, test.kind)
			if test.configure != nil {
				test.configure(in.Config)
			}
			in.Approvals = &test.others
			decision := Evaluate(in)
			verdict := verdictOf(t, decision, DualApproval)
			if verdict.Result != test.want || (test.message != "" && verdict.Message != test.message) {
				t.Errorf("verdict is %+v, want %s %q", verdict, test.want, test.message)
			}
			if want := test.want == v1alpha1.VerdictPending && test.stage != StageStanding; decision.Awaiting != want {
				t.Errorf("awaiting is %t, want %t", decision.Awaiting, want)
			}
		})
	}
}

// The executor judges by kube-apiserver's clock too, which tells whole seconds: what is
// accepted in the last part of a second must not be refused there.
func TestTheHalfHourIsOverAtAWholeSecond(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionRunbook)
	in.Approvals = &[]ApprovalRecord{yes("bob", 30*time.Minute-500*time.Millisecond)}
	for late, want := range map[time.Duration]v1alpha1.VerdictResult{
		600 * time.Millisecond: v1alpha1.VerdictDenied, time.Second: v1alpha1.VerdictAllowed,
	} {
		in.Now = start.Add(late)
		if verdict := verdictOf(t, Evaluate(in), DualApproval); verdict.Result != want {
			t.Errorf("%s later: %+v", late, verdict)
		}
	}
}

// Until when one has to wait is said in whole seconds, of which the last is over by then.
func TestTheEndOfTheHalfHourIsRoundedUp(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionRunbook)
	in.Now = start.Add(1500 * time.Millisecond)
	if verdict := verdictOf(t, Evaluate(in), DualApproval); !strings.HasSuffix(verdict.Message, "another person can approve from 2026-03-01T12:30:02Z on") {
		t.Errorf("it says %q", verdict.Message)
	}
}

func TestARunbookWhoseOwnAcceptanceIsUnsureDoesNotFollowAnother(t *testing.T) {
	in := good(t, StageExecution, v1alpha1.ActionRunbook)
	in.AcceptedAt = Span{Earliest: start, Latest: start.Add(30 * time.Minute)}
	in.Approvals = &[]ApprovalRecord{yes("bob", time.Minute)}
	if verdict := verdictOf(t, Evaluate(in), DualApproval); verdict.Result != v1alpha1.VerdictDenied {
		t.Errorf("verdict is %+v", verdict)
	}
	in.Approvals = &[]ApprovalRecord{yes("bob", 30*time.Minute)}
	if verdict := verdictOf(t, Evaluate(in), DualApproval); verdict.Result != v1alpha1.VerdictAllowed {
		t.Errorf("verdict is %+v", verdict)
	}
	in.AcceptedAt, in.Approvals = Span{}, &[]ApprovalRecord{}
	if verdict := verdictOf(t, Evaluate(in), DualApproval); verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Message, "when this approval was accepted") {
		t.Errorf("with a time that is not known the verdict is %+v", verdict)
	}
}

// Whoever may use a ServiceAccount has a login of their own besides.
func TestAServiceAccountIsNoSecondPerson(t *testing.T) {
	const robot = "system:serviceaccount:shop:bot"
	for _, stage := range []Stage{StageApproval, StageExecution} {
		for kind, want := range map[v1alpha1.ActionKind]v1alpha1.VerdictResult{
			v1alpha1.ActionRunbook: v1alpha1.VerdictDenied, v1alpha1.ActionDeletePod: v1alpha1.VerdictAllowed,
		} {
			in := good(t, stage, kind)
			in.Approvals = &[]ApprovalRecord{yes("alice", time.Hour)}
			newCredentials(t).approve(t, &in, robot, bind(&in.Proposal))
			if stage == StageApproval {
				in.Caller = robot
			}
			verdict := verdictOf(t, Evaluate(in), DualApproval)
			if verdict.Result != want {
				t.Errorf("%s of %s: %+v, want %s", stage, kind, verdict, want)
			}
		}
	}
}

func TestRateBudget(t *testing.T) {
	spent := func(count int, first time.Duration) (times []time.Time) {
		for i := range count {
			times = append(times, start.Add(-first).Add(time.Duration(i)*time.Second))
		}
		return times
	}
	for name, test := range map[string]struct {
		spent   []time.Time
		limit   *int32
		want    v1alpha1.VerdictResult
		message string
		remedy  string
	}{
		"the first":                      {want: v1alpha1.VerdictAllowed, message: "1 of 10 approvals for WorkloadStateDrift within an hour"},
		"the tenth":                      {spent: spent(9, 59*time.Minute), want: v1alpha1.VerdictAllowed, message: "10 of 10 approvals for WorkloadStateDrift within an hour"},
		"the eleventh":                   {spent: spent(10, 59*time.Minute), want: v1alpha1.VerdictDenied, remedy: "the next one is free at 2026-03-01T12:01:00Z"},
		"after more than ten":            {spent: spent(12, 59*time.Minute), want: v1alpha1.VerdictDenied, remedy: "the next one is free at 2026-03-01T12:01:02Z"},
		"the oldest is an hour ago":      {spent: spent(10, time.Hour), want: v1alpha1.VerdictAllowed},
		"the oldest is not quite":        {spent: spent(10, time.Hour-time.Second), want: v1alpha1.VerdictDenied, remedy: "the next one is free at 2026-03-01T12:00:01Z"},
		"in no order":                    {spent: []time.Time{start.Add(-time.Second), start.Add(-time.Minute)}, limit: ptr.To(int32(2)), want: v1alpha1.VerdictDenied, remedy: "the next one is free at 2026-03-01T12:59:00Z"},
		"a budget of one":                {limit: ptr.To(int32(1)), want: v1alpha1.VerdictAllowed, message: "1 of 1 approvals for WorkloadStateDrift within an hour"},
		"a clock that is ahead":          {spent: spent(10, -time.Minute), want: v1alpha1.VerdictDenied},
		"a smaller budget":               {spent: spent(2, time.Minute), limit: ptr.To(int32(2)), want: v1alpha1.VerdictDenied},
		"no budget at all":               {limit: ptr.To(int32(0)), want: v1alpha1.VerdictDenied, message: "this cluster's configuration allows no approvals"},
		"a negative budget":              {limit: ptr.To(int32(-1)), want: v1alpha1.VerdictDenied},
		"a larger budget does not count": {spent: spent(10, time.Minute), limit: ptr.To(int32(100)), want: v1alpha1.VerdictDenied},
	} {
		t.Run(name, func(t *testing.T) {
			in := good(t, StageApproval, v1alpha1.ActionDeletePod)
			in.Spent = &test.spent
			if test.limit != nil {
				in.Config.ApprovalsPerHour = test.limit
			}
			verdict := verdictOf(t, Evaluate(in), RateBudget)
			if verdict.Result != test.want || (test.message != "" && verdict.Message != test.message) || (test.remedy != "" && verdict.Remedy != test.remedy) {
				t.Errorf("verdict is %+v", verdict)
			}
		})
	}
}

func TestConfigurationThatSaysNothingLeavesWhatIsCompiledIn(t *testing.T) {
	silent := &config.PolicyConfiguration{}
	if have := budget(silent); have != 10 {
		t.Errorf("%d approvals within an hour, want 10", have)
	}
	if have := ApprovalInterval(silent); have != 30*time.Minute {
		t.Errorf("approvals are %s apart, want 30m", have)
	}
	if have := maximumLifetime(silent); have != 24*time.Hour {
		t.Errorf("tokens are valid for %s, want 24h", have)
	}
}

// At execution the hour ends when the approval was accepted, not when the
// executor gets to it.
func TestRateBudgetAtExecutionIsThatOfTheAcceptance(t *testing.T) {
	in := good(t, StageExecution, v1alpha1.ActionDeletePod)
	for i := range 10 {
		*in.Spent = append(*in.Spent, start.Add(-time.Hour+30*time.Second+time.Duration(i)))
	}
	if !in.Now.Add(-time.Hour).After((*in.Spent)[9]) {
		t.Fatal("the spent ones are not older than an hour by now")
	}
	expectDenied(t, Evaluate(in), "next one is free", RateBudget)
	in.AcceptedAt.Latest = start.Add(time.Hour)
	expectDenied(t, Evaluate(in), "next one is free", RateBudget)
}
