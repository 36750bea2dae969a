// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedmounts

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Waiting is a workload with pods that cannot start. It is computed for each workload by
// itself, so that an event costs the workload that it is about, and a namespace looks at
// those of its workloads that wait for what is not there.
type Waiting struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Finding is what there is to say of the workload by itself; its related objects are
	// the pods that wait.
	Finding v1alpha1.FindingSpec
	// Missing is what a volume is to show that is not there; empty where the pods wait for
	// something else, or where that is not known.
	Missing references.Item
}

// DeepCopyObject implements runtime.Object.
func (w *Waiting) DeepCopyObject() runtime.Object {
	out := *w
	out.ObjectMeta = *w.ObjectMeta.DeepCopy()
	out.Finding = *w.Finding.DeepCopy()
	return &out
}

const byLackingNamespace = "lackingnamespace"

var waiting = live.NewDerived("waiting", map[string]func(*Waiting) []string{
	byLackingNamespace: func(w *Waiting) []string {
		if w.Missing.Name == "" {
			return nil
		}
		return []string{w.Namespace}
	},
})

// alone tells of a workload whose trouble is its own.
func alone(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	w, exists := waiting.Get(view, subject)
	if !exists || w.Missing.Name != "" {
		return nil, nil
	}
	return []v1alpha1.FindingSpec{*w.Finding.DeepCopy()}, nil
}

// namespace tells what is not there in a namespace that volumes of its workloads are to
// show: that is what a person would mend, whoever waits for it.
func (a analyzer) namespace(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	lacking := map[references.Item][]*Waiting{}
	for _, w := range waiting.ByIndex(view, byLackingNamespace, subject.Name) {
		lacking[w.Missing] = append(lacking[w.Missing], w)
	}
	var found []v1alpha1.FindingSpec
	for _, item := range slices.SortedFunc(maps.Keys(lacking), references.Compare) {
		all := lacking[item]
		slices.SortFunc(all, func(x, y *Waiting) int { return strings.Compare(x.Name, y.Name) })
		found = append(found, absent(view, item, all))
	}
	return found, nil
}

func absent(view *live.View, item references.Item, all []*Waiting) v1alpha1.FindingSpec {
	var needs []workloads.Workload
	var related []v1alpha1.RelatedObject
	var pods []*corev1.Pod
	since := all[0].Finding.Since
	for _, w := range all {
		needs = append(needs, workloads.Workload{Reference: w.Finding.Subject})
		if w.Finding.Since.Before(&since) {
			since = w.Finding.Since
		}
		for _, waits := range w.Finding.Related {
			pod, exists := inputs.Pods.Get(view, live.Key{Namespace: waits.Namespace, Name: waits.Name})
			if !exists || pod.UID != waits.UID {
				continue // this is about to be looked at again
			}
			pods = append(pods, pod)
			if outdated.Kept(view, pod) {
				related = append(related, v1alpha1.RelatedObject{Relation: "pod of another revision that waits", ObjectReference: waits.ObjectReference})
			}
		}
	}
	for _, w := range needs {
		related = append(related, v1alpha1.RelatedObject{Relation: "waits for it", ObjectReference: w.Reference})
	}
	message := fmt.Sprintf("Volumes of %s cannot be mounted: there is no %s.", workloads.NamesOf(needs), item)
	origin := writerOf(view, item)
	if origin.Sentence != "" {
		message += " " + strings.TrimSuffix(origin.Sentence, ".") + "."
	}
	first := all[0].Finding.Related[0]
	text, commands := missingAdvice(item.Namespace)
	commands = append([]string{fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace)}, commands...)
	return v1alpha1.FindingSpec{
		Reason: VolumeContentMissing, Severity: v1alpha1.SeverityWarning, Subject: item.Reference(""), Discriminator: item.Key,
		Message: message, Related: append(origin.Related, related...),
		Remediation: outdated.Advise(view, pods, HangsOn[VolumeContentMissing], v1alpha1.Remediation{
			Text: text, Commands: append(commands, origin.Commands...),
		}, item),
		// Of those that still wait the first may have begun later than those that are gone.
		Since: metav1.NewTime(view.Began(strings.Join([]string{item.Kind, item.Name, item.Key}, " "), since.Time)),
	}
}

// writerOf is what is known of the ExternalSecret that should write what is missing, whose
// trouble that then is; nothing where there is none, or none may be looked at.
func writerOf(view *live.View, missing references.Item) (origin references.Origin) {
	view.Try(func() {
		if writer := references.Targeting(view, missing); writer != nil {
			origin = references.OriginOf(missing, writer)
		}
	})
	return origin
}

func missingAdvice(namespace string) (text string, commands []string) {
	return "Make what is missing, or mark it optional. The kubelet tries again by itself within two minutes.",
		[]string{fmt.Sprintf("kubectl get secrets,configmaps -n %s", namespace)}
}
