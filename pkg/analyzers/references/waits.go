// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package references

import (
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// configError is what a container waits with that cannot be made as its template
// says (k8s.io/kubernetes, pkg/kubelet/kuberuntime).
const configError = "CreateContainerConfigError"

// Wait is a container that cannot be made.
type Wait struct {
	Container string
	// Missing is what the kubelet lacks. Its Kind is empty where the kubelet says
	// something else, and its Name where it does not say of what it is a key.
	Missing Item
	// Message is the kubelet's own.
	Message string
}

// What the kubelet says of keys and objects that it does not find
// (k8s.io/kubernetes, pkg/kubelet/kubelet_pods.go, and pkg/volume/secret and
// configmap). Where it asks the API server instead of watching, the resource is in
// the plural.
var (
	noKey       = regexp.MustCompile(`couldn't find key (` + word + `) in (Secret|ConfigMap) (` + word + `)/(` + word + `)`)
	noObject    = regexp.MustCompile(`(?i)\b(secret|configmap)s? "(` + word + `)" not found`)
	noVolumeKey = regexp.MustCompile(`references non-existent (secret|config) key: (` + word + `)`)
)

// word is what keys, namespaces and names are made of.
const word = `[-._a-zA-Z0-9]+`

// Parse returns what a message of the kubelet says is missing in a namespace; its Kind
// is empty where that is nothing of a Secret or a ConfigMap.
func Parse(namespace, message string) Item {
	if m := noKey.FindStringSubmatch(message); m != nil {
		return Item{m[2], m[3], m[4], m[1]}
	}
	if m := noObject.FindStringSubmatch(message); m != nil {
		return Item{kindOf(m[1]), namespace, m[2], ""}
	}
	if m := noVolumeKey.FindStringSubmatch(message); m != nil {
		return Item{kindOf(m[1]), namespace, "", m[2]}
	}
	return Item{}
}

func kindOf(word string) string {
	if strings.EqualFold(word, "secret") {
		return Secret
	}
	return ConfigMap
}

// Waits returns the containers of a pod that cannot be made; none of a pod that is
// being deleted, or over.
func Waits(pod *corev1.Pod) []Wait {
	if pod.DeletionTimestamp != nil || inputs.Finished(pod) {
		return nil
	}
	var waits []Wait
	for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
		waiting := status.State.Waiting
		if waiting == nil || waiting.Reason != configError {
			continue
		}
		waits = append(waits, Wait{Container: status.Name, Missing: Parse(pod.Namespace, waiting.Message), Message: waiting.Message})
	}
	return waits
}

// Resolve finds out of what the kubelet says only the key of: what the template
// takes such a key of, if that is one object. It returns an empty item if it is not.
func Resolve(missing Item, required []Item) Item {
	if missing.Name != "" || missing.Kind == "" {
		return missing
	}
	var found []Item
	for _, item := range required {
		if item.Kind == missing.Kind && item.Key == missing.Key {
			found = append(found, item)
		}
	}
	if len(found) != 1 {
		return Item{}
	}
	return found[0]
}
