// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedpods

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Attempt is a Job that no CronJob has made and that is over: one that failed for good,
// or, of those that somebody made, one that succeeded. It is computed for each Job by
// itself and has its name and UID, so that the Jobs of one owner, of which there may be
// thousands, are looked at once for a change and not once for each of them.
type Attempt struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Owner is who made the Job; empty where nobody did.
	Owner v1alpha1.ObjectReference
	// Purpose is as workloads.Purpose tells it.
	Purpose string
	// Failed is when the Job failed, and Began when one began that succeeded; the other
	// is zero.
	Failed, Began metav1.Time
}

// DeepCopyObject implements runtime.Object.
func (a *Attempt) DeepCopyObject() runtime.Object {
	out := *a
	out.ObjectMeta = *a.ObjectMeta.DeepCopy()
	return &out
}

const byOwnersNamespace = "ownersnamespace"

var attempts = live.NewDerived("attempts", map[string]func(*Attempt) []string{
	byOwnersNamespace: func(attempt *Attempt) []string {
		if attempt.Owner.UID == "" {
			return nil
		}
		return []string{attempt.Namespace}
	},
})

func attemptRule() live.Rule {
	return live.Rule{
		Subject: inputs.Jobs.Ref(), Reads: []live.KindRef{inputs.Pods.Ref()}, Outputs: []live.KindRef{attempts.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			job, exists := inputs.Jobs.Get(view, subject)
			if !exists || job.DeletionTimestamp != nil || job.Spec.Suspend != nil && *job.Spec.Suspend || workloads.OfCronJob(job) {
				return nil, nil // while it is suspended it is not tried again
			}
			attempt := &Attempt{
				ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name, UID: job.UID},
				Purpose:    workloads.Purpose(job),
			}
			owner := metav1.GetControllerOfNoCopy(job)
			if owner != nil {
				attempt.Owner = v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: job.Namespace, Name: owner.Name, UID: owner.UID}
			}
			if _, succeeded := workloads.Ended(job, batchv1.JobComplete); succeeded && owner != nil {
				attempt.Began = metav1.NewTime(workloads.Began(job))
				return []live.Output{live.Emit(attempts, attempt)}, nil
			}
			failed, at, pods := workloads.LastFailure(view, []*batchv1.Job{job})
			if failed == nil || clearedAway(view, job, pods) {
				return nil, nil
			}
			attempt.Failed = metav1.NewTime(at)
			return []live.Output{live.Emit(attempts, attempt)}, nil
		},
	}
}

// lone tells whether a Job failed that nobody looks after.
func (a analyzer) lone(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	attempt, exists := attempts.Get(view, subject)
	if !exists || attempt.Owner.UID != "" || !analyzers.Past(view, attempt.Failed.Add(a.grace)) {
		return nil, nil
	}
	job, pods := attempt.left(view)
	if job == nil {
		return nil, nil
	}
	how, remediation := failure(job, pods)
	return []v1alpha1.FindingSpec{{
		Reason: JobPodsFailed, Severity: v1alpha1.SeverityWarning, Related: failedPods(pods),
		Subject:     attempt.reference(),
		Message:     fmt.Sprintf("Job %s failed, and is not tried again. %s.", job.Name, how),
		Remediation: remediation,
		Since:       attempt.Failed,
	}}, nil
}

// owned tells of which owners in a namespace Jobs failed, where none that is for the same
// and began after that succeeded. What is to be mended is the owner or what its Jobs
// share, however many they are, so it is one trouble from the first that failed on.
func (a analyzer) owned(view *live.View, namespace string) []v1alpha1.FindingSpec {
	type purpose struct {
		owner types.UID
		of    string
	}
	all := attempts.ByIndex(view, byOwnersNamespace, namespace)
	succeeded := map[purpose]time.Time{}
	for _, attempt := range all {
		of := purpose{attempt.Owner.UID, attempt.Purpose}
		if attempt.Began.After(succeeded[of]) {
			succeeded[of] = attempt.Began.Time
		}
	}
	failed := map[types.UID][]*Attempt{}
	for _, attempt := range all {
		if attempt.Failed.IsZero() {
			continue
		}
		// The Job that succeeded may be cleared away before the one that failed.
		good := "Job " + string(attempt.UID) + " is made good"
		_, before := view.Observed(good)
		if before || !succeeded[purpose{attempt.Owner.UID, attempt.Purpose}].Before(attempt.Failed.Time) {
			view.FirstObserved(good)
			continue
		}
		failed[attempt.Owner.UID] = append(failed[attempt.Owner.UID], attempt)
	}
	var found []v1alpha1.FindingSpec
	for _, owner := range slices.Sorted(maps.Keys(failed)) {
		of := failed[owner]
		slices.SortFunc(of, func(x, y *Attempt) int {
			return cmp.Or(y.Failed.Compare(x.Failed.Time), strings.Compare(x.Name, y.Name))
		})
		// The next failure is the same trouble, and has no grace of its own.
		since := view.Began(JobPodsFailed+" of "+string(owner), of[len(of)-1].Failed.Time)
		if !analyzers.Past(view, since.Add(a.grace)) {
			continue
		}
		job, pods := of[0].left(view)
		if job == nil {
			continue // it has just changed, and this is about to be looked at again
		}
		found = append(found, together(of, job, pods, since))
	}
	return found
}

// together is the finding about Jobs of one owner that failed, the last one first, of
// which job is that and pods are what is left of it. How many they are and what they are
// called changes with the next that fails, and is not said.
func together(failed []*Attempt, job *batchv1.Job, pods []*corev1.Pod, since time.Time) v1alpha1.FindingSpec {
	owner := failed[0].Owner
	_, remediation := failure(job, pods)
	how := whyOfJob("The last one", job)
	if len(pods) > 0 {
		how = "Of the last one's pods: " + why(pods[0])
	}
	remediation.Commands = append(remediation.Commands, fmt.Sprintf("kubectl get jobs -n %s --sort-by=.status.startTime", job.Namespace))
	related := failedPods(pods)
	if first := failed[len(failed)-1]; len(failed) > 1 {
		related = append(related, v1alpha1.RelatedObject{Relation: "Job that failed first", ObjectReference: first.reference()})
	}
	return v1alpha1.FindingSpec{
		Reason: JobPodsFailed, Severity: v1alpha1.SeverityWarning, Subject: owner, Related: related,
		Message:     fmt.Sprintf("Jobs of %s %s failed, and are not tried again. %s.", owner.Kind, owner.Name, how),
		Remediation: remediation,
		Since:       metav1.NewTime(since),
	}
}

// left returns the Job that failed and its failed pods; nil if it is another by now.
func (a *Attempt) left(view *live.View) (*batchv1.Job, []*corev1.Pod) {
	job, exists := inputs.Jobs.Get(view, live.Key{Namespace: a.Namespace, Name: a.Name})
	if !exists || job.UID != a.UID {
		return nil, nil
	}
	failed, _, pods := workloads.LastFailure(view, []*batchv1.Job{job})
	return failed, pods
}

func (a *Attempt) reference() v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "batch/v1", Kind: "Job", Namespace: a.Namespace, Name: a.Name, UID: a.UID}
}
