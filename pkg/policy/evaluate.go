// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

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

// patience is how long Evaluate waits for the token to be verified, and then for
// the layers, which judge at the same time. They need about a millisecond. The
// verifier at times reads the keys first, which package token ends after 5 seconds.
const patience = 6 * time.Second

// Evaluate judges by all eight layers and the access checks. It never panics, and
// it takes twice patience at the most: a layer that has not answered by then denies.
// Nothing can stop one that hangs, so it keeps its goroutine.
//
// A person's denial (DecisionDeny) acts on nothing, so only SignedToken and
// HashChainedAudit judge it: saying no is always possible to whoever can get a
// token, also where a yes would be refused.
func Evaluate(in Input) Decision { return evaluate(in, layers(), layer{Access, access}) }

func evaluate(in Input, table []layer, onTop layer) Decision {
	known := &facts{Input: &in, tokenErr: errors.New("nobody has approved yet")}
	if in.Stage != StageStanding {
		known.claims, known.tokenErr = verify(in.Verifier, in.Token, in.Now)
	}
	rows := append(slices.Clone(table), onTop)
	var judgments []func() v1alpha1.Verdict
	for _, row := range rows {
		judgments = append(judgments, func() v1alpha1.Verdict { return row.verdict(known) })
	}
	verdicts := answers(denied(fmt.Sprintf("the layer gave no answer within %s", patience), "try again, and if it stays so, report this to whoever runs srenix"), judgments...)
	for i, row := range rows {
		verdicts[i].Layer = string(row.name)
	}
	decision := Decision{Claims: known.claims, Verdicts: verdicts[:len(table)], Access: verdicts[len(table)]}
	decision.Allowed = len(decision.Verdicts) > 0 && len(decision.Denials()) == 0
	if decision.Allowed && in.Stage != StageStanding {
		for _, verdict := range decision.Verdicts {
			decision.Awaiting = decision.Awaiting || verdict.Result == v1alpha1.VerdictPending
		}
	}
	return decision
}

// answers calls all functions at the same time and returns what each has answered
// within patience, and late for one that has not.
func answers[T any](late T, functions ...func() T) []T {
	deadline, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var coming []chan T
	for _, function := range functions {
		answer := make(chan T, 1)
		go func() { answer <- function() }()
		coming = append(coming, answer)
	}
	given := slices.Repeat([]T{late}, len(functions))
	for i, answer := range coming {
		select {
		case in := <-answer:
			given[i] = in
		case <-deadline.Done():
			if len(answer) > 0 { // It was there before the deadline.
				given[i] = <-answer
			}
		}
	}
	return given
}

// verdict asks one layer. Whatever goes wrong in it is its denial.
func (l layer) verdict(known *facts) (verdict v1alpha1.Verdict) {
	defer func() {
		if cause := recover(); cause != nil {
			verdict = denied(fmt.Sprintf("the layer failed: %v", cause), "report this to whoever runs srenix")
		}
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

// identity is what a token tells: who has it, or why it does not count.
type identity struct {
	claims *token.Claims
	err    error
}

func verify(verifier *token.Verifier, signed string, at time.Time) (*token.Claims, error) {
	switch {
	case signed == "":
		return nil, errors.New("there is no token")
	case verifier == nil:
		return nil, errors.New("there is nothing to verify the token with")
	}
	late := identity{err: fmt.Errorf("verifying the token took longer than %s", patience)}
	who := answers(late, func() (who identity) {
		defer func() {
			if cause := recover(); cause != nil {
				who = identity{err: fmt.Errorf("verifying the token failed: %v", cause)}
			}
		}()
		who.claims, who.err = verifier.VerifyAt(signed, at)
		return who
	})[0]
	return who.claims, who.err
}

func allowed(message string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictAllowed, Message: message}
}

func denied(message, remedy string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictDenied, Message: message, Remedy: remedy}
}

// unread is the answer of a layer that lacks a fact.
func unread(what string) v1alpha1.Verdict {
	return denied("it cannot be told "+what+": nobody asked", "report this to whoever runs srenix")
}

func pending(message string) v1alpha1.Verdict {
	return v1alpha1.Verdict{Result: v1alpha1.VerdictPending, Message: message}
}

// noAction is the answer to a denial from every layer that guards an action.
func noAction() v1alpha1.Verdict { return allowed("a denial acts on nothing") }
