// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// world is a cluster with a Pod of a Deployment, a chain, keys and a clock.
type world struct {
	client.WithWatch
	clock *clocktesting.FakePassiveClock
	// api is kube-apiserver's clock, where it is another one.
	api      *clocktesting.FakePassiveClock
	chain    *audit.Chain
	signer   *token.Signer
	verifier *token.Verifier
	proposal policy.Proposal
	config   *config.PolicyConfiguration
	// forbidden are "verb resource" pairs that nobody may do.
	forbidden []string
	// barred are people who may do nothing.
	barred  []string
	reviews []authorizationv1.SubjectAccessReviewSpec
	// faults befall calls: "get Pod", "list AuditEvent", "list AuditEvent" with a label
	// selector after it, "create SubjectAccessReview".
	faults map[string]fault
}

// fault is what a call ends with instead of an answer.
type fault func(ctx context.Context) error

func (f fault) befall(ctx context.Context) error {
	if f == nil {
		return nil
	}
	return f(ctx)
}

func failing(err error) fault { return func(context.Context) error { return err } }

// hanging is no answer at all.
func hanging(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

func panicking(context.Context) error { panic("a bug of a client") }

func controller(apiVersion, kind, name, uid string) []metav1.OwnerReference {
	return []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: types.UID(uid), Controller: ptr.To(true)}}
}

func newWorld(t *testing.T) *world {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, opsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	w := &world{clock: clocktesting.NewFakePassiveClock(start), faults: map[string]fault{}}
	w.WithWatch = interceptor.NewClient(fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1-x", UID: "pod", OwnerReferences: controller("apps/v1", "ReplicaSet", "web-1", "rs")}},
		&appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-1", UID: "rs", OwnerReferences: controller("apps/v1", "Deployment", "web", "dep")}},
		&appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: "dep"}},
	).Build(), interceptor.Funcs{Get: w.get, List: w.list, Create: w.create})

	whole := &config.SrenixConfiguration{}
	config.Default(whole)
	w.config = &whole.Policy
	keys, err := token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize)))
	if err != nil {
		t.Fatal(err)
	}
	w.signer, w.verifier = token.NewSigner(keys, "cluster", w.clock), token.NewVerifier(keys, "cluster", w.clock)
	w.chain = audit.NewChain(w, "apiserver", w.clock, nil)
	w.proposal = policy.Proposal{Namespace: "shop", Name: "fix", UID: "proposal", Spec: v1alpha1.ProposalSpec{
		Tier: v1alpha1.TierFix, ActionKind: v1alpha1.ActionDeletePod, DiagnosticClass: "WorkloadStateDrift", Source: v1alpha1.SourceRule,
		Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-1-x", UID: "pod"},
	}}
	w.seal(t)
	return w
}

func (w *world) seal(t *testing.T) {
	t.Helper()
	sum, err := digest.Proposal(w.proposal.Namespace, w.proposal.Name, w.proposal.UID, &w.proposal.Spec)
	if err != nil {
		t.Fatal(err)
	}
	w.proposal.Spec.Digest = sum
}

func kindOf(object runtime.Object) string {
	if kind := object.GetObjectKind().GroupVersionKind().Kind; kind != "" {
		return strings.TrimSuffix(kind, "List")
	}
	name := fmt.Sprintf("%T", object)
	return strings.TrimSuffix(name[strings.LastIndex(name, ".")+1:], "List")
}

func (w *world) get(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
	if err := w.faults["get "+kindOf(into)].befall(ctx); err != nil {
		return err
	}
	return c.Get(ctx, key, into, options...)
}

func (w *world) list(ctx context.Context, c client.WithWatch, into client.ObjectList, options ...client.ListOption) error {
	call := "list " + kindOf(into)
	if err := w.faults[call].befall(ctx); err != nil {
		return err
	}
	asked := (&client.ListOptions{}).ApplyOptions(options)
	if asked.LabelSelector != nil {
		if err := w.faults[call+" "+asked.LabelSelector.String()].befall(ctx); err != nil {
			return err
		}
		if proposal, exact := asked.LabelSelector.RequiresExactMatch(audit.LabelProposalUID); exact {
			if err := w.faults[call+" about "+proposal].befall(ctx); err != nil {
				return err
			}
		}
	}
	return c.List(ctx, into, options...)
}

