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
	"github.com/srenix/srenix/pkg/token"
)

// denial is one way to spoil a good input. A change to the proposal is signed
// anew, so that only the layer in question has a reason.
type denial struct {
	kind   v1alpha1.ActionKind
	stage  Stage
	spoil  func(in *Input)
	words  string
	layers []Layer
}

func runDenials(t *testing.T, layer Layer, tests map[string]denial) {
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			if test.kind == "" {
				test.kind = v1alpha1.ActionDeletePod
			}
			if test.stage == "" {
				test.stage = StageApproval
			}
			in := good(t, test.stage, test.kind)
			before := in.Proposal.Spec.Digest
			test.spoil(&in)
			if seal(t, &in.Proposal); in.Proposal.Spec.Digest != before {
				in.CurrentDigest = in.Proposal.Spec.Digest
				b := bind(&in.Proposal)
				if b.TargetUID == "" {
					b.TargetUID = "none"
				}
				newCredentials(t).approve(t, &in, "alice", b)
			}
			if test.layers == nil {
				test.layers = []Layer{layer}
			}
			expectDenied(t, Evaluate(in), test.words, test.layers...)
		})
	}
}

func TestActionKindAllowlistDenies(t *testing.T) {
	runDenials(t, ActionKindAllowlist, map[string]denial{
		"a kind that is not in the configuration": {
			spoil: func(in *Input) { in.Config.AllowedActionKinds = []v1alpha1.ActionKind{v1alpha1.ActionDeleteJob} },
			words: "policy.allowedActionKinds",
		},
		"any kind, by an empty list in the configuration": {
			spoil: func(in *Input) { in.Config.AllowedActionKinds = []v1alpha1.ActionKind{} },
			words: "policy.allowedActionKinds",
		},
		"a kind that does not exist": {
			spoil: func(in *Input) { in.Proposal.Spec.ActionKind = "DeleteNamespace" }, words: "DeleteNamespace",
			layers: []Layer{ActionKindAllowlist, TargetScope},
		},
		"a kind that only the configuration knows": {
			spoil: func(in *Input) {
				in.Proposal.Spec.ActionKind = "DrainNode"
				in.Config.AllowedActionKinds = []v1alpha1.ActionKind{"DrainNode"}
			},
			words: "DrainNode", layers: []Layer{ActionKindAllowlist, TargetScope},
		},
		"a kind among others that is not one of them": {
			spoil: func(in *Input) { in.Proposal.Spec.ActionKind = "DrainNode" },
			words: "only these exist: DeletePod, ", layers: []Layer{ActionKindAllowlist, TargetScope},
		},
		"an unknown tier":        {spoil: func(in *Input) { in.Proposal.Spec.Tier = "T0" }, words: `"T0"`},
		"a runbook of tier T1":   {kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.Proposal.Spec.Tier = v1alpha1.TierFix }, words: "T3"},
		"an action of tier T3":   {spoil: func(in *Input) { in.Proposal.Spec.Tier = v1alpha1.TierRunbook }, words: "runbooks"},
		"tier T2 without a plan": {spoil: func(in *Input) { in.Proposal.Spec.Tier = v1alpha1.TierPlan }, words: "steps of a plan"},
		"a step of a plan of tier T1": {
			spoil: func(in *Input) {
				in.Proposal.Spec.Plan = &v1alpha1.PlanStep{Name: "p", Digest: "sha256:" + strings.Repeat("0", 64), Step: 1}
			},
			words: "steps of a plan", layers: []Layer{ActionKindAllowlist, SignedToken, DualApproval},
		},
	})
}

