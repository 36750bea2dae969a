// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"maps"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/srenix/srenix/pkg/live"
)

// ConfigMaps and Secrets, of which only metadata is asked for, so no value ever
// reaches this process. Which keys they have, and when these changed, is in their
// managedFields: Keys and Changed tell.
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
	keys, _, known = contentOf(object)
	return keys, known
}

// contentOf returns the keys and when one of them changed last: the newest time of
// those entries of managedFields that own keys. Who owns labels and annotations only
// has changed none. That somebody took a key away has no time.
func contentOf(object *metav1.PartialObjectMetadata) (keys []string, changed metav1.Time, known bool) {
	for _, entry := range object.ManagedFields {
		if entry.Subresource != "" || entry.FieldsV1 == nil {
			continue
		}
		set := &fieldpath.Set{}
		if err := set.FromJSON(bytes.NewReader([]byte(entry.FieldsV1.GetRawString()))); err != nil {
			return nil, metav1.Time{}, false
		}
		known = true
		owned := len(keys)
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
		if len(keys) > owned && entry.Time != nil && entry.Time.After(changed.Time) {
			changed = *entry.Time
		}
	}
	slices.Sort(keys)
	return slices.Compact(keys), changed, known
}

// trimToKeys keeps what tells which object it is, which keys it has, and when these
// changed.
func trimToKeys(in *metav1.PartialObjectMetadata) *metav1.PartialObjectMetadata {
	keys, changed, known := contentOf(in)
	trimMeta(&in.ObjectMeta)
	in.Annotations = nil
	if !known {
		return in
	}
	entry := metav1.ManagedFieldsEntry{FieldsV1: KeyFields(keys)}
	if changed.After(in.CreationTimestamp.Time) {
		entry.Time = &changed
	}
	in.ManagedFields = []metav1.ManagedFieldsEntry{entry}
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

// WithoutValues returns what a decoded ConfigMap or Secret tells without its values: which
// object it is, its keys, and when they changed if its managedFields say so; of a TLS
// Secret also until when its certificate is valid, as TLSSecrets keeps it. It makes a new
// object of the few fields that are read, so that no other has to be thought of.
func WithoutValues(object map[string]any) map[string]any {
	metadata, _ := object["metadata"].(map[string]any)
	kept := map[string]any{}
	for _, field := range []string{
		"namespace", "name", "uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "labels", "ownerReferences", "finalizers", "managedFields",
	} {
		if value, has := metadata[field]; has {
			kept[field] = value
		}
	}
	if fields, _ := kept["managedFields"].([]any); len(fields) == 0 {
		var keys []string
		for _, field := range content {
			values, _ := object[field].(map[string]any)
			keys = slices.AppendSeq(keys, maps.Keys(values))
		}
		kept["managedFields"] = []any{map[string]any{"fieldsType": "FieldsV1", "fieldsV1": json.RawMessage(KeyFields(keys).GetRawString())}}
	}
	out := map[string]any{"apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": kept}
	if kind, has := object["type"]; has {
		out["type"] = kind
		data, _ := object["data"].(map[string]any)
		chain, _ := data[corev1.TLSCertKey].(string)
		decoded, err := base64.StdEncoding.DecodeString(chain)
		if begins, until := leaf(decoded); kind == string(corev1.SecretTypeTLS) && err == nil && !until.IsZero() {
			out["stringData"] = map[string]any{notBefore: begins.UTC().Format(time.RFC3339), notAfter: until.UTC().Format(time.RFC3339)}
		}
	}
	return out
}
