// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/secondleash"
	"github.com/srenix/srenix/test/harness"
)

// TestAnotherUIDIsAConflict is apart from the table: kube-apiserver compares the
// preconditions with the object before it asks for admission.
func TestAnotherUIDIsAConflict(t *testing.T) {
	for _, q := range questions(t) {
		switch q.name {
		case string(pod), string(job), string(certRequest):
			_, err := deletion(func(o *client.DeleteOptions) { o.Preconditions.UID = ptr.To(types.UID("another")) })(t.Context(), cluster.executor, q.object)
			if !apierrors.IsConflict(err) {
				t.Errorf("%s with another UID as precondition: %v", q.name, err)
			}
		}
	}
}

// TestTheLeashIsRecognizedAsItIsStored looks at it with the defaults of kube-apiserver,
// as an executor does.
func TestTheLeashIsRecognizedAsItIsStored(t *testing.T) {
	if err := secondleash.Check(t.Context(), cluster.executor); err != nil {
		t.Error(err)
	}
}

// TestWhatAdmissionDoesNotSeeIsLeftToRBAC asks for what the leash in CEL cannot
// hold, on behalf of somebody who has the executor's roles and nothing else.
func TestWhatAdmissionDoesNotSeeIsLeftToRBAC(t *testing.T) {
	const user = "leash-roles-only"
	for _, arguments := range [][]string{
		{"create", "clusterrolebinding", user, "--clusterrole=srenix-executor", "--user=" + user},
		{"create", "rolebinding", user, "-n", harness.Namespace, "--role=srenix-executor", "--user=" + user},
	} {
		if _, _, err := cluster.Kubectl(t.Context(), arguments...); err != nil {
			t.Fatal(err)
		}
	}
	type attributes = authorizationv1.ResourceAttributes
	may := func(of attributes) bool {
		t.Helper()
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: user, ResourceAttributes: &of}}
		if err := cluster.admin.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		return review.Status.Allowed
	}
	eventually(t.Context(), t, "the roles to be bound", func(context.Context) (bool, string) {
		return may(attributes{Verb: "delete", Resource: "pods", Namespace: open}) && may(attributes{
			Verb: "update", Group: "coordination.k8s.io", Resource: "leases", Namespace: harness.Namespace, Name: executorAccount,
		}), "not yet"
	})
	for _, of := range []attributes{
		{Verb: "impersonate", Resource: "users"},
		{Verb: "impersonate", Resource: "groups"},
		{Verb: "impersonate", Resource: "serviceaccounts", Namespace: harness.Namespace},
		{Verb: "get", Resource: "secrets", Namespace: harness.Namespace},
		{Verb: "list", Resource: "secrets"},
		{Verb: "get", Resource: "configmaps", Namespace: open},
		{Verb: "list", Resource: "pods"},
		{Verb: "get", Resource: "nodes", Subresource: "proxy"},
		{Verb: "create", Group: "authentication.k8s.io", Resource: "tokenreviews"},
		{Verb: "create", Group: "srenix.io", Resource: "proposals", Subresource: "token", Namespace: open},
		{Verb: "create", Group: "srenix.io", Resource: "proposals", Subresource: "approve", Namespace: open},
		{Verb: "get", Group: "srenix.io", Resource: "proposals", Subresource: "runbook", Namespace: open},
		{Verb: "delete", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies", Name: leashName},
		{Verb: "update", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies", Name: leashName},
		{Verb: "patch", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicies", Name: leashName},
		{Verb: "delete", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings", Name: leashName},
		{Verb: "update", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings", Name: leashName},
		{Verb: "patch", Group: "admissionregistration.k8s.io", Resource: "validatingadmissionpolicybindings", Name: leashName},
	} {
		if may(of) {
			t.Errorf("the executor's roles let it %s %s in %q, and admission would not see that", of.Verb, strings.TrimSuffix(of.Resource+"/"+of.Subresource, "/"), of.Group)
		}
	}
	for _, resource := range []string{"validatingadmissionpolicies", "validatingadmissionpolicybindings"} {
		if !may(attributes{Verb: "get", Group: "admissionregistration.k8s.io", Resource: resource, Name: leashName}) {
			t.Errorf("the executor's roles do not let it look at its leash: get %s", resource)
		}
	}
	// Should Kubernetes ever ask about these, this can be held twice, too.
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: leashName}}
	if err := cluster.executor.Delete(t.Context(), policy, client.DryRunAll); err != nil {
		t.Errorf("an executor with every right cannot delete its leash any more, so that the text about it is out of date: %v", err)
	}
}
