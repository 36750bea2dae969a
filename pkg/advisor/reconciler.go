// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"cmp"
	"context"
	"fmt"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// settle is how soon a finding is looked into again that has changed since: one
	// that changes all the time costs no more than this.
	settle = time.Minute
	// again is when it is looked into again while the data do not suffice.
	again = 10 * time.Minute
	// keep is how long an Investigation outlives its finding. It has the requests of
	// people, of which the last hour counts, and trouble that returns finds it.
	keep = 2 * time.Hour
	// crowded is when a finding is tried again that there was no room for.
	crowded = 10 * time.Minute
)

// reconciler has findings looked into, one at a time for each.
type reconciler struct {
	// cached reads findings and Investigations; client reads and writes afresh.
	cached      client.Reader
	client      client.Client
	investigate func(context.Context, *srenix.Finding) investigator.Result
	// own is the namespace that srenix runs in.
	own string
	// automatic is the least rank of a severity that is looked into by itself.
	automatic int
	maximum   int
	clock     clock.PassiveClock
	metrics   *metrics
}

// Reconcile implements reconcile.Reconciler, for a finding by its name, or, without a
// namespace, a clusterfinding.
func (r *reconciler) Reconcile(ctx context.Context, request reconcile.Request) (reconcile.Result, error) {
	finding, err := readFinding(ctx, r.cached, request.NamespacedName)
	exists := err == nil
	if err != nil && !apierrors.IsNotFound(err) {
		return reconcile.Result{}, fmt.Errorf("reading the finding: %w", err)
	}
	all := &opsv1alpha1.InvestigationList{}
	if err := r.cached.List(ctx, all, investigationsOf(request.NamespacedName, r.own)...); err != nil {
		return reconcile.Result{}, fmt.Errorf("listing Investigations of the finding: %w", err)
	}
	var next time.Duration
	known := false
	for i := range all.Items {
		of := &all.Items[i]
		if of.DeletionTimestamp != nil || of.Name != opsv1alpha1.InvestigationName(of.Spec.Finding.Name, of.Spec.Finding.UID) {
			continue // somebody else's
		}
		if exists && of.Spec.Finding.UID == finding.UID {
			known = true
			continue
		}
		wait, err := r.retire(ctx, of)
		if err != nil {
			return reconcile.Result{}, err
		}
		next = sooner(next, wait)
	}
	if exists {
		wait, err := r.look(ctx, finding, known)
		if err != nil {
			return reconcile.Result{}, err
		}
		next = sooner(next, wait)
	}
	return reconcile.Result{RequeueAfter: next}, nil
}

// sooner returns the shorter of two times to wait, of which 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

// look has a finding looked into if it is time for that, and returns when to ask
// again.
func (r *reconciler) look(ctx context.Context, finding *srenix.Finding, known bool) (time.Duration, error) {
	automatic := ranks[string(finding.Spec.Severity)] >= r.automatic
	if !known && !automatic {
		return 0, nil
	}
	key := client.ObjectKey{Namespace: cmp.Or(finding.Namespace, r.own), Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
	// The cache may not have what this program has just written.
	current := &opsv1alpha1.Investigation{}
	if err := r.client.Get(ctx, key, current); apierrors.IsNotFound(err) {
		if !automatic {
			return 0, nil // somebody has just taken it away
		}
		if room, err := r.room(ctx); err != nil || !room {
			return crowded, err
		}
		if current, err = r.create(ctx, finding, key); err != nil || current == nil {
			return 0, err
		}
	} else if err != nil {
		return 0, fmt.Errorf("reading the Investigation: %w", err)
	}
	trigger, due, wait := r.due(finding, current)
	if !due {
		return wait, r.stands(ctx, current)
	}
	began := r.clock.Now()
	result := r.investigate(ctx, finding)
	if ctx.Err() != nil {
		return 0, ctx.Err() // which is no answer
	}
	outcome := opsv1alpha1.ReasonInsufficientData
	if result.Sufficient {
		outcome = opsv1alpha1.ReasonRootCauseFound
	}
	took := r.clock.Since(began)
	err := r.update(ctx, current, func(status *opsv1alpha1.InvestigationStatus) {
		hash, of := result.EvidenceHash(), investigator.FindingHash(finding)
		if hash != status.EvidenceHash {
			status.Evidence = result.Evidence
		}
		if hash != status.EvidenceHash || of != status.FindingHash {
			// Which are about what was there before.
			status.Narrative, status.LookAt, status.ModelInvestigation, status.Fix, status.Plan = "", nil, nil, nil, nil
		}
		status.EvidenceHash, status.FindingHash = hash, of
		status.RootCause, status.Cause = result.RootCause, result.Cause
		status.Trigger, status.ObservedGeneration = trigger, current.Generation
		status.StartedAt, status.CompletedAt = seconds(began), seconds(began.Add(took))
		r.condition(status, opsv1alpha1.ConditionCompleted, metav1.ConditionTrue, outcome, result.RootCause)
		r.condition(status, opsv1alpha1.ConditionFindingStands, metav1.ConditionTrue, "Found", "the finding stands")
	})
	if err != nil {
		return 0, err
	}
	r.metrics.investigated(trigger, outcome, result.Reads, took)
	klog.FromContext(ctx).Info("Looked into a finding", "analyzer", finding.Spec.Analyzer, "reason", finding.Spec.Reason,
		"trigger", trigger, "result", outcome, "cause", result.Cause, "reads", result.Reads, "took", took.String())
	if !result.Sufficient {
		return again, nil
	}
	return 0, nil
}

// due tells whether a finding is to be looked into now, why, and when to ask again
// if not. The same finding is not looked into twice but where somebody asks, or the
// data did not suffice.
func (r *reconciler) due(finding *srenix.Finding, current *opsv1alpha1.Investigation) (trigger opsv1alpha1.InvestigationTrigger, due bool, wait time.Duration) {
	status := &current.Status
	asked := len(current.Spec.Requests) > 0
	if asked && current.Generation != status.ObservedGeneration {
		return opsv1alpha1.TriggerRequest, true, 0
	}
	trigger = opsv1alpha1.TriggerSeverity
	if ranks[string(finding.Spec.Severity)] < r.automatic {
		if !asked {
			return "", false, 0
		}
		trigger = opsv1alpha1.TriggerRequest
	}
	completed := meta.FindStatusCondition(status.Conditions, opsv1alpha1.ConditionCompleted)
	if completed == nil || completed.Status != metav1.ConditionTrue || status.CompletedAt == nil {
		return trigger, true, 0
	}
	after := func(pause time.Duration) (opsv1alpha1.InvestigationTrigger, bool, time.Duration) {
		left := pause - r.clock.Since(status.CompletedAt.Time)
		return trigger, left <= 0, max(left, 0)
	}
	switch {
	case status.FindingHash != investigator.FindingHash(finding):
		return after(settle)
	case completed.Reason == opsv1alpha1.ReasonInsufficientData:
		return after(again)
	}
	return "", false, 0
}

// room tells whether another Investigation may be stored.
func (r *reconciler) room(ctx context.Context) (bool, error) {
	all := &opsv1alpha1.InvestigationList{}
	if err := r.cached.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return false, fmt.Errorf("counting Investigations: %w", err)
	}
	if len(all.Items) < r.maximum {
		return true, nil
	}
	r.metrics.withheld.Inc()
	klog.FromContext(ctx).Info("A finding is not looked into, because as many Investigations are stored as may be", "maximum", r.maximum)
	return false, nil
}

