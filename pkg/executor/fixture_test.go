// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"io"
	"iter"
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/evidence"
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
	// heals makes the finding disappear with the action.
	heals bool
	// forbids makes every access review answer no.
	forbids bool
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
	w.store = fake.NewClientBuilder().WithScheme(w.scheme).WithStatusSubresource(&opsv1alpha1.Approval{}).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "shop-uid"}},
		newTarget(kind), w.proposal.DeepCopy(), w.finding(),
	).Build()
	return w
}

// smallScheme has only what these tests store: the fake server goes through all
// of its scheme at each write.
func smallScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	scheme.AddKnownTypes(corev1.SchemeGroupVersion, &corev1.Namespace{}, &corev1.Pod{})
	scheme.AddKnownTypes(appsv1.SchemeGroupVersion, &appsv1.Deployment{})
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	metav1.AddToGroupVersion(scheme, appsv1.SchemeGroupVersion)
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
	if kind == srenix.ActionPatchDeploymentAnnotation {
		deployment := &appsv1.Deployment{ObjectMeta: metadata}
		deployment.Spec.Template.Labels = map[string]string{"app": "web"}
		return deployment
	}
	return &corev1.Pod{ObjectMeta: metadata}
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
	case srenix.ActionRunbook:
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
	spec := &w.proposal.Spec
	signed, claims, err := w.signer.Mint(user, token.Binding{
		Namespace: "shop", Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: spec.Digest,
		Tier: spec.Tier, ActionKind: spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass,
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

var errCrashed = errors.New("the process is dead")

// process is one executor. It can be made to die around one of its calls, or to
// stand still before one.
type process struct {
	*reconciler
	world *world
	calls int
	// dieAt is the call to die at, counted from 0: before it reaches the server, or
	// with answered, after it went through and before the answer is seen.
	dieAt    int
	answered bool
	dead     bool
	// pauseAt is the call before which pause runs.
	pauseAt int
	pause   func()
	// deny makes calls fail that it returns an error for.
	deny func(verb string, object client.Object, dryRun bool) error
	// updated runs after a status update went through and before its answer is seen.
	updated func(object client.Object)
}

func (w *world) newProcess(identity string) *process {
	w.t.Helper()
	p := &process{world: w, dieAt: -1, pauseAt: -1}
	metrics, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	connection := p.connect()
	chain := audit.NewChain(connection, component+"/"+identity, w.clock, io.Discard)
	verifier := token.NewVerifier(w.keys, clusterUID, w.clock)
	p.reconciler = &reconciler{
		client: connection, cached: w.store, chain: chain, verifier: verifier, keys: w.keys,
		evidence: evidence.New(evidence.Options{
			Reader: connection, Access: connection, Chain: chain, Verifier: verifier,
			Config: &w.config.Policy, OwnNamespace: "srenix-system", Clock: w.clock,
		}),
		evaluate: policy.Evaluate, actions: newActions(), config: w.config.Executor,
		identity: identity, clock: w.clock, recorder: &events.FakeRecorder{}, metrics: metrics,
	}
	return p
}

func (p *process) around(call func() error) error {
	if p.dead {
		return errCrashed
	}
	n := p.calls
	p.calls++
	if n == p.pauseAt {
		p.pause()
	}
	if n == p.dieAt && !p.answered {
		p.dead = true
		return errCrashed
	}
	err := call()
	if n == p.dieAt {
		p.dead = true
		return errCrashed
	}
	return err
}

func (p *process) refuse(verb string, object client.Object, dryRun bool) error {
	if p.deny == nil {
		return nil
	}
	return p.deny(verb, object, dryRun)
}

// connect returns this process's way to the server.
func (p *process) connect() client.Client {
	w := p.world
	return interceptor.NewClient(w.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			return p.around(func() error {
				if err := p.refuse("get", object, false); err != nil {
					return err
				}
				return c.Get(ctx, key, object, options...)
			})
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			return p.around(func() error { return c.List(ctx, list, options...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			return p.around(func() error {
				if review, ok := object.(*authorizationv1.SubjectAccessReview); ok {
					review.Status.Allowed = !w.forbids
					return nil
				}
				if err := p.refuse("create", object, false); err != nil {
					return err
				}
				return c.Create(ctx, object, options...)
			})
		},
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			return p.around(func() error {
				asked := (&client.DeleteOptions{}).ApplyOptions(options)
				dryRun := len(asked.DryRun) > 0
				if err := p.refuse("delete", object, dryRun); err != nil {
					return err
				}
				if err := w.checkPreconditions(ctx, object, asked.Preconditions); err != nil || dryRun {
					return err
				}
				if err := c.Delete(ctx, object, options...); err != nil {
					return err
				}
				w.acted("delete " + object.GetName())
				return nil
			})
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			return p.around(func() error {
				dryRun := len((&client.PatchOptions{}).ApplyOptions(options).DryRun) > 0
				if err := p.refuse("patch", object, dryRun); err != nil {
					return err
				}
				if dryRun {
					return w.dryRun(ctx, object, patch)
				}
				if err := c.Patch(ctx, object, patch, options...); err != nil {
					return asTestFailed(err)
				}
				data, _ := patch.Data(object)
				w.acted("patch " + string(data))
				return nil
			})
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, subresource string, object client.Object, options ...client.SubResourceUpdateOption) error {
			return p.around(func() error {
				if err := p.refuse("update", object, false); err != nil {
					return err
				}
				if err := c.SubResource(subresource).Update(ctx, object, options...); err != nil {
					return err
				}
				if p.updated != nil {
					p.updated(object)
				}
				return nil
			})
		},
	})
}

// checkPreconditions does what kube-apiserver does and the fake one does in part.
func (w *world) checkPreconditions(ctx context.Context, object client.Object, preconditions *metav1.Preconditions) error {
	if preconditions == nil || preconditions.UID == nil || preconditions.ResourceVersion == nil {
		w.t.Errorf("delete of %s without preconditions", object.GetName())
		return nil
	}
	stored := object.DeepCopyObject().(client.Object)
	if err := w.store.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		return err
	}
	if stored.GetUID() != *preconditions.UID || stored.GetResourceVersion() != *preconditions.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, object.GetName(), errors.New("a precondition failed"))
	}
	return nil
}

