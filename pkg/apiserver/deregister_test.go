// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"errors"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clienttesting "k8s.io/client-go/testing"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	fakeaggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
)

func registeredFor(namespace string) *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.srenix.io", UID: "1"},
		Spec:       apiregistrationv1.APIServiceSpec{Service: &apiregistrationv1.ServiceReference{Namespace: namespace, Name: "srenix-apiserver"}},
	}
}

func TestOnlyTheAPIServiceOfTheNamespaceIsRemoved(t *testing.T) {
	for name, test := range map[string]struct {
		objects []runtime.Object
		deleted bool
	}{
		"its own":           {[]runtime.Object{registeredFor("srenix-system")}, true},
		"another namespace": {[]runtime.Object{registeredFor("elsewhere")}, false},
		"local":             {[]runtime.Object{&apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.srenix.io"}}}, false},
		"none":              {nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			client := fakeaggregator.NewClientset(test.objects...)
			if err := deregister(t.Context(), client.ApiregistrationV1(), "srenix-system"); err != nil {
				t.Fatal(err)
			}
			var deletions []clienttesting.DeleteAction
			for _, action := range client.Actions() {
				if action.GetVerb() == "delete" {
					deletions = append(deletions, action.(clienttesting.DeleteAction))
				}
			}
			if test.deleted != (len(deletions) == 1) {
				t.Fatalf("there were %d deletions", len(deletions))
			}
			if test.deleted {
				if options := deletions[0].GetDeleteOptions(); options.Preconditions == nil || string(*options.Preconditions.UID) != "1" {
					t.Errorf("it is deleted whichever it is by then: %v", options)
				}
				// It was asked once more whether it is gone.
				verbs := []string{}
				for _, action := range client.Actions() {
					verbs = append(verbs, action.GetVerb())
				}
				if !slices.Equal(verbs, []string{"get", "delete", "get"}) {
					t.Errorf("requests are %v", verbs)
				}
			}
		})
	}
}

func TestAnAPIServiceThatCannotBeRemovedIsAnError(t *testing.T) {
	client := fakeaggregator.NewClientset(registeredFor("srenix-system"))
	forbidden := apierrors.NewForbidden(apiregistrationv1.Resource("apiservices"), "v1alpha1.srenix.io", errors.New("no right"))
	client.PrependReactor("delete", "apiservices", func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, forbidden })
	err := deregister(t.Context(), client.ApiregistrationV1(), "srenix-system")
	if err == nil || !strings.Contains(err.Error(), "deleting APIService v1alpha1.srenix.io") || !apierrors.IsForbidden(err) {
		t.Errorf("the error is %v", err)
	}
}
