// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"crypto/ed25519"
	"errors"
	"math/bits"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

var eight = []Layer{ActionKindAllowlist, TargetScope, NamespaceProtection, GitOpsManaged, SignedToken, DualApproval, HashChainedAudit, RateBudget}

func TestEveryLayerAnswersInOrder(t *testing.T) {
	for _, stage := range []Stage{"", StageStanding, StageApproval, StageExecution} {
		decision := Evaluate(Input{Stage: stage})
		var have []Layer
		for _, verdict := range decision.Verdicts {
			have = append(have, Layer(verdict.Layer))
		}
		if diff := cmp.Diff(eight, have); diff != "" || decision.Access.Layer != string(Access) {
			t.Errorf("stage %q, access %q (-want +have):\n%s", stage, decision.Access.Layer, diff)
		}
	}
}

func TestGoodInputOfEachActionIsAllowed(t *testing.T) {
	for _, kind := range config.BuiltInActionKinds() {
		for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
			t.Run(string(kind)+" "+string(stage), func(t *testing.T) {
				decision := Evaluate(good(t, stage, kind))
				if !decision.Allowed || decision.Message() != "" {
					t.Errorf("refused: %s", decision.Message())
				}
				if want := kind == v1alpha1.ActionRunbook && stage != StageStanding; decision.Awaiting != want {
					t.Errorf("awaiting another approval is %t, want %t", decision.Awaiting, want)
				}
				if stage != StageStanding && (decision.Claims == nil || decision.Claims.Subject != "alice") {
					t.Errorf("claims are %+v", decision.Claims)
				}
			})
		}
	}
}

