// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package secretkeymissing finds containers that cannot be made, because a key, a
// Secret or a ConfigMap is not there. What the kubelet says decides; what else is
// known of the object only adds to it.
package secretkeymissing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "SecretKeyMissing"
	// KeyMissing means that containers wait for a key of a Secret or a ConfigMap.
	KeyMissing = "KeyMissing"
	// ObjectMissing means that containers wait for a Secret or a ConfigMap.
	ObjectMissing = "ObjectMissing"
	// ContainerConfigError means that a container cannot be made for another reason.
	ContainerConfigError = "ContainerConfigError"

	// standardGrace lets what is applied together arrive in any order, and the
	// kubelet try once more.
	standardGrace = 30 * time.Second
)

// HangsOn are the parts of the template that each reason can come from.
var HangsOn = map[string][]inputs.TemplatePart{
	KeyMissing:           {inputs.PartConfiguration},
	ObjectMissing:        {inputs.PartConfiguration},
	ContainerConfigError: {inputs.PartImage, inputs.PartConfiguration, inputs.PartSecurity},
}

type analyzer struct {
	grace   time.Duration
	managed workloads.ManagedBy
}

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), managed: settings.ManagedBy}
	critical := []v1alpha1.Severity{v1alpha1.SeverityCritical}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: KeyMissing, Severities: critical, Summary: "Containers cannot be made, because a key of a Secret or a ConfigMap is not there."},
			{Name: ObjectMissing, Severities: critical, Summary: "Containers cannot be made, because a Secret or a ConfigMap is not there."},
			{Name: ContainerConfigError, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A container cannot be made as its template says, for another reason."},
		},
		Rules: []analyzers.Rule{{
			Subject: inputs.Namespaces.Ref(), Reads: slices.Concat(workloads.OwnerReads(), references.Reads(), []live.KindRef{inputs.Nodes.Ref(), inputs.ControllerRevisions.Ref()}), Analyze: a.namespace,
		}},
	}, nil
}

// trouble is what some workloads wait for: an item, or, if that is empty, what the
// kubelet says of one container of one workload.
type trouble struct {
	item  references.Item
	needs []workloads.Workload
	// pods are those that wait.
	pods []*corev1.Pod
	// since is when the first of them was seen to wait. No object tells: Ready turned when
	// the pod came to its node, which init containers and images may keep for long.
	since time.Time
	// said is the kubelet's message, and container of which one.
	said, container string
}

func (a analyzer) namespace(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	if namespace, exists := inputs.Namespaces.Get(view, subject); !exists || namespace.DeletionTimestamp != nil {
		return nil, nil
	}
	var findings []v1alpha1.FindingSpec
	for _, t := range troubles(view, subject.Name) {
		if !analyzers.Past(view, t.since.Add(a.grace)) {
			continue
		}
		if t.item.Kind == "" {
			findings = append(findings, unexplained(view, t))
		} else {
			findings = append(findings, a.missing(view, t))
		}
	}
	return findings, nil
}

// troubles are what the pods of a namespace wait for, in an order that is the same
// for all who look.
func troubles(view *live.View, namespace string) []trouble {
	found := map[string]*trouble{}
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByTroubledNamespace, namespace) {
		waits := references.Waits(pod)
		if len(waits) == 0 {
			continue
		}
		w := workloads.Owner(view, pod)
		for _, wait := range waits {
			item := wait.Missing
			if w.Template != nil {
				item = references.Resolve(item, references.Required(namespace, &w.Template.Spec))
			}
			if item.Name == "" {
				item = references.Item{}
			}
			id := strings.Join([]string{item.Kind, item.Name, item.Key}, "/")
			if item.Kind == "" {
				id = strings.Join([]string{"", w.Argument(), wait.Container}, "/")
			}
			t := found[id]
			if t == nil {
				t = &trouble{item: item, since: view.FirstObserved(id), said: said(wait.Message), container: wait.Container}
				found[id] = t
			}
			t.said = min(t.said, said(wait.Message))
			if !slices.Contains(t.pods, pod) {
				t.pods = append(t.pods, pod)
			}
			if !slices.ContainsFunc(t.needs, func(other workloads.Workload) bool { return other.Reference == w.Reference }) {
				t.needs = append(t.needs, w)
			}
		}
	}
	var all []trouble
	for _, id := range slices.Sorted(maps.Keys(found)) {
		t := found[id]
		slices.SortFunc(t.pods, func(a, b *corev1.Pod) int { return strings.Compare(a.Name, b.Name) })
		slices.SortFunc(t.needs, func(a, b workloads.Workload) int { return strings.Compare(a.Argument(), b.Argument()) })
		all = append(all, *t)
	}
	return all
}

