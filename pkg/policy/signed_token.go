// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"time"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/token"
)

// ErrOther means that a token is good, and says something else than it is used for.
var ErrOther = errors.New("the token is for another")

// errAltered means that what is approved is not what was signed.
var errAltered = errors.New("the approved proposal does not have the digest that it names")

const (
	mintAnother = "mint another token: kubectl create approval does"
	// A token that is good is of no use to what was altered after it, and another one is not what its manifest lacks.
	asSigned = "take the manifest back as it was signed, or make a new one: kubectl create approval --dry-run=client -o yaml"
)

// signedToken is layer 5: the token verifies, is for exactly this, and was not
// used before; and what is approved is the proposal as it stands.
func signedToken(f *facts) v1alpha1.Verdict {
	if f.Stage == StageStanding {
		return pending("the approver's token is checked when one approves")
	}
	if f.tokenErr != nil || f.claims == nil {
		return denied(fmt.Sprintf("%v", f.tokenErr), mintAnother)
	}
	if longest := maximumLifetime(f.Config); f.claims.ExpiresAt.Sub(f.claims.IssuedAt.Time) > longest {
		return denied(fmt.Sprintf("the token is valid for longer than %s", longest), mintAnother)
	}
	if f.TokenUsedBy == nil {
		return unread("whether the token was used already")
	}
	if *f.TokenUsedBy != "" {
		// Admission that comes after ours, a quota or etcd may still refuse what was accepted.
		return denied("the token was used already, by Approval "+*f.TokenUsedBy,
			"if there is no such Approval, it was deleted, or accepted and then not stored; "+mintAnother)
	}
	if f.Caller != "" && f.Caller != f.claims.Subject {
		return denied(fmt.Sprintf("the token was minted for %q, and the caller is %q", f.claims.Subject, f.Caller), "everybody approves with a token of their own")
	}
	if want := token.ApprovalName(f.claims.ID); f.ApprovalName != want {
		return denied(fmt.Sprintf("the Approval is named %q, and its token needs the name %q", f.ApprovalName, want), "leave the name as kubectl create approval writes it")
	}
	if err := contentProblem(&f.Proposal); err != nil {
		return denied(err.Error(), remedyOf(err))
	}
	if err := f.digestProblem(); err != nil {
		if f.CurrentDigest == "" {
			return denied(err.Error(), fmt.Sprintf("its finding has cleared, or a silence withholds it, after which it comes back: kubectl get silences -n %[1]s; one that has its name by now is another proposal: see kubectl get proposals.srenix.io -n %[1]s, and decide anew", f.Proposal.Namespace))
		}
		return denied(err.Error(), fmt.Sprintf("look at it again: kubectl describe proposal.srenix.io %s -n %s", f.Proposal.Name, f.Proposal.Namespace))
	}
	if err := bindingProblem(f.claims, f.Decision, f.Reason, &f.Proposal); err != nil {
		return denied(err.Error(), remedyOf(err))
	}
	return allowed(fmt.Sprintf("the token of %s fits", f.claims.Subject))
}

// Proof tells whether a token proves that its owner decided exactly this: it is
// valid at the time, it says this decision on this proposal for this reason, and the proposal is
// what its digest says. Nothing of the cluster is needed for that, so that nothing
// has to be read for whoever has no proof. What else counts, Evaluate tells.
func Proof(verifier *token.Verifier, signed string, now time.Time, decision v1alpha1.Decision, reason string, proposal *Proposal) (*token.Claims, error) {
	claims, err := verify(verifier, signed, now)
	if err != nil {
		return nil, err
	}
	// The cheaper one first.
	if err := bindingProblem(claims, decision, reason, proposal); err != nil {
		return nil, err
	}
	if err := contentProblem(proposal); err != nil {
		return nil, err
	}
	return claims, nil
}

// Unproven is the message of a refusal for lack of proof, in the words of layer 5.
func Unproven(why error) string {
	verdict := denied(why.Error(), remedyOf(why))
	verdict.Layer = string(SignedToken)
	return Decision{Verdicts: []v1alpha1.Verdict{verdict}}.Message()
}

// remedyOf is what helps against a lack of proof.
func remedyOf(why error) string {
	if errors.Is(why, ErrOther) || errors.Is(why, errAltered) {
		return asSigned
	}
	return mintAnother
}

// digestProblem tells whether the proposal still has the digest that was approved.
func (f *facts) digestProblem() error {
	spec := &f.Proposal.Spec
	switch f.CurrentDigest {
	case spec.Digest:
		return nil
	case "":
		return errors.New("the proposal is gone")
	}
	return fmt.Errorf("the proposal has changed since: approved was %s, and it is now %s", spec.Digest, f.CurrentDigest)
}

// contentProblem tells whether the snapshot is what its digest says.
func contentProblem(proposal *Proposal) error {
	actual, err := digest.Proposal(proposal.Namespace, proposal.Name, proposal.UID, &proposal.Spec)
	if err == nil && actual != proposal.Spec.Digest {
		err = fmt.Errorf("%w: it names %s and has %s", errAltered, proposal.Spec.Digest, actual)
	}
	if err != nil {
		return err
	}
	return planProblem(proposal)
}

// bindingProblem names the first thing that the token binds and that is another here.
func bindingProblem(claims *token.Claims, decision v1alpha1.Decision, reason string, proposal *Proposal) error {
	binding, spec := &claims.Binding, &proposal.Spec
	plan := ""
	if spec.Plan != nil {
		plan = spec.Plan.Digest
	}
	for _, bound := range []struct {
		what string
		same bool
	}{
		{"namespace", binding.Namespace == proposal.Namespace},
		{"proposal", binding.Proposal == proposal.Name},
		{"proposal (its UID differs)", binding.ProposalUID == proposal.UID},
		{"digest", binding.Digest == spec.Digest},
		{"decision", binding.Decision == decision},
		{"reason than the approval gives", binding.ReasonDigest == token.ReasonDigest(reason)},
		{"tier", binding.Tier == spec.Tier},
		{"action kind", binding.ActionKind == spec.ActionKind},
		{"target", binding.TargetUID == spec.Target.UID},
		{"plan", binding.PlanDigest == plan},
		{"diagnostic class", binding.DiagnosticClass == spec.DiagnosticClass},
	} {
		if !bound.same {
			return fmt.Errorf("%w %s", ErrOther, bound.what)
		}
	}
	return nil
}

// maximumLifetime is the configured one, and never more than what is compiled in.
func maximumLifetime(cfg *config.PolicyConfiguration) time.Duration {
	longest := config.DefaultMaxTokenLifetime
	if cfg.MaxTokenLifetime != nil {
		longest = min(longest, cfg.MaxTokenLifetime.Duration)
	}
	return longest
}
