// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/token"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a cluster with one Pod, one standing proposal, and the webhook
// behind its HTTP server.
type world struct {
	client.WithWatch
	clock    *clocktesting.FakePassiveClock
	config   *config.PolicyConfiguration
	signer   *token.Signer
	proposal *v1alpha1.Proposal
	options  Options
	handlers *Handlers
	server   http.Handler
	// calls counts what is asked of the cluster and of the live view.
	calls int

	// before is called before something is appended to the chain.
	before func(audit.Entry)

	// What the fakes answer.
	viewErr   error
	gone      bool
	forbidden bool // to approve the kind, and to act
	undecided bool // whether who asks may decide: they may not
	// reviewErr is the answer to who may do what.
	reviewErr error
	createErr error
	panics    bool
}

// appender is an Appender.
type appender func(ctx context.Context, entry audit.Entry) (*opsv1alpha1.AuditEvent, error)

func (a appender) Append(ctx context.Context, entry audit.Entry) (*opsv1alpha1.AuditEvent, error) {
	return a(ctx, entry)
}

// standing is the live view.
func (w *world) standing(namespace, name string) (*v1alpha1.Proposal, bool, error) {
	w.calls++
	if w.panics {
		panic("the view is broken")
	}
	return w.proposal, !w.gone && name == w.proposal.Name && namespace == w.proposal.Namespace, w.viewErr
}

type view func(namespace, name string) (*v1alpha1.Proposal, bool, error)

func (v view) Get(namespace, name string) (*v1alpha1.Proposal, bool, error) {
	return v(namespace, name)
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, opsv1alpha1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{clock: clocktesting.NewFakePassiveClock(start)}
	w.WithWatch = interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-0", UID: "pod"}},
	).Build(), interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			w.calls++
			return c.Get(ctx, key, object, options...)
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			w.calls++
			return c.List(ctx, list, options...)
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			w.calls++
			if review, ok := object.(*authorizationv1.SubjectAccessReview); ok {
				if w.reviewErr != nil {
					return w.reviewErr
				}
				decides := review.Spec.ResourceAttributes.Subresource == "approve"
				review.Status.Allowed = decides && !w.undecided || !decides && !w.forbidden
				return nil
			}
			if w.createErr != nil {
				return w.createErr
			}
			return c.Create(ctx, object, options...)
		}})

	whole := &config.SrenixConfiguration{}
	config.Default(whole)
	w.config = &whole.Policy
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	w.signer = token.NewSigner(keys, "cluster", w.clock)
	w.proposal = &v1alpha1.Proposal{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fix", UID: "proposal"},
		Spec: v1alpha1.ProposalSpec{
			Tier: v1alpha1.TierFix, ActionKind: v1alpha1.ActionDeletePod, DiagnosticClass: "WorkloadStateDrift", Source: v1alpha1.SourceRule,
			Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "pod"},
		},
	}
	seal(t, w.proposal)
	chain := audit.NewChain(w, "apiserver", w.clock, nil)
	verifier := token.NewVerifier(keys, "cluster", w.clock)
	w.options = Options{
		Gatherer: evidence.New(evidence.Options{
			Reader: w, Access: w, Chain: chain, Verifier: verifier,
			Config: w.config, OwnNamespace: "srenix-system", Clock: w.clock,
		}),
		Chain: appender(func(ctx context.Context, entry audit.Entry) (*opsv1alpha1.AuditEvent, error) {
			if w.before != nil {
				w.before(entry)
			}
			return chain.Append(ctx, entry)
		}),
		Proposals: view(w.standing), Verifier: verifier, Clock: w.clock, Scheme: scheme,
	}
	w.serve(w.options)
	return w
}

// serve puts handlers with these options behind an HTTP server.
func (w *world) serve(options Options) {
	w.handlers = New(options)
	server := ctrlwebhook.NewServer(ctrlwebhook.Options{})
	w.handlers.Register(server)
	w.server = server.WebhookMux()
}

func seal(t *testing.T, p *v1alpha1.Proposal) {
	t.Helper()
	sum, err := digest.Proposal(p.Namespace, p.Name, p.UID, &p.Spec)
	if err != nil {
		t.Fatal(err)
	}
	p.Spec.Digest = sum
}

// why is the reason that all approvals give.
const why = "it is stuck"