// create answers SubjectAccessReviews as kube-apiserver does.
func (w *world) create(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
	if err := w.faults["create "+kindOf(object)].befall(ctx); err != nil {
		return err
	}
	review, ok := object.(*authorizationv1.SubjectAccessReview)
	if !ok {
		if w.api != nil {
			object.SetCreationTimestamp(metav1.NewTime(w.api.Now().Truncate(time.Second)))
		}
		return c.Create(ctx, object, options...)
	}
	w.reviews = append(w.reviews, review.Spec)
	asked := review.Spec.ResourceAttributes
	review.Status.Allowed = !slices.Contains(w.forbidden, asked.Verb+" "+asked.Resource) &&
		!slices.Contains(w.barred, review.Spec.User)
	return nil
}

func (w *world) gatherer() *Gatherer {
	return New(Options{Reader: w, Access: w, Chain: w.chain, Verifier: w.verifier, Config: w.config, OwnNamespace: "srenix-system", Clock: w.clock})
}

// mint gives a person a token for the proposal.
func (w *world) mint(t *testing.T, who string) (string, *token.Claims) {
	t.Helper()
	return w.mintFor(t, who, v1alpha1.DecisionApprove)
}

func (w *world) mintFor(t *testing.T, who string, decision v1alpha1.Decision) (string, *token.Claims) {
	t.Helper()
	spec := &w.proposal.Spec
	signed, claims, err := w.signer.Mint(who, token.Binding{
		Namespace: w.proposal.Namespace, Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: spec.Digest, Decision: decision, Tier: spec.Tier,
		ActionKind: spec.ActionKind, TargetUID: spec.Target.UID, DiagnosticClass: spec.DiagnosticClass, Groups: []string{"sre"},
		PlanDigest: planDigest(spec),
	}, 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return signed, claims
}

func planDigest(spec *v1alpha1.ProposalSpec) string {
	if spec.Plan == nil {
		return ""
	}
	return spec.Plan.Digest
}

func TestATokenForDryRunsIsRehearsedWithOnly(t *testing.T) {
	w := newWorld(t)
	decisions := w.signer
	for _, rehearsed := range []bool{false, true} {
		for _, forDryRun := range []bool{false, true} {
			if w.signer = decisions; forDryRun {
				w.signer = decisions.ForDryRun()
			}
			signed, claims := w.mint(t, "alice")
			request := w.request(policy.StageApproval, signed, claims)
			request.Rehearsed = rehearsed
			if decision := policy.Evaluate(w.gatherer().Gather(t.Context(), request)); decision.Allowed != (rehearsed || !forDryRun) {
				t.Errorf("rehearsed: %t, with a token for dry runs: %t, allowed: %t: %s", rehearsed, forDryRun, decision.Allowed, decision.Message())
			}
		}
	}
}

func (w *world) request(stage policy.Stage, signed string, claims *token.Claims) Request {
	request := Request{
		Stage: stage, Decision: v1alpha1.DecisionApprove, Proposal: w.proposal, CurrentDigest: w.proposal.Spec.Digest, Token: signed,
	}
	if claims != nil {
		request.ApprovalName, request.ApprovalUID = token.ApprovalName(claims.ID), approvalUID(claims)
	}
	return request
}

// approvalUID is that of the Approval that goes with a token.
func approvalUID(claims *token.Claims) types.UID { return types.UID("uid-" + claims.ID) }

// record appends what became of a token.
func (w *world) record(t *testing.T, kind opsv1alpha1.AuditType, claims *token.Claims, change ...func(*opsv1alpha1.AuditReferences)) {
	t.Helper()
	w.recordBy(t, "apiserver", kind, claims, change...)
}

// recordBy appends it as a component.
func (w *world) recordBy(t *testing.T, component string, kind opsv1alpha1.AuditType, claims *token.Claims, change ...func(*opsv1alpha1.AuditReferences)) {
	t.Helper()
	references := opsv1alpha1.AuditReferences{
		Namespace: w.proposal.Namespace, Proposal: w.proposal.Name, ProposalUID: w.proposal.UID, Digest: w.proposal.Spec.Digest,
		Approval: token.ApprovalName(claims.ID), ApprovalUID: approvalUID(claims), Approver: claims.Subject, JTI: claims.ID, DiagnosticClass: w.proposal.Spec.DiagnosticClass,
	}
	for _, change := range change {
		change(&references)
	}
	chain := audit.NewChain(w, component, w.clock, nil)
	if _, err := chain.Append(t.Context(), audit.Entry{Actor: claims.Subject, Type: kind, References: references}); err != nil {
		t.Fatal(err)
	}
}

// accept stores an approval and records that it was accepted.
func (w *world) accept(t *testing.T, who string) (string, *token.Claims) {
	t.Helper()
	signed, claims := w.mint(t, who)
	w.record(t, opsv1alpha1.AuditApprovalAccepted, claims)
	w.store(t, signed, claims)
	return signed, claims
}

func (w *world) store(t *testing.T, signed string, claims *token.Claims) {
	t.Helper()
	if err := w.Create(t.Context(), &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.proposal.Namespace, Name: token.ApprovalName(claims.ID), UID: approvalUID(claims)},
		Spec: opsv1alpha1.ApprovalSpec{
			Decision: v1alpha1.DecisionApprove, Snapshot: w.proposal.Spec, Token: signed,
			Proposal: opsv1alpha1.ProposalReference{Name: w.proposal.Name, UID: w.proposal.UID, Digest: w.proposal.Spec.Digest},
		},
	}); err != nil {
		t.Fatal(err)
	}
}

