// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package references

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Surroundings are what is known of an item that somebody lacks.
type Surroundings struct {
	Item   Item
	State  State
	Origin Origin
	// Near is the key that was probably meant, if there is one.
	Near string
}

// Surround returns the surroundings of an item, of which the state is known. Who
// writes it is left out where that cannot be read, and takes nothing away from what
// else is known.
func Surround(view *live.View, item Item, state State) Surroundings {
	s := Surroundings{Item: item, State: state}
	var writer *unstructured.Unstructured
	if view.Try(func() { writer = Writer(view, item) }) {
		s.Origin = OriginOf(item, writer)
	}
	if item.Key != "" && s.State.Known && !slices.Contains(s.State.Keys, item.Key) {
		s.Near = NearMiss(s.State.Keys, item.Key)
	}
	return s
}

// Sentences add the surroundings to what a message says.
func (s Surroundings) Sentences(message string) string {
	all := []string{message}
	if s.Origin.Sentence != "" {
		all = append(all, s.Origin.Sentence)
	}
	if s.Near != "" {
		all = append(all, fmt.Sprintf("It has the key %s, which may be what was meant.", s.Near))
	}
	return strings.Join(all, " ")
}

// Remedy says what to do about an item that a workload lacks which kubectl names as
// argument. How its template is changed is as workloads.ManagedBy.Template says.
func (s Surroundings) Remedy(argument, instead string, edit []string) v1alpha1.Remediation {
	kind := strings.ToLower(s.Item.Kind)
	text := fmt.Sprintf("Make the %s, or correct its name in the template of what needs it.", s.Item.Kind)
	look := fmt.Sprintf("kubectl get %ss -n %s", kind, s.Item.Namespace)
	if s.State.Exists || s.Item.Key != "" {
		look = fmt.Sprintf("kubectl describe %s %s -n %s", kind, s.Item.Name, s.Item.Namespace)
	}
	switch {
	case s.Near != "":
		text = fmt.Sprintf("Refer to the key %s in the template of what needs it, or rename the key.", s.Near)
	case s.Item.Key != "":
		text = fmt.Sprintf("Add the key to the %s, or correct it in the template of what needs it.", s.Item.Kind)
	}
	if len(s.Origin.Commands) > 0 {
		text += " The ExternalSecret decides what is written: change it there, and not in what it writes."
	}
	commands := append([]string{look}, s.Origin.Commands...)
	commands = append(commands, "kubectl describe "+argument)
	return v1alpha1.Remediation{Text: text + instead, Commands: append(commands, edit...)}
}
