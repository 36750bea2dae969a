// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	defect     = "this is a defect of the proposal: report it"
	unreadable = "the API server and this release of srenix disagree about the type: report it to whoever runs srenix"
)

// targetScope is layer 2: each action kind fits one kind of object and one
// grammar of payload, and the target is the very object that was proposed.
func targetScope(f *facts) v1alpha1.Verdict {
	if f.actsOnNothing() {
		return noAction()
	}
	spec := &f.Proposal.Spec
	if spec.ActionKind == v1alpha1.ActionRunbook {
		if spec.Patch != nil {
			return denied("a runbook changes nothing, and this one carries a patch", defect)
		}
		if spec.Runbook == nil || spec.Runbook.Digest == "" {
			return denied("it is not said which text is released", defect)
		}
		return allowed("a runbook changes nothing by itself")
	}
	if problem := referenceProblem(f.Proposal.Namespace, spec); problem != "" {
		return denied(problem, defect)
	}
	if problem := payloadProblem(spec); problem != "" {
		return denied(problem, defect)
	}
	if f.Target == nil {
		return denied(fmt.Sprintf("%s %s/%s does not exist any more", spec.Target.Kind, spec.Target.Namespace, spec.Target.Name), "nothing is left to do: look at the findings again")
	}
	if problem := identityProblem(f.Target, spec); problem != "" {
		return denied(problem, "look at the proposals again: the present object may have one of its own")
	}
	return f.targetState()
}

// referenceProblem checks how the proposal names its target.
func referenceProblem(namespace string, spec *v1alpha1.ProposalSpec) string {
	gvk, ok := TargetGVK(spec.ActionKind)
	target := &spec.Target
	switch apiVersion, kind := gvk.ToAPIVersionAndKind(); {
	case !ok:
		return fmt.Sprintf("no kind of object fits %q", spec.ActionKind)
	case target.APIVersion != apiVersion || target.Kind != kind:
		return fmt.Sprintf("%s is for %s %s, and the target is %s %s", spec.ActionKind, apiVersion, kind, target.APIVersion, target.Kind)
	case target.Name == "" || target.UID == "":
		return "the target has no name or no UID"
	case target.Namespace == "" || target.Namespace != namespace:
		return fmt.Sprintf("the target is in namespace %q, and the proposal in %q", target.Namespace, namespace)
	}
	return ""
}

// payloadProblem checks the patch as it is written.
func payloadProblem(spec *v1alpha1.ProposalSpec) string {
	switch patch := spec.Patch; {
	case spec.Runbook != nil:
		return fmt.Sprintf("%s releases no runbook", spec.ActionKind)
	case !Patches(spec.ActionKind):
		if patch != nil {
			return fmt.Sprintf("%s takes no patch", spec.ActionKind)
		}
	case patch == nil:
		return fmt.Sprintf("%s needs a patch", spec.ActionKind)
	case spec.ActionKind == v1alpha1.ActionPatchDeploymentAnnotation:
		if patch.SetAnnotation == nil || len(patch.JSONPatch) > 0 {
			return "the patch must set one annotation and nothing else"
		}
		if patch.SetAnnotation.Name != RestartedAtAnnotation {
			return fmt.Sprintf("the patch sets annotation %q, and only %s may be set", patch.SetAnnotation.Name, RestartedAtAnnotation)
		}
	default:
		if patch.SetAnnotation != nil {
			return "the patch must be a JSON patch and nothing else"
		}
		if _, err := parseTLSPatch(patch.JSONPatch); err != nil {
			return err.Error()
		}
	}
	return ""
}

// identityProblem checks that an object is the one that the proposal names.
func identityProblem(object runtime.Object, spec *v1alpha1.ProposalSpec) string {
	if !hasType(object, spec.ActionKind) {
		return fmt.Sprintf("a %T was read for a %s", object, spec.Target.Kind)
	}
	is, err := meta.Accessor(object)
	if err != nil {
		return fmt.Sprintf("the target's metadata cannot be read: %v", err)
	}
	if is.GetNamespace() != spec.Target.Namespace || is.GetName() != spec.Target.Name {
		return fmt.Sprintf("another object was read: %s/%s", is.GetNamespace(), is.GetName())
	}
	if is.GetUID() != spec.Target.UID {
		return fmt.Sprintf("%s %s/%s is another object of the same name: its UID is %s, and the proposal is for %s",
			spec.Target.Kind, spec.Target.Namespace, spec.Target.Name, is.GetUID(), spec.Target.UID)
	}
	// To delete it again could cut short the time that whoever deleted it gave it.
	if is.GetDeletionTimestamp() != nil {
		return fmt.Sprintf("%s %s/%s is being deleted already", spec.Target.Kind, spec.Target.Namespace, spec.Target.Name)
	}
	return ""
}

func hasType(object runtime.Object, kind v1alpha1.ActionKind) bool {
	if whole, is := object.(*unstructured.Unstructured); is {
		gvk, known := TargetGVK(kind)
		return known && whole.GroupVersionKind() == gvk
	}
	var ok bool
	switch kind {
	case v1alpha1.ActionDeletePod:
		_, ok = object.(*corev1.Pod)
	case v1alpha1.ActionPatchDeploymentAnnotation:
		_, ok = object.(*appsv1.Deployment)
	case v1alpha1.ActionDeleteJob:
		_, ok = object.(*batchv1.Job)
	case v1alpha1.ActionPatchIngressTLS:
		_, ok = object.(*networkingv1.Ingress)
	}
	return ok
}

// targetState checks what the action would meet, and at execution what the API
// server says that it would do.
func (f *facts) targetState() v1alpha1.Verdict {
	spec := &f.Proposal.Spec
	switch spec.ActionKind {
	case v1alpha1.ActionPatchDeploymentAnnotation:
		target, err := decoded[appsv1.Deployment](f.Target)
		if err != nil {
			return denied(err.Error(), unreadable)
		}
		if target.Spec.Paused {
			return denied(fmt.Sprintf("Deployment %s/%s is paused", target.Namespace, target.Name), fmt.Sprintf("resume it: kubectl rollout resume deployment/%s -n %s", target.Name, target.Namespace))
		}
	case v1alpha1.ActionPatchIngressTLS:
		target, err := decoded[networkingv1.Ingress](f.Target)
		if err != nil {
			return denied(err.Error(), unreadable)
		}
		if verdict, ok := tlsVerdict(target, spec, f.Certificates); !ok {
			return verdict
		}
	}
	if f.Stage == StageExecution && Patches(spec.ActionKind) {
		if f.DryRun == nil {
			return denied("no dry run shows what the API server would store", "see why it was refused, or try again")
		}
		if problem := f.dryRunProblem(); problem != "" {
			return denied("the dry run shows more than was approved: "+problem, "look for an admission webhook that changes the object, or try again if it was being changed")
		}
	}
	return allowed(fmt.Sprintf("%s %s/%s is in scope", spec.Target.Kind, spec.Target.Namespace, spec.Target.Name))
}

// decoded is an object as this type: as it was handed in, or made of a whole one.
func decoded[T any](object runtime.Object) (*T, error) {
	if typed, is := any(object).(*T); is {
		return typed, nil
	}
	whole, is := object.(*unstructured.Unstructured)
	typed := new(T)
	if !is {
		return nil, fmt.Errorf("a %T was read for a %T", object, typed)
	}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(whole.Object, typed); err != nil {
		return nil, fmt.Errorf("reading %s %s/%s as a %T: %w", whole.GetKind(), whole.GetNamespace(), whole.GetName(), typed, err)
	}
	return typed, nil
}
