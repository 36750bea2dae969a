// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"bytes"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/srenix/srenix/pkg/live"
)

// ConfigMaps and Secrets, of which only metadata is asked for, so no value ever
// reaches this process. Which keys they have, and when they changed, is in their
// managedFields.
var (
	ConfigMaps = live.NewInput(corev1.SchemeGroupVersion.WithResource("configmaps"), live.InputOptions[*metav1.PartialObjectMetadata]{Trim: trimToKeys})
	Secrets    = live.NewInput(corev1.SchemeGroupVersion.WithResource("secrets"), live.InputOptions[*metav1.PartialObjectMetadata]{Trim: trimToKeys})
)

// content are the fields of ConfigMaps and Secrets that hold keys. Who applies a
// Secret with stringData owns that, though the server stores it as data.
var content = []string{"data", "binaryData", "stringData"}

// Keys returns the names of the keys of one of ConfigMaps or Secrets, sorted, and
// whether they are known: objects that were written before the API server kept
// managedFields, or whose managedFields somebody has cleared, do not tell.
func Keys(object *metav1.PartialObjectMetadata) (keys []string, known bool) {
	for _, entry := range object.ManagedFields {
		if entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader([]byte(entry.FieldsV1.GetRawString()))); err != nil {
			return nil, false
		}
		known = true
		for _, field := range content {
			in, exists := set.Children.Get(fieldpath.PathElement{FieldName: &field})
			if !exists {
				continue
			}
			in.Members.Iterate(func(element fieldpath.PathElement) {
				if element.FieldName != nil {
					keys = append(keys, *element.FieldName)
				}
			})
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), known
}

// trimToKeys keeps what tells which object it is, which keys it has, and when it
// changed.
func trimToKeys(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	keys, known := Keys(in)
	keepChange(&in.ObjectMeta)
	in.Annotations = nil
	if !known {
		return in
	}
	if len(in.ManagedFields) == 0 {
		in.ManagedFields = make([]metav1.ManagedFieldsEntry, 1)
	}
	in.ManagedFields[0].FieldsV1 = KeyFields(keys)
	return in
}

// KeyFields is how managedFields tell of keys.
func KeyFields(keys []string) *metav1.FieldsV1 {
	fields := map[string]struct{}{}
	for _, key := range keys {
		fields["f:"+key] = struct{}{}
	}
	raw, err := json.Marshal(map[string]any{"f:data": fields})
	if err != nil {
		panic(err) // maps of strings have JSON
	}
	return metav1.NewFieldsV1(string(raw))
}
