// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Applications of Argo CD, where it is installed: whether to sync by itself, and
// how that goes. They are written every few minutes to say when they were looked
// at, their generation with it; that is no change here. Of the resources that are
// listed, those are kept that differ or are not healthy, and of the last operation how
// it went, of what, and whether it was a rehearsal.
var Applications = NewCustom(
	schema.GroupVersionResource{Group: "argoproj.io", Version: "v1alpha1", Resource: "applications"},
	CustomOptions{
		Without: [][]string{
			{"metadata", "resourceVersion"}, {"metadata", "generation"}, {"operation"},
			{"spec", "source"}, {"spec", "sources"}, {"spec", "sourceHydrator"}, {"spec", "ignoreDifferences"}, {"spec", "info"},
			{"status", "reconciledAt"}, {"status", "observedAt"}, {"status", "history"}, {"status", "summary"}, {"status", "sourceHydrator"},
			{"status", "sync", "comparedTo"},
		},
		Trim: func(in *unstructured.Unstructured) { keepDiffering(in); keepOperation(in) },
	},
)

// ResourceState is one of status.resources of an Application.
type ResourceState struct{ Kind, Name, Sync, Health string }

// ResourceStates returns the resources of an Application that differ from their
// source or are not healthy. Argo CD need not tell the health of each.
func ResourceStates(application *unstructured.Unstructured) []ResourceState {
	listed, _, err := unstructured.NestedSlice(application.Object, "status", "resources")
	if err != nil {
		return nil
	}
	var states []ResourceState
	for _, item := range listed {
		if state := resourceState(item); differs(state) {
			states = append(states, state)
		}
	}
	return states
}

func resourceState(item any) ResourceState {
	fields, _ := item.(map[string]any)
	health, _ := fields["health"].(map[string]any)
	text := func(in map[string]any, name string) string { value, _ := in[name].(string); return value }
	return ResourceState{Kind: text(fields, "kind"), Name: text(fields, "name"), Sync: text(fields, "status"), Health: text(health, "status")}
}

func differs(state ResourceState) bool {
	return state.Sync != "" && state.Sync != "Synced" || state.Health != "" && state.Health != "Healthy"
}

func keepDiffering(in *unstructured.Unstructured) {
	field, _, err := unstructured.NestedFieldNoCopy(in.Object, "status", "resources")
	listed, isList := field.([]any)
	if err != nil || !isList {
		return
	}
	kept := slices.DeleteFunc(slices.Clone(listed), func(item any) bool { return !differs(resourceState(item)) })
	status := in.Object["status"].(map[string]any)
	status["resources"] = slices.Clip(kept)
}

// keepOperation keeps of the operation whether it was dry, and of its result the
// revisions.
func keepOperation(in *unstructured.Unstructured) {
	field, _, err := unstructured.NestedFieldNoCopy(in.Object, "status", "operationState")
	state, is := field.(map[string]any)
	if err != nil || !is {
		return
	}
	dry, _, err := unstructured.NestedBool(state, "operation", "sync", "dryRun")
	delete(state, "operation")
	if err == nil && dry {
		state["operation"] = map[string]any{"sync": map[string]any{"dryRun": true}}
	}
	result, is := state["syncResult"].(map[string]any)
	delete(state, "syncResult")
	if is {
		kept := map[string]any{}
		for _, name := range []string{"revision", "revisions"} {
			if value, has := result[name]; has {
				kept[name] = value
			}
		}
		state["syncResult"] = kept
	}
}
