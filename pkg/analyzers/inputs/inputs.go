// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package inputs declares what analyzers and proposals read from the cluster,
// each kind once, trimmed to the fields that somebody reads.
package inputs

import (
	"encoding/json"
	"slices"

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
// managedFields that is not of a subresource, else its creation. Of kinds that are
// kept with the time of what matters of them only, it is that.
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

// keepChangeOf is keepChange by those who own one of some fields of the object: who
// sets labels only has changed none of them.
func keepChangeOf(meta *metav1.ObjectMeta, fields ...string) {
	meta.ManagedFields = slices.DeleteFunc(meta.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		var owned map[string]json.RawMessage
		if entry.FieldsV1 == nil || json.Unmarshal([]byte(entry.FieldsV1.GetRawString()), &owned) != nil {
			return true
		}
		return !slices.ContainsFunc(fields, func(field string) bool { return owned["f:"+field] != nil })
	})
	keepChange(meta)
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
