// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package proactivesecretkeycheck finds what templates of workloads refer to and
// the cluster does not have, before the restart that would fail.
package proactivesecretkeycheck

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
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "ProactiveSecretKeyCheck"
	// ReferencedKeyMissing means that templates take a key that a Secret or a ConfigMap does not have.
	ReferencedKeyMissing = "ReferencedKeyMissing"
	// ReferencedObjectMissing means that templates take something of a Secret or a ConfigMap that is not there.
	ReferencedObjectMissing = "ReferencedObjectMissing"
	// PullSecretMissing means that templates name a Secret to pull images with that is not there.
	PullSecretMissing = "PullSecretMissing"

	// standardGrace lets what is applied together arrive in any order.
	standardGrace = 5 * time.Minute
)

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
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: ReferencedKeyMissing, Severities: warning, Summary: "Templates take a key that a Secret or a ConfigMap does not have."},
			{Name: ReferencedObjectMissing, Severities: warning, Summary: "Templates take something of a Secret or a ConfigMap that is not there."},
			{
				Name: PullSecretMissing, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo, v1alpha1.SeverityWarning},
				Summary: "Templates name a Secret to pull images with that is not there.",
			},
		},
		Derivations: a.lackRules(),
		Rules: []analyzers.Rule{{
			Subject: inputs.Namespaces.Ref(), Analyze: a.namespace,
			Reads: slices.Concat([]live.KindRef{lacks.Ref()}, workloads.OwnerReads(), references.Reads()),
		}},
	}, nil
}

func (a analyzer) namespace(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	if namespace, exists := inputs.Namespaces.Get(view, subject); !exists || namespace.DeletionTimestamp != nil {
		return nil, nil
	}
	lacking := lacks.ByIndex(view, byNamespace, subject.Name)
	if len(lacking) == 0 {
		return nil, nil
	}
	required, pulling := map[references.Item][]*Lack{}, map[references.Item][]*Lack{}
	for _, lack := range lacking {
		for _, item := range lack.Needs {
			required[item] = append(required[item], lack)
		}
		for _, item := range lack.Pulls {
			pulling[item] = append(pulling[item], lack)
		}
	}
	known := troubles(view, subject.Name)
	var findings []v1alpha1.FindingSpec
	for _, item := range slices.SortedFunc(maps.Keys(required), references.Compare) {
		since, over := a.over(view, "needs", item)
		needs := slices.DeleteFunc(required[item], func(lack *Lack) bool { return known.tells(lack, item) })
		if over && len(needs) > 0 {
			findings = append(findings, needed(view, item, needs, since))
		}
	}
	for _, item := range slices.SortedFunc(maps.Keys(pulling), references.Compare) {
		if since, over := a.over(view, "pulls with", item); over {
			findings = append(findings, pulls(view, item, pulling[item], known.pulling[item.Name], since))
		}
	}
	return findings, nil
}

func workloadsOf(lacking []*Lack) []workloads.Workload {
	var all []workloads.Workload
	for _, lack := range lacking {
		all = append(all, workloads.Workload{Reference: lack.Workload})
	}
	return all
}

// over tells since when an item is lacked, and whether the grace is over.
func (a analyzer) over(view *live.View, how string, item references.Item) (time.Time, bool) {
	since := view.FirstObserved(strings.Join([]string{how, item.Kind, item.Name, item.Key}, " "))
	return since, analyzers.Past(view, since.Add(a.grace))
}

func needed(view *live.View, item references.Item, lacking []*Lack, since time.Time) v1alpha1.FindingSpec {
	needs := workloadsOf(lacking)
	around := references.Surround(view, item, references.Look(view, item))
	spec := v1alpha1.FindingSpec{
		Reason: ReferencedKeyMissing, Severity: v1alpha1.SeverityWarning, Discriminator: item.Key, Since: metav1.NewTime(since),
		Subject: item.Reference(around.State.UID), Remediation: around.Remedy(needs[0].Argument(), lacking[0].Instead, lacking[0].Edit),
		Message: around.Sentences(fmt.Sprintf("There is no %s, which %s cannot start new pods without: the next restart fails.", item, workloads.NamesOf(needs))),
		Related: relate(around.Origin.Related, "needs it", needs),
	}
	if item.Key == "" {
		spec.Reason = ReferencedObjectMissing
	}
	spec.Remediation.Text += " If it can do without, mark the reference as optional."
	return spec
}

