// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/tracing"
)

const (
	// TakeoverAfter is how old another executor's claim without an intent must be
	// before it is taken over. It is the default lease duration of leader
	// election: so long may the other one be the leader without saying so.
	TakeoverAfter = 15 * time.Second
	// actWithin is how old an intent may be when the action is sent, and
	// actTimeout how long the API server may take to answer.
	actWithin  = 10 * time.Second
	actTimeout = 10 * time.Second
	// SettleAfter is how old an intent must be before "there is nothing to see"
	// counts as not done: actWithin, actTimeout and as much again for clocks that differ.
	SettleAfter = 30 * time.Second

	// busyRetry is when a target that is being worked on is tried again.
	busyRetry = time.Second
	// waitRetry is when something that only people or other approvals can change is looked at again.
	waitRetry = 10 * time.Second
)

// errOvertaken means that the stored approval is not what this executor held any
// more: another one works on it. Nothing was written.
var errOvertaken = errors.New("another executor has taken the approval over")

// gatherer gathers the facts of a decision. An *evidence.Gatherer is one.
type gatherer interface {
	Gather(ctx context.Context, request evidence.Request) policy.Input
}

// keys tells whether the verifier's keys could be read, and when. A
// *token.JWKSSource does.
type keys interface {
	Err() error
	ReadAt() time.Time
}

// reconciler brings approvals to their end, each call as far as it can go now.
type reconciler struct {
	// client reads from and writes to kube-apiserver without a cache.
	client client.Client
	// cached is what the watch has seen; only good for skipping finished approvals.
	cached client.Reader

	chain    *audit.Chain
	verifier *token.Verifier
	keys     keys
	evidence gatherer
	evaluate func(policy.Input) policy.Decision
	actions  map[srenix.ActionKind]action

	// configured is an error until the audit chain has the configuration of this process.
	configured func(context.Context) error
	// leash tells why nothing may be carried out; nil if it may.
	leash  interface{ Err() error }
	config config.ExecutorConfiguration
	// identity is this process, and no other one ever.
	identity string
	clock    clock.PassiveClock
	recorder events.EventRecorder
	metrics  *metrics
	tracer   *tracing.Tracer
	targets  targets
	seen     sightings
}

var _ reconcile.Reconciler = &reconciler{}

// Reconcile implements reconcile.Reconciler.
func (r *reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	approval := &opsv1alpha1.Approval{}
	for _, reader := range []client.Reader{r.cached, r.client} {
		if err := reader.Get(ctx, request.NamespacedName, approval); err != nil {
			if apierrors.IsNotFound(err) {
				return ctrl.Result{}, nil
			}
			return ctrl.Result{}, fmt.Errorf("reading Approval %s: %w", request, err)
		}
		if completed(approval) && r.outlived(approval) {
			return ctrl.Result{}, nil
		}
	}
	release, free := r.targets.acquire(approval.Spec.Snapshot.Target)
	if !free {
		return ctrl.Result{RequeueAfter: busyRetry}, nil
	}
	defer release()
	before := completed(approval)
	result, err := r.advance(ctx, approval)
	if errors.Is(err, errOvertaken) {
		klog.FromContext(ctx).V(2).Info("Another executor works on the approval")
		return ctrl.Result{RequeueAfter: busyRetry}, nil
	}
	if err == nil && !before && completed(approval) {
		r.concludeTrace(ctx, approval)
	}
	if err != nil && ctx.Err() == nil {
		r.announce(approval, false, warning, "Retrying", string(approval.Spec.Snapshot.ActionKind), err.Error())
	}
	return result, err
}

// completed tells whether nothing is left to be done: a phase that is final, and
// for an action that was carried out, its verification too.
func completed(approval *opsv1alpha1.Approval) bool {
	status := &approval.Status
	return status.Phase.Finished() && (status.Phase != opsv1alpha1.PhaseSucceeded || status.CompletedAt != nil)
}

