// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"github.com/gowebpki/jcs"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/json"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

var acting = []v1alpha1.ActionKind{
	v1alpha1.ActionDeletePod, v1alpha1.ActionDeleteJob, v1alpha1.ActionDeleteCertificateRequest,
	v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS,
}

// flips calls judge with the object as it reads after each flip of one bit of its
// canonical form, where it can still be read. On average more than one bit of each
// byte has to be judged.
func flips[T any](t *testing.T, object T, judge func(flipped T) (bound bool)) {
	t.Helper()
	encoded, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	canonical, err := jcs.Transform(encoded)
	if err != nil {
		t.Fatal(err)
	}
	judged := 0
	for at := range canonical {
		for bit := range 8 {
			var flipped T
			changed := bytes.Clone(canonical)
			changed[at] ^= 1 << bit
			if json.Unmarshal(changed, &flipped) == nil && judge(flipped) {
				judged++
			}
		}
	}
	if judged < len(canonical) {
		t.Errorf("only %d flips of %d bytes were judged", judged, len(canonical))
	}
}

// identified is what a proposal is bound to of its target: which object it is, and
// of an Ingress the entry that the patch is for. Names of hosts have no case.
func identified(object map[string]any) map[string]any {
	is := map[string]any{}
	for _, path := range [][]string{{"apiVersion"}, {"kind"}, {"metadata", "namespace"}, {"metadata", "name"}, {"metadata", "uid"}} {
		is[strings.Join(path, ".")], _, _ = unstructured.NestedFieldNoCopy(object, path...)
	}
	entries, _, _ := unstructured.NestedFieldNoCopy(object, "spec", "tls")
	if list, ok := entries.([]any); ok && len(list) == 2 {
		if entry, ok := list[1].(map[string]any); ok {
			is["secretName"], is["hosts"] = entry["secretName"], strings.ToLower(fmt.Sprint(entry["hosts"]))
		}
	}
	return is
}

// The target is read whole and reduced to what identifies it.
func TestAnyFlippedByteOfWhatIdentifiesATargetDenies(t *testing.T) {
	for _, kind := range acting {
		for _, stage := range []Stage{StageStanding, StageApproval, StageExecution} {
			t.Run(fmt.Sprintf("%s/%s", kind, stage), func(t *testing.T) {
				base := good(t, stage, kind)
				base.Certificates = []unstructured.Unstructured{certificate("new-tls", "True", "b.example.com"), certificate("old-tls", "False", "a.example.com")}
				gvk, _ := TargetGVK(kind)
				target := whole(base.Target, gvk).Object
				target["metadata"] = map[string]any{"namespace": "shop", "name": "web", "uid": "target-uid"}
				delete(target, "status")
				if kind != v1alpha1.ActionPatchIngressTLS {
					delete(target, "spec")
				}
				in := base
				if in.Target = (&unstructured.Unstructured{Object: target}); Patches(kind) && stage == StageExecution {
					in.DryRun = changedAsApproved(t, &base, in.Target.(*unstructured.Unstructured))
				}
				if decision := Evaluate(in); !decision.Allowed {
					t.Fatalf("as it is, it is refused: %s", decision.Message())
				}
				flips(t, target, func(flipped map[string]any) bool {
					if equality.Semantic.DeepEqual(identified(flipped), identified(target)) {
						return false
					}
					in.Target = &unstructured.Unstructured{Object: flipped}
					if Evaluate(in).Allowed {
						t.Errorf("it is allowed on %v", flipped)
					}
					return true
				})
			})
		}
	}
}

// changedAsApproved is what the API server answers to the patch of a target.
func changedAsApproved(t *testing.T, in *Input, target *unstructured.Unstructured) *unstructured.Unstructured {
	t.Helper()
	f := &facts{Input: in}
	f.claims, f.tokenErr = in.Verifier.VerifyAt(in.Token, in.Now)
	path, value, err := f.approvedChange()
	if err != nil {
		t.Fatal(err)
	}
	after := target.DeepCopy()
	if in.Proposal.Spec.ActionKind == v1alpha1.ActionPatchIngressTLS {
		entries, _, _ := unstructured.NestedSlice(after.Object, "spec", "tls")
		entries[1].(map[string]any)["secretName"] = value
		err = unstructured.SetNestedSlice(after.Object, entries, "spec", "tls")
	} else {
		err = unstructured.SetNestedField(after.Object, value, path...)
	}
	if err != nil {
		t.Fatal(err)
	}
	return after
}

