// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// ExternalSecretsGroup is the API group of the External Secrets Operator.
const ExternalSecretsGroup = "external-secrets.io"

const (
	// ByTarget finds ExternalSecrets by "KIND/NAMESPACE/NAME" of what they write.
	ByTarget = "target"
	// ByStore finds ExternalSecrets and PushSecrets by their stores, as StoreRef
	// names them.
	ByStore = "store"
)

var externalSecrets = schema.GroupVersion{Group: ExternalSecretsGroup, Version: "v1"}

// What the External Secrets Operator keeps, where it is installed. What templates
// make of values is nobody's business here, and statuses of single entries change
// with every refresh.
var (
	ExternalSecrets = NewCustom(externalSecrets.WithResource("externalsecrets"), CustomOptions{
		Versions: []string{"v1beta1"}, Without: [][]string{{"spec", "target", "template"}, {"status", "binding"}},
		Indexes: map[string]func(*unstructured.Unstructured) []string{ByTarget: target, ByStore: StoresOf},
	})
	ClusterExternalSecrets = NewCustom(externalSecrets.WithResource("clusterexternalsecrets"), CustomOptions{
		Versions: []string{"v1beta1"}, Without: [][]string{{"spec", "externalSecretSpec"}},
	})
	PushSecrets = NewCustom(schema.GroupVersionResource{Group: ExternalSecretsGroup, Version: "v1alpha1", Resource: "pushsecrets"}, CustomOptions{
		Without: [][]string{{"spec", "template"}, {"status", "syncedPushSecrets"}},
		Indexes: map[string]func(*unstructured.Unstructured) []string{ByStore: StoresOf},
	})
	SecretStores = NewCustom(externalSecrets.WithResource("secretstores"), CustomOptions{
		Versions: []string{"v1beta1"}, Trim: keepVault,
	})
	ClusterSecretStores = NewCustom(externalSecrets.WithResource("clustersecretstores"), CustomOptions{
		Versions: []string{"v1beta1"}, Trim: keepVault,
	})
)

// keepVault keeps of a store's provider where a Vault is. Others, the fake one and
// webhooks for two, may hold secrets themselves.
func keepVault(in *unstructured.Unstructured) {
	spec, ok := in.Object["spec"].(map[string]any)
	if !ok {
		return
	}
	kept := map[string]any{}
	for _, field := range []string{"server", "path", "version", "namespace"} {
		if text := TextAt(in, "spec", "provider", "vault", field); text != "" {
			kept[field] = text
		}
	}
	delete(spec, "provider")
	if len(kept) > 0 {
		spec["provider"] = map[string]any{"vault": kept}
	}
}

// Target returns the kind and the name of what an ExternalSecret writes into its
// namespace: a Secret, unless it has a manifest of another kind.
func Target(externalSecret *unstructured.Unstructured) (kind, name string) {
	kind, name = "Secret", TextAt(externalSecret, "spec", "target", "name")
	if other := TextAt(externalSecret, "spec", "target", "manifest", "kind"); other != "" {
		kind = other
	}
	if name == "" {
		name = externalSecret.GetName()
	}
	return kind, name
}

func target(in *unstructured.Unstructured) []string {
	kind, name := Target(in)
	return []string{kind + "/" + in.GetNamespace() + "/" + name}
}

// StoreRef names a store: "SecretStore/NAMESPACE/NAME" or "ClusterSecretStore//NAME".
func StoreRef(kind, namespace, name string) string {
	if kind == "ClusterSecretStore" {
		namespace = ""
	}
	return kind + "/" + namespace + "/" + name
}

// StoresOf returns the stores that an ExternalSecret or a PushSecret names, the main
// one first, as StoreRef names them.
func StoresOf(in *unstructured.Unstructured) []string {
	var found []string
	add := func(ref any) {
		fields, _ := ref.(map[string]any)
		name, _ := fields["name"].(string)
		kind, _ := fields["kind"].(string)
		if kind == "" {
			kind = "SecretStore"
		}
		if ref := StoreRef(kind, in.GetNamespace(), name); name != "" && !slices.Contains(found, ref) {
			found = append(found, ref)
		}
	}
	spec, _ := in.Object["spec"].(map[string]any)
	add(spec["secretStoreRef"])
	for _, ref := range list(spec["secretStoreRefs"]) {
		add(ref)
	}
	for _, field := range []string{"data", "dataFrom"} {
		for _, entry := range list(spec[field]) {
			fields, _ := entry.(map[string]any)
			source, _ := fields["sourceRef"].(map[string]any)
			add(source["storeRef"])
		}
	}
	return found
}

func list(value any) []any {
	items, _ := value.([]any)
	return items
}