func TestSignedTokenDenies(t *testing.T) {
	runDenials(t, SignedToken, map[string]denial{
		"no verifier":              {spoil: func(in *Input) { in.Verifier = nil }, words: "nothing to verify", layers: noClaims},
		"a verifier that fails":    {spoil: func(in *Input) { in.Verifier = &token.Verifier{} }, words: "verifying the token failed", layers: noClaims},
		"no token":                 {spoil: func(in *Input) { in.Token = "" }, words: "there is no token", layers: noClaims},
		"an expired token":         {spoil: func(in *Input) { in.Now = start.Add(time.Hour) }, words: "expired", layers: noClaims},
		"expired before execution": {stage: StageExecution, spoil: func(in *Input) { in.Now = start.Add(time.Hour) }, words: "expired", layers: noClaims},
		"a used token":             {spoil: func(in *Input) { in.TokenUsedBy = &in.ApprovalName }, words: "was used already"},
		"a token with an intent":   {stage: StageExecution, spoil: func(in *Input) { in.TokenUsedBy = &in.ApprovalName }, words: "was used already"},
		"somebody else's token":    {spoil: func(in *Input) { in.Caller = "mallory" }, words: `the caller is "mallory"`},
		"another name":             {spoil: func(in *Input) { in.ApprovalName = "mine" }, words: `named "mine"`},
		"no name":                  {spoil: func(in *Input) { in.ApprovalName = "" }, words: "named"},
		"the proposal is gone":     {spoil: func(in *Input) { in.CurrentDigest = "" }, words: "the proposal is gone"},
		"the proposal has changed": {spoil: func(in *Input) { in.CurrentDigest = "sha256:new" }, words: "it is now sha256:new"},
		"changed before execution": {stage: StageExecution, spoil: func(in *Input) { in.CurrentDigest = "sha256:new" }, words: "has changed since"},
		"the configured lifetime": {
			spoil: func(in *Input) { in.Config.MaxTokenLifetime = &metav1.Duration{Duration: 10 * time.Minute} }, words: "10m0s",
		},
	})
}

// What to do differs by what became of the proposal.
func TestARefusalForAnotherDigestSaysWhereToLook(t *testing.T) {
	for digest, words := range map[string]string{"": "kubectl get silences -n shop", "sha256:new": "kubectl describe proposal.srenix.io"} {
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		in.CurrentDigest = digest
		if verdict := verdictOf(t, Evaluate(in), SignedToken); verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Remedy, words) {
			t.Errorf("with the digest %q: %+v, want %q", digest, verdict, words)
		}
	}
}

func TestAccessSaysWhatOneMay(t *testing.T) {
	for decision, words := range map[v1alpha1.Decision]string{v1alpha1.DecisionApprove: "may do this, and may approve it", v1alpha1.DecisionDeny: "may decide about this"} {
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		if decision == v1alpha1.DecisionDeny {
			deny(t, &in)
		}
		if verdict := verdictOf(t, Evaluate(in), Access); verdict.Result != v1alpha1.VerdictAllowed || !strings.HasSuffix(verdict.Message, words) {
			t.Errorf("%s: %+v, want %q", decision, verdict, words)
		}
	}
}

func TestANamespaceIsInItselfUnlessItSaysOtherwise(t *testing.T) {
	for want, object := range map[string]v1alpha1.ObjectReference{
		"shop":        {APIVersion: "v1", Kind: "Namespace", Name: "shop"},
		"kube-system": {APIVersion: "v1", Kind: "Namespace", Namespace: "kube-system", Name: "shop"},
		"vault":       {APIVersion: "v1", Kind: "Pod", Namespace: "vault", Name: "shop"},
		"":            {APIVersion: "example.com/v1", Kind: "Namespace", Name: "shop"},
	} {
		if have := namespaceOf(object); have != want {
			t.Errorf("%+v is in %q, want %q", object, have, want)
		}
	}
}

var noClaims = []Layer{SignedToken, DualApproval, RateBudget, Access}