func TestStandingVerdictsTellWhatIsStillOpen(t *testing.T) {
	decision := Evaluate(good(t, StageStanding, v1alpha1.ActionDeletePod))
	have := map[Layer]v1alpha1.VerdictResult{Access: decision.Access.Result}
	for _, verdict := range decision.Verdicts {
		have[Layer(verdict.Layer)] = verdict.Result
	}
	want := map[Layer]v1alpha1.VerdictResult{
		ActionKindAllowlist: v1alpha1.VerdictAllowed, TargetScope: v1alpha1.VerdictAllowed,
		NamespaceProtection: v1alpha1.VerdictAllowed, GitOpsManaged: v1alpha1.VerdictAllowed,
		SignedToken: v1alpha1.VerdictPending, DualApproval: v1alpha1.VerdictAllowed,
		HashChainedAudit: v1alpha1.VerdictPending, RateBudget: v1alpha1.VerdictPending, Access: v1alpha1.VerdictPending,
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestZeroAndIncompleteInputsDeny(t *testing.T) {
	all := append(slices.Clone(eight), Access)
	for name, in := range map[string]Input{
		"the zero value":   {},
		"no configuration": func() Input { in := good(t, StageApproval, v1alpha1.ActionDeletePod); in.Config = nil; return in }(),
		"an unknown stage": func() Input { in := good(t, StageApproval, v1alpha1.ActionDeletePod); in.Stage = "Later"; return in }(),
		"no stage":         func() Input { in := good(t, StageApproval, v1alpha1.ActionDeletePod); in.Stage = ""; return in }(),
		"no time":          func() Input { in := good(t, StageApproval, v1alpha1.ActionDeletePod); in.Now = time.Time{}; return in }(),
		"no decision":      func() Input { in := good(t, StageApproval, v1alpha1.ActionDeletePod); in.Decision = ""; return in }(),
		"an odd decision": func() Input {
			in := good(t, StageApproval, v1alpha1.ActionDeletePod)
			in.Decision = "approve"
			return in
		}(),
	} {
		t.Run(name, func(t *testing.T) { expectDenied(t, Evaluate(in), "cannot be told", all...) })
	}
}

// Every field of Input is taken away in turn. Either that denies, or the field is
// listed with a reason and what is decided stays the same.
func TestEveryFieldOfAnInputIsNeeded(t *testing.T) {
	const (
		nobody  = "nobody has approved yet"
		nothing = "a denial acts on nothing"
		stored  = "somebody may store an approval for the approver"
		patched = "what a patch would do is asked right before acting"
		before  = "nothing is accepted yet"
		fine    = "whoever has an error to tell adds an entry"
	)
	for name, test := range map[string]struct {
		stage    Stage
		decision v1alpha1.Decision
		idle     map[string]string // why a field is not needed, by its name
	}{
		"a standing proposal": {StageStanding, v1alpha1.DecisionApprove, map[string]string{
			"Decision": nobody, "Reason": nobody, "CurrentDigest": nobody, "Caller": nobody, "Token": nobody, "Verifier": nobody,
			"ApprovalName": nobody, "TokenUsedBy": nobody, "AcceptedAt": nobody, "ChainVerified": nobody, "Spent": nobody, "AccessDenied": nobody,
			"DryRun": patched, "Unknown": fine,
		}},
		"an approval": {StageApproval, v1alpha1.DecisionApprove, map[string]string{
			"Caller": stored, "DryRun": patched, "AcceptedAt": before, "Unknown": fine,
		}},
		"an execution": {StageExecution, v1alpha1.DecisionApprove, map[string]string{
			"Caller": stored, "Unknown": fine,
		}},
		"a person's denial": {StageApproval, v1alpha1.DecisionDeny, map[string]string{
			"Target": nothing, "Certificates": nothing, "DryRun": nothing, "Owners": nothing, "Namespace": nothing, "OwnNamespace": nothing,
			"Approvals": nothing, "Before": nothing, "Spent": nothing,
			"Caller": stored, "AcceptedAt": before, "Unknown": fine,
		}},
		"a person's denial that was accepted": {StageExecution, v1alpha1.DecisionDeny, map[string]string{
			"Target": nothing, "Certificates": nothing, "DryRun": nothing, "Owners": nothing, "Namespace": nothing, "OwnNamespace": nothing,
			"Approvals": nothing, "Before": nothing, "Spent": nothing, "AccessDenied": nothing,
			"Caller": stored, "Unknown": fine,
		}},
	} {
		t.Run(name, func(t *testing.T) {
			whole := Evaluate(complete(t, test.stage, test.decision))
			if !whole.Allowed {
				t.Fatalf("refused with every field: %s", whole.Message())
			}
			for _, field := range reflect.VisibleFields(reflect.TypeFor[Input]()) {
				in := complete(t, test.stage, test.decision)
				value := reflect.ValueOf(&in).Elem().FieldByIndex(field.Index)
				if value.IsZero() {
					t.Errorf("%s is not set to begin with", field.Name)
				}
				value.SetZero()
				decision := Evaluate(in)
				why, idle := test.idle[field.Name]
				switch {
				case !idle && decision.Allowed:
					t.Errorf("allowed without %s", field.Name)
				case idle && !cmp.Equal(byLayer(whole), byLayer(decision)):
					t.Errorf("%s counts, though %s (-with +without):\n%s", field.Name, why, cmp.Diff(byLayer(whole), byLayer(decision)))
				}
				delete(test.idle, field.Name)
			}
			for field := range test.idle {
				t.Errorf("an Input has no %s", field)
			}
		})
	}
}

// complete is a good input with every field set, also those that its stage does
// not need: a patch of an Ingress that has a controller, for a reason, as a step of a plan.
func complete(t *testing.T, stage Stage, decision v1alpha1.Decision) Input {
	t.Helper()
	in := good(t, StageExecution, v1alpha1.ActionPatchIngressTLS)
	asStep(t, &in, 2, 3)
	for _, object := range []metav1.Object{in.Target.(metav1.Object), in.DryRun} {
		object.SetOwnerReferences(controlledBy("ReplicaSet", "web-1", "rs"))
	}
	in.Owners = []Owner{{APIVersion: "apps/v1", Kind: "ReplicaSet", ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "rs"}}}
	in.Stage, in.Decision, in.Reason, in.Caller, in.Unknown = stage, decision, "it is time", "alice", map[Layer]error{}
	binding := bind(&in.Proposal)
	binding.Decision, binding.ReasonDigest = decision, token.ReasonDigest(in.Reason)
	newCredentials(t).approve(t, &in, "alice", binding)
	return in
}

func TestFactThatNobodyAskedForDeniesItsLayer(t *testing.T) {
	for layer, unasked := range map[Layer]struct {
		forget func(*Input)
		words  string
	}{
		SignedToken:      {func(in *Input) { in.TokenUsedBy = nil }, "whether the token was used already"},
		DualApproval:     {func(in *Input) { in.Approvals = nil }, "who else approved or denied this"},
		HashChainedAudit: {func(in *Input) { in.ChainVerified = false }, "whether the audit chain is in order"},
		RateBudget:       {func(in *Input) { in.Spent = nil }, "how much of the budget is spent"},
		Access:           {func(in *Input) { in.AccessDenied = nil }, "whether the approver may do this"},
	} {
		for _, stage := range []Stage{StageApproval, StageExecution} {
			t.Run(string(stage)+" "+string(layer), func(t *testing.T) {
				in := good(t, stage, v1alpha1.ActionDeletePod)
				unasked.forget(&in)
				expectDenied(t, Evaluate(in), "it cannot be told "+unasked.words+": nobody asked", layer)
			})
		}
	}
	in := good(t, StageStanding, v1alpha1.ActionDeletePod)
	in.Approvals = nil
	expectDenied(t, Evaluate(in), ": nobody asked", DualApproval)
}

func TestUnknownFactDeniesItsLayer(t *testing.T) {
	for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
		for _, layer := range append(slices.Clone(eight), Access) {
			for name, err := range map[string]error{"an error": errors.New("the API server is away"), "a nil error": nil} {
				t.Run(string(stage)+" "+string(layer)+" "+name, func(t *testing.T) {
					in := good(t, stage, v1alpha1.ActionDeletePod)
					in.Unknown = map[Layer]error{layer: err}
					expectDenied(t, Evaluate(in), "it cannot be told", layer)
				})
			}
		}
	}
}

