// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

// want is what one entry of an ExternalSecret takes from Vault.
type want struct {
	path vault.Path
	// property is the key in the secret; empty for all there are.
	property string
	// versioned tells that another version than the newest is taken.
	versioned bool
}

// Paths returns the paths of the Vault that all ExternalSecrets refer to, each once.
func (o Options) Paths(view *live.View) []vault.Path {
	all := map[vault.Path]bool{}
	var paths []vault.Path
	for _, object := range inputs.ExternalSecrets.List(view, "", nil) {
		for _, want := range o.wants(view, object) {
			if !all[want.path] && want.path.Plain() {
				all[want.path] = true
				paths = append(paths, want.path)
			}
		}
	}
	return paths
}

// wants are what an ExternalSecret still takes from the Vault that is asked.
func (o Options) wants(view *live.View, object *unstructured.Unstructured) []want {
	once := inputs.TextAt(object, "spec", "refreshPolicy") == "CreatedOnce" && !inputs.TimeAt(object, "status", "refreshTime").IsZero()
	if object.GetDeletionTimestamp() != nil || once {
		return nil
	}
	var wants []want
	for _, entry := range entries(object) {
		store, exists := o.store(view, object.GetNamespace(), entry.store)
		if !exists {
			continue
		}
		mount, path := split(store, entry.key)
		wants = append(wants, want{
			path:     vault.Path{Namespace: inputs.TextAt(store, "spec", "provider", "vault", "namespace"), Mount: mount, Path: path},
			property: entry.property, versioned: entry.versioned,
		})
	}
	return wants
}

// store returns a store, if it is of the Vault that is asked.
func (o Options) store(view *live.View, namespace string, ref map[string]any) (*unstructured.Unstructured, bool) {
	name, _ := ref["name"].(string)
	stores, key := inputs.SecretStores, live.Key{Namespace: namespace, Name: name}
	if ref["kind"] == "ClusterSecretStore" {
		stores, key.Namespace = inputs.ClusterSecretStores, ""
	}
	if name == "" {
		return nil, false
	}
	store, exists := stores.Get(view, key)
	if !exists || store.GetDeletionTimestamp() != nil {
		return nil, false
	}
	server := inputs.TextAt(store, "spec", "provider", "vault", "server")
	return store, server != "" && o.asks(server)
}

// entry is one of spec.data, or one of spec.dataFrom that takes a whole secret. Those
// that search, that take from generators, or that take metadata, name no path.
type entry struct {
	store         map[string]any
	key, property string
	versioned     bool
}

func entries(object *unstructured.Unstructured) []entry {
	standard, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", "secretStoreRef")
	var found []entry
	for _, field := range [][2]string{{"data", "remoteRef"}, {"dataFrom", "extract"}} {
		items, _, _ := unstructured.NestedFieldNoCopy(object.Object, "spec", field[0])
		list, _ := items.([]any)
		for _, item := range list {
			fields, _ := item.(map[string]any)
			ref, _ := fields[field[1]].(map[string]any)
			source, _ := fields["sourceRef"].(map[string]any)
			var e entry
			e.store, _ = standard.(map[string]any)
			if own, has := source["storeRef"].(map[string]any); has {
				e.store = own
			}
			e.key, _ = ref["key"].(string)
			e.property, _ = ref["property"].(string)
			version, _ := ref["version"].(string)
			e.versioned = version != ""
			if e.key != "" && source["generatorRef"] == nil && ref["metadataPolicy"] != "Fetch" {
				found = append(found, e)
			}
		}
	}
	return found
}

// split tells mount and path of a key, as the operator does: the mount is the store's,
// which the key may begin with too; without one it is the first part of the key, or
// what comes before data/ with version 2.
func split(store *unstructured.Unstructured, key string) (mount, path string) {
	mount = strings.Trim(inputs.TextAt(store, "spec", "provider", "vault", "path"), "/")
	second := inputs.TextAt(store, "spec", "provider", "vault", "version") != "v1"
	if mount != "" {
		path, begins := strings.CutPrefix(key, mount+"/")
		if begins && second {
			path = strings.TrimPrefix(path, "data/")
		}
		return mount, path
	}
	if before, after, found := strings.Cut(key, "/data/"); found && second {
		return before, after
	}
	mount, path, _ = strings.Cut(key, "/")
	return mount, path
}

// special are signs by which a property is more than the name of a key (GJSON syntax).
const special = `\*?#|@!{}[]:"`

// lacks tells whether a secret certainly has no such property. A key of the whole name
// comes first; else its dots lead from one level to the next. Below a value nothing is
// known.
func lacks(keys map[string]any, property string) bool {
	if _, has := keys[property]; has || property == "" || strings.ContainsAny(property, special) {
		return false
	}
	level := keys
	for _, part := range strings.Split(property, ".") {
		value, has := level[part]
		if !has {
			return true
		}
		inner, nested := value.(map[string]any)
		if !nested {
			return false
		}
		level = inner
	}
	return false
}

// perPath groups what is wanted by path, in order.
func perPath(wants []want) [][]want {
	by := map[vault.Path][]want{}
	var order []vault.Path
	for _, w := range wants {
		if by[w.path] == nil {
			order = append(order, w.path)
		}
		by[w.path] = append(by[w.path], w)
	}
	slices.SortFunc(order, func(a, b vault.Path) int { return strings.Compare(a.String(), b.String()) })
	var groups [][]want
	for _, path := range order {
		groups = append(groups, by[path])
	}
	return groups
}
