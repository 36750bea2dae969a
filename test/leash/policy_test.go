// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/test/harness"
)

// start is when tokens are minted.
var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// newInput asks for the approval of one action on an object. Whatever the layers
// behind the fourth need is in order, so that they never decide a case.
func newInput(t *testing.T, kind v1alpha1.ActionKind, object client.Object, propose func(*v1alpha1.ProposalSpec)) policy.Input {
	t.Helper()
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = open // There are no proposals about what is in no namespace.
	}
	gvk, known := policy.TargetGVK(kind)
	if !known {
		gvk, _ = cluster.admin.GroupVersionKindFor(object)
	}
	apiVersion, targetKind := gvk.ToAPIVersionAndKind()
	in := policy.Input{
		Stage: policy.StageExecution, Now: start.Add(time.Minute), AcceptedAt: policy.At(start), Decision: v1alpha1.DecisionApprove,
		ChainVerified: true, TokenUsedBy: ptr.To(""), AccessDenied: ptr.To(""), Approvals: &[]policy.ApprovalRecord{}, Spent: &[]time.Time{},
		Target: whole(t, object), OwnNamespace: harness.Namespace, Certificates: []unstructured.Unstructured{certificate(namespace, "new-tls"), certificate(namespace, "old-tls")},
		Proposal: policy.Proposal{Namespace: namespace, Name: "fix", UID: "proposal-uid", Spec: v1alpha1.ProposalSpec{
			Finding: v1alpha1.FindingReference{Name: "finding", UID: "finding-uid", Since: metav1.NewTime(start.Add(-time.Hour))},
			Tier:    v1alpha1.TierFix, ActionKind: kind, Rationale: "because", Source: v1alpha1.SourceRule, DiagnosticClass: "WorkloadStateDrift",
			Target: v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: targetKind, Namespace: namespace, Name: object.GetName(), UID: object.GetUID()},
		}},
	}
	spec := &in.Proposal.Spec
	switch kind {
	case v1alpha1.ActionPatchDeploymentAnnotation:
		spec.Patch = &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: policy.RestartedAtAnnotation}}
	case v1alpha1.ActionPatchIngressTLS:
		spec.Patch = &v1alpha1.Patch{JSONPatch: []v1alpha1.JSONPatchOperation{
			{Op: "test", Path: "/spec/tls/1/secretName", Value: "old-tls"},
			{Op: "replace", Path: "/spec/tls/1/secretName", Value: "new-tls"},
		}}
	}
	if propose != nil {
		propose(spec)
	}
	whole := &config.SrenixConfiguration{}
	config.Default(whole)
	in.Config = &whole.Policy
	in.Namespace = &corev1.Namespace{}
	if err := cluster.admin.Get(t.Context(), client.ObjectKey{Name: namespace}, in.Namespace); err != nil {
		t.Fatal(err)
	}
	approve(t, &in)
	return in
}

// whole is an object as the executor reads it.
func whole(t *testing.T, object client.Object) *unstructured.Unstructured {
	t.Helper()
	gvk, err := cluster.admin.GroupVersionKindFor(object)
	if err != nil {
		t.Fatal(err)
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	read := &unstructured.Unstructured{Object: content}
	read.SetGroupVersionKind(gvk)
	return read
}

// approve puts a token of Alice's into the input.
func approve(t *testing.T, in *policy.Input) {
	t.Helper()
	p := &in.Proposal
	sum, err := digest.Proposal(p.Namespace, p.Name, p.UID, &p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Digest, in.CurrentDigest = sum, sum
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	const id = "2d9f0f0e-5d0c-4a4e-9a53-1f1a5b1f0c11"
	clock := clocktesting.NewFakePassiveClock(start)
	signed, claims, err := token.NewSigner(keys, id, clock).Mint("alice", token.Binding{
		Decision: v1alpha1.DecisionApprove, Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: sum, Tier: p.Spec.Tier,
		ActionKind: p.Spec.ActionKind, TargetUID: p.Spec.Target.UID, DiagnosticClass: p.Spec.DiagnosticClass,
	}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	in.Token, in.Verifier, in.ApprovalName = signed, token.NewVerifier(keys, id, clock), token.ApprovalName(claims.ID)
}

// certificate is Ready, writes the Secret and covers every host of the cases' Ingresses.
func certificate(namespace, secret string) unstructured.Unstructured {
	return unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
		"metadata": map[string]any{"namespace": namespace, "name": secret},
		"spec":     map[string]any{"secretName": secret, "dnsNames": []any{"*.example.com"}, "issuerRef": map[string]any{"name": "ca"}},
		"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}}
}

// held are the layers that hold twice, in their order.
var held = []policy.Layer{policy.ActionKindAllowlist, policy.TargetScope, policy.NamespaceProtection, policy.GitOpsManaged}

// judge returns the first of the layers that denies, as the leash in CEL names
// the first of its own; none if all allow.
func judge(t *testing.T, in policy.Input) policy.Layer {
	t.Helper()
	decision := policy.Evaluate(in)
	var first policy.Layer
	for _, denial := range decision.Denials() {
		switch layer := policy.Layer(denial.Layer); {
		case first == "" && slices.Contains(held, layer):
			first = layer
		case !slices.Contains(held, layer):
			t.Errorf("a layer denies that the case is not about: %s: %s", denial.Layer, denial.Message)
		}
	}
	return first
}
