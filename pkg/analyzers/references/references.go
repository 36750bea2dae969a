// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package references knows what pods take from Secrets and ConfigMaps: what their
// templates refer to, what the kubelet says that it lacks, who writes it, and which
// key may have been meant. It goes by names, and knows no value.
package references

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Kinds of what is referred to.
const (
	Secret    = "Secret"
	ConfigMap = "ConfigMap"
)

// Item is a key of a Secret or a ConfigMap, or the whole of one where Key is empty.
type Item struct{ Kind, Namespace, Name, Key string }

// String is how a sentence names it, as "key token of Secret db".
func (i Item) String() string {
	if i.Key == "" {
		return i.Kind + " " + i.Name
	}
	return "key " + i.Key + " of " + i.Kind + " " + i.Name
}

// Whole is what an item is a key of.
func (i Item) Whole() Item {
	i.Key = ""
	return i
}

// Compare orders items.
func Compare(a, b Item) int {
	return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Key, b.Key))
}

// Reference refers to the Secret or ConfigMap, which may not exist.
func (i Item) Reference(uid types.UID) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: i.Kind, Namespace: i.Namespace, Name: i.Name, UID: uid}
}

// State is what the cluster has of an item.
type State struct {
	// Exists tells whether there is such a Secret or ConfigMap, with this UID.
	Exists bool
	UID    types.UID
	// Keys are its keys, if Known.
	Keys  []string
	Known bool
}

// Lacks tells whether the item is certainly not there.
func (s State) Lacks(i Item) bool {
	return !s.Exists || i.Key != "" && s.Known && !slices.Contains(s.Keys, i.Key)
}

// Look returns what the cluster has of an item.
func Look(view *live.View, i Item) State {
	kind := inputs.ConfigMaps
	if i.Kind == Secret {
		kind = inputs.Secrets
	}
	object, exists := kind.Get(view, live.Key{Namespace: i.Namespace, Name: i.Name})
	if !exists {
		return State{}
	}
	keys, known := inputs.Keys(object)
	return State{Exists: true, UID: object.UID, Keys: keys, Known: known}
}

// Required returns what a pod of a namespace cannot start without, sorted, each
// once: what is optional is left out, and what each node and namespace has by
// itself. Image pull secrets are not among it: the kubelet tries without.
func Required(namespace string, spec *corev1.PodSpec) []Item {
	c := collector{namespace: namespace}
	for _, container := range slices.Concat(spec.InitContainers, spec.Containers) {
		c.container(container)
	}
	for _, container := range spec.EphemeralContainers {
		c.container(corev1.Container(container.EphemeralContainerCommon))
	}
	c.volumes(spec)
	return c.sorted()
}

// Mounted returns what of Required the volumes of a pod are to show. Without it the
// kubelet does not even make the sandbox.
func Mounted(namespace string, spec *corev1.PodSpec) []Item {
	c := collector{namespace: namespace}
	c.volumes(spec)
	return c.sorted()
}

type collector struct {
	namespace string
	items     []Item
}

func (c *collector) sorted() []Item {
	slices.SortFunc(c.items, Compare)
	return slices.Compact(c.items)
}

// givenToEach are ConfigMaps that a controller puts into every namespace
// (k8s.io/kubernetes, pkg/controller/certificates/rootcacertpublisher; OpenShift's
// service-ca).
var givenToEach = []string{"kube-root-ca.crt", "openshift-service-ca.crt"}

func (c *collector) add(kind, name, key string, optional *bool) {
	switch {
	case name == "", optional != nil && *optional:
	case kind == ConfigMap && slices.Contains(givenToEach, name):
	default:
		c.items = append(c.items, Item{kind, c.namespace, name, key})
	}
}

func (c *collector) container(container corev1.Container) {
	for _, from := range container.EnvFrom {
		if ref := from.ConfigMapRef; ref != nil {
			c.add(ConfigMap, ref.Name, "", ref.Optional)
		}
		if ref := from.SecretRef; ref != nil {
			c.add(Secret, ref.Name, "", ref.Optional)
		}
	}
	for _, env := range container.Env {
		if env.ValueFrom == nil {
			continue
		}
		if ref := env.ValueFrom.ConfigMapKeyRef; ref != nil {
			c.add(ConfigMap, ref.Name, ref.Key, ref.Optional)
		}
		if ref := env.ValueFrom.SecretKeyRef; ref != nil {
			c.add(Secret, ref.Name, ref.Key, ref.Optional)
		}
	}
}

func (c *collector) volumes(spec *corev1.PodSpec) {
	for _, volume := range spec.Volumes {
		if source := volume.ConfigMap; source != nil {
			c.keys(ConfigMap, source.Name, source.Items, source.Optional)
		}
		if source := volume.Secret; source != nil {
			c.keys(Secret, source.SecretName, source.Items, source.Optional)
		}
		if volume.Projected == nil {
			continue
		}
		for _, projection := range volume.Projected.Sources {
			if source := projection.ConfigMap; source != nil {
				c.keys(ConfigMap, source.Name, source.Items, source.Optional)
			}
			if source := projection.Secret; source != nil {
				c.keys(Secret, source.Name, source.Items, source.Optional)
			}
		}
	}
}

// keys adds those that a volume names, or the whole where it takes all there are.
func (c *collector) keys(kind, name string, items []corev1.KeyToPath, optional *bool) {
	if len(items) == 0 {
		c.add(kind, name, "", optional)
	}
	for _, item := range items {
		c.add(kind, name, item.Key, optional)
	}
}
