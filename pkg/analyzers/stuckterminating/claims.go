// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// protection is what keeps a claim for as long as a pod that was placed on a node
// uses it (k8s.io/kubernetes, pkg/controller/volume/pvcprotection).
const protection = "kubernetes.io/pvc-protection"

// claim tells what keeps a PersistentVolumeClaim. That pods do is as it should be,
// but whoever looks after them should know that they cannot start again.
func (a analyzer) claim(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	claim, exists := inputs.PersistentVolumeClaims.Get(view, subject)
	if !exists || len(claim.Finalizers) == 0 || !a.past(view, claim) {
		return nil, nil
	}
	finding := v1alpha1.FindingSpec{
		Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: claim.Namespace, Name: claim.Name, UID: claim.UID},
		Since:   *claim.DeletionTimestamp,
	}
	describe := fmt.Sprintf("kubectl describe persistentvolumeclaim %s -n %s", claim.Name, claim.Namespace)
	if slices.Contains(claim.Finalizers, protection) {
		if ephemeral(view, claim) {
			return nil, nil
		}
		if pods := users(view, claim); len(pods) > 0 {
			return []v1alpha1.FindingSpec{inUse(finding, pods, describe)}, nil
		}
	}
	finding.Reason, finding.Severity = ClaimStuck, v1alpha1.SeverityWarning
	finding.Message = fmt.Sprintf("PersistentVolumeClaim %s is being deleted and does not go: it waits for %s, and no pod uses it.", claim.Name, waitsFor(claim.Finalizers))
	finding.Remediation = v1alpha1.Remediation{
		Text: "A finalizer is a piece of work that somebody has promised to do first. " + whose(claim.Finalizers) + " See why that does not run or does not get on, and mend it: the finalizer then goes by itself.",
		Commands: []string{
			describe, fmt.Sprintf("kubectl get persistentvolumeclaim %s -n %s -o jsonpath='{.metadata.finalizers}'", claim.Name, claim.Namespace),
		},
	}
	return []v1alpha1.FindingSpec{finding}, nil
}

// inUse is the finding about a claim that pods use.
func inUse(finding v1alpha1.FindingSpec, pods []*corev1.Pod, describe string) v1alpha1.FindingSpec {
	var names []string
	for _, pod := range pods {
		names = append(names, pod.Name)
		finding.Related = append(finding.Related, v1alpha1.RelatedObject{Relation: "pod that uses it", ObjectReference: workloads.PodReference(pod)})
	}
	finding.Reason, finding.Severity = ClaimInUse, v1alpha1.SeverityInfo
	finding.Message = fmt.Sprintf("PersistentVolumeClaim %s is being deleted, and waits for its users: %s. It goes as soon as they do, and no other pod can start with it.", finding.Subject.Name, said(names))
	finding.Remediation = v1alpha1.Remediation{
		Text: "If that is wanted, end the pods. If not, save the data before anything restarts them: a deletion cannot be taken back, and with the reclaim policy Delete the volume goes too.",
		Commands: []string{
			describe, fmt.Sprintf("kubectl get pod %s -n %s -o wide", names[0], finding.Subject.Namespace), "kubectl get persistentvolumes",
		},
	}
	return finding
}

// users are the pods that use a claim and have been placed on a node.
func users(view *live.View, claim *metav1.PartialObjectMetadata) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, pod := range inputs.Pods.ByIndex(view, inputs.ByClaim, claim.Namespace+"/"+claim.Name) {
		if pod.Spec.NodeName != "" {
			pods = append(pods, pod)
		}
	}
	return pods
}

// ephemeral tells whether a claim is a pod's own (a generic ephemeral volume): it
// goes when the pod has gone.
func ephemeral(view *live.View, claim *metav1.PartialObjectMetadata) bool {
	owner := metav1.GetControllerOfNoCopy(claim)
	if owner == nil || owner.Kind != "Pod" {
		return false
	}
	pod, exists := inputs.Pods.Get(view, live.Key{Namespace: claim.Namespace, Name: owner.Name})
	return exists && pod.UID == owner.UID
}
