// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestChangedPaths(t *testing.T) {
	type object = map[string]any
	for name, test := range map[string]struct {
		before, after any
		want          []string
	}{
		"nothing":                      {object{"a": object{"b": "1"}}, object{"a": object{"b": "1"}}, nil},
		"an absent map and an empty":   {object{}, object{"a": object{}}, nil},
		"an empty map and an absent":   {object{"a": object{"b": object{}}}, object{}, nil},
		"a value":                      {object{"a": "1", "b": "1"}, object{"a": "1", "b": "2"}, []string{"/b"}},
		"a value is added":             {object{}, object{"a": object{"b": "1"}}, []string{"/a/b"}},
		"a value is removed":           {object{"a": object{"b": "1"}}, object{}, []string{"/a/b"}},
		"a map instead of a value":     {object{"a": "1"}, object{"a": object{"b": "1"}}, []string{"/a"}},
		"a value instead of a map":     {object{"a": object{"b": "1"}}, object{"a": "1"}, []string{"/a"}},
		"a list is added":              {object{}, object{"a": []any{}}, []string{"/a"}},
		"a list is removed":            {object{"a": []any{}}, object{}, []string{"/a"}},
		"a list instead of a value":    {object{"a": "1"}, object{"a": []any{}}, []string{"/a"}},
		"a value instead of a list":    {object{"a": []any{}}, object{"a": "1"}, []string{"/a"}},
		"an item":                      {object{"a": []any{"1", "2"}}, object{"a": []any{"1", "3"}}, []string{"/a/1"}},
		"an item more":                 {object{"a": []any{"1"}}, object{"a": []any{"1", "2"}}, []string{"/a"}},
		"names with special letters":   {object{"a/b": object{"c~d": "1"}}, object{}, []string{"/a~1b/c~0d"}},
		"a null that was not there":    {object{}, object{"a": nil}, nil},
		"several, in alphabetic order": {object{"b": "1", "a": "1"}, object{"c": "1"}, []string{"/a", "/b", "/c"}},
	} {
		t.Run(name, func(t *testing.T) {
			var have []string
			for _, path := range changedPaths(nil, test.before, test.after) {
				have = append(have, pointer(path))
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have):\n%s", diff)
			}
		})
	}
}

func TestValueAtAPath(t *testing.T) {
	value := map[string]any{"list": []any{"zero", map[string]any{"name": "one"}}, "text": "t"}
	for path, want := range map[string]any{
		"text": "t", "list/0": "zero", "list/1/name": "one",
		"list/2": nil, "list/-1": nil, "list/x": nil, "text/x": nil, "none": nil, "none/x": nil,
	} {
		if diff := cmp.Diff(want, at(value, strings.Split(path, "/"))); diff != "" {
			t.Errorf("%s (-want +have):\n%s", path, diff)
		}
	}
}

func TestDryRunNamesFiveUnexpectedPathsAtMost(t *testing.T) {
	for count, want := range map[int]string{
		5: "/metadata/labels/l0, /metadata/labels/l1, /metadata/labels/l2, /metadata/labels/l3, /metadata/labels/l4",
		6: "/metadata/labels/l0, /metadata/labels/l1, /metadata/labels/l2, /metadata/labels/l3, /metadata/labels/l4, and others",
	} {
		in := good(t, StageExecution, v1alpha1.ActionPatchDeploymentAnnotation)
		labels := map[string]string{}
		for i := range count {
			labels[fmt.Sprintf("l%d", i)] = "x"
		}
		stored(func(d *appsv1.Deployment) { d.Labels = labels })(&in)
		want = "the dry run shows more than was approved: it would also change " + want
		if verdict := verdictOf(t, Evaluate(in), TargetScope); verdict.Message != want {
			t.Errorf("it is %q, want %q", verdict.Message, want)
		}
	}
}

// What is stored is held against what was approved by the rule for dry runs.
func TestUnapproved(t *testing.T) {
	const restart, tls = v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS
	path := map[v1alpha1.ActionKind]string{restart: "/spec/template/metadata/annotations/kubectl.kubernetes.io~1restartedAt", tls: "/spec/tls/1/secretName"}
	for _, kind := range []v1alpha1.ActionKind{restart, tls} {
		in := good(t, StageExecution, kind)
		judged := in.Target.(*unstructured.Unstructured)
		claims := Evaluate(in).Claims
		swapped := judged.DeepCopy()
		swapped.SetUID("another")
		for name, test := range map[string]struct {
			stored *unstructured.Unstructured
			want   []string
		}{
			"what was approved":   {in.DryRun, nil},
			"nothing was changed": {judged, []string{path[kind]}},
			"another object":      {swapped, []string{"/metadata/uid", path[kind]}},
		} {
			have, err := Unapproved(&in.Proposal.Spec, claims, judged, test.stored)
			if diff := cmp.Diff(test.want, have); diff != "" || err != nil {
				t.Errorf("%s, %s: %v (-want +have):\n%s", kind, name, err, diff)
			}
		}
	}
	in := good(t, StageExecution, tls)
	in.Proposal.Spec.Patch.JSONPatch[0].Op = "add"
	if have, err := Unapproved(&in.Proposal.Spec, nil, in.DryRun, in.DryRun); err == nil || have != nil {
		t.Errorf("of a patch of another grammar it says %v, %v; want an error", have, err)
	}
}

// Where nothing can be compared there is an error, and no value that could match.
func TestApprovedChangeThatIsNotKnown(t *testing.T) {
	in := good(t, StageExecution, v1alpha1.ActionPatchIngressTLS)
	in.Proposal.Spec.Patch.JSONPatch[0].Op = "add"
	unknown := errors.New("nobody knows")
	for name, kind := range map[string]v1alpha1.ActionKind{"a patch of another grammar": v1alpha1.ActionPatchIngressTLS, "no claims": v1alpha1.ActionPatchDeploymentAnnotation} {
		in.Proposal.Spec.ActionKind = kind
		path, value, err := (&facts{Input: &in, tokenErr: unknown}).approvedChange()
		if err == nil || path != nil || value != "" || (kind == v1alpha1.ActionPatchDeploymentAnnotation) != errors.Is(err, unknown) {
			t.Errorf("%s: %v would be %q: %v", name, path, value, err)
		}
	}
}
