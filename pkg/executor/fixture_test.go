// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"bytes"
	"crypto/ed25519"
	"errors"
	"iter"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

const (
	clusterUID = "11111111-2222-3333-4444-555555555555"
	targetUID  = types.UID("target-uid")
	approver   = "jane@example.com"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 250e6, time.UTC)

// world is a cluster with one proposal, everything real but the API server and
// the time: the audit chain, the tokens, the gathering of facts and the policy.
type world struct {
	t      *testing.T
	clock  *clocktesting.FakePassiveClock
	scheme *runtime.Scheme
	store  client.WithWatch
	config config.SrenixConfiguration
	keys   *token.SigningKeys
	signer *token.Signer

	proposal *srenix.Proposal
	// acts are the deletes and patches that went through, dry runs apart.
	acts []string
	// lists has executors find events of the chain without an index of it.
	lists bool
	// reported are the Kubernetes events that executors made.
	reported []report
	// heals makes the finding disappear with the action.
	heals bool
	// forbids makes every access review answer no.
	forbids bool
	// mutates is an admission webhook that changes what is about to be stored.
	mutates func(content map[string]any, dryRun bool)
}

func newWorld(t *testing.T, kind srenix.ActionKind) *world {
	t.Helper()
	w := &world{t: t, clock: clocktesting.NewFakePassiveClock(start), heals: true}
	w.scheme = smallScheme(t)
	w.config.Executor.SettleTime = &metav1.Duration{Duration: 8 * time.Second}
	w.config.Executor.VerifyDeadline = &metav1.Duration{Duration: 20 * time.Second}
	config.Default(&w.config)
	var err error
	private := ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))
	if w.keys, err = token.NewSigningKeys(private); err != nil {
		t.Fatal(err)
	}
	w.signer = token.NewSigner(w.keys, clusterUID, w.clock)
	w.proposal = w.newProposal(kind)
	w.store = fake.NewClientBuilder().WithScheme(w.scheme).WithStatusSubresource(&opsv1alpha1.Approval{}).WithIndex(&srenix.ClusterFinding{}, "spec.reason", func(object client.Object) []string {
		return []string{object.(*srenix.ClusterFinding).Spec.Reason}
	}).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "shop-uid"}},
		newTarget(kind), w.proposal.DeepCopy(), w.finding(), certificate("old-tls"), certificate("new-tls"),
	).Build()
	return w
}

// smallScheme has only what these tests store: the fake server goes through all
// of its scheme at each write.
func smallScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Namespace{}, &corev1.Pod{})
	scheme.AddKnownTypes(appsv1.SchemeGroupVersion, &appsv1.Deployment{}, &appsv1.StatefulSet{}, &appsv1.ReplicaSet{}, &appsv1.DaemonSet{})
	scheme.AddKnownTypes(networkingv1.SchemeGroupVersion, &networkingv1.Ingress{})
	for _, version := range []schema.GroupVersion{corev1.SchemeGroupVersion, appsv1.SchemeGroupVersion, networkingv1.SchemeGroupVersion} {
		metav1.AddToGroupVersion(scheme, version)
	}
	if err := errors.Join(srenix.AddToScheme(scheme), opsv1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

func (w *world) finding() *srenix.Finding {
	return &srenix.Finding{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "finding", UID: "finding-uid"}}
}

func newTarget(kind srenix.ActionKind) client.Object {
	metadata := metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: targetUID}
	switch kind {
	case srenix.ActionPatchDeploymentAnnotation:
		// Nobody rolls it out here: it wants no pods, and its status is ahead of any change.
		deployment := &appsv1.Deployment{ObjectMeta: metadata}
		deployment.Spec.Replicas, deployment.Status.ObservedGeneration = new(int32(0)), 1000
		deployment.Spec.Template.Labels = map[string]string{"app": "web"}
		return deployment
	case srenix.ActionPatchIngressTLS:
		ingress := &networkingv1.Ingress{ObjectMeta: metadata}
		ingress.Spec.TLS = []networkingv1.IngressTLS{{Hosts: []string{"web.example.com"}, SecretName: "old-tls"}}
		return ingress
	}
	return &corev1.Pod{ObjectMeta: metadata}
}

// certificate is Ready, and writes a Secret that the Ingress names, or should name.
func certificate(secret string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
		"metadata": map[string]any{"namespace": "shop", "name": secret},
		"spec":     map[string]any{"secretName": secret, "dnsNames": []any{"web.example.com"}, "issuerRef": map[string]any{"name": "ca"}},
		"status":   map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
	}}
}

