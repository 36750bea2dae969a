// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// managedByLabel marks by its value, where that is one of GitOpsManagers.
const managedByLabel = "app.kubernetes.io/managed-by"

// GitOpsMarkers are the built-in annotations and labels whose presence with a
// value marks an object as managed. (app.kubernetes.io/instance alone marks
// nothing: nearly every chart sets it.)
func GitOpsMarkers() config.GitOpsMarkers {
	return config.GitOpsMarkers{
		Annotations: []string{
			"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance",
			"meta.helm.sh/release-name",
			"kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace",
			"helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace",
		},
		Labels: []string{
			"argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name",
		},
	}
}

// GitOpsManagers are the values of app.kubernetes.io/managed-by that mark an
// object, in whatever case.
func GitOpsManagers() []string {
	return []string{"helm", "argocd", "argo-cd", "flux", "fluxcd"}
}

// ManagedBy returns the marker, as "label kustomize.toolkit.fluxcd.io/name=apps",
// that shows an object to be managed from a source elsewhere; empty if there is
// none. A nil configuration adds no markers.
func ManagedBy(labels, annotations map[string]string, cfg *config.PolicyConfiguration) string {
	markers := GitOpsMarkers()
	if cfg != nil {
		markers.Annotations = append(markers.Annotations, cfg.GitOpsMarkers.Annotations...)
		markers.Labels = append(markers.Labels, cfg.GitOpsMarkers.Labels...)
	}
	for _, key := range markers.Annotations {
		if value := annotations[key]; value != "" {
			return fmt.Sprintf("annotation %s=%s", key, value)
		}
	}
	for _, key := range markers.Labels {
		if value := labels[key]; value != "" {
			return fmt.Sprintf("label %s=%s", key, value)
		}
	}
	if value := labels[managedByLabel]; slices.Contains(GitOpsManagers(), strings.ToLower(value)) {
		return fmt.Sprintf("label %s=%s", managedByLabel, value)
	}
	return ""
}

// gitOpsManaged is layer 4: what a source elsewhere manages is mended there. The
// target and its whole chain of controllers are looked at.
func gitOpsManaged(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	spec := &f.Proposal.Spec
	if spec.ActionKind == v1alpha1.ActionRunbook {
		return allowed("a runbook changes nothing by itself, and may well say what to change in a source")
	}
	if f.Target == nil {
		return denied("the target does not exist, so it cannot be told what manages it", "nothing is left to do: look at the findings again")
	}
	target, err := meta.Accessor(f.Target)
	if err != nil {
		return denied(fmt.Sprintf("the target's metadata cannot be read: %v", err), "report this to whoever runs srenix")
	}
	if problem := chainProblem(target, f.Owners); problem != "" {
		return denied(problem, "try again: the controllers may be changing")
	}
	if marker := ManagedBy(target.GetLabels(), target.GetAnnotations(), f.Config); marker != "" {
		return managed(spec.Target.Kind, target.GetName(), marker)
	}
	for i := range f.Owners {
		owner := &f.Owners[i]
		if marker := ManagedBy(owner.Labels, owner.Annotations, f.Config); marker != "" {
			return managed(owner.Kind, owner.Name, marker)
		}
	}
	return allowed("neither the target nor a controller of it is managed from a source elsewhere")
}

func managed(kind, name, marker string) v1alpha1.Verdict {
	return denied(fmt.Sprintf("%s %s is managed from a source elsewhere (%s)", kind, name, marker), "make the change in its source: here it would be reverted, or lost")
}

// chainProblem tells where the chain of controllers is not the one that the
// owner references say: a missing link would hide a marker.
func chainProblem(target metav1.Object, owners []Owner) string {
	controller := metav1.GetControllerOf(target)
	for i := range owners {
		if controller == nil {
			return fmt.Sprintf("%s %s was read as a controller and is none", owners[i].Kind, owners[i].Name)
		}
		if owners[i].UID != controller.UID {
			return fmt.Sprintf("controller %s %s was not read", controller.Kind, controller.Name)
		}
		controller = metav1.GetControllerOf(&owners[i])
	}
	if controller != nil {
		return fmt.Sprintf("controller %s %s was not read", controller.Kind, controller.Name)
	}
	return ""
}