func (w *world) mint(t *testing.T, who string) (string, *token.Claims) {
	t.Helper()
	return w.mintFor(t, who, v1alpha1.DecisionApprove)
}

func (w *world) mintFor(t *testing.T, who string, decision v1alpha1.Decision) (string, *token.Claims) {
	t.Helper()
	spec := &w.proposal.Spec
	signed, claims, err := w.signer.Mint(who, token.Binding{
		Namespace: w.proposal.Namespace, Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: spec.Digest, Decision: decision, Tier: spec.Tier,
		ReasonDigest: token.ReasonDigest(why),
		ActionKind:   spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass,
	}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return signed, claims
}

// posted is a ProposalApproval as the registry hands it to admission.
func (w *world) posted(signed string) *v1alpha1.ProposalApproval {
	return &v1alpha1.ProposalApproval{
		TypeMeta:   metav1.TypeMeta{APIVersion: "srenix.io/v1alpha1", Kind: "ProposalApproval"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "fix"},
		Spec: v1alpha1.ProposalApprovalSpec{
			Decision: v1alpha1.DecisionApprove, Digest: w.proposal.Spec.Digest, Token: signed, Reason: why,
			ProposalUID: w.proposal.UID, Snapshot: w.proposal.Spec.DeepCopy(),
		},
	}
}

// stored is an Approval as it is applied.
func (w *world) stored(signed string, claims *token.Claims) *opsv1alpha1.Approval {
	return &opsv1alpha1.Approval{
		TypeMeta:   metav1.TypeMeta{APIVersion: "ops.srenix.io/v1alpha1", Kind: "Approval"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: token.ApprovalName(claims.ID)},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.DecisionApprove, Token: signed, Reason: why, Snapshot: *w.proposal.Spec.DeepCopy(),
			Proposal: opsv1alpha1.ProposalReference{Name: w.proposal.Name, UID: w.proposal.UID, Digest: w.proposal.Spec.Digest},
		},
	}
}

func encode(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// review sends a request to the handler for its object, as an API server does.
func (w *world) review(t *testing.T, user string, object any, change ...func(*admissionv1.AdmissionRequest)) *admissionv1.AdmissionResponse {
	t.Helper()
	request := &admissionv1.AdmissionRequest{
		UID: "review", Operation: admissionv1.Create, Namespace: "shop", DryRun: ptr.To(false),
		UserInfo: authenticationv1.UserInfo{Username: user}, Object: runtime.RawExtension{Raw: encode(t, object)},
	}
	path := ApprovalsPath
	switch object := object.(type) {
	case *v1alpha1.ProposalApproval:
		path, request.Name = ProposalsApprovePath, object.Name
		request.Resource, request.SubResource = metav1.GroupVersionResource{Group: "srenix.io", Version: "v1alpha1", Resource: "proposals"}, "approve"
	case *opsv1alpha1.Approval:
		request.Name = object.Name
		request.Resource = metav1.GroupVersionResource{Group: "ops.srenix.io", Version: "v1alpha1", Resource: "approvals"}
	}
	for _, change := range change {
		change(request)
	}
	body := encode(t, admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"}, Request: request,
	})
	post := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
	post.Header.Set("Content-Type", "application/json")
	answer := httptest.NewRecorder()
	w.server.ServeHTTP(answer, post)
	review := &admissionv1.AdmissionReview{}
	if err := json.Unmarshal(answer.Body.Bytes(), review); err != nil || review.Response == nil {
		t.Fatalf("the answer is %d %s (%v)", answer.Code, answer.Body, err)
	}
	if review.Response.UID != "review" {
		t.Errorf("the answer is for request %q", review.Response.UID)
	}
	return review.Response
}

// events are those in the chain after its start.
func (w *world) events(t *testing.T) []opsv1alpha1.AuditEventSpec {
	t.Helper()
	list := &opsv1alpha1.AuditEventList{}
	if err := w.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	var events []opsv1alpha1.AuditEventSpec
	for _, event := range list.Items {
		if event.Spec.Type != opsv1alpha1.AuditChainStarted {
			events = append(events, event.Spec)
		}
	}
	return events
}

func kindsOf(events []opsv1alpha1.AuditEventSpec) (kinds []opsv1alpha1.AuditType) {
	for _, event := range events {
		kinds = append(kinds, event.Type)
	}
	return kinds
}