func TestUnknownFactDeniesAPersonsDenialToo(t *testing.T) {
	for _, layer := range eight {
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		deny(t, &in)
		in.Unknown = map[Layer]error{layer: errors.New("away")}
		expectDenied(t, Evaluate(in), "away", layer)
	}
}

func TestFaultInALayerIsItsDenial(t *testing.T) {
	faults := map[string]func(*facts) v1alpha1.Verdict{
		"a panic":            func(*facts) v1alpha1.Verdict { panic("boom") },
		"a nil dereference":  func(*facts) v1alpha1.Verdict { var none *facts; return allowed(none.Caller) },
		"an index":           func(f *facts) v1alpha1.Verdict { return allowed(f.Owners[3].Name) },
		"an answer too late": func(*facts) v1alpha1.Verdict { <-time.After(patience + 1); return allowed("after all") },
		"no answer":          func(*facts) v1alpha1.Verdict { return v1alpha1.Verdict{} },
		"an unknown answer":  func(*facts) v1alpha1.Verdict { return v1alpha1.Verdict{Result: "Maybe"} },
		"an answer in lower": func(*facts) v1alpha1.Verdict { return v1alpha1.Verdict{Result: "allowed"} },
	}
	for name, fault := range faults {
		for i, layer := range append(slices.Clone(eight), Access) {
			for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
				t.Run(name+" in "+string(layer)+" "+string(stage), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) {
						defer outlast()
						table, onTop := layers(), layerOf(Access, access)
						if i < len(table) {
							table[i].judge = fault
						} else {
							onTop.judge = fault
						}
						expectDenied(t, evaluate(good(t, stage, v1alpha1.ActionDeletePod), table, onTop), "layer", layer)
					})
				})
			}
		}
	}
}

// outlast ends a bubble of synctest when everybody who is late has answered.
func outlast() { <-time.After(2 * patience) }

// Layers judge at the same time, so that all of them together take no longer than
// one may, and one that hangs keeps no other from its answer.
func TestLayersThatHangDenyInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		over := make(chan struct{})
		defer close(over)
		hang := func(*facts) v1alpha1.Verdict { <-over; return allowed("after all") }
		table := layers()
		for i := range table {
			table[i].judge = hang
		}
		begin := time.Now()
		decision := evaluate(good(t, StageApproval, v1alpha1.ActionDeletePod), table, layerOf(Access, access))
		expectDenied(t, decision, "the layer gave no answer within 6s", eight...)
		if took := time.Since(begin); took != patience {
			t.Errorf("it took %s, want %s", took, patience)
		}
	})
}

func TestLayerThatAnswersInTimeCounts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := layers()
		table[0].judge = func(*facts) v1alpha1.Verdict { <-time.After(patience - 1); return allowed("at last") }
		if decision := evaluate(good(t, StageApproval, v1alpha1.ActionDeletePod), table, layerOf(Access, access)); !decision.Allowed {
			t.Errorf("refused: %s", decision.Message())
		}
	})
}

// slowKeys are those of a Secret that cannot be read in time.
type slowKeys struct{}

func (slowKeys) Key(string) (ed25519.PublicKey, bool) {
	<-time.After(patience + 1)
	return nil, false
}

