// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/client-go/util/retry"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// onItsOwn is for whom a model is asked about what nobody has asked for.
const onItsOwn = "system:srenix"

// narrator has a model narrate what was found out about findings. It comes after the
// rules, in a queue of its own, so that a model which hangs holds no investigation up.
type narrator struct {
	// cached reads findings; client reads and writes afresh.
	cached client.Reader
	client client.Client
	model  asker
	// name is that of the model.
	name string
	key  []byte
	// questions are what it is asked, in this order.
	questions []question
	// texts are how many bytes of evidence a model is shown at most.
	texts int
	// own is the namespace that srenix runs in.
	own   string
	clock clock.PassiveClock
	// buckets hold each person to so many investigations by a model.
	buckets *buckets

	mu sync.Mutex
	// restored tells that the budget knows what was spent before.
	restored bool
}

// Reconcile implements reconcile.Reconciler, for an Investigation by its name.
func (n *narrator) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	if err := n.restore(ctx); err != nil {
		return reconcile.Result{}, err
	}
	investigation := &opsv1alpha1.Investigation{}
	if err := n.client.Get(ctx, request.NamespacedName, investigation); err != nil {
		return reconcile.Result{}, client.IgnoreNotFound(err)
	}
	change := func(ctx context.Context, change func(*opsv1alpha1.InvestigationStatus)) error {
		return changeStatus(ctx, n.client, investigation, change)
	}
	if slices.ContainsFunc(investigation.Status.Calls, underWay) {
		// Not by this program, which looks at one Investigation once at a time.
		err := change(ctx, func(status *opsv1alpha1.InvestigationStatus) { status.Calls = interrupt(status.Calls) })
		return reconcile.Result{}, client.IgnoreNotFound(err) // the change brings it here again
	}
	finding, err := n.findingOf(ctx, investigation)
	if err != nil || finding == nil {
		return reconcile.Result{}, err
	}
	about := &asking{narrator: n, of: investigation, finding: finding, change: change}
	if slices.ContainsFunc(n.questions, func(question question) bool { return question.plans }) {
		if about.all, err = n.beside(ctx, finding); err != nil {
			return reconcile.Result{}, err
		}
	}
	wait, err := about.next(ctx)
	return reconcile.Result{RequeueAfter: wait}, client.IgnoreNotFound(err)
}

// asking is what a model is asked about one finding, one question after the other.
type asking struct {
	*narrator
	of      *opsv1alpha1.Investigation
	finding *srenix.Finding
	// all are the finding and what else a plan can be made of, where one is asked for.
	all    []srenix.Finding
	change func(context.Context, func(*opsv1alpha1.InvestigationStatus)) error
}

// next asks the first question that has no answer yet and is due, and returns when to
// look again. What is noted of the answer brings the Investigation here again.
func (a *asking) next(ctx context.Context) (time.Duration, error) {
	var next time.Duration
	for _, question := range a.questions {
		hash := a.hash(question, &a.of.Status)
		if question.plans && len(a.all) < srenix.MinimumPlanSteps || !question.open(&a.finding.Spec, &a.of.Status, hash) {
			continue
		}
		if wait := a.pause(a.of.Status.Calls, &question); wait > 0 {
			next = sooner(next, wait)
			continue
		}
		by, about := onBehalf(a.of), aboutOf(&a.of.Status)
		from, inquiry := bucket{by: audit.Source(by), class: a.finding.Spec.Analyzer}, inquiry{of: client.ObjectKeyFromObject(a.of), about: about}
		wait, err := a.buckets.take(ctx, from, inquiry)
		if err != nil || wait > 0 {
			return sooner(next, wait), err
		}
		defer func() {
			a.buckets.end(from, inquiry, slices.ContainsFunc(a.of.Status.Calls, func(call opsv1alpha1.ModelCall) bool { return call.About == about && mayBeMade(call) }))
		}()
		return a.ask(ctx, question, hash, by, about)
	}
	return next, nil
}

// question is something that a model is asked about findings.
type question struct {
	// prompt is its version.
	prompt string
	// calls are how many it takes at most, if they are many; 0 counts as 1.
	calls int
	// open tells whether it is to be asked about a finding, by the hash of what it would
	// be asked with.
	open func(finding *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool
	// ask asks it, and returns the record of its last call and how to note the answer,
	// with an error if that is none that is of use.
	ask func(context.Context, *tiers.Reasoner, toldCase) (model.Record, func(status *opsv1alpha1.InvestigationStatus, hash string), error)
	// plans tells that it is about several findings.
	plans bool
}

// narration asks for a few sentences.
var narration = question{
	prompt: tiers.NarratePrompt,
	open: func(_ *srenix.FindingSpec, status *opsv1alpha1.InvestigationStatus, hash string) bool {
		return status.NarratedHash != hash
	},
	ask: func(ctx context.Context, reasoner *tiers.Reasoner, about toldCase) (model.Record, func(*opsv1alpha1.InvestigationStatus, string), error) {
		narrative, err := reasoner.Narrate(ctx, about.Case)
		return narrative.Record, func(status *opsv1alpha1.InvestigationStatus, hash string) {
			status.Narrative, status.LookAt, status.NarratedHash = narrative.Text, narrative.Related, hash
		}, err
	},
}

// restore tells the budget what was spent before this program began to ask.
func (n *narrator) restore(ctx context.Context) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.restored {
		return nil
	}
	all := &opsv1alpha1.InvestigationList{}
	if err := n.client.List(ctx, all); err != nil {
		return fmt.Errorf("reading what calls of the model have used: %w", err)
	}
	n.model.Restore(spent(all.Items, n.clock.Now()))
	n.restored = true
	return nil
}

