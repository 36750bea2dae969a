// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
)

// StepState is how far a step of a plan has come.
type StepState string

// How far a step can have come. Any other state denies.
const (
	// StepNotApproved is a step that nobody has approved.
	StepNotApproved StepState = "NotApproved"
	// StepUnderWay is approved, and it is not known yet whether it has helped.
	StepUnderWay StepState = "UnderWay"
	// StepNotDone was approved, and nothing was done.
	StepNotDone StepState = "NotDone"
	// StepVerified was carried out, and its finding has cleared and stayed so.
	StepVerified StepState = "Verified"
	// StepNotVerified was or may have been carried out, and was not seen to help.
	StepNotVerified StepState = "NotVerified"
	// StepDenied is one that somebody said no to.
	StepDenied StepState = "Denied"
)

// StepRecord is how far a step has come that is before the one under decision, in the
// very same plan.
type StepRecord struct {
	State StepState
	// Message tells why, where the state is not good; it may be empty.
	Message string
}

// outOfTurn denies a step of a plan while one before it is not verified. The verdict
// is empty if there is no objection.
func outOfTurn(f *facts) v1alpha1.Verdict {
	plan := f.Proposal.Spec.Plan
	if plan == nil {
		return v1alpha1.Verdict{}
	}
	if f.Before == nil || int64(len(*f.Before)) != int64(plan.Step)-1 || len(plan.Steps) < int(plan.Step) {
		return unread("whether the steps before this one are verified")
	}
	for i, record := range *f.Before {
		if record.State == StepVerified {
			continue
		}
		name, namespace := plan.Steps[i].Proposal, f.Proposal.Namespace
		step := fmt.Sprintf("step %d of %d of plan %s: step %d, proposal %s, ", plan.Step, len(plan.Steps), plan.Name, i+1, name)
		opens := fmt.Sprintf("opens once %s is verified", name)
		why := ""
		if record.Message != "" {
			why = ": " + record.Message
		}
		const ends = "the plan ends here: nothing can take that back for a plan of this digest; look at what is still found, which has remedies and maybe proposals of its own"
		switch record.State {
		case StepNotApproved:
			return denied(step+"is not approved yet", fmt.Sprintf("%s; approve that one first: kubectl create approval --proposal %s -n %s", opens, name, namespace))
		case StepUnderWay:
			return denied(step+"is approved and not verified yet", fmt.Sprintf("%s; see kubectl get approvals.ops.srenix.io -n %s", opens, namespace))
		case StepNotDone:
			return denied(step+"was approved, and nothing was done"+why, fmt.Sprintf("%s; mend why, and approve it again: kubectl create approval --proposal %s -n %s", opens, name, namespace))
		case StepNotVerified:
			return denied(step+"is not verified"+why, ends)
		case StepDenied:
			return denied(step+"was denied "+record.Message, ends)
		}
		return denied(step+fmt.Sprintf("is in the unknown state %q", record.State), "report this to whoever runs srenix")
	}
	return v1alpha1.Verdict{}
}

// planProblem tells whether a proposal is the step of a plan that it says it is, and the
// plan is what its digest says. The digest of the proposal, which the token binds, must
// be the one that the plan alone gives its step.
func planProblem(proposal *Proposal) error {
	plan := proposal.Spec.Plan
	if plan == nil {
		return nil
	}
	if n := len(plan.Steps); n < v1alpha1.MinimumPlanSteps || n > v1alpha1.MaximumPlanSteps || plan.Step < 1 || int(plan.Step) > n {
		return fmt.Errorf("%w: it is step %d of a plan of %d steps", errAltered, plan.Step, n)
	}
	whole, err := digest.Plan(proposal.Namespace, plan.Name, plan.Steps)
	if err != nil {
		return err
	}
	if whole != plan.Digest {
		return fmt.Errorf("%w: its plan names %s and has %s", errAltered, plan.Digest, whole)
	}
	step, err := digest.Step(proposal.Namespace, plan, plan.Step)
	if err != nil {
		return err
	}
	if step != proposal.Spec.Digest {
		return fmt.Errorf("%w: it names %s, and as step %d of its plan it has %s", errAltered, proposal.Spec.Digest, plan.Step, step)
	}
	return nil
}
