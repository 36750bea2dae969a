// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestEveryActionKindButRunbookIsCarriedOut(t *testing.T) {
	actions := newActions()
	for _, kind := range config.BuiltInActionKinds() {
		if _, known := actions[kind]; known == (kind == srenix.ActionRunbook) {
			t.Errorf("%s is carried out: %t", kind, known)
		}
	}
	if len(actions) != len(config.BuiltInActionKinds())-1 {
		t.Errorf("%d actions", len(actions))
	}
}

func TestDeletionsCarryPreconditions(t *testing.T) {
	for _, kind := range []srenix.ActionKind{srenix.ActionDeletePod, srenix.ActionDeleteJob, srenix.ActionDeleteCertificateRequest} {
		for _, dryRun := range []bool{false, true} {
			act := newActions()[kind]
			object := act.newTarget()
			object.SetNamespace("shop")
			object.SetName("web")
			object.SetUID(targetUID)
			object.SetResourceVersion("7")
			var sent *client.DeleteOptions
			c := interceptor.NewClient(fake.NewClientBuilder().WithScheme(smallScheme(t)).Build(), interceptor.Funcs{
				Delete: func(_ context.Context, _ client.WithWatch, _ client.Object, options ...client.DeleteOption) error {
					sent = (&client.DeleteOptions{}).ApplyOptions(options)
					return nil
				},
			})
			target := srenix.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "web", UID: targetUID}
			if _, err := act.do(t.Context(), c, order{target: target, object: object}, dryRun); err != nil {
				t.Fatal(err)
			}
			want := &client.DeleteOptions{
				Preconditions:     &metav1.Preconditions{UID: ptr.To(targetUID), ResourceVersion: ptr.To("7")},
				PropagationPolicy: ptr.To(metav1.DeletePropagationBackground),
			}
			if dryRun {
				want.DryRun = []string{metav1.DryRunAll}
			}
			if diff := cmp.Diff(want, sent); diff != "" {
				t.Errorf("%s, dry run %t (-want +got):\n%s", kind, dryRun, diff)
			}
		}
	}
}

func TestIngressPatch(t *testing.T) {
	ingress := &networkingv1.Ingress{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web", UID: targetUID}}
	ingress.Spec.TLS = []networkingv1.IngressTLS{{SecretName: "other"}, {SecretName: "old-tls"}}
	c := fake.NewClientBuilder().WithScheme(smallScheme(t)).WithObjects(ingress).Build()
	act := patchIngressTLS{}
	target := act.newTarget()
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(ingress), target); err != nil {
		t.Fatal(err)
	}
	order := order{
		target: srenix.ObjectReference{Kind: "Ingress", Namespace: "shop", Name: "web", UID: targetUID},
		patch: &srenix.Patch{JSONPatch: []srenix.JSONPatchOperation{
			{Op: "test", Path: "/spec/tls/1/secretName", Value: "old-tls"},
			{Op: "replace", Path: "/spec/tls/1/secretName", Value: "new-tls"},
		}},
		object: target,
	}
	if seen, err := look(t.Context(), c, act, order, 0); err != nil || seen.done || seen.unclear {
		t.Fatalf("before: %+v, %v; want not done", seen, err)
	}
	stored, err := act.do(t.Context(), c, order, false)
	if err != nil {
		t.Fatal(err)
	}
	want := []networkingv1.IngressTLS{{SecretName: "other"}, {SecretName: "new-tls"}}
	answered := &networkingv1.Ingress{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(stored.(*unstructured.Unstructured).Object, answered); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, answered.Spec.TLS); diff != "" {
		t.Errorf("spec.tls (-want +got):\n%s", diff)
	}
	if seen, err := look(t.Context(), c, act, order, 0); err != nil || !seen.done {
		t.Errorf("after: %+v, %v; want done", seen, err)
	}
	if _, err := act.do(t.Context(), c, order, false); err == nil {
		t.Error("the same patch went through on an object that has changed since")
	}
}

func TestIngressPatchOfAnotherShapeIsNotSent(t *testing.T) {
	for name, text := range map[string]string{
		"no test":        `[{"op":"replace","path":"/spec/tls/0/secretName","value":"x"}]`,
		"two replaces":   `[{"op":"replace","path":"/spec/tls/0/secretName","value":"x"},{"op":"replace","path":"/spec/tls/0/secretName","value":"y"}]`,
		"another path":   `[{"op":"test","path":"/spec/tls/0/secretName","value":"x"},{"op":"replace","path":"/spec/tls/1/secretName","value":"y"}]`,
		"another field":  `[{"op":"test","path":"/spec/ingressClassName","value":"x"},{"op":"replace","path":"/spec/ingressClassName","value":"y"}]`,
		"no index":       `[{"op":"test","path":"/spec/tls/-/secretName","value":"x"},{"op":"replace","path":"/spec/tls/-/secretName","value":"y"}]`,
		"negative index": `[{"op":"test","path":"/spec/tls/-1/secretName","value":"x"},{"op":"replace","path":"/spec/tls/-1/secretName","value":"y"}]`,
	} {
		t.Run(name, func(t *testing.T) {
			patch := &srenix.Patch{}
			if err := json.Unmarshal([]byte(text), &patch.JSONPatch); err != nil {
				t.Fatal(err)
			}
			if _, _, err := secretNameReplaced(patch); err == nil {
				t.Error("taken for a replaced secretName")
			}
		})
	}
}

func TestGone(t *testing.T) {
	resource := schema.GroupResource{Group: "srenix.io", Resource: "findings"}
	for name, test := range map[string]struct {
		err  error
		want bool
	}{
		"no error":                    {nil, false},
		"there is none of this name":  {apierrors.NewNotFound(resource, "web"), true},
		"there is none of another":    {apierrors.NewNotFound(resource, "other"), false},
		"there is no such API":        {apierrors.NewGenericServerResponse(404, "get", resource, "web", "404 page not found", 0, true), false},
		"the API's group is not read": {&discovery.ErrGroupDiscoveryFailed{}, false},
		"down":                        {apierrors.NewServiceUnavailable("down"), false},
		"no answer":                   {errors.New("connection refused"), false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := gone(test.err, "web"); got != test.want {
				t.Errorf("gone(%v) = %t", test.err, got)
			}
		})
	}
}

func TestADeletionUnderWayIsDone(t *testing.T) {
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{
		Namespace: "shop", Name: "web", UID: targetUID, Finalizers: []string{"example.com/wait"}, DeletionTimestamp: &metav1.Time{Time: start},
	}}
	scheme := smallScheme(t)
	scheme.AddKnownTypes(batchv1.SchemeGroupVersion, &batchv1.Job{})
	c := fake.NewClientBuilder().WithScheme(scheme).WithObjects(job).Build()
	order := order{target: srenix.ObjectReference{Kind: "Job", Namespace: "shop", Name: "web", UID: targetUID}}
	if seen, err := look(t.Context(), c, deleteJob(), order, 0); err != nil || !seen.done {
		t.Errorf("%+v, %v; want done", seen, err)
	}
}
