// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// decision is one judgement on its way.
type decision struct {
	request evidence.Request
	// user is who made the request, which need not be the approver.
	user   string
	dryRun bool
	// final is true where the Approval itself is about to be stored, and then
	// uid is the one that it will have.
	final bool
	uid   types.UID
	// byLink is true where whoever had the token confirmed it on the approval page:
	// nothing else tells that it was its owner.
	byLink bool

	// claims are those of the token, which prove that its owner decided this.
	claims *token.Claims
	// viewErr is why the live view could not tell how the proposal stands.
	viewErr error
	in      policy.Input
	outcome policy.Decision
}

// decide gathers, evaluates, records and answers.
//
// Whoever reaches the port can send anything, under any name. So before anything
// is read or recorded, the token has to prove that its owner decided exactly this,
// and what a request makes the server do is counted for its token: nobody can use
// up what another one is given.
func (h *Handlers) decide(ctx context.Context, d decision) admission.Response {
	verifier := h.verifier
	if d.request.Rehearsed = d.dryRun; d.dryRun {
		verifier = verifier.ForDryRun()
	}
	var err error
	if d.claims, err = policy.Proof(verifier, d.request.Token, h.clock.Now(), d.request.Decision, d.request.Reason, &d.request.Proposal); err != nil {
		return h.turnAway(ctx, &d, err)
	}
	if wait := h.limits.judgments.Take(d.claims.ID); wait > 0 {
		return h.tooMany(ctx, &d, wait)
	}
	return h.traced(ctx, &d)
}

// judge is decide for a token that counts.
func (h *Handlers) judge(ctx context.Context, d *decision) admission.Response {
	named := &d.request.Proposal
	standing, exists, err := h.proposals.Get(named.Namespace, named.Name)
	if d.viewErr = err; err == nil && exists && standing.UID == named.UID {
		d.request.CurrentDigest = standing.Spec.Digest
	}
	if d.request.Decision == v1alpha1.DecisionDeny {
		if d.request.CurrentDigest == named.Spec.Digest && isReleased(standing) {
			return h.tooLate(ctx, d)
		}
		said, err := h.gatherer.Denial(ctx, &d.request.Proposal)
		if err != nil {
			return refused(http.StatusServiceUnavailable, d.prefix()+fmt.Sprintf("%s: whether somebody said no already cannot be told: %v (try again)", policy.HashChainedAudit, err))
		}
		if said != nil {
			return h.repeated(ctx, d, &said.Spec)
		}
	}
	d.in = h.gatherer.Gather(ctx, d.request)
	if d.viewErr != nil {
		if d.in.Unknown == nil {
			d.in.Unknown = map[policy.Layer]error{}
		}
		d.in.Unknown[policy.SignedToken] = fmt.Errorf("reading the proposal as it stands: %w", d.viewErr)
	}
	if err := d.in.Unknown[policy.Access]; err != nil && d.request.Decision == v1alpha1.DecisionDeny {
		// A no is not lost by a cluster that cannot answer just now.
		return refused(http.StatusServiceUnavailable, d.prefix()+fmt.Sprintf("%s: %v (try again)", policy.Access, err))
	}
	d.outcome = h.metrics.verdicts.Evaluate(d.in)
	if !d.outcome.Allowed {
		h.metrics.decided(d, outcomeRefused)
		return h.refuse(ctx, d)
	}
	if d.final && !d.dryRun {
		if err := h.accept(ctx, d); err != nil {
			h.metrics.decided(d, outcomeRefused)
			return refused(http.StatusForbidden, d.told(fmt.Sprintf("%v (try again with another token)", err)))
		}
		h.metrics.decided(d, outcomeAccepted)
	}
	response := admission.Allowed("")
	if d.outcome.Awaiting {
		response.Warnings = append(response.Warnings, "this approval counts, and another person has to approve too: "+d.awaiting())
	}
	if d.request.Decision == v1alpha1.DecisionApprove {
		response.Warnings = append(response.Warnings, alreadyApproved(standing)...)
	}
	return response
}

