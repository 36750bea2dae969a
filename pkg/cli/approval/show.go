// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// notToldYet stands for an approver whose name the executor has not written down yet.
const notToldYet = "somebody whose name is not told yet"

// page collects lines, every text from the server made plain.
type page struct{ strings.Builder }

// line writes one line of the format and its arguments.
func (p *page) line(format string, arguments ...any) {
	p.WriteString(strings.TrimRight(cli.Plain(fmt.Sprintf(format, arguments...)), " ") + "\n")
}

// show writes all that a person needs for a decision, in one write.
func show(w io.Writer, proposal *v1alpha1.Proposal, runbook *v1alpha1.ProposalRunbook, earlier []*opsv1alpha1.Approval, decision v1alpha1.Decision) error {
	p, spec := &page{}, &proposal.Spec
	p.line("Proposal %s in namespace %s: %s", proposal.Name, proposal.Namespace, cmp.Or(string(proposal.Status.Phase), "phase unknown"))
	if approvable := meta.FindStatusCondition(proposal.Status.Conditions, v1alpha1.ConditionApprovable); approvable != nil && toldByCondition(proposal.Status.Phase) {
		p.line("  Now:      %s", approvable.Message)
	}
	p.line("")
	p.line("  Action:   %s, tier %s, %s", spec.ActionKind, spec.Tier, source(spec))
	p.line("  Target:   %s", object(&spec.Target))
	p.line("  Why:      %s", spec.Rationale)
	p.line("  Finding:  %s (%s), since %s", spec.Finding.Name, spec.DiagnosticClass, spec.Finding.Since.UTC().Format(time.RFC3339))
	if plan := spec.Plan; plan != nil {
		p.line("  Plan:     %s, this is step %d of %d, digest %s", plan.Name, plan.Step, len(plan.Steps), plan.Digest)
		for i := range plan.Steps {
			step := &plan.Steps[i]
			p.line("            %d. %s %s/%s, for finding %s: proposal %s", i+1, step.ActionKind, step.Target.Kind, step.Target.Name, step.Finding.Name, step.Proposal)
		}
	}
	p.line("  Digest:   %s", spec.Digest)
	p.line("")
	p.line("Change:")
	change(p, spec)
	if runbook != nil {
		p.line("")
		p.line("Runbook: %s", runbook.Spec.Title)
		for line := range strings.Lines(runbook.Spec.Text) {
			p.line("  | %s", strings.TrimRight(line, "\r\n"))
		}
	}
	p.line("")
	p.line("Policy:")
	verdicts(p, proposal.Status.Verdicts, decision)
	if len(proposal.Status.Approvals) > 0 {
		p.line("")
		p.line("Decisions so far:")
		for _, approval := range proposal.Status.Approvals {
			p.line("  %s  %s by %s, %s (%s)", approval.Time.UTC().Format(time.RFC3339), approval.Decision, cmp.Or(approval.Approver, notToldYet),
				outcome(&approval), approval.Name)
			if approval.Reason != "" {
				p.line("    %s", approval.Reason)
			}
		}
	}
	if len(earlier) > 0 {
		p.line("")
		p.line("The same before, for this finding or target:")
		for _, approval := range earlier {
			p.line("  %s", cli.BecameOf(approval))
		}
	}
	_, err := io.WriteString(w, p.String())
	return err
}

// toldByCondition is true of the phases that the condition explains better than the
// verdicts do.
func toldByCondition(phase v1alpha1.ProposalPhase) bool {
	switch phase {
	case v1alpha1.ProposalApproved, v1alpha1.ProposalAwaitingApproval, v1alpha1.ProposalExecuted, v1alpha1.ProposalReleased:
		return true
	}
	return false
}

// source tells who chose the action, and of a runbook where its text is from.
func source(spec *v1alpha1.ProposalSpec) string {
	switch {
	case spec.Source == v1alpha1.SourceLLM && spec.Runbook != nil:
		return "drafted by a model in Investigation " + spec.Runbook.Investigation
	case spec.Source != v1alpha1.SourceInvestigation:
	case spec.Runbook == nil:
		return "from an Investigation"
	default:
		return "written in Investigation " + spec.Runbook.Investigation
	}
	return fmt.Sprintf("chosen by %s", spec.Source)
}

