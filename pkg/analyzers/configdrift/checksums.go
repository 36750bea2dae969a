// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package configdrift

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// differing finds a workload whose pods were made with different configurations,
// while nothing replaces those that are behind. Its template says that a checksum
// tells of the configuration.
func (a analyzer) differing(view *live.View, w workloads.Workload) []v1alpha1.FindingSpec {
	if !w.Settled {
		return nil
	}
	pods, differ := behind(view, w)
	if !differ {
		return nil
	}
	since := view.FirstObserved(ChecksumsDiffer)
	if end := since.Add(a.grace); view.Now().Before(end) {
		view.RecheckAt(end)
		return nil
	}
	spec := v1alpha1.FindingSpec{
		Reason: ChecksumsDiffer, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Since: metav1.NewTime(since),
		Message: fmt.Sprintf("Pods of %s were made with different configurations, by their annotation %s, and no rollout replaces those that are behind.", w, list(checksums(w))),
		Remediation: v1alpha1.Remediation{
			Text:     "Restart the workload. With the update strategy OnDelete, delete the pods that are behind, one after the other.",
			Commands: []string{w.Restart()},
		},
	}
	for _, pod := range pods {
		spec.Related = append(spec.Related, v1alpha1.RelatedObject{Relation: "is behind", ObjectReference: workloads.PodReference(pod)})
		spec.Remediation.Commands = append(spec.Remediation.Commands, fmt.Sprintf("kubectl delete pod %s -n %s", pod.Name, pod.Namespace))
	}
	return []v1alpha1.FindingSpec{spec}
}

// behind returns the pods that run whose checksums are not those of the template, and
// whether those of pods differ.
func behind(view *live.View, w workloads.Workload) (behind []*corev1.Pod, differ bool) {
	names := checksums(w)
	if len(names) == 0 {
		return nil, false
	}
	values := map[string]bool{}
	for _, pod := range w.Pods(view) {
		if pod.DeletionTimestamp != nil || pod.Status.Phase != corev1.PodRunning {
			continue
		}
		values[valuesOf(pod.Annotations, names)] = true
		if valuesOf(pod.Annotations, names) != valuesOf(w.Template.Annotations, names) {
			behind = append(behind, pod)
		}
	}
	return behind, len(values) > 1
}

// checksums are the annotations of a workload's template that tell of a configuration.
func checksums(w workloads.Workload) []string {
	return slices.DeleteFunc(slices.Sorted(maps.Keys(w.Template.Annotations)), func(name string) bool { return !checksum(name) })
}

// checksum tells whether an annotation tells of a configuration, as charts and
// operators have it: checksum/config, or example.com/config-hash.
func checksum(annotation string) bool {
	return strings.HasPrefix(annotation, "checksum/") || strings.HasSuffix(annotation, "config-hash")
}

func valuesOf(annotations map[string]string, names []string) string {
	var values []string
	for _, name := range names {
		values = append(values, annotations[name])
	}
	return strings.Join(values, "\x00")
}
