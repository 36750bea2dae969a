// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	genericapirequest "k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenixinternal "github.com/srenix/srenix/pkg/apis/srenix"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/registry/proposal"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/webhook"
)

// replica is one apiserver while it answers one request: the storage of
// proposals/token and proposals/approve, and the webhook. Only minter and
// recorder are written again here, because package apiserver keeps them to itself.
type replica struct {
	ctx      context.Context
	cluster  *cluster
	line     *line
	chain    *audit.Chain
	hooks    hooks
	tokens   *proposal.TokenREST
	approve  *proposal.ApproveREST
	verifier *token.Verifier
	// operation names what is being done, for tokens that are minted; named is the
	// proposal that it is about.
	operation string
	named     *srenix.Proposal
}

// serve is one request to the replica with a name.
func (c *cluster) serve(name, operation string, named *srenix.Proposal, head *opsv1alpha1.AuditEvent, ask func(*replica) (*minted, error)) func(*run) outcome {
	return func(r *run) outcome {
		ctx := klog.NewContext(context.Background(), klog.Logger{})
		connection, chain, gatherer := c.connect(ctx, r, "apiserver/"+name, head)
		p := &replica{ctx: ctx, cluster: c, line: connection, chain: chain, hooks: hooks{}, verifier: c.verifier(r), operation: operation, named: named}
		p.tokens, p.approve = proposal.NewTokenREST(getter{p}, p), proposal.NewApproveREST(getter{p}, p)
		webhook.New(webhook.Options{Gatherer: gatherer, Chain: chain, Proposals: view{p}, Verifier: p.verifier, Clock: r.clock, Scheme: c.scheme}).Register(server{hooks: p.hooks})
		token, err := ask(p)
		return outcome{err: err, minted: token, head: headOf(chain)}
	}
}

// as is the context of a request by somebody.
func (p *replica) as(name string) context.Context {
	return genericapirequest.WithNamespace(genericapirequest.WithUser(p.ctx, &user.DefaultInfo{Name: name}), "shop")
}

// mint posts to proposals/token.
func (p *replica) mint(who string, decision srenix.Decision) (*minted, error) {
	named := p.named
	_, err := p.tokens.Create(p.as(who), named.Name, &srenixinternal.ProposalTokenRequest{
		Spec: srenixinternal.TokenRequestSpec{Digest: named.Spec.Digest, Decision: srenixinternal.Decision(decision)},
	}, nil, &metav1.CreateOptions{})
	if err != nil {
		return nil, err
	}
	known := p.cluster.tokens[p.mintKey()]
	return &known, nil
}

func (p *replica) mintKey() string {
	return fmt.Sprintf("%s at %s", p.operation, p.line.clock.Now().Format(time.RFC3339Nano))
}

// Mint implements proposal.Minter as apiserver.minter does.
func (p *replica) Mint(ctx context.Context, caller user.Info, named *srenix.Proposal, wanted proposal.Wanted) (proposal.Minted, error) {
	spec, key := &named.Spec, p.mintKey()
	known, minted := p.cluster.tokens[key]
	// IDs are random; that they begin with a number in the order of minting makes
	// them sort alike in each run of the test, and so the search goes the same way.
	for prefix := fmt.Sprintf("%x", len(p.cluster.tokens)); !minted && !strings.HasPrefix(known.jti, prefix); {
		signed, claims, err := token.NewSigner(p.cluster.keys, clusterUID, p.line.clock).Mint(caller.GetName(), token.Binding{
			Namespace: named.Namespace, Proposal: named.Name, ProposalUID: named.UID, Digest: spec.Digest, Decision: wanted.Decision, ReasonDigest: token.ReasonDigest(wanted.Reason),
			Tier: spec.Tier, ActionKind: spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass,
		}, wanted.Lifetime)
		if err != nil {
			return proposal.Minted{}, err
		}
		known.token, known.jti, known.user = signed, claims.ID, caller.GetName()
	}
	p.cluster.tokens[key] = known
	target := spec.Target
	_, err := p.chain.Append(ctx, audit.Entry{
		Actor: caller.GetName(), Type: opsv1alpha1.AuditTokenMinted,
		References: opsv1alpha1.AuditReferences{
			Namespace: named.Namespace, Proposal: named.Name, ProposalUID: named.UID, Digest: spec.Digest,
			Approver: caller.GetName(), JTI: known.jti, DiagnosticClass: spec.DiagnosticClass, ActionKind: spec.ActionKind, Target: &target,
		},
		Message: "token minted",
	})
	return proposal.Minted{Token: known.token, ApprovalName: token.ApprovalName(known.jti)}, err
}