func relate(related []v1alpha1.RelatedObject, relation string, needs []workloads.Workload) []v1alpha1.RelatedObject {
	for _, w := range needs {
		related = append(related, v1alpha1.RelatedObject{Relation: relation, ObjectReference: w.Reference})
	}
	return related
}

// pulls is about a Secret to pull images with. The kubelet tries without one, so that
// it is missed only where an image is not there for everybody: it is a Warning while
// pods that have it wait for an image.
func pulls(view *live.View, item references.Item, lacking []*Lack, waits bool, since time.Time) v1alpha1.FindingSpec {
	needs := workloadsOf(lacking)
	around := references.Surround(view, item, references.Look(view, item))
	spec := v1alpha1.FindingSpec{
		Reason: PullSecretMissing, Severity: v1alpha1.SeverityInfo, Discriminator: "pull", Since: metav1.NewTime(since),
		Subject: item.Reference(""), Related: relate(around.Origin.Related, "pulls images with it", needs),
		Message: around.Sentences(fmt.Sprintf("%s names %s to pull images with, which is not there. The kubelet pulls without it: that does no harm to images that everybody may pull, and fails for others.",
			workloads.NamesOf(needs), item)),
	}
	if waits {
		spec.Severity = v1alpha1.SeverityWarning
	}
	spec.Remediation = around.Remedy(needs[0].Argument(), lacking[0].Instead, lacking[0].Edit)
	spec.Remediation.Text = "Make the Secret, or take its name out of imagePullSecrets if the images need none." + lacking[0].Instead
	return spec
}

func pullSecrets(namespace string, spec *corev1.PodSpec) []references.Item {
	var items []references.Item
	for _, ref := range spec.ImagePullSecrets {
		if ref.Name != "" {
			items = append(items, references.Item{Kind: references.Secret, Namespace: namespace, Name: ref.Name})
		}
	}
	return items
}

// trouble is what the pods of a namespace wait for already.
type trouble struct {
	// waiting are the items, which SecretKeyMissing finds.
	waiting map[references.Item]bool
	// mounting are the workloads with pods that wait for a volume. Where something is
	// missing that one is to show, they wait for that, and FailedMounts finds it.
	mounting map[v1alpha1.ObjectReference]bool
	// pulling are the names of Secrets that pods have which wait for an image.
	pulling map[string]bool
}

// tells tells whether others find already that pods of a workload wait for an item.
func (t trouble) tells(lack *Lack, item references.Item) bool {
	return t.waiting[item] || t.waiting[item.Whole()] || t.mounting[lack.Workload] && slices.Contains(lack.Mounts, item)
}

func troubles(view *live.View, namespace string) trouble {
	t := trouble{waiting: map[references.Item]bool{}, mounting: map[v1alpha1.ObjectReference]bool{}, pulling: map[string]bool{}}
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByTroubledNamespace, namespace) {
		for _, wait := range references.Waits(pod) {
			if wait.Missing.Name != "" {
				t.waiting[wait.Missing] = true
			}
		}
		if _, waits := workloads.WaitsForVolumes(pod); waits {
			t.mounting[workloads.Owner(view, pod).Reference] = true
		}
		if pod.DeletionTimestamp == nil && waitsForImage(pod) {
			for _, ref := range pod.Spec.ImagePullSecrets {
				t.pulling[ref.Name] = true
			}
		}
	}
	return t
}

// waitsForImage tells whether a container waits for its image (k8s.io/kubernetes,
// pkg/kubelet/images).
func waitsForImage(pod *corev1.Pod) bool {
	return slices.ContainsFunc(slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses), func(s corev1.ContainerStatus) bool {
		return s.State.Waiting != nil && (s.State.Waiting.Reason == "ErrImagePull" || s.State.Waiting.Reason == "ImagePullBackOff")
	})
}
