// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"crypto/ed25519"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/token"
)

const cluster = "2d9f0f0e-5d0c-4a4e-9a53-1f1a5b1f0c11"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func metadata(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "target-uid", ResourceVersion: "7", Generation: 3}
}

func controlledBy(kind, name, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr.To(true)}}
}

// proposal is a good one for a kind, with its digest.
func proposal(t testing.TB, kind v1alpha1.ActionKind) Proposal {
	t.Helper()
	gvk, _ := TargetGVK(kind)
	apiVersion, targetKind := gvk.ToAPIVersionAndKind()
	p := Proposal{Namespace: "shop", Name: "fix-web", UID: "proposal-uid", Spec: v1alpha1.ProposalSpec{
		Finding: v1alpha1.FindingReference{Name: "web", UID: "finding-uid", Since: metav1.NewTime(start.Add(-time.Hour))},
		Tier:    v1alpha1.TierFix, ActionKind: kind,
		Target:    v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: targetKind, Namespace: "shop", Name: "web", UID: "target-uid"},
		Rationale: "because", Source: v1alpha1.SourceRule, DiagnosticClass: "WorkloadStateDrift",
	}}
	switch kind {
	case v1alpha1.ActionPatchDeploymentAnnotation:
		p.Spec.Patch = &v1alpha1.Patch{SetAnnotation: &v1alpha1.SetAnnotation{Name: RestartedAtAnnotation}}
	case v1alpha1.ActionPatchIngressTLS:
		p.Spec.Patch = &v1alpha1.Patch{JSONPatch: []v1alpha1.JSONPatchOperation{
			{Op: "test", Path: "/spec/tls/1/secretName", Value: "old-tls"},
			{Op: "replace", Path: "/spec/tls/1/secretName", Value: "new-tls"},
		}}
	case v1alpha1.ActionRunbook:
		p.Spec.Tier = v1alpha1.TierRunbook
		p.Spec.Runbook = &v1alpha1.RunbookReference{Title: "unseal", Investigation: "vault", Digest: "sha256:text"}
		p.Spec.Target.APIVersion, p.Spec.Target.Kind = "v1", "PersistentVolumeClaim"
	}
	seal(t, &p)
	return p
}

func seal(t testing.TB, p *Proposal) {
	t.Helper()
	sum, err := digest.Proposal(p.Namespace, p.Name, p.UID, &p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Digest = sum
}

func target(kind v1alpha1.ActionKind) runtime.Object {
	switch kind {
	case v1alpha1.ActionDeletePod:
		return &corev1.Pod{ObjectMeta: metadata("web")}
	case v1alpha1.ActionPatchDeploymentAnnotation:
		return &appsv1.Deployment{ObjectMeta: metadata("web"), Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To(int32(3)),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "web", Image: "web:1"}}}},
		}}
	case v1alpha1.ActionDeleteJob:
		return &batchv1.Job{ObjectMeta: metadata("web")}
	case v1alpha1.ActionPatchIngressTLS:
		return &networkingv1.Ingress{ObjectMeta: metadata("web"), Spec: networkingv1.IngressSpec{TLS: []networkingv1.IngressTLS{
			{Hosts: []string{"a.example.com"}, SecretName: "a-tls"}, {Hosts: []string{"B.example.com"}, SecretName: "old-tls"},
		}}}
	case v1alpha1.ActionDeleteCertificateRequest:
		return &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
			"metadata": map[string]any{"namespace": "shop", "name": "web", "uid": "target-uid"},
		}}
	}
	return nil
}

func certificate(secret, ready string, names ...any) unstructured.Unstructured {
	return unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
		"metadata": map[string]any{"namespace": "shop", "name": secret},
		"spec":     map[string]any{"secretName": secret, "dnsNames": names, "issuerRef": map[string]any{"name": "ca"}},
		"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": ready}}},
	}}
}

// credentials mint tokens for alice at start.
type credentials struct {
	signer   *token.Signer
	verifier *token.Verifier
	clock    *clocktesting.FakePassiveClock
}

func newCredentials(t testing.TB) *credentials {
	t.Helper()
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(start)
	return &credentials{token.NewSigner(keys, cluster, clock), token.NewVerifier(keys, cluster, clock), clock}
}

func bind(p *Proposal) token.Binding {
	b := token.Binding{
		Decision:  v1alpha1.DecisionApprove,
		Namespace: p.Namespace, Proposal: p.Name, ProposalUID: p.UID, Digest: p.Spec.Digest, Tier: p.Spec.Tier,
		ActionKind: p.Spec.ActionKind, TargetUID: p.Spec.Target.UID, DiagnosticClass: p.Spec.DiagnosticClass,
	}
	if p.Spec.Plan != nil {
		b.PlanDigest = p.Spec.Plan.Digest
	}
	return b
}

