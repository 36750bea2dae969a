// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proactivesecretkeycheck

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Lack is what the template of one workload refers to and the cluster does not have.
// It is computed for each workload by itself, so that a change of a Secret costs
// those that refer to it, and a namespace looks at those of its workloads that lack
// something.
type Lack struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	Workload v1alpha1.ObjectReference
	// Instead and Edit are how its template is changed, as workloads.ManagedBy.Template says.
	Instead string
	Edit    []string
	// Needs are what its pods cannot start without, each sorted: of an object that is not
	// there the whole, and keys of those that are. Mounts are those of Needs that
	// volumes are to show.
	Needs, Mounts []references.Item
	// Pulls are the Secrets to pull images with.
	Pulls []references.Item
}

// DeepCopyObject implements runtime.Object.
func (l *Lack) DeepCopyObject() runtime.Object {
	out := *l
	out.ObjectMeta = *l.ObjectMeta.DeepCopy()
	out.Edit = slices.Clone(l.Edit)
	out.Needs, out.Mounts, out.Pulls = slices.Clone(l.Needs), slices.Clone(l.Mounts), slices.Clone(l.Pulls)
	return &out
}

const byNamespace = "namespace"

var lacks = live.NewDerived("lacks", map[string]func(*Lack) []string{
	byNamespace: func(lack *Lack) []string { return []string{lack.Namespace} },
})

// lackRules compute lacks, one for each kind of workloads.
func (a analyzer) lackRules() []live.Rule {
	var rules []live.Rule
	for _, starter := range workloads.Starters() {
		rules = append(rules, live.Rule{
			Subject: starter.Kind, Reads: []live.KindRef{inputs.Secrets.Ref(), inputs.ConfigMaps.Ref()}, Outputs: []live.KindRef{lacks.Ref()},
			Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
				w, starts := starter.Find(view, subject)
				if !starts {
					return nil, nil
				}
				lack := a.lackOf(view, w)
				if len(lack.Needs)+len(lack.Pulls) == 0 {
					return nil, nil
				}
				return []live.Output{live.Emit(lacks, lack)}, nil
			},
		})
	}
	return rules
}

func (a analyzer) lackOf(view *live.View, w workloads.Workload) *Lack {
	namespace, spec := w.Reference.Namespace, &w.Template.Spec
	// The driver makes Secrets when a pod mounts its volume, and removes them after the last one.
	lacking := func(items []references.Item) []references.Item { return lacking(view, items, mountsStore(spec)) }
	instead, edit := a.managed.Template(w)
	return &Lack{
		Instead: instead, Edit: edit,
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: strings.ToLower(w.Reference.Kind) + "." + w.Reference.Name},
		Workload:   w.Reference,
		Needs:      lacking(references.Required(namespace, spec)),
		Mounts:     lacking(references.Mounted(namespace, spec)),
		Pulls:      lacking(pullSecrets(namespace, spec)),
	}
}

// mountsStore tells whether pods of a template mount what a secret store has.
func mountsStore(spec *corev1.PodSpec) bool {
	return slices.ContainsFunc(spec.Volumes, func(v corev1.Volume) bool { return v.CSI != nil && v.CSI.Driver == inputs.SecretsStore })
}

// lacking returns those of some items that are not there, sorted: of an object that
// is not, the whole. Secrets that may come with the pod are not missed, keys of those
// that are there are.
func lacking(view *live.View, items []references.Item, withPod bool) []references.Item {
	var found []references.Item
	for _, item := range items {
		state := references.Look(view, item)
		if !state.Lacks(item) || withPod && !state.Exists && item.Kind == references.Secret {
			continue
		}
		if !state.Exists {
			item = item.Whole()
		}
		found = append(found, item)
	}
	slices.SortFunc(found, references.Compare)
	return slices.Compact(found)
}
