// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/policy"
)

// Edit tells how an object is changed that kubectl names as argument: with a command, or,
// where the change would be taken back, with a sentence that says where to make it
// instead. what names the object in that sentence.
func Edit(what, argument string, object metav1.Object) (instead string, commands []string) {
	if instead := Elsewhere(what, object); instead != "" {
		return instead, nil
	}
	return "", []string{"kubectl edit " + argument}
}

// Elsewhere says where an object is changed whose changes in the cluster are taken back,
// because a source elsewhere or a controller makes it; empty of all others.
func Elsewhere(what string, object metav1.Object) string {
	if marker := policy.ManagedBy(object.GetLabels(), object.GetAnnotations(), nil); marker != "" {
		return fmt.Sprintf(" %s is managed from a source elsewhere (%s): make the change there, here it would be taken back.", what, marker)
	}
	if controller := metav1.GetControllerOfNoCopy(object); controller != nil {
		return fmt.Sprintf(" %s is made by %s %s: make the change there, here it would be taken back.", what, controller.Kind, controller.Name)
	}
	return ""
}

// Edit tells how the template of a workload is changed, as the function Edit does. That
// of a Job, and what a single pod is made of, cannot be changed.
func (w Workload) Edit() (instead string, commands []string) {
	if elsewhere := Elsewhere(w.String(), w.Meta); elsewhere != "" {
		return elsewhere, nil
	}
	switch w.Reference.Kind {
	case "Job":
		return " The template of a Job cannot be changed: make another Job.", nil
	case "Pod":
		return " What a pod is made of cannot be changed: make another pod.", nil
	}
	return Edit(w.String(), w.Argument(), w.Meta)
}
