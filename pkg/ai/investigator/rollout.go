// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"context"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/ai/redaction"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// revision is the annotation in which the Deployment controller counts
	// (k8s.io/kubernetes, pkg/controller/deployment/util).
	revision = "deployment.kubernetes.io/revision"
	// recent is how long before its trouble a rollout may have begun to be blamed for it.
	recent = time.Hour
)

// listing reads the objects of a namespace with a label.
func (q *inquiry) listing(list client.ObjectList, namespace, label, value string) func(context.Context) error {
	return func(ctx context.Context) error {
		return q.Reader.List(ctx, list, client.InNamespace(namespace), client.MatchingLabels{label: value}, client.Limit(mostListed))
	}
}

// rollout tells what the rollout changed that a pod in trouble came with, or nothing
// if it did not come with one shortly before the trouble.
func (q *inquiry) rollout(pod *corev1.Pod, container string) string {
	owner := metav1.GetControllerOf(pod)
	if owner == nil || owner.Kind != "ReplicaSet" {
		return ""
	}
	current := &appsv1.ReplicaSet{}
	ref := v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: pod.Namespace, Name: owner.Name, UID: owner.UID}
	if q.object(ref, current) != present {
		return ""
	}
	deployment := metav1.GetControllerOf(current)
	if deployment == nil || deployment.Kind != "Deployment" {
		return ""
	}
	began, since := current.CreationTimestamp.Time, q.finding.Spec.Since.Time
	if since.Before(began.Add(-time.Minute)) || since.Sub(began) > recent {
		return ""
	}
	all := &appsv1.ReplicaSetList{}
	what := "ReplicaSets of Deployment/" + deployment.Name
	err := q.read(what, func(ctx context.Context) error {
		return q.Reader.List(ctx, all, client.InNamespace(pod.Namespace), client.Limit(mostListed))
	})
	if err != nil {
		q.failed(opsv1alpha1.ToolObject, what, err)
		return ""
	}
	var before *appsv1.ReplicaSet
	for i := range all.Items {
		if is := &all.Items[i]; is.UID != current.UID && ownedBy(is, deployment) && number(is) < number(current) && (before == nil || number(is) > number(before)) {
			before = is
		}
	}
	if before == nil {
		return ""
	}
	changed := changes(&before.Spec.Template.Spec, &current.Spec.Template.Spec, container)
	if len(changed) == 0 {
		return ""
	}
	text := fmt.Sprintf("It came with revision %d of Deployment %s, which changed %s", number(current), deployment.Name, strings.Join(changed, ", "))
	q.note(opsv1alpha1.ToolObject, what, text)
	return text
}

func ownedBy(object metav1.Object, owner *metav1.OwnerReference) bool {
	by := metav1.GetControllerOf(object)
	return by != nil && by.UID == owner.UID
}

func number(set *appsv1.ReplicaSet) int64 {
	n, err := strconv.ParseInt(set.Annotations[revision], 10, 64)
	if err != nil {
		return 0
	}
	return n
}

// changes names what differs between two templates in a container. Of environment
// variables it tells names only.
func changes(before, after *corev1.PodSpec, container string) []string {
	of := func(spec *corev1.PodSpec) *corev1.Container {
		for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
			for i := range list {
				if list[i].Name == container {
					return &list[i]
				}
			}
		}
		return nil
	}
	was, is := of(before), of(after)
	switch {
	case is == nil:
		return nil
	case was == nil:
		return []string{"container " + container + ", which is new"}
	}
	var changed []string
	if was.Image != is.Image {
		changed = append(changed, fmt.Sprintf("its image from %s to %s", was.Image, is.Image))
	}
	if !slices.Equal(was.Command, is.Command) || !slices.Equal(was.Args, is.Args) {
		changed = append(changed, "its command")
	}
	variables := map[string]bool{}
	for _, pair := range [][2][]corev1.EnvVar{{was.Env, is.Env}, {is.Env, was.Env}} {
		for _, variable := range pair[0] {
			if !slices.ContainsFunc(pair[1], func(other corev1.EnvVar) bool { return reflect.DeepEqual(other, variable) }) {
				variables[variable.Name] = true
			}
		}
	}
	if names := slices.Sorted(maps.Keys(variables)); len(names) > 0 {
		const most = 3
		text := "its environment variables " + strings.Join(names[:min(len(names), most)], ", ")
		if len(names) > most {
			text += " and others"
		}
		changed = append(changed, text)
	}
	if !reflect.DeepEqual(was.Resources, is.Resources) {
		changed = append(changed, "its resources")
	}
	if !reflect.DeepEqual(was.LivenessProbe, is.LivenessProbe) || !reflect.DeepEqual(was.StartupProbe, is.StartupProbe) {
		changed = append(changed, "its probes")
	}
	return changed
}

// replicaFailure goes by what the Deployment controller says of pods that it cannot make.
func (q *inquiry) replicaFailure(ref v1alpha1.ObjectReference) verdict {
	deployment := &appsv1.Deployment{}
	if q.object(ref, deployment) != present {
		return verdict{}
	}
	for _, condition := range deployment.Status.Conditions {
		if condition.Type != appsv1.DeploymentReplicaFailure || condition.Status != corev1.ConditionTrue {
			continue
		}
		said := redaction.Mask(condition.Message)
		q.note(opsv1alpha1.ToolObject, name(ref)+" condition ReplicaFailure", said)
		return verdict{signIn(said, "PodsNotCreated"), fmt.Sprintf("Deployment %s cannot make its pods: %s", deployment.Name, sentence(said))}
	}
	return verdict{}
}
