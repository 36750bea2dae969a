// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// facts are the input, and the token's claims if it verifies. The token is
// verified once, because several layers need to know who approves.
type facts struct {
	*Input
	claims   *token.Claims
	tokenErr error
}

// layer is one row of the table: a name and the function that judges.
type layer struct {
	name  Layer
	judge func(*facts) v1alpha1.Verdict
}

// layers is the one list of the eight, in the order in which they are reported.
func layers() []layer {
	return []layer{
		{ActionKindAllowlist, actionKindAllowlist},
		{TargetScope, targetScope},
		{NamespaceProtection, namespaceProtection},
		{GitOpsManaged, gitOpsManaged},
		{SignedToken, signedToken},
		{DualApproval, dualApproval},
		{HashChainedAudit, hashChainedAudit},
		{RateBudget, rateBudget},
	}
}

// Evaluate judges by all eight layers and the access checks. It never panics.
//
// A person's denial (DecisionDeny) acts on nothing, so only SignedToken and
// HashChainedAudit judge it: saying no is always possible to whoever can get a
// token, also where a yes would be refused.
func Evaluate(in Input) Decision { return evaluate(in, layers(), layer{Access, access}) }

func evaluate(in Input, table []layer, onTop layer) Decision {
	known := &facts{Input: &in}
	known.claims, known.tokenErr = verify(&in)
	decision := Decision{Claims: known.claims}
	for _, row := range table {
		decision.Verdicts = append(decision.Verdicts, row.verdict(known))
	}
	decision.Access = onTop.verdict(known)
	decision.Allowed = len(decision.Verdicts) > 0 && len(decision.Denials()) == 0
	if decision.Allowed && in.Stage != StageStanding {
		for _, verdict := range decision.Verdicts {
			decision.Awaiting = decision.Awaiting || verdict.Result == v1alpha1.VerdictPending
		}
	}
	return decision
}

// verdict asks one layer. Whatever goes wrong in it is its denial.
func (l layer) verdict(known *facts) (verdict v1alpha1.Verdict) {
	defer func() {
		if cause := recover(); cause != nil {
			verdict = denied(fmt.Sprintf("the layer failed: %v", cause), "report this to whoever runs srenix")
		}
		verdict.Layer = string(l.name)
	}()
	if err, unknown := known.Unknown[l.name]; unknown {
		return denied(fmt.Sprintf("it cannot be told: %v", err), "mend that and try again")
	}
	if err := known.complete(); err != nil {
		return denied(fmt.Sprintf("it cannot be told: %v", err), "report this to whoever runs srenix")
	}
	verdict = l.judge(known)
	switch verdict.Result {
	case v1alpha1.VerdictAllowed, v1alpha1.VerdictDenied:
		return verdict
	case v1alpha1.VerdictPending:
		if known.Stage == StageStanding || l.name == DualApproval {
			return verdict
		}
	}
	return denied(fmt.Sprintf("the layer answered %q", verdict.Result), "report this to whoever runs srenix")
}

// complete reports what no layer can do without.
func (f *facts) complete() error {
	if f.Config == nil {
		return errors.New("there is no policy configuration")
	}
	if f.Now.IsZero() {
		return errors.New("the time is not known")
	}
	switch f.Stage {
	case StageStanding:
		return nil
	case StageApproval, StageExecution:
	default:
		return fmt.Errorf("unknown stage %q", f.Stage)
	}
	switch f.Decision {
	case v1alpha1.DecisionApprove, v1alpha1.DecisionDeny:
		return nil
	}
	return fmt.Errorf("unknown decision %q", f.Decision)
}

// actsOnNothing is true for a person's denial.
func (f *facts) actsOnNothing() bool {
	return f.Stage != StageStanding && f.Decision == v1alpha1.DecisionDeny
}

func verify(in *Input) (claims *token.Claims, err error) {
	defer func() {
		if cause := recover(); cause != nil {
			claims, err = nil, fmt.Errorf("verifying the token failed: %v", cause)
		}
	}()
	switch {
	case in.Stage == StageStanding:
		return nil, errors.New("nobody has approved yet")
	case in.Token == "":
		return nil, errors.New("there is no token")
	case in.Verifier == nil:
		return nil, errors.New("there is nothing to verify the token with")
	}
	return in.Verifier.VerifyAt(in.Token, in.Now)
}

func allowed(message string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictAllowed, Message: message}
}

func denied(message, remedy string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictDenied, Message: message, Remedy: remedy}
}

func pending(message string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictPending, Message: message}
}

// noAction is the answer to a denial from every layer that guards an action.
func noAction() v1alpha1.Verdict { return allowed("a denial acts on nothing") }