// approve puts a token of this person into the input.
func (c *credentials) approve(t testing.TB, in *Input, who string, binding token.Binding) {
	t.Helper()
	c.clock.SetTime(in.Now)
	signed, claims, err := c.signer.Mint(who, binding, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	in.Token, in.Verifier, in.ApprovalName = signed, c.verifier, token.ApprovalName(claims.ID)
}

// deny makes an input a person's no, with the token for it.
func deny(t testing.TB, in *Input) {
	t.Helper()
	in.Decision = v1alpha1.DecisionDeny
	binding := bind(&in.Proposal)
	binding.Decision = v1alpha1.DecisionDeny
	newCredentials(t).approve(t, in, "alice", binding)
}

func configuration() *config.PolicyConfiguration {
	whole := &config.SrenixConfiguration{}
	config.Default(whole)
	return &whole.Policy
}

// good is an input that every layer allows.
func good(t testing.TB, stage Stage, kind v1alpha1.ActionKind) Input {
	t.Helper()
	in := Input{
		Stage: stage, Now: start, Config: configuration(), Decision: v1alpha1.DecisionApprove, Proposal: proposal(t, kind),
		Target:       target(kind),
		Namespace:    &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}, Status: corev1.NamespaceStatus{Phase: corev1.NamespaceActive}},
		OwnNamespace: "srenix-system",
		Certificates: []unstructured.Unstructured{certificate("new-tls", "True", "*.example.com"), certificate("old-tls", "False", "a.example.com")},
		Approvals:    &[]ApprovalRecord{},
	}
	in.CurrentDigest = in.Proposal.Spec.Digest
	if stage == StageStanding {
		return in
	}
	newCredentials(t).approve(t, &in, "alice", bind(&in.Proposal))
	in.TokenUsedBy, in.AccessDenied, in.Spent, in.ChainVerified = ptr.To(""), ptr.To(""), &[]time.Time{}, true
	if stage == StageApproval {
		in.Caller = "alice"
		return in
	}
	in.AcceptedAt = At(start)
	in.Now = start.Add(time.Minute)
	if Patches(kind) {
		in.DryRun = dryRun(t, &in)
		gvk, _ := TargetGVK(kind)
		in.Target = whole(in.Target, gvk)
	}
	return in
}

// whole is an object as the API server answers it.
func whole(object runtime.Object, gvk schema.GroupVersionKind) *unstructured.Unstructured {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		panic(err)
	}
	answered := &unstructured.Unstructured{Object: content}
	answered.SetGroupVersionKind(gvk)
	return answered
}

// stored changes what the dry run answers.
func stored[T any, P interface {
	*T
	runtime.Object
}](change func(P)) func(*Input) {
	return func(in *Input) {
		object, err := decoded[T](in.DryRun)
		if err != nil {
			panic(err)
		}
		change(P(object))
		in.DryRun = whole(P(object), in.DryRun.GroupVersionKind())
	}
}

// dryRun is what the API server would answer to the very patch that was approved.
func dryRun(t testing.TB, in *Input) *unstructured.Unstructured {
	t.Helper()
	gvk, _ := TargetGVK(in.Proposal.Spec.ActionKind)
	after := in.Target.DeepCopyObject()
	switch object := after.(type) {
	case *appsv1.Deployment:
		claims, err := in.Verifier.Verify(in.Token)
		if err != nil {
			t.Fatal(err)
		}
		metav1.SetMetaDataAnnotation(&object.Spec.Template.ObjectMeta, RestartedAtAnnotation, RestartedAt(claims))
		object.Generation++
		object.ResourceVersion = "8"
		object.ManagedFields = []metav1.ManagedFieldsEntry{{Manager: "srenix-executor"}}
		object.Status.ObservedGeneration = 3
	case *networkingv1.Ingress:
		object.Spec.TLS[1].SecretName = "new-tls"
		object.Generation++
	}
	return whole(after, gvk)
}

// verdictOf returns what one layer says.
func verdictOf(t testing.TB, d Decision, name Layer) v1alpha1.Verdict {
	t.Helper()
	if d.Access.Layer == string(name) {
		return d.Access
	}
	for _, verdict := range d.Verdicts {
		if verdict.Layer == string(name) {
			return verdict
		}
	}
	t.Fatalf("no verdict of %s", name)
	return v1alpha1.Verdict{}
}

// expectDenied checks that exactly these layers deny, and that what one of them
// says contains the words.
func expectDenied(t testing.TB, d Decision, words string, layers ...Layer) {
	t.Helper()
	denials := d.Denials()
	if d.Allowed || len(denials) == 0 {
		t.Fatalf("it is allowed: %+v", d)
	}
	var have []Layer
	told := false
	for _, denial := range denials {
		have = append(have, Layer(denial.Layer))
		told = told || strings.Contains(denial.Message+" "+denial.Remedy, words)
		if denial.Remedy == "" {
			t.Errorf("%s does not say what would make it pass: %s", denial.Layer, denial.Message)
		}
	}
	if !slices.Equal(have, layers) {
		t.Errorf("denied by %v, want %v: %s", have, layers, d.Message())
	}
	if !told {
		t.Errorf("nobody says %q: %s", words, d.Message())
	}
}