func TestTokenThatTakesTooLongToVerifyDenies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		defer outlast()
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		in.Verifier = token.NewVerifier(slowKeys{}, cluster, clocktesting.NewFakePassiveClock(start))
		begin := time.Now()
		expectDenied(t, Evaluate(in), "verifying the token took longer than 6s", noClaims...)
		if took := time.Since(begin); took != patience {
			t.Errorf("it took %s, want %s", took, patience)
		}
	})
}

func TestPendingCountsOnlyWhereItMayStand(t *testing.T) {
	for i, layer := range eight {
		table := layers()
		table[i].judge = func(*facts) v1alpha1.Verdict { return pending("later") }
		decision := evaluate(good(t, StageApproval, v1alpha1.ActionDeletePod), table, layerOf(Access, access))
		if layer == DualApproval {
			if !decision.Allowed || !decision.Awaiting {
				t.Errorf("a pending %s: %+v", layer, decision)
			}
			continue
		}
		expectDenied(t, decision, "Pending", layer)
	}
}

func TestNoLayersAtAllDeny(t *testing.T) {
	if !evaluate(good(t, StageApproval, v1alpha1.ActionDeletePod), layers()[:1], layerOf(Access, access)).Allowed {
		t.Error("a table of one denies")
	}
	if evaluate(good(t, StageApproval, v1alpha1.ActionDeletePod), nil, layerOf(Access, access)).Allowed {
		t.Error("an empty table allows")
	}
}

func TestTypedNilTargetsDeny(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Target = (*corev1.Pod)(nil)
	expectDenied(t, Evaluate(in), "failed", TargetScope, GitOpsManaged)
	in = good(t, StageExecution, v1alpha1.ActionPatchDeploymentAnnotation)
	in.Target = (*unstructured.Unstructured)(nil)
	expectDenied(t, Evaluate(in), "failed", TargetScope, GitOpsManaged)
}

// Adding a denial never allows, and the order of the layers does not matter: not
// to what is decided, and not to what any layer says.
func TestDenialsAddUp(t *testing.T) {
	const orders = 40
	random := rand.New(rand.NewPCG(8, 8))
	no := func(*facts) v1alpha1.Verdict { return denied("no", "never") }
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	for set := range 1 << len(eight) {
		table := layers()
		for i := range table {
			if set&(1<<i) != 0 {
				table[i].judge = no
			}
		}
		first := evaluate(in, table, layerOf(Access, access))
		if want := set == 0; first.Allowed != want || len(first.Denials()) != bits.OnesCount(uint(set)) {
			t.Fatalf("layers %08b deny, %d denials are told, and it is allowed: %t", set, len(first.Denials()), first.Allowed)
		}
		slices.Reverse(table)
		for range orders {
			if other := evaluate(in, table, layerOf(Access, access)); other.Allowed != first.Allowed || !cmp.Equal(byLayer(first), byLayer(other)) {
				t.Fatalf("layers %08b deny, and in the order %v it is decided otherwise:\n%s", set, namesOf(table), cmp.Diff(byLayer(first), byLayer(other)))
			}
			random.Shuffle(len(table), func(i, j int) { table[i], table[j] = table[j], table[i] })
		}
	}
}

func byLayer(d Decision) map[string]v1alpha1.Verdict {
	verdicts := map[string]v1alpha1.Verdict{}
	for _, verdict := range append(slices.Clone(d.Verdicts), d.Access) {
		verdicts[verdict.Layer] = verdict
	}
	return verdicts
}

func namesOf(table []layer) []Layer {
	var names []Layer
	for _, row := range table {
		names = append(names, row.name)
	}
	return names
}

// Every byte of a proposal as it is stored is flipped in turn, in its canonical
// form: what can still be read and says anything else is refused.
func TestAnyFlippedByteOfAProposalDenies(t *testing.T) {
	for _, kind := range []v1alpha1.ActionKind{v1alpha1.ActionDeletePod, v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS} {
		t.Run(string(kind), func(t *testing.T) {
			base := good(t, StageApproval, kind)
			flips(t, base.Proposal.Spec, func(flipped v1alpha1.ProposalSpec) bool {
				// Explanations are not bound: better words supersede nothing.
				said := flipped
				said.Rationale, said.Source = base.Proposal.Spec.Rationale, base.Proposal.Spec.Source
				if equality.Semantic.DeepEqual(said, base.Proposal.Spec) {
					return false
				}
				in := base
				in.Proposal.Spec = flipped
				if decision := Evaluate(in); decision.Allowed {
					t.Errorf("allowed with a flipped bit: %+v", flipped)
				}
				return true
			})
		})
	}
}