// findingOf returns the finding of an Investigation that is completed and says what it
// was looked into for; nil if it is not like that.
func (n *narrator) findingOf(ctx context.Context, of *opsv1alpha1.Investigation) (*srenix.Finding, error) {
	named := of.Spec.Finding
	if of.DeletionTimestamp != nil || of.Name != opsv1alpha1.InvestigationName(named.Name, named.UID) ||
		!meta.IsStatusConditionTrue(of.Status.Conditions, opsv1alpha1.ConditionCompleted) {
		return nil, nil
	}
	key, has := findingKey(of, n.own)
	if !has {
		return nil, nil
	}
	finding, err := readFinding(ctx, n.cached, key)
	switch {
	case apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("reading the finding: %w", err)
	case finding.UID != named.UID || investigator.FindingHash(finding) != of.Status.FindingHash:
		return nil, nil // the rules look first
	}
	return finding, nil
}

// hash is the SHA-256, in hexadecimal, of all that decides what a model is asked.
func (a *asking) hash(question question, status *opsv1alpha1.InvestigationStatus) string {
	with := []string{question.prompt, a.name, status.FindingHash, status.EvidenceHash}
	if question.plans {
		with = append(with, identities(a.all))
	}
	sum := sha256.Sum256([]byte(strings.Join(with, "\x00")))
	return hex.EncodeToString(sum[:])
}

// aboutOf is the SHA-256, in hexadecimal, of what is known of a finding.
func aboutOf(status *opsv1alpha1.InvestigationStatus) string {
	sum := sha256.Sum256([]byte(status.FindingHash + "\x00" + status.EvidenceHash))
	return hex.EncodeToString(sum[:])
}

// pause is how long to wait before a model is asked: where it gave no answer the last
// time, or was asked as often as it may be.
func (n *narrator) pause(calls []opsv1alpha1.ModelCall, question *question) time.Duration {
	now := n.clock.Now()
	wait := full(calls, max(question.calls, 1), now)
	if last := lastCall(calls, question.prompt, n.name); last != nil && !answered(last) {
		wait = max(wait, again-now.Sub(last.At.Time))
	}
	return wait
}

func answered(call *opsv1alpha1.ModelCall) bool {
	record := model.Record{AnswerHash: call.AnswerHash, Outcome: model.Outcome(call.Outcome)}
	return record.Answered()
}

// ask asks a question, and returns when to try again if there was no answer. Whatever
// goes wrong leaves everything else as it is.
func (a *asking) ask(ctx context.Context, question question, hash, by, known string) (time.Duration, error) {
	reasoner, err := tiers.New(&noted{model: a.model, by: by, about: known, change: a.change}, a.key)
	if err != nil {
		return 0, fmt.Errorf("preparing to ask the model: %w", err)
	}
	about, err := a.caseOf(ctx, a.of, a.finding)
	if err != nil {
		return 0, err
	}
	record, note, err := question.ask(ctx, reasoner, toldCase{about, a.all})
	var failed *model.Error
	switch {
	case ctx.Err() != nil:
		return 0, ctx.Err()
	case err != nil && !errors.As(err, &failed):
		return 0, fmt.Errorf("asking a model about finding %s/%s: %w", a.finding.Namespace, a.finding.Name, err)
	case failed != nil && !record.Answered():
		return max(again, failed.RetryAfter), nil // the client has logged it
	}
	if err := a.change(ctx, func(status *opsv1alpha1.InvestigationStatus) {
		if a.hash(question, status) == hash { // else it is about what was found before
			note(status, hash)
		}
	}); err != nil {
		return 0, err
	}
	klog.FromContext(ctx).V(2).Info("A model was asked about a finding", "analyzer", a.finding.Spec.Analyzer, "reason", a.finding.Spec.Reason, "prompt", question.prompt, "outcome", record.Outcome)
	return 0, nil
}

// onBehalf is for whom a model is asked: who asked last, if somebody's asking is why
// the finding was looked into.
func onBehalf(of *opsv1alpha1.Investigation) string {
	if requests := of.Spec.Requests; of.Status.Trigger == opsv1alpha1.TriggerRequest && len(requests) > 0 {
		return requests[len(requests)-1].By
	}
	return onItsOwn
}

// changeStatus changes a status as it is then. What others wrote into it, as the draft
// of a runbook, stays. If the Investigation is gone, or another one has its name, the
// error is one of kube-apiserver that says so.
func changeStatus(ctx context.Context, c client.Client, of *opsv1alpha1.Investigation, change func(*opsv1alpha1.InvestigationStatus)) error {
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error {
		fresh := &opsv1alpha1.Investigation{}
		if err := c.Get(ctx, client.ObjectKeyFromObject(of), fresh); err != nil {
			return err
		}
		if fresh.UID != of.UID {
			return apierrors.NewNotFound(opsv1alpha1.Resource("investigations"), of.Name)
		}
		before := fresh.DeepCopy()
		if change(&fresh.Status); equality.Semantic.DeepEqual(before.Status, fresh.Status) {
			return nil
		}
		return c.Status().Update(ctx, fresh)
	})
	if err != nil {
		return fmt.Errorf("writing the status of Investigation %s/%s: %w", of.Namespace, of.Name, err)
	}
	return nil
}