// alreadyApproved warns of a yes to what others have approved and what is at work or
// done. That is no refusal: the first may come to nothing, and the view may be late.
func alreadyApproved(standing *v1alpha1.Proposal) []string {
	switch standing.Status.Phase {
	case v1alpha1.ProposalApproved:
		return []string{fmt.Sprintf("it is approved already%s: at most one of the two is carried out", firstYes(standing))}
	case v1alpha1.ProposalExecuted:
		return []string{fmt.Sprintf("it was carried out already%s, and nothing is done twice: this approval will end as Superseded", firstYes(standing))}
	case v1alpha1.ProposalReleased:
		return []string{"its runbook is released already: this approval changes nothing"}
	}
	return nil
}

// firstYes names the oldest yes that put a proposal into its phase.
func firstYes(standing *v1alpha1.Proposal) string {
	for _, said := range standing.Status.Approvals {
		phase := opsv1alpha1.ApprovalPhase(said.Phase)
		done := phase == opsv1alpha1.PhaseSucceeded
		if said.Decision != string(v1alpha1.DecisionApprove) || done != (standing.Status.Phase == v1alpha1.ProposalExecuted) || phase.Finished() != done {
			continue
		}
		return fmt.Sprintf(", by Approval %s of %s (%s)", said.Name, cmp.Or(said.Approver, "somebody whose name is not told yet"), cmp.Or(said.Phase, "not yet picked up"))
	}
	return ""
}

// accept records a decision that counts, and makes sure that it is the first one
// for its token: of requests that were judged at the same time, the order of the
// chain picks one.
func (h *Handlers) accept(ctx context.Context, d *decision) error {
	event, err := h.chain.Append(ctx, d.entry(d.acceptedType(), d.acceptedMessage()))
	if err != nil {
		return fmt.Errorf("%s: the decision could not be recorded: %w", policy.HashChainedAudit, err)
	}
	decisions, err := h.gatherer.Decisions(ctx, event.Spec.References.JTI)
	if err != nil {
		return fmt.Errorf("%s: %s, but whether the token was used meanwhile cannot be told: %w", policy.SignedToken, d.recorded(), err)
	}
	if len(decisions) == 0 || decisions[0].Spec.Index != event.Spec.Index {
		return fmt.Errorf("%s: the token was used meanwhile", policy.SignedToken)
	}
	return nil
}

// recorded says what holds of a decision that is in the chain and not stored.
func (d *decision) recorded() string {
	if d.request.Decision == v1alpha1.DecisionDeny {
		return "the denial is recorded and holds"
	}
	return "the approval is recorded, and nothing is done for it"
}

// turnAway refuses what nobody is proven to have decided. That is no decision, so
// it is counted and logged and not in the chain, and it says nothing of the cluster.
func (h *Handlers) turnAway(ctx context.Context, d *decision, why error) admission.Response {
	h.metrics.unproven.WithLabelValues(reasonOf(why)).Inc()
	named := &d.request.Proposal
	h.log(ctx, "Refused for lack of proof", "reason", why.Error(), "claimedUser", cut(d.user),
		"namespace", cut(named.Namespace), "proposal", cut(named.Name), "dryRun", d.dryRun)
	return refused(http.StatusForbidden, d.prefix()+policy.Unproven(why))
}

// repeated answers a no to what is denied already. One no holds as well as many,
// and saying it costs no budget, so the others are neither recorded nor stored.
func (h *Handlers) repeated(ctx context.Context, d *decision, said *opsv1alpha1.AuditEventSpec) admission.Response {
	h.log(ctx, "Refused without a record, because the proposal is denied already", "approver", d.approver(), "jti", d.claims.ID,
		"user", cut(d.user), "denial", said.References.Approval)
	return refused(http.StatusForbidden, d.prefix()+fmt.Sprintf("it was denied already, by %s at %s (Approval %s), and that holds until its digest changes: there is nothing left to do",
		said.References.Approver, said.Time.UTC().Format(time.RFC3339), said.References.Approval))
}

// isReleased tells whether the proposal is a runbook whose text people may read. The
// view may be late; a no that the chain has after the release takes nothing back
// either.
func isReleased(standing *v1alpha1.Proposal) bool {
	return standing.Spec.ActionKind == v1alpha1.ActionRunbook && standing.Status.Phase == v1alpha1.ProposalReleased
}