func TestTokensMayBeValidForAsLongAsIsConfigured(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Config.MaxTokenLifetime = &metav1.Duration{Duration: 15 * time.Minute}
	if decision := Evaluate(in); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

func TestKindsThatAreConfiguredAreAllowed(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Config.AllowedActionKinds = []v1alpha1.ActionKind{v1alpha1.ActionDeleteJob, v1alpha1.ActionDeletePod}
	if decision := Evaluate(in); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

// Whoever cannot be known is known to no layer, and each says so by itself.
func TestLayersWithoutClaimsSayThatNobodyIsKnown(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Token = ""
	for _, layer := range []Layer{DualApproval, RateBudget, Access} {
		if verdict := verdictOf(t, Evaluate(in), layer); !strings.HasPrefix(verdict.Message, "it is not known who") || !strings.Contains(verdict.Message, "there is no token") {
			t.Errorf("%s: %q", layer, verdict.Message)
		}
	}
}

func TestConfigurationCannotLengthenTokens(t *testing.T) {
	if have := maximumLifetime(&config.PolicyConfiguration{MaxTokenLifetime: &metav1.Duration{Duration: 48 * time.Hour}}); have != 24*time.Hour {
		t.Errorf("tokens of %s are allowed", have)
	}
}

// Whatever a token binds must be the same in the proposal.
func TestTokenForAnythingElseDenies(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*token.Binding)
		words  string
	}{
		"namespace":        {func(b *token.Binding) { b.Namespace = "bank" }, "another namespace"},
		"proposal":         {func(b *token.Binding) { b.Proposal = "other" }, "another proposal"},
		"proposal UID":     {func(b *token.Binding) { b.ProposalUID = "other" }, "UID differs"},
		"digest":           {func(b *token.Binding) { b.Digest = "sha256:" + strings.Repeat("0", 64) }, "another digest"},
		"decision":         {func(b *token.Binding) { b.Decision = otherDecision(b.Decision) }, "another decision"},
		"reason":           {func(b *token.Binding) { b.ReasonDigest = token.ReasonDigest("it is harmless") }, "another reason"},
		"tier":             {func(b *token.Binding) { b.Tier = v1alpha1.TierPlan }, "another tier"},
		"action kind":      {func(b *token.Binding) { b.ActionKind = v1alpha1.ActionDeleteJob }, "another action kind"},
		"target":           {func(b *token.Binding) { b.TargetUID = "other" }, "another target"},
		"plan":             {func(b *token.Binding) { b.PlanDigest = "sha256:" + strings.Repeat("0", 64) }, "another plan"},
		"diagnostic class": {func(b *token.Binding) { b.DiagnosticClass = "other" }, "another diagnostic class"},
	} {
		for _, decision := range []v1alpha1.Decision{v1alpha1.DecisionApprove, v1alpha1.DecisionDeny} {
			t.Run(name+" "+string(decision), func(t *testing.T) {
				in := good(t, StageApproval, v1alpha1.ActionDeletePod)
				in.Decision = decision
				b := bind(&in.Proposal)
				b.Decision = decision
				test.change(&b)
				newCredentials(t).approve(t, &in, "alice", b)
				expectDenied(t, Evaluate(in), test.words, SignedToken)
			})
		}
	}
}

func otherDecision(decision v1alpha1.Decision) v1alpha1.Decision {
	if decision == v1alpha1.DecisionApprove {
		return v1alpha1.DecisionDeny
	}
	return v1alpha1.DecisionApprove
}

// A proposal that was changed after it was signed does not have its digest any
// more, and with a digest of its own it is not what was signed.
func TestProposalChangedAfterSigningDenies(t *testing.T) {
	for name, change := range map[string]func(*Proposal){
		"target":     func(p *Proposal) { p.Spec.Target.Name = "db" },
		"UID":        func(p *Proposal) { p.UID = "other" },
		"name":       func(p *Proposal) { p.Name = "other" },
		"finding":    func(p *Proposal) { p.Spec.Finding.Since = metav1.NewTime(start) },
		"annotation": func(p *Proposal) { p.Spec.Patch.SetAnnotation.Name = "other" },
		"class":      func(p *Proposal) { p.Spec.DiagnosticClass = "other" },
		"plan": func(p *Proposal) {
			step, before := planned(t, StageApproval, 1, 2).Proposal, p.Spec.Digest
			p.Name, p.UID, p.Spec = step.Name, step.UID, step.Spec
			p.Spec.Digest = before
		},
	} {
		t.Run(name, func(t *testing.T) {
			in := good(t, StageApproval, v1alpha1.ActionPatchDeploymentAnnotation)
			change(&in.Proposal)
			if verdict := verdictOf(t, Evaluate(in), SignedToken); !strings.Contains(verdict.Message, "does not have the digest") {
				t.Errorf("with the old digest: %+v", verdict)
			}
			seal(t, &in.Proposal)
			if verdict := verdictOf(t, Evaluate(in), SignedToken); verdict.Result != v1alpha1.VerdictDenied {
				t.Errorf("with a digest of its own: %+v", verdict)
			}
			in.CurrentDigest = in.Proposal.Spec.Digest
			if verdict := verdictOf(t, Evaluate(in), SignedToken); !strings.Contains(verdict.Message, "the token is for another") {
				t.Errorf("with a forged current digest: %+v", verdict)
			}
		})
	}
}

func TestHashChainedAuditDenies(t *testing.T) {
	runDenials(t, HashChainedAudit, map[string]denial{
		"an approval that went around the webhook": {
			stage: StageExecution, spoil: func(in *Input) { in.AcceptedAt = Span{} }, words: "does not know that this approval was accepted",
		},
	})
}

func TestAccessDenies(t *testing.T) {
	runDenials(t, Access, map[string]denial{
		"the approver may not do it": {spoil: func(in *Input) { in.AccessDenied = ptr.To("alice may not delete pods") }, words: "alice may not delete pods"},
		"at execution, too":          {stage: StageExecution, spoil: func(in *Input) { in.AccessDenied = ptr.To("no more") }, words: "no more"},
	})
}
