// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// What one must be allowed to do is written out here a second time, because a
// wrong word in it would let somebody approve what they may not do.
func TestRequiredPermissionIsThatOfDoingItByHand(t *testing.T) {
	target := v1alpha1.ObjectReference{Namespace: "shop", Name: "web"}
	want := map[v1alpha1.ActionKind]authorizationv1.ResourceAttributes{
		v1alpha1.ActionDeletePod:                 {Verb: "delete", Version: "v1", Resource: "pods", Namespace: "shop", Name: "web"},
		v1alpha1.ActionPatchDeploymentAnnotation: {Verb: "patch", Group: "apps", Version: "v1", Resource: "deployments", Namespace: "shop", Name: "web"},
		v1alpha1.ActionDeleteJob:                 {Verb: "delete", Group: "batch", Version: "v1", Resource: "jobs", Namespace: "shop", Name: "web"},
		v1alpha1.ActionDeleteCertificateRequest:  {Verb: "delete", Group: "cert-manager.io", Version: "v1", Resource: "certificaterequests", Namespace: "shop", Name: "web"},
		v1alpha1.ActionPatchIngressTLS:           {Verb: "patch", Group: "networking.k8s.io", Version: "v1", Resource: "ingresses", Namespace: "shop", Name: "web"},
	}
	have := map[v1alpha1.ActionKind]authorizationv1.ResourceAttributes{}
	for _, kind := range append(config.BuiltInActionKinds(), "DrainNode", "") {
		if permission, ok := RequiredPermission(kind, target); ok {
			have[kind] = permission
		} else if diff := cmp.Diff(authorizationv1.ResourceAttributes{}, permission); diff != "" {
			t.Errorf("%q has no answer, and one all the same:\n%s", kind, diff)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestTheRightToDecideIsOnTheProposal(t *testing.T) {
	want := authorizationv1.ResourceAttributes{
		Verb: "create", Group: "srenix.io", Version: "v1alpha1", Resource: "proposals", Subresource: "approve", Namespace: "shop", Name: "fix",
	}
	if diff := cmp.Diff(want, DecidePermission("shop", "fix")); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestEachActionFitsOneKindOfObject(t *testing.T) {
	want := map[v1alpha1.ActionKind]string{
		v1alpha1.ActionDeletePod:                 "/v1, Kind=Pod",
		v1alpha1.ActionPatchDeploymentAnnotation: "apps/v1, Kind=Deployment",
		v1alpha1.ActionDeleteJob:                 "batch/v1, Kind=Job",
		v1alpha1.ActionDeleteCertificateRequest:  "cert-manager.io/v1, Kind=CertificateRequest",
		v1alpha1.ActionPatchIngressTLS:           "networking.k8s.io/v1, Kind=Ingress",
	}
	have := map[v1alpha1.ActionKind]string{}
	for _, kind := range append(config.BuiltInActionKinds(), "DrainNode", "") {
		if gvk, ok := TargetGVK(kind); ok {
			have[kind] = gvk.String()
		} else if !gvk.Empty() {
			t.Errorf("%q fits nothing, and %s all the same", kind, gvk)
		}
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestApprovePermissionNamesTheKindAndTheNamespace(t *testing.T) {
	want := authorizationv1.ResourceAttributes{
		Verb: "approve", Group: "srenix.io", Version: "v1alpha1", Resource: "actionkinds", Namespace: "shop", Name: "DeletePod",
	}
	if diff := cmp.Diff(want, ApprovePermission(v1alpha1.ActionDeletePod, "shop")); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestRestartedAtIsTheTimeOfTheTokenInUTC(t *testing.T) {
	east := time.FixedZone("east", 2*3600)
	claims := &token.Claims{RegisteredClaims: jwt.RegisteredClaims{IssuedAt: jwt.NewNumericDate(start.In(east))}}
	if have, want := RestartedAt(claims), "2026-03-01T12:00:00Z"; have != want {
		t.Errorf("it is %s, want %s", have, want)
	}
}