func approvers(records []policy.ApprovalRecord) (names []string) {
	for _, record := range records {
		names = append(names, fmt.Sprintf("%s %s", record.Approver, record.Decision))
	}
	return names
}

func TestGoodApprovalGathersEverythingThatIsNeeded(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if decision := policy.Evaluate(in); !decision.Allowed || len(in.Unknown) > 0 {
		t.Fatalf("refused: %s (unknown: %v)", decision.Message(), in.Unknown)
	}
	var owners []string
	for _, owner := range in.Owners {
		owners = append(owners, owner.APIVersion+" "+owner.Kind+" "+owner.Name)
	}
	if diff := cmp.Diff([]string{"apps/v1 ReplicaSet web-1", "apps/v1 Deployment web"}, owners); diff != "" {
		t.Errorf("owners (-want +have):\n%s", diff)
	}
	want := []authorizationv1.SubjectAccessReviewSpec{
		{User: "alice", Groups: []string{"sre"}, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "create", Group: "srenix.io", Version: "v1alpha1", Resource: "proposals", Subresource: "approve", Namespace: "shop", Name: "fix",
		}},
		{User: "alice", Groups: []string{"sre"}, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "approve", Group: "srenix.io", Version: "v1alpha1", Resource: "actionkinds", Namespace: "shop", Name: "DeletePod",
		}},
		{User: "alice", Groups: []string{"sre"}, ResourceAttributes: &authorizationv1.ResourceAttributes{
			Verb: "delete", Version: "v1", Resource: "pods", Namespace: "shop", Name: "web-1-x",
		}},
	}
	if diff := cmp.Diff(want, w.reviews); diff != "" {
		t.Errorf("reviews (-want +have):\n%s", diff)
	}
}

func TestApprovalNameIsThatOfTheTokenWhereNoneIsGiven(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, nil))
	if in.ApprovalName != token.ApprovalName(claims.ID) {
		t.Errorf("the name is %q", in.ApprovalName)
	}
}

func TestFactThatCannotBeReadIsUnknownForEachLayerThatNeedsIt(t *testing.T) {
	away := errors.New("the API server is away")
	faults := map[string]struct {
		fault fault
		// is the error that layers are told, if it is the fault's own.
		is error
		// alone tells that no other layer is touched: a panic takes with it all that
		// the same reading would have told, and no answer the time of those that follow.
		alone bool
	}{
		"error":     {failing(away), away, true},
		"no answer": {hanging, context.DeadlineExceeded, false},
		"panic":     {panicking, nil, false},
	}
	for call, want := range map[string][]policy.Layer{
		"get Pod":                    {policy.GitOpsManaged, policy.TargetScope},
		"get ReplicaSet":             {policy.GitOpsManaged},
		"get Deployment":             {policy.GitOpsManaged},
		"get Namespace":              {policy.NamespaceProtection},
		"get AuditEvent":             {policy.HashChainedAudit},
		"get Approval":               {policy.DualApproval},
		"list AuditEvent":            {policy.DualApproval, policy.HashChainedAudit, policy.RateBudget, policy.SignedToken},
		"create SubjectAccessReview": {policy.Access, policy.DualApproval},
	} {
		for name, fault := range faults {
			t.Run(call+", "+name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					w := newWorld(t)
					w.config.Approvers = map[v1alpha1.ActionKind]int32{v1alpha1.ActionDeletePod: 2}
					w.accept(t, "bob")
					signed, claims := w.mint(t, "alice")
					w.faults[call] = fault.fault
					ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
					defer cancel()
					in := w.gatherer().Gather(ctx, w.request(policy.StageApproval, signed, claims))
					have := slices.Sorted(maps.Keys(in.Unknown))
					if !fault.alone {
						have = slices.DeleteFunc(have, func(layer policy.Layer) bool { return !slices.Contains(want, layer) })
					}
					if diff := cmp.Diff(want, have); diff != "" {
						t.Errorf("unknown (-want +have):\n%s", diff)
					}
					for layer, err := range in.Unknown {
						if fault.is != nil && !errors.Is(err, fault.is) {
							t.Errorf("%s: %v", layer, err)
						}
					}
					expectDenied(t, in, want)
					// A swallowed error turns no layer off: what was not read is not there.
					in.Unknown = nil
					expectDenied(t, in, want)
				})
			})
		}
	}
}

