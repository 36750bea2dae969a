// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// ManagedBy returns the marker that shows an object to be managed from a source elsewhere;
// empty if there is none. It is analyzers.Settings.ManagedBy, which knows the site's markers.
type ManagedBy func(metav1.Object) string

// Edit tells how an object is changed that kubectl names as argument: with a command, or,
// where the change would be taken back, with a sentence that says where to make it
// instead. what names the object in that sentence.
func (m ManagedBy) Edit(what, argument string, object metav1.Object) (instead string, commands []string) {
	if instead := m.Elsewhere(what, object); instead != "" {
		return instead, nil
	}
	return "", []string{"kubectl edit " + argument}
}

// Elsewhere says where an object is changed whose changes in the cluster are taken back,
// because a source elsewhere or a controller makes it; empty of all others.
func (m ManagedBy) Elsewhere(what string, object metav1.Object) string {
	if marker := m(object); marker != "" {
		return fmt.Sprintf(" %s is managed from a source elsewhere (%s): make the change there, here it would be taken back.", what, marker)
	}
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil {
		return fmt.Sprintf(" %s is made by %s %s: make the change there, here it would be taken back.", what, controller.Kind, controller.Name)
	}
	return ""
}

// Template tells how the template of a workload is changed, as Edit does. That of a Job,
// and what a single pod is made of, cannot be changed.
func (m ManagedBy) Template(w Workload) (instead string, commands []string) {
	if elsewhere := m.Elsewhere(w.String(), w.Meta); elsewhere != "" {
		return elsewhere, nil
	}
	switch w.Reference.Kind {
	case "Job":
		return " The template of a Job cannot be changed: make another Job.", nil
	case "Pod":
		return " What a pod is made of cannot be changed: make another pod.", nil
	}
	return m.Edit(w.String(), w.Argument(), w.Meta)
}
