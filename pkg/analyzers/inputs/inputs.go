// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inputs declares what analyzers and proposals read from the cluster,
// each kind once, trimmed to the fields that somebody reads.
package inputs

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/live"
)

// ByController finds objects by the UID of their controller.
const ByController = "controller"

func byController[T live.Object]() map[string]func(T) []string {
	return map[string]func(T) []string{ByController: controller[T]}
}

func controller[T live.Object](object T) []string {
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil {
		return []string{string(controller.UID)}
	}
	return nil
}

// Controls returns the index value under which what an object controls is found.
func Controls(uid types.UID) string { return string(uid) }

// Changed returns when an object was last changed: the newest entry of its
// managedFields that is not of a subresource, else its creation.
func Changed(object metav1.Object) metav1.Time {
	newest := object.GetCreationTimestamp()
	for _, entry := range object.GetManagedFields() {
		if entry.Subresource == "" && entry.Time != nil && entry.Time.After(newest.Time) {
			newest = *entry.Time
		}
	}
	return newest
}

// lastApplied repeats a whole object and may hold anything.
const lastApplied = "kubectl.kubernetes.io/last-applied-configuration"

func trimMeta(meta *metav1.ObjectMeta) {
	meta.ManagedFields = nil
	delete(meta.Annotations, lastApplied)
}

// keepChange trims all of managedFields but the time of the last change.
func keepChange(meta *metav1.ObjectMeta) {
	changed := Changed(meta)
	trimMeta(meta)
	if changed.After(meta.CreationTimestamp.Time) {
		meta.ManagedFields = []metav1.ManagedFieldsEntry{{Time: &changed}}
	}
}

func trimMetadata(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	trimMeta(&in.ObjectMeta)
	return in
}