// outcome is what became of a decision. A yes that was refused is in the phase of a
// person's no.
func outcome(decided *v1alpha1.ApprovalSummary) string {
	what := cmp.Or(decided.Phase, "not yet picked up")
	if decided.Decision == string(v1alpha1.DecisionApprove) && what == string(opsv1alpha1.PhaseDenied) {
		what = "refused"
	}
	if decided.Message != "" {
		what += ": " + decided.Message
	}
	return what
}

func object(reference *v1alpha1.ObjectReference) string {
	name := reference.Name
	if reference.Namespace != "" {
		name = reference.Namespace + "/" + name
	}
	return fmt.Sprintf("%s %s %s, uid %s", reference.APIVersion, reference.Kind, name, cmp.Or(string(reference.UID), "none"))
}

// change writes what would be done, as a diff.
func change(p *page, spec *v1alpha1.ProposalSpec) {
	target := strings.ToLower(spec.Target.Kind) + "/" + spec.Target.Name
	switch spec.ActionKind {
	case v1alpha1.ActionRunbook:
		p.line("  none: it releases a text to people, and nothing is ever executed")
		return
	case v1alpha1.ActionDeletePod, v1alpha1.ActionDeleteJob, v1alpha1.ActionDeleteCertificateRequest:
		p.line("  --- %s", target)
		p.line("  +++ /dev/null")
		p.line("  deleted, if its uid is still %s", spec.Target.UID)
	case v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS:
		p.line("  --- %s", target)
		p.line("  +++ %s", target)
	default:
		p.line("  this plugin does not know what %s does to %s", spec.ActionKind, target)
	}
	if spec.Patch != nil {
		patch(p, spec.Patch)
	}
}

func patch(p *page, patch *v1alpha1.Patch) {
	if set := patch.SetAnnotation; set != nil {
		p.line("  @@ /spec/template/metadata/annotations @@")
		p.line("  -%s: (whatever it is)", set.Name)
		p.line("  +%s: (time of your token)", set.Name)
	}
	path := ""
	for _, operation := range patch.JSONPatch {
		if operation.Path != path {
			path = operation.Path
			p.line("  @@ %s @@", path)
		}
		switch operation.Op {
		case "test":
			p.line("  -%q", operation.Value)
		case "replace":
			p.line("  +%q", operation.Value)
		default:
			p.line("  ?%s %q", operation.Op, operation.Value)
		}
	}
}

// verdicts writes a line for each layer, and one more for what would make a
// denial pass. They are about an approval, and so hardly matter to a person's no.
func verdicts(p *page, verdicts []v1alpha1.Verdict, decision v1alpha1.Decision) {
	if len(verdicts) == 0 {
		p.line("  the server tells no verdicts")
		return
	}
	width := 0
	for _, verdict := range verdicts {
		width = max(width, len(verdict.Layer))
	}
	var refusing []string
	for _, verdict := range verdicts {
		p.line("  %s %-*s  %s", mark(verdict.Result), width, verdict.Layer, verdict.Message)
		if mark(verdict.Result) != refused {
			continue
		}
		refusing = append(refusing, verdict.Layer)
		if verdict.Remedy != "" {
			p.line("    %-*s  To make it pass: %s", width, "", verdict.Remedy)
		}
	}
	if len(refusing) == 0 {
		return
	}
	p.line("")
	if decision == v1alpha1.DecisionDeny {
		p.line("These say what an approval would meet. A denial does nothing to the target: it is judged by your token and the audit chain alone.")
	} else {
		p.line("As it stands, an approval would be refused by: %s. The server decides.", strings.Join(refusing, ", "))
	}
}

// refused marks a denial.
const refused = "✗"

// mark of a verdict. One that is not known is no allowance.
func mark(result v1alpha1.VerdictResult) string {
	switch result {
	case v1alpha1.VerdictAllowed:
		return "✓"
	case v1alpha1.VerdictPending:
		return "…"
	default:
		return refused
	}
}