func (w *world) newProposal(kind srenix.ActionKind) *srenix.Proposal {
	w.t.Helper()
	proposal := &srenix.Proposal{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fix-web", UID: "proposal-uid"},
		Spec: srenix.ProposalSpec{
			Finding: srenix.FindingReference{Name: "finding", UID: "finding-uid", Since: metav1.NewTime(start.Add(-time.Hour).Truncate(time.Second))},
			Tier:    srenix.TierFix, ActionKind: kind, Rationale: "because", Source: srenix.SourceRule, DiagnosticClass: "WorkloadStateDrift",
			Target: srenix.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web", UID: targetUID},
		},
	}
	if gvk, ok := policy.TargetGVK(kind); ok {
		proposal.Spec.Target.APIVersion, proposal.Spec.Target.Kind = gvk.ToAPIVersionAndKind()
	}
	switch kind {
	case srenix.ActionPatchDeploymentAnnotation:
		proposal.Spec.Patch = &srenix.Patch{SetAnnotation: &srenix.SetAnnotation{Name: policy.RestartedAtAnnotation}}
	case srenix.ActionPatchIngressTLS:
		const path = "/spec/tls/0/secretName"
		proposal.Spec.Patch = &srenix.Patch{JSONPatch: []srenix.JSONPatchOperation{
			{Op: "test", Path: path, Value: "old-tls"}, {Op: "replace", Path: path, Value: "new-tls"},
		}}
	case srenix.ActionRunbook:
		proposal.Spec.Runbook = &srenix.RunbookReference{Title: "unseal", Investigation: "vault", Digest: "sha256:text"}
		proposal.Spec.Tier = srenix.TierRunbook
	}
	sum, err := digest.Proposal(proposal.Namespace, proposal.Name, proposal.UID, &proposal.Spec)
	if err != nil {
		w.t.Fatal(err)
	}
	proposal.Spec.Digest = sum
	return proposal
}

// decide stores a decision on the proposal as somebody, without the webhook.
func (w *world) decide(user string, decision srenix.Decision) *opsv1alpha1.Approval {
	w.t.Helper()
	return w.decideWith(w.signer, user, decision)
}

// decideWith stores one whose token is of a signer.
func (w *world) decideWith(signer *token.Signer, user string, decision srenix.Decision) *opsv1alpha1.Approval {
	w.t.Helper()
	spec := &w.proposal.Spec
	signed, claims, err := signer.Mint(user, token.Binding{
		Namespace: "shop", Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: spec.Digest, Decision: decision,
		Tier: spec.Tier, ActionKind: spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass,
		PlanDigest: planDigest(spec),
	}, 15*time.Minute)
	if err != nil {
		w.t.Fatal(err)
	}
	approval := &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: token.ApprovalName(claims.ID), UID: types.UID(claims.ID),
			CreationTimestamp: metav1.NewTime(w.clock.Now().Truncate(time.Second)),
		},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: decision, Snapshot: *spec.DeepCopy(), Token: signed,
			Proposal: opsv1alpha1.ProposalReference{Name: w.proposal.Name, UID: w.proposal.UID, Digest: spec.Digest},
		},
	}
	if err := w.store.Create(w.t.Context(), approval); err != nil {
		w.t.Fatal(err)
	}
	return approval
}

func planDigest(spec *srenix.ProposalSpec) string {
	if spec.Plan == nil {
		return ""
	}
	return spec.Plan.Digest
}

// approve stores an approval that has passed the webhook.
func (w *world) approve(user string) *opsv1alpha1.Approval {
	w.t.Helper()
	approval := w.decide(user, srenix.DecisionApprove)
	w.append(approval, opsv1alpha1.AuditApprovalAccepted, user)
	return approval
}

// append adds an event about an approval as the apiserver would.
func (w *world) append(approval *opsv1alpha1.Approval, kind opsv1alpha1.AuditType, user string) {
	w.t.Helper()
	chain := audit.NewChain(w.store, "apiserver", w.clock, nil)
	if _, err := chain.Append(w.t.Context(), (&reconciler{}).entry(approval, kind, "", nil, user)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) pass(d time.Duration) { w.clock.SetTime(w.clock.Now().Add(d)) }

func (w *world) get(approval *opsv1alpha1.Approval) *opsv1alpha1.Approval {
	w.t.Helper()
	stored := &opsv1alpha1.Approval{}
	if err := w.store.Get(w.t.Context(), client.ObjectKeyFromObject(approval), stored); err != nil {
		w.t.Fatal(err)
	}
	return stored
}

// change updates an object of the cluster.
func change[T client.Object](w *world, object T, mutate func(T)) {
	w.t.Helper()
	if err := w.store.Get(w.t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
		w.t.Fatal(err)
	}
	mutate(object)
	if err := w.store.Update(w.t.Context(), object); err != nil {
		w.t.Fatal(err)
	}
}

// audited returns the types of the events about an approval, in the order of the
// chain, which must verify.
func (w *world) audited(approval *opsv1alpha1.Approval) []opsv1alpha1.AuditType {
	w.t.Helper()
	list := &opsv1alpha1.AuditEventList{}
	if err := w.store.List(w.t.Context(), list); err != nil {
		w.t.Fatal(err)
	}
	if _, err := audit.Verify(specs(list.Items)); err != nil {
		w.t.Errorf("the audit chain does not verify: %v", err)
	}
	var types []opsv1alpha1.AuditType
	for _, event := range list.Items {
		if event.Spec.References.Approval == approval.Name {
			types = append(types, event.Spec.Type)
		}
	}
	return types
}

func specs(items []opsv1alpha1.AuditEvent) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for _, event := range items {
			if !yield(event.Spec, nil) {
				return
			}
		}
	}
}

func (w *world) has(approval *opsv1alpha1.Approval, kind opsv1alpha1.AuditType) bool {
	w.t.Helper()
	return slices.Contains(w.audited(approval), kind)
}