func TestRefusalListsEveryReasonWithItsLayer(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Target.(*corev1.Pod).Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
	in.Namespace.Labels = map[string]string{ProtectedLabel: "true"}
	in.AccessDenied = ptr.To("alice may not delete pods")
	decision := Evaluate(in)
	expectDenied(t, decision, "kustomize.toolkit.fluxcd.io/name=apps", NamespaceProtection, GitOpsManaged, Access)
	for _, part := range []string{"NamespaceProtection: ", "GitOpsManaged: ", "Access: alice may not", "; "} {
		if !strings.Contains(decision.Message(), part) {
			t.Errorf("the message lacks %q: %s", part, decision.Message())
		}
	}
}

func TestMessageHasARemedyWhereThereIsOne(t *testing.T) {
	d := Decision{
		Verdicts: []v1alpha1.Verdict{{Layer: "TargetScope", Result: v1alpha1.VerdictDenied, Message: "no", Remedy: "try"}, {Layer: "RateBudget", Result: v1alpha1.VerdictAllowed}},
		Access:   v1alpha1.Verdict{Layer: "Access", Result: v1alpha1.VerdictDenied, Message: "never"},
	}
	if have, want := d.Message(), "TargetScope: no (try); Access: never"; have != want {
		t.Errorf("it is %q, want %q", have, want)
	}
}

// Nobody is asked for a second approval of what is refused.
func TestRefusedApprovalAwaitsNothing(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionRunbook)
	in.AccessDenied = ptr.To("alice may not approve it")
	if decision := Evaluate(in); decision.Allowed || decision.Awaiting || verdictOf(t, decision, DualApproval).Result != v1alpha1.VerdictPending {
		t.Errorf("%+v", decision)
	}
}

// While standing there is no approval and no denial, whatever the input says.
func TestStandingProposalsKnowNoDecisionAndNoToken(t *testing.T) {
	in := good(t, StageStanding, v1alpha1.ActionDeletePod)
	newCredentials(t).approve(t, &in, "alice", bind(&in.Proposal))
	in.Decision = v1alpha1.DecisionDeny
	if decision := Evaluate(in); decision.Claims != nil {
		t.Errorf("claims are %+v", decision.Claims)
	}
	in.Target = nil
	expectDenied(t, Evaluate(in), "does not exist any more", TargetScope, GitOpsManaged)
}

func TestTheVerdictOfALayerIsTheOneOfTheDecision(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	in.Target = nil
	decision := Evaluate(in)
	for _, verdict := range decision.Verdicts {
		if diff := cmp.Diff(verdict, decision.Verdict(Layer(verdict.Layer))); diff != "" {
			t.Errorf("-decided +verdict:\n%s", diff)
		}
	}
	if verdict := decision.Verdict("none"); verdict != (v1alpha1.Verdict{}) {
		t.Errorf("of no layer it is %v", verdict)
	}
}

func TestDenialByAPersonNeedsOnlyTokenAuditAndTheRight(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	deny(t, &in)
	in.Target, in.Namespace = nil, nil
	in.Config.AllowedActionKinds = []v1alpha1.ActionKind{v1alpha1.ActionDeleteJob}
	if decision := Evaluate(in); !decision.Allowed || decision.Awaiting {
		t.Errorf("a no is refused: %s", decision.Message())
	}
	in.AccessDenied = nil
	expectDenied(t, Evaluate(in), "whether the approver may do this", Access)
	in.Token = ""
	expectDenied(t, Evaluate(in), "there is no token", SignedToken, Access)
}

// TestADenialTakesTheRightToDecide: a token alone is worth no more than its owner.
func TestADenialTakesTheRightToDecide(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionDeletePod)
	deny(t, &in)
	in.AccessDenied = ptr.To("alice may not create proposals/approve")
	expectDenied(t, Evaluate(in), "alice may not create", Access)
	in.Stage = StageExecution
	in.AcceptedAt = At(in.Now)
	if verdict := access(&facts{Input: &in}); verdict.Result != v1alpha1.VerdictAllowed {
		t.Errorf("one that was accepted is %s: %s", verdict.Result, verdict.Message)
	}
}

func layerOf(name Layer, judge func(*facts) v1alpha1.Verdict) layer { return layer{name, judge} }