func (r *reconciler) advance(ctx context.Context, approval *opsv1alpha1.Approval) (ctrl.Result, error) {
	if err := r.configured(ctx); err != nil {
		return ctrl.Result{}, err
	}
	if jtiOf(approval) == "" {
		if completed(approval) {
			return ctrl.Result{}, nil
		}
		return r.conclude(ctx, approval, &history{}, refused("WrongName", "no token goes with this name: leave the name as kubectl create approval writes it"))
	}
	past, err := r.recall(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if approval.Status.Phase.Finished() {
		vouched, err := r.vouches(ctx, approval, past)
		switch {
		case err != nil:
			return ctrl.Result{}, err
		case vouched && !completed(approval):
			return r.verify(ctx, approval, past)
		case vouched, r.outlived(approval):
			return ctrl.Result{}, nil
		}
		klog.FromContext(ctx).Info("The audit chain does not know how this approval is said to have ended, so that its status is not believed", "phase", approval.Status.Phase)
		approval.Status = opsv1alpha1.ApprovalStatus{}
		if past, err = r.recall(ctx, approval); err != nil {
			return ctrl.Result{}, err
		}
	}
	if past.intent != "" {
		return r.settle(ctx, approval, past)
	}
	if record := endedBy(past.events, approval); record != nil {
		return r.conclude(ctx, approval, past, r.recorded(approval, record))
	}
	if approval.DeletionTimestamp != nil && approval.Spec.Decision != srenix.DecisionDeny {
		// A finalizer may keep it for as long as somebody likes.
		return r.conclude(ctx, approval, past, refused("Withdrawn", "it was deleted before anything was done"))
	}
	switch approval.Status.Phase {
	case opsv1alpha1.PhaseAwaitingSecondApproval:
		return r.await(ctx, approval, past)
	case opsv1alpha1.PhaseExecuting:
		return r.resume(ctx, approval, past)
	}
	return r.begin(ctx, approval, past)
}

// begin takes up an approval that nobody has claimed.
func (r *reconciler) begin(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	if approval.Spec.Decision == srenix.DecisionDeny {
		return r.concludeDenial(ctx, approval, past)
	}
	kind := approval.Spec.Snapshot.ActionKind
	if kind == srenix.ActionRunbook {
		return r.releaseRunbook(ctx, approval, past)
	}
	if r.actions[kind] == nil {
		return r.conclude(ctx, approval, past, refused("NotCarriedOut",
			fmt.Sprintf("the action kind %q is not carried out by this version of srenix", kind)))
	}
	by, err := r.hindrance(ctx, approval)
	if err != nil {
		return ctrl.Result{}, err
	}
	if by != nil {
		return r.hold(ctx, approval, past, by)
	}
	if err := r.claim(ctx, approval); err != nil {
		return ctrl.Result{}, err
	}
	return r.execute(ctx, approval, past)
}

// resume goes on with a claim under which nothing was done yet: this process's
// own, or another one's that is old enough.
func (r *reconciler) resume(ctx context.Context, approval *opsv1alpha1.Approval, past *history) (ctrl.Result, error) {
	record := approval.Status.Execution
	if record == nil || record.Executor != r.identity {
		if record != nil {
			claim := string(approval.UID) + record.Executor + record.ClaimedAt.String()
			if wait := TakeoverAfter - r.seen.age(claim, record.ClaimedAt.Time, r.clock.Now()); wait > 0 {
				return ctrl.Result{RequeueAfter: wait}, nil
			}
		}
		if by, err := r.hindrance(ctx, approval); err != nil {
			return ctrl.Result{}, err
		} else if by != nil {
			return r.hold(ctx, approval, past, by)
		}
		if record != nil {
			klog.FromContext(ctx).Info("Taking over a claim under which nothing was done", "executor", record.Executor)
		}
		if err := r.claim(ctx, approval); err != nil {
			return ctrl.Result{}, err
		}
	}
	return r.execute(ctx, approval, past)
}

// tokenName is the name of an approval, whose rest is the ID of its token.
var tokenName = regexp.MustCompile("^" + token.ApprovalName("([0-9a-f]{32})") + "$")

// jtiOf is the ID of the token that an approval of this name must carry, or
// empty if no token goes with the name.
func jtiOf(approval *opsv1alpha1.Approval) string {
	if match := tokenName.FindStringSubmatch(approval.Name); match != nil {
		return match[1]
	}
	return ""
}
