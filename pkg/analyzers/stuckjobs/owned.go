// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Ailing is a Job in trouble that no CronJob has made, or none that is there. It is
// computed for each Job by itself and has its name and UID, so that the Jobs of one owner,
// of which there may be thousands, are looked at once for a change.
type Ailing struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Owner is who made the Job, if that is another project's kind; else empty.
	Owner v1alpha1.ObjectReference
	// Created and Started are when the Job was.
	Created, Started metav1.Time
	// Indexes and Pods are what there is to say of the Job by itself: that indexes of it
	// failed, and that its pods are not made; nil where that is not so.
	Indexes, Pods *v1alpha1.FindingSpec
	// Refused is what refused tells of the Job.
	Refused string
}

// DeepCopyObject implements runtime.Object.
func (a *Ailing) DeepCopyObject() runtime.Object {
	out := *a
	out.ObjectMeta = *a.ObjectMeta.DeepCopy()
	out.Indexes, out.Pods = a.Indexes.DeepCopy(), a.Pods.DeepCopy()
	return &out
}

const byOwnersNamespace = "ownersnamespace"

var ailing = live.NewDerived("ailing", map[string]func(*Ailing) []string{
	byOwnersNamespace: func(one *Ailing) []string {
		if one.Owner.UID == "" {
			return nil
		}
		return []string{one.Namespace}
	},
})

func (a analyzer) ailingRule() live.Rule {
	return live.Rule{
		Subject: inputs.Jobs.Ref(), Reads: []live.KindRef{inputs.CronJobs.Ref(), inputs.Pods.Ref(), inputs.Events.Ref()},
		Outputs: []live.KindRef{ailing.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			job, exists := inputs.Jobs.Get(view, subject)
			if !exists {
				return nil, nil
			}
			one := &Ailing{
				ObjectMeta: metav1.ObjectMeta{Namespace: job.Namespace, Name: job.Name, UID: job.UID},
				Created:    job.CreationTimestamp,
			}
			switch owner := metav1.GetControllerOfNoCopy(job); {
			case owner != nil && owner.Kind == "CronJob":
				cronJob, exists := inputs.CronJobs.Get(view, live.Key{Namespace: job.Namespace, Name: owner.Name})
				if exists && cronJob.UID == owner.UID {
					return nil, nil
				}
			case owner != nil:
				one.Owner = v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: job.Namespace, Name: owner.Name, UID: owner.UID}
			}
			of, own := reference("Job", job), []*batchv1.Job{job}
			for _, spec := range indexes(view, of, own) {
				one.Indexes = &spec
			}
			for _, spec := range a.uncreated(view, of, own) {
				one.Pods, one.Started, one.Refused = &spec, *job.Status.StartTime, refused(view, job)
			}
			if one.Indexes == nil && one.Pods == nil {
				return nil, nil
			}
			return []live.Output{live.Emit(ailing, one)}, nil
		},
	}
}

// lone is about a Job that nobody looks after.
func lone(view *live.View, subject live.Key) (found []v1alpha1.FindingSpec, err error) {
	one, exists := ailing.Get(view, subject)
	if !exists || one.Owner.UID != "" {
		return nil, nil
	}
	for _, spec := range []*v1alpha1.FindingSpec{one.Indexes, one.Pods} {
		if spec != nil {
			found = append(found, *spec.DeepCopy())
		}
	}
	return found, nil
}

// owned is about the Jobs of a namespace that another project's kind has made. What is to
// be mended is the owner or what its Jobs share, however many they are. How many, and what
// they are called, changes with the next one, and is not said.
func owned(view *live.View, subject live.Key) (found []v1alpha1.FindingSpec, err error) {
	owners := map[types.UID][]*Ailing{}
	for _, one := range ailing.ByIndex(view, byOwnersNamespace, subject.Name) {
		owners[one.Owner.UID] = append(owners[one.Owner.UID], one)
	}
	for _, uid := range slices.Sorted(maps.Keys(owners)) {
		var failed, podless []*Ailing
		for _, one := range owners[uid] {
			if one.Indexes != nil {
				failed = append(failed, one)
			}
			if one.Pods != nil {
				podless = append(podless, one)
			}
		}
		if len(failed) > 0 {
			last := slices.MaxFunc(failed, func(x, y *Ailing) int {
				return cmp.Or(x.Created.Compare(y.Created.Time), strings.Compare(x.Name, y.Name))
			})
			spec := ofOwner(view, failed, last, func(one *Ailing) *v1alpha1.FindingSpec { return one.Indexes }, "Job with failed indexes")
			spec.Message = fmt.Sprintf("Indexes of Jobs of %s %s failed as often as they may and are not tried again, so these Jobs cannot succeed.", last.Owner.Kind, last.Owner.Name)
			found = append(found, spec)
		}
		if len(podless) > 0 {
			first := slices.MinFunc(podless, func(x, y *Ailing) int {
				return cmp.Or(x.Started.Compare(y.Started.Time), strings.Compare(x.Name, y.Name))
			})
			spec := ofOwner(view, podless, first, func(one *Ailing) *v1alpha1.FindingSpec { return one.Pods }, "Job without pods")
			spec.Message = fmt.Sprintf("Jobs of %s %s have begun, and no pod of them has been made%s.", first.Owner.Kind, first.Owner.Name, first.Refused)
			found = append(found, spec)
		}
	}
	return found, nil
}

// ofOwner is what is said of one of several Jobs, said of their owner, since the first of
// them was in trouble.
func ofOwner(view *live.View, all []*Ailing, one *Ailing, said func(*Ailing) *v1alpha1.FindingSpec, relation string) v1alpha1.FindingSpec {
	spec := *said(one).DeepCopy()
	since := spec.Since
	for _, other := range all {
		if said(other).Since.Before(&since) {
			since = said(other).Since
		}
	}
	spec.Since = metav1.NewTime(view.Began(spec.Reason+" of "+string(one.Owner.UID), since.Time))
	spec.Related = []v1alpha1.RelatedObject{{Relation: relation, ObjectReference: spec.Subject}}
	spec.Subject = one.Owner
	return spec
}