// tooLate answers a no to what is released. It would change nothing, so it is neither
// recorded nor stored.
func (h *Handlers) tooLate(ctx context.Context, d *decision) admission.Response {
	h.log(ctx, "Refused without a record, because the runbook is released already", "approver", d.approver(), "jti", d.claims.ID, "user", cut(d.user))
	return refused(http.StatusForbidden, d.prefix()+
		"its runbook is released already, and a denial does not take back what people may have read: tell those who may follow it what is wrong with it")
}

// refuse records a refusal, unless it is of a dry run, and answers with it.
func (h *Handlers) refuse(ctx context.Context, d *decision) admission.Response {
	message := d.told(d.outcome.Message())
	if d.dryRun {
		return refused(d.code(), message)
	}
	wait := h.limits.tokenRefusals.Take(d.claims.ID)
	if wait == 0 {
		wait = h.limits.refusals.Take(audit.Source(d.claims.Subject))
	}
	if wait > 0 {
		return h.tooMany(ctx, d, wait)
	}
	if _, err := h.chain.Append(ctx, d.entry(deniedType, message)); err != nil {
		message += fmt.Sprintf("; %s: the refusal could not be recorded: %v", policy.HashChainedAudit, err)
	}
	return refused(d.code(), message)
}

// code is 404 for a proposal that is gone, 409 for one that has changed since,
// 503 where that cannot be told yet, and 403 for every other refusal.
func (d *decision) code() int32 {
	switch {
	case d.viewErr != nil:
		return http.StatusServiceUnavailable
	case d.request.CurrentDigest == "":
		return http.StatusNotFound
	case d.request.CurrentDigest != d.request.Proposal.Spec.Digest:
		return http.StatusConflict
	}
	return http.StatusForbidden
}

// told is a refusal's whole message: what was refused, and why. That the
// proposal is gone or has changed is always among the reasons, with both digests.
func (d *decision) told(why string) string {
	prefix := d.prefix()
	const gone = "the proposal is gone"
	decided, current := d.request.Proposal.Spec.Digest, d.request.CurrentDigest
	switch d.code() {
	case http.StatusNotFound:
		if !strings.Contains(why, gone) {
			prefix += gone + "; "
		}
	case http.StatusConflict:
		if !strings.Contains(why, decided) || !strings.Contains(why, current) {
			prefix += fmt.Sprintf("the proposal has changed: decided on was digest %s, it is now %s; ", decided, current)
		}
	}
	return prefix + why
}

// prefix begins every refusal.
func (d *decision) prefix() string {
	named, what := &d.request.Proposal, "approval"
	if d.request.Decision == v1alpha1.DecisionDeny {
		what = "denial"
	}
	return fmt.Sprintf("%s of proposal %s/%s refused: ", what, cut(named.Namespace), cut(named.Name))
}

func (d *decision) awaiting() string {
	for _, verdict := range d.outcome.Verdicts {
		if verdict.Result == v1alpha1.VerdictPending {
			return verdict.Message
		}
	}
	return ""
}

// refused is a denial as the API server hands it on.
func refused(code int32, message string) admission.Response {
	reason := map[int32]metav1.StatusReason{
		http.StatusBadRequest:          metav1.StatusReasonBadRequest,
		http.StatusForbidden:           metav1.StatusReasonForbidden,
		http.StatusNotFound:            metav1.StatusReasonNotFound,
		http.StatusConflict:            metav1.StatusReasonConflict,
		http.StatusUnprocessableEntity: metav1.StatusReasonInvalid,
		http.StatusInternalServerError: metav1.StatusReasonInternalError,
		http.StatusServiceUnavailable:  metav1.StatusReasonServiceUnavailable,
		http.StatusTooManyRequests:     metav1.StatusReasonTooManyRequests,
	}[code]
	return admission.Response{AdmissionResponse: admissionv1.AdmissionResponse{
		Result: &metav1.Status{Status: metav1.StatusFailure, Code: code, Reason: reason, Message: message},
	}}
}