// said is the kubelet's message without the name of the pod, of which each replica
// has another.
func said(message string) string {
	before, _, _ := strings.Cut(message, " (pod: ")
	return inputs.Sentence(before)
}

func (a analyzer) missing(view *live.View, t trouble) v1alpha1.FindingSpec {
	// The kubelet says that it is missing, whether we may look or not.
	var state references.State
	if !view.Try(func() { state = references.Look(view, t.item) }) {
		state = references.State{}
	}
	around := references.Surround(view, t.item, state)
	message := fmt.Sprintf("Containers of %s cannot be made: there is no %s.", workloads.NamesOf(t.needs), t.item)
	switch {
	case around.State.Exists && t.item.Key == "":
		message += " There is one by now."
	case slices.Contains(around.State.Keys, t.item.Key):
		message += " It has the key by now."
		if t.item.Kind == references.ConfigMap {
			message = strings.TrimSuffix(message, ".") + ", though env takes nothing from binaryData."
		}
	}
	instead, edit := a.managed.Template(t.needs[0])
	spec := v1alpha1.FindingSpec{
		Reason: KeyMissing, Severity: v1alpha1.SeverityCritical, Discriminator: t.item.Key, Since: metav1.NewTime(t.since),
		Subject: t.item.Reference(""), Message: around.Sentences(message),
		Related: around.Origin.Related, Remediation: around.Remedy(t.needs[0].Argument(), instead, edit),
	}
	if t.item.Key == "" {
		spec.Reason = ObjectMissing
	}
	spec.Related = append(spec.Related, kept(view, t)...)
	for _, w := range t.needs {
		spec.Related = append(spec.Related, v1alpha1.RelatedObject{Relation: "waits for it", ObjectReference: w.Reference})
	}
	spec.Remediation.Text += " The kubelet tries again by itself."
	spec.Remediation = outdated.Advise(view, t.pods, HangsOn[spec.Reason], spec.Remediation)
	return spec
}

// kept are those of the pods that a StatefulSet keeps though they are of another
// revision than it would make them of now.
func kept(view *live.View, t trouble) (related []v1alpha1.RelatedObject) {
	for _, pod := range t.pods {
		if outdated.Kept(view, pod) {
			related = append(related, v1alpha1.RelatedObject{Relation: "pod of another revision that waits", ObjectReference: workloads.PodReference(pod)})
		}
	}
	return related
}

func unexplained(view *live.View, t trouble) v1alpha1.FindingSpec {
	w := t.needs[0]
	why := "The kubelet does not say why"
	if t.said != "" {
		why = "The kubelet says: " + t.said
	}
	return v1alpha1.FindingSpec{
		Reason: ContainerConfigError, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Discriminator: t.container, Related: kept(view, t),
		Message: fmt.Sprintf("Container %s of %s cannot be made. %s.", t.container, w, why),
		Remediation: outdated.Advise(view, t.pods, HangsOn[ContainerConfigError], v1alpha1.Remediation{
			Text:     "Correct what the kubelet complains of, in the template or on the node. It tries again by itself.",
			Commands: []string{"kubectl describe " + w.Argument(), "kubectl get pods -n " + w.Meta.Namespace},
		}),
		Since: metav1.NewTime(t.since),
	}
}