// expectDenied checks that these layers deny, maybe among others.
func expectDenied(t *testing.T, in policy.Input, layers []policy.Layer) {
	t.Helper()
	decision := policy.Evaluate(in)
	for _, layer := range layers {
		if !slices.ContainsFunc(decision.Denials(), func(v v1alpha1.Verdict) bool { return v.Layer == string(layer) }) {
			t.Errorf("with %v, %s does not deny: %s", in.Unknown, layer, decision.Message())
		}
	}
	if decision.Allowed {
		t.Error("it is allowed")
	}
}

func TestEndedContextDenies(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.mint(t, "alice")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, call := range []string{"get Pod", "get Namespace", "list AuditEvent", "create SubjectAccessReview"} {
		w.faults[call] = failing(ctx.Err())
	}
	decision := policy.Evaluate(w.gatherer().Gather(ctx, w.request(policy.StageApproval, signed, claims)))
	if len(decision.Denials()) < 7 {
		t.Errorf("only these deny: %s", decision.Message())
	}
}

func TestAbsentTargetAndNamespaceAreKnownToBeAbsent(t *testing.T) {
	w := newWorld(t)
	w.proposal.Namespace, w.proposal.Spec.Target.Namespace = "gone", "gone"
	w.seal(t)
	signed, claims := w.mint(t, "alice")
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
	if in.Target != nil || in.Namespace != nil || len(in.Unknown) > 0 {
		t.Errorf("target %v, namespace %v, unknown %v", in.Target, in.Namespace, in.Unknown)
	}
	if policy.Evaluate(in).Allowed {
		t.Error("it is allowed")
	}
}

func TestOwnerThatIsGoneOrReplacedIsUnknown(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, w *world){
		"gone": func(t *testing.T, w *world) {
			if err := w.Delete(t.Context(), &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web"}}); err != nil {
				t.Fatal(err)
			}
		},
		"replaced": func(t *testing.T, w *world) {
			set := &appsv1.ReplicaSet{}
			if err := w.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web-1"}, set); err != nil {
				t.Fatal(err)
			}
			set.OwnerReferences[0].UID = "before"
			if err := w.Update(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		},
		"its own controller": func(t *testing.T, w *world) {
			set := &appsv1.ReplicaSet{}
			if err := w.Get(t.Context(), client.ObjectKey{Namespace: "shop", Name: "web-1"}, set); err != nil {
				t.Fatal(err)
			}
			set.OwnerReferences = controller("apps/v1", "ReplicaSet", "web-1", "rs")
			if err := w.Update(t.Context(), set); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			change(t, w)
			signed, claims := w.mint(t, "alice")
			in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
			if in.Unknown[policy.GitOpsManaged] == nil || in.Owners != nil {
				t.Errorf("owners are %v", in.Owners)
			}
		})
	}
}

func TestAccessIsDeniedByTheClustersOwnRights(t *testing.T) {
	for forbidden, want := range map[string]string{
		"approve actionkinds": "alice may not approve actionkinds.srenix.io DeletePod in namespace shop",
		"delete pods":         "alice may not delete pods web-1-x in namespace shop",
	} {
		w := newWorld(t)
		w.forbidden = []string{forbidden}
		signed, claims := w.mint(t, "alice")
		in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, claims))
		if diff := cmp.Diff(&want, in.AccessDenied); diff != "" {
			t.Errorf("%s (-want +have):\n%s", forbidden, diff)
		}
	}
}