// dryRun patches a copy, which the fake server does not do by itself.
func (w *world) dryRun(ctx context.Context, object client.Object, patch client.Patch) error {
	stored := object.DeepCopyObject().(client.Object)
	if err := w.store.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		return err
	}
	copied := fake.NewClientBuilder().WithScheme(w.scheme).WithObjects(stored).Build()
	return asTestFailed(copied.Patch(ctx, object, patch))
}

// asTestFailed answers a failed test operation as kube-apiserver does.
func asTestFailed(err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) {
		return err
	}
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// acted counts an action, and is the analyzer that sees it.
func (w *world) acted(what string) {
	w.acts = append(w.acts, what)
	if w.heals {
		w.clear()
	}
}

func (w *world) clear() {
	if err := client.IgnoreNotFound(w.store.Delete(context.Background(), w.finding())); err != nil {
		w.t.Error(err)
	}
}

// maximumSteps is more than any approval needs.
const maximumSteps = 200

// run lets a process work on an approval until it is content or dead, and the
// time pass that it waits. Waiting for people ends it too.
func (p *process) run(approval *opsv1alpha1.Approval) {
	p.world.t.Helper()
	for range maximumSteps {
		result, err := p.step(approval)
		switch {
		case p.dead:
			return
		case err != nil:
			p.world.pass(time.Second)
		case result.RequeueAfter == 0 || result.RequeueAfter == waitRetry:
			return
		default:
			p.world.pass(result.RequeueAfter)
		}
	}
	p.world.t.Fatalf("Approval %s is not at its end after %d steps: %+v", approval.Name, maximumSteps, p.world.get(approval).Status)
}

func (p *process) step(approval *opsv1alpha1.Approval) (ctrl.Result, error) {
	ctx := klog.NewContext(p.world.t.Context(), klog.Logger{})
	return p.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(approval)})
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