// create stores a new Investigation; nil if its namespace is going.
func (r *reconciler) create(ctx context.Context, finding *srenix.Finding, key client.ObjectKey) (*opsv1alpha1.Investigation, error) {
	made := &opsv1alpha1.Investigation{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: key.Namespace, Name: key.Name,
			Labels: map[string]string{analyzers.AnalyzerLabel: finding.Spec.Analyzer},
		},
		Spec: opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
	}
	if finding.Namespace == "" {
		made.Spec.Finding.Kind = opsv1alpha1.KindClusterFinding
	}
	err := r.client.Create(ctx, made)
	switch {
	case apierrors.HasStatusCause(err, "NamespaceTerminating"), apierrors.IsNotFound(err):
		return nil, nil
	case err != nil:
		return nil, fmt.Errorf("storing an Investigation: %w", err)
	}
	return made, nil
}

// stands takes back that a finding is gone.
func (r *reconciler) stands(ctx context.Context, current *opsv1alpha1.Investigation) error {
	if !meta.IsStatusConditionFalse(current.Status.Conditions, opsv1alpha1.ConditionFindingStands) {
		return nil
	}
	return r.update(ctx, current, func(status *opsv1alpha1.InvestigationStatus) {
		r.condition(status, opsv1alpha1.ConditionFindingStands, metav1.ConditionTrue, "Found", "the finding stands")
	})
}

// retire notes that a finding is gone, and removes its Investigation some time after.
// One with a runbook stays as long, too: what it drafted was for that finding.
func (r *reconciler) retire(ctx context.Context, of *opsv1alpha1.Investigation) (time.Duration, error) {
	gone := meta.FindStatusCondition(of.Status.Conditions, opsv1alpha1.ConditionFindingStands)
	if gone == nil || gone.Status != metav1.ConditionFalse {
		return keep, r.update(ctx, of, func(status *opsv1alpha1.InvestigationStatus) {
			r.condition(status, opsv1alpha1.ConditionFindingStands, metav1.ConditionFalse, "Gone", "the finding is gone; the investigation goes two hours later")
		})
	}
	if left := keep - r.clock.Since(gone.LastTransitionTime.Time); left > 0 {
		return left, nil
	}
	err := r.client.Delete(ctx, of, client.Preconditions{UID: &of.UID})
	if client.IgnoreNotFound(err) != nil {
		return 0, fmt.Errorf("removing the Investigation of a finding that is gone: %w", err)
	}
	return 0, nil
}

func (r *reconciler) condition(status *opsv1alpha1.InvestigationStatus, kind string, is metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(&status.Conditions, metav1.Condition{
		Type: kind, Status: is, Reason: reason, Message: message, LastTransitionTime: *seconds(r.clock.Now()),
	})
}

func (r *reconciler) update(ctx context.Context, of *opsv1alpha1.Investigation, change func(*opsv1alpha1.InvestigationStatus)) error {
	return client.IgnoreNotFound(changeStatus(ctx, r.client, of, change))
}