func TestTokenThatDoesNotVerifyLeavesWhoApprovesUnknown(t *testing.T) {
	w := newWorld(t)
	for _, signed := range []string{"", "x.y.z"} {
		in := w.gatherer().Gather(t.Context(), w.request(policy.StageApproval, signed, nil))
		for _, layer := range []policy.Layer{policy.DualApproval, policy.RateBudget, policy.Access} {
			if in.Unknown[layer] == nil {
				t.Errorf("token %q: %s has all that it needs", signed, layer)
			}
		}
		if len(w.reviews) > 0 {
			t.Errorf("token %q: the cluster was asked about %v", signed, w.reviews)
		}
	}
}

func TestDenialByAPersonIsGatheredWithoutTheTarget(t *testing.T) {
	w := newWorld(t)
	for _, call := range []string{"get Pod", "get Namespace"} {
		w.faults[call] = failing(errors.New("away"))
	}
	signed, claims := w.mintFor(t, "alice", v1alpha1.DecisionDeny)
	request := w.request(policy.StageApproval, signed, claims)
	request.Decision = v1alpha1.DecisionDeny
	if decision := policy.Evaluate(w.gatherer().Gather(t.Context(), request)); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

// TestWhoMayDecideIsAskedHoweverADecisionComesIn: also of a no, and of a no nothing else.
func TestWhoMayDecideIsAskedHoweverADecisionComesIn(t *testing.T) {
	for _, decision := range []v1alpha1.Decision{v1alpha1.DecisionApprove, v1alpha1.DecisionDeny} {
		w := newWorld(t)
		w.forbidden = []string{"create proposals"}
		signed, claims := w.mintFor(t, "alice", decision)
		request := w.request(policy.StageApproval, signed, claims)
		request.Decision = decision
		in := w.gatherer().Gather(t.Context(), request)
		if in.AccessDenied == nil || *in.AccessDenied != "alice may not create proposals/approve.srenix.io fix in namespace shop" {
			t.Errorf("%s: %v", decision, in.AccessDenied)
		}
		if decision == v1alpha1.DecisionDeny && len(w.reviews) != 1 {
			t.Errorf("%s: the cluster was asked %v", decision, w.reviews)
		}
		if verdict := policy.Evaluate(in); verdict.Allowed {
			t.Errorf("%s is allowed", decision)
		}
	}
}

func TestStandingProposalNeedsNoToken(t *testing.T) {
	w := newWorld(t)
	request := w.request(policy.StageStanding, "", nil)
	request.Decision = ""
	in := w.gatherer().Gather(t.Context(), request)
	if decision := policy.Evaluate(in); !decision.Allowed || len(in.Unknown) > 0 {
		t.Errorf("refused: %s (unknown: %v)", decision.Message(), in.Unknown)
	}
}

func TestStandingProposalHasTheDenialsOfItsDigest(t *testing.T) {
	w := newWorld(t)
	_, claims := w.mint(t, "bob")
	w.record(t, opsv1alpha1.AuditDenialRecorded, claims)
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageStanding, "", nil))
	expectDenied(t, in, []policy.Layer{policy.DualApproval})
}

// An execution whose acceptance cannot be looked up has no place in the order of
// the chain, and so no budget either.
func TestBudgetIsUnknownWhereTheAcceptanceIs(t *testing.T) {
	w := newWorld(t)
	signed, claims := w.accept(t, "alice")
	w.faults["list AuditEvent "+audit.LabelJTI+"="+claims.ID] = failing(errors.New("away"))
	in := w.gatherer().Gather(t.Context(), w.request(policy.StageExecution, signed, claims))
	expectDenied(t, in, []policy.Layer{policy.SignedToken, policy.HashChainedAudit, policy.RateBudget})
}

func TestProposalOfRefusesAContradiction(t *testing.T) {
	w := newWorld(t)
	approval := &opsv1alpha1.Approval{Spec: opsv1alpha1.ApprovalSpec{
		Snapshot: w.proposal.Spec, Proposal: opsv1alpha1.ProposalReference{Name: "fix", UID: "proposal", Digest: "sha256:other"},
	}}
	approval.Namespace = "shop"
	if _, err := ProposalOf(approval); err == nil {
		t.Error("two digests pass for one")
	}
	approval.Spec.Proposal.Digest = w.proposal.Spec.Digest
	have, err := ProposalOf(approval)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(w.proposal, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}