// decide posts to proposals/approve.
func (p *replica) decide(who string, decision srenix.Decision, with minted) error {
	named := p.named
	_, err := p.approve.Create(p.as(who), named.Name, &srenixinternal.ProposalApproval{
		Spec: srenixinternal.ProposalApprovalSpec{Decision: srenixinternal.Decision(decision), Digest: named.Spec.Digest, Token: with.token},
	}, func(_ context.Context, object runtime.Object) error {
		posted := &srenix.ProposalApproval{}
		if err := srenix.Convert_srenix_ProposalApproval_To_v1alpha1_ProposalApproval(object.(*srenixinternal.ProposalApproval), posted, nil); err != nil {
			return err
		}
		posted.SetGroupVersionKind(srenix.SchemeGroupVersion.WithKind("ProposalApproval"))
		return p.admit(webhook.ProposalsApprovePath, who, posted)
	}, &metav1.CreateOptions{})
	return err
}

// Record implements proposal.Recorder as apiserver.recorder does.
func (p *replica) Record(ctx context.Context, approval *opsv1alpha1.Approval, _ bool) (*opsv1alpha1.Approval, error) {
	claims, err := p.verifier.Verify(approval.Spec.Token)
	if err != nil {
		return nil, err
	}
	if caller, ok := genericapirequest.UserFrom(ctx); !ok || caller.GetName() != claims.Subject {
		return nil, errors.New("the token was minted for somebody else")
	}
	approval.Name = token.ApprovalName(claims.ID)
	return approval, p.store("system:serviceaccount:srenix-system:srenix-apiserver", approval)
}

// apply creates a complete Approval, as Argo CD does from Git.
func (p *replica) apply(who string, with minted) error {
	return p.store(who, p.cluster.approval(srenix.DecisionApprove, with))
}

// store is what kube-apiserver does with a new Approval: it asks the webhook, and
// then lets the name decide.
func (p *replica) store(who string, approval *opsv1alpha1.Approval) error {
	// kube-apiserver gives an object its UID before it asks validating webhooks.
	approval.UID = types.UID(approval.Name + "-" + p.operation)
	judged := approval.DeepCopy()
	judged.SetGroupVersionKind(opsv1alpha1.SchemeGroupVersion.WithKind("Approval"))
	p.line.admitting = true
	if err := p.admit(webhook.ApprovalsPath, who, judged); err != nil {
		return err
	}
	return p.line.Create(p.ctx, approval)
}

// approval is what a token is stored with.
func (c *cluster) approval(decision srenix.Decision, with minted) *opsv1alpha1.Approval {
	named := c.proposal
	return &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: named.Namespace, Name: token.ApprovalName(with.jti)},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: decision, Snapshot: *named.Spec.DeepCopy(), Token: with.token,
			Proposal: opsv1alpha1.ProposalReference{Name: named.Name, UID: named.UID, Digest: named.Spec.Digest},
		},
	}
}

// admit asks a webhook as kube-apiserver does.
func (p *replica) admit(path, who string, object client.Object) error {
	raw, err := json.Marshal(object)
	if err != nil {
		return err
	}
	response := p.hooks[path].Handle(p.ctx, admission.Request{AdmissionRequest: admissionv1.AdmissionRequest{
		UID: "review", Operation: admissionv1.Create, Namespace: object.GetNamespace(), Name: object.GetName(),
		UserInfo: authenticationv1.UserInfo{Username: who}, Object: runtime.RawExtension{Raw: raw}, DryRun: ptr.To(false),
	}})
	if response.Allowed {
		return nil
	}
	return &apierrors.StatusError{ErrStatus: *response.Result}
}

// hooks are the webhooks by their paths.
type hooks map[string]*admission.Webhook

// server lets the webhooks register, and serves nothing.
type server struct {
	ctrlwebhook.Server
	hooks hooks
}

func (s server) Register(path string, hook http.Handler) { s.hooks[path] = hook.(*admission.Webhook) }

// getter is the storage of proposals.
type getter struct{ *replica }

func (g getter) Get(ctx context.Context, name string, _ *metav1.GetOptions) (runtime.Object, error) {
	found, internal := &srenix.Proposal{}, &srenixinternal.Proposal{}
	if err := g.line.Get(ctx, client.ObjectKey{Namespace: genericapirequest.NamespaceValue(ctx), Name: name}, found); err != nil {
		return nil, err
	}
	return internal, srenix.Convert_v1alpha1_Proposal_To_srenix_Proposal(found, internal, nil)
}

// view is the live view, which the webhook looks at.
type view struct{ *replica }

func (v view) Get(namespace, name string) (*srenix.Proposal, bool, error) {
	found := &srenix.Proposal{}
	err := v.line.Get(v.ctx, client.ObjectKey{Namespace: namespace, Name: name}, found)
	if apierrors.IsNotFound(err) {
		return nil, false, nil
	}
	return found, err == nil, err
}