// prune leaves out what an API server does not store: fields that are null, and
// empty maps, which are none.
func prune(content map[string]any) {
	for key, value := range content {
		switch value := value.(type) {
		case nil:
			delete(content, key)
		case map[string]any:
			if prune(value); len(value) == 0 {
				delete(content, key)
			}
		case []any:
			for _, item := range value {
				if item, is := item.(map[string]any); is {
					prune(item)
				}
			}
		}
	}
}

// What is patched is the object that was judged: where the two differ in anything
// that is stored, in one byte, it is refused.
func TestAnyFlippedByteOfATargetIsNoticedByItsDryRun(t *testing.T) {
	for _, kind := range acting {
		if !Patches(kind) {
			continue
		}
		t.Run(string(kind), func(t *testing.T) {
			in := good(t, StageExecution, kind)
			target := in.Target.(*unstructured.Unstructured)
			prune(target.Object)
			prune(in.DryRun.Object)
			if decision := Evaluate(in); !decision.Allowed {
				t.Fatalf("as it is, it is refused: %s", decision.Message())
			}
			flips(t, target.Object, func(flipped map[string]any) bool {
				changed := &unstructured.Unstructured{Object: flipped}
				if equality.Semantic.DeepEqual(asStored(changed.DeepCopy()), asStored(target.DeepCopy())) {
					return false
				}
				in.Target = changed
				if Evaluate(in).Allowed {
					t.Errorf("it is allowed on %v", flipped)
				}
				return true
			})
		})
	}
}

// Whatever one byte a marker has for its value, it marks, on the target and on its
// controller; and so does a manager in any case.
func TestAnyMarkerOfAnyValueDenies(t *testing.T) {
	markers := GitOpsMarkers()
	type mark struct{ key, value string }
	var annotations, labels []mark
	for value := 1; value < 256; value++ {
		for _, key := range markers.Annotations {
			annotations = append(annotations, mark{key, string([]byte{byte(value)})})
		}
		for _, key := range markers.Labels {
			labels = append(labels, mark{key, string([]byte{byte(value)})})
		}
	}
	for _, manager := range GitOpsManagers() {
		for i := range manager {
			labels = append(labels, mark{managedByLabel, manager[:i] + strings.ToUpper(manager[i:i+1]) + manager[i+1:]})
		}
	}
	for _, kind := range acting {
		base := good(t, StageStanding, kind)
		gvk, _ := TargetGVK(kind)
		target := whole(base.Target, gvk)
		target.SetOwnerReferences(controlledBy("ReplicaSet", "above", "above-uid"))
		base.Owners = []Owner{{APIVersion: "apps/v1", Kind: "ReplicaSet", ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "above", UID: "above-uid"}}}
		if base.Target = target; !Evaluate(base).Allowed {
			t.Fatalf("%s: unmarked it is refused: %s", kind, Evaluate(base).Message())
		}
		deny := func(in Input, of mark) {
			if verdict := verdictOf(t, Evaluate(in), GitOpsManaged); verdict.Result != v1alpha1.VerdictDenied {
				t.Errorf("%s: %s=%q does not mark it", kind, of.key, of.value)
			}
		}
		for _, of := range annotations {
			marked, in := target.DeepCopy(), base
			marked.SetAnnotations(map[string]string{of.key: of.value})
			in.Target = marked
			deny(in, of)
			in.Target, in.Owners = target, []Owner{base.Owners[0]}
			in.Owners[0].Annotations = map[string]string{of.key: of.value}
			deny(in, of)
		}
		for _, of := range labels {
			marked, in := target.DeepCopy(), base
			marked.SetLabels(map[string]string{of.key: of.value})
			in.Target = marked
			deny(in, of)
			in.Target, in.Owners = target, []Owner{base.Owners[0]}
			in.Owners[0].Labels = map[string]string{of.key: of.value}
			deny(in, of)
		}
	}
}
