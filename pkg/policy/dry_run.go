// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// maximumPathsShown bounds how many unexpected paths a message names.
const maximumPathsShown = 5

// dryRunProblem compares the target with what the API server would store, path
// by path. Only the path that the action kind writes may differ, and its value
// must be the one that was approved.
func (f *facts) dryRunProblem() string {
	spec := &f.Proposal.Spec
	if problem := identityProblem(f.DryRun, spec); problem != "" {
		return problem
	}
	path, want, err := f.approvedChange()
	if err != nil {
		return err.Error()
	}
	target, whole := f.Target.(*unstructured.Unstructured)
	if !whole {
		return fmt.Sprintf("it cannot be compared with a %T, which may leave fields out", f.Target)
	}
	before, after := asStored(target), asStored(f.DryRun)
	if unexpected := changedBeside(path, before, after); len(unexpected) > 0 {
		return "it would also change " + strings.Join(unexpected, ", ")
	}
	if have := at(after, path); have != want {
		return fmt.Sprintf("%s would be %v, and %q was approved", pointer(path), have, want)
	}
	return ""
}

// changedBeside names the paths that changed, without the one that may.
func changedBeside(path []string, before, after map[string]any) []string {
	var unexpected []string
	for _, changed := range changedPaths(nil, before, after) {
		if !slices.Equal(changed, path) {
			unexpected = append(unexpected, pointer(changed))
		}
	}
	if len(unexpected) > maximumPathsShown {
		unexpected = append(unexpected[:maximumPathsShown], "and others")
	}
	return unexpected
}

// Unapproved names the paths in which a target, as the API server has stored it
// after a patch, differs from what was approved on it as it was judged. It is the
// rule for dry runs, which admission can tell from the real request.
func Unapproved(spec *v1alpha1.ProposalSpec, claims *token.Claims, judged, stored *unstructured.Unstructured) ([]string, error) {
	path, want, err := (&facts{Input: &Input{Proposal: Proposal{Spec: *spec}}, claims: claims}).approvedChange()
	if err != nil {
		return nil, err
	}
	before, after := asStored(judged), asStored(stored)
	unapproved := changedBeside(path, before, after)
	if at(after, path) != want {
		unapproved = append(unapproved, pointer(path))
	}
	return unapproved, nil
}

// approvedChange is the one path that may change, and the value it must then have.
func (f *facts) approvedChange() ([]string, string, error) {
	spec := &f.Proposal.Spec
	if spec.ActionKind == v1alpha1.ActionPatchDeploymentAnnotation {
		if f.claims == nil {
			return nil, "", fmt.Errorf("the value cannot be checked, because it is the time of the token: %w", f.tokenErr)
		}
		return []string{"spec", "template", "metadata", "annotations", RestartedAtAnnotation}, RestartedAt(f.claims), nil
	}
	patch, err := parseTLSPatch(spec.Patch.JSONPatch)
	if err != nil {
		return nil, "", err
	}
	return []string{"spec", "tls", strconv.Itoa(patch.index), "secretName"}, patch.newSecret, nil
}

// asStored is an object without what the API server manages by itself on every
// write, and without status: a patch of the main resource cannot write it, and
// controllers may between the two readings.
func asStored(object *unstructured.Unstructured) map[string]any {
	content := object.DeepCopy().Object
	delete(content, "status")
	for _, managed := range []string{"managedFields", "resourceVersion", "generation"} {
		unstructured.RemoveNestedField(content, "metadata", managed)
	}
	return content
}

// changedPaths lists the leaves that differ. An absent map is an empty one.
func changedPaths(path []string, before, after any) [][]string {
	old, oldIsMap := before.(map[string]any)
	next, nextIsMap := after.(map[string]any)
	if (oldIsMap || before == nil) && (nextIsMap || after == nil) {
		keys := map[string]bool{}
		for key := range old {
			keys[key] = true
		}
		for key := range next {
			keys[key] = true
		}
		var changed [][]string
		for _, key := range slices.Sorted(maps.Keys(keys)) {
			changed = append(changed, changedPaths(child(path, key), old[key], next[key])...)
		}
		return changed
	}
	oldItems, oldIsList := before.([]any)
	nextItems, nextIsList := after.([]any)
	if oldIsList && nextIsList && len(oldItems) == len(nextItems) {
		var changed [][]string
		for i := range oldItems {
			changed = append(changed, changedPaths(child(path, strconv.Itoa(i)), oldItems[i], nextItems[i])...)
		}
		return changed
	}
	if reflect.DeepEqual(before, after) {
		return nil
	}
	return [][]string{path}
}

func child(path []string, segment string) []string {
	return append(slices.Clone(path), segment)
}

func at(value any, path []string) any {
	for _, segment := range path {
		switch container := value.(type) {
		case map[string]any:
			value = container[segment]
		case []any:
			index, err := strconv.Atoi(segment)
			if err != nil || index < 0 || index >= len(container) {
				return nil
			}
			value = container[index]
		default:
			return nil
		}
	}
	return value
}

// pointer writes a path as a JSON pointer (RFC 6901).
func pointer(path []string) string {
	escape := strings.NewReplacer("~", "~0", "/", "~1")
	var text strings.Builder
	for _, segment := range path {
		text.WriteString("/" + escape.Replace(segment))
	}
	return text.String()
}
