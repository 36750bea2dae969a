// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
)

// Resource is what the live view reads paths as. No API server serves it.
var Resource = schema.GroupVersionResource{Group: "vault.srenix.io", Version: "v1alpha1", Resource: "paths"}

const kind = "Path"

// Name is that of a path's object.
func Name(path Path) string {
	sum := sha256.Sum256([]byte(strings.Join([]string{path.Namespace, path.Mount, path.Path}, "\x00")))
	return hex.EncodeToString(sum[:])
}

// Object is how the live view holds what is seen of a path.
func Object(path Path, seen Seen) *unstructured.Unstructured {
	status := map[string]any{"state": string(seen.State)}
	if seen.Keys != nil {
		status["keys"] = names(seen.Keys)
	}
	if seen.Stale {
		status["stale"] = true
	}
	object := &unstructured.Unstructured{Object: map[string]any{
		"spec":   map[string]any{"namespace": path.Namespace, "mount": path.Mount, "path": path.Path},
		"status": status,
	}}
	object.SetGroupVersionKind(Resource.GroupVersion().WithKind(kind))
	object.SetName(Name(path))
	object.SetUID(types.UID(Name(path)))
	return object
}

// names keeps keys alone, whatever came with them.
func names(keys map[string]any) map[string]any {
	out := make(map[string]any, len(keys))
	for key, value := range keys {
		out[key] = nil
		if inner, nested := value.(map[string]any); nested {
			out[key] = names(inner)
		}
	}
	return out
}

// SeenOf is what the object of a path says.
func SeenOf(object *unstructured.Unstructured) Seen {
	state, _, _ := unstructured.NestedString(object.Object, "status", "state")
	keys, _, _ := unstructured.NestedFieldNoCopy(object.Object, "status", "keys")
	known, _ := keys.(map[string]any)
	stale, _, _ := unstructured.NestedBool(object.Object, "status", "stale")
	return Seen{State: State(state), Keys: known, Stale: stale}
}
