// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/utils/ptr"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// FuzzAdmissionReview sends any body to both handlers. Nobody has a token here, so
// nothing may be allowed but what the policy has no say in: changes and deletions
// of Approvals that are stored already.
func FuzzAdmissionReview(f *testing.F) {
	for _, seed := range []string{
		"", "null", "{}", "[]", `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","operation":"CREATE","userInfo":{"username":"alice"},"namespace":"shop","object":{}}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","operation":"DELETE"}}`,
		`{"apiVersion":"admission.k8s.io/v1beta1","kind":"AdmissionReview","request":{"uid":"a","operation":"CREATE"}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"allowed":true}}`,
		`{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"a","operation":"CREATE","dryRun":true,"userInfo":{"username":"alice"},"name":"fix","namespace":"shop","object":{"apiVersion":"srenix.io/v1alpha1","kind":"ProposalApproval","metadata":{"name":"fix","namespace":"shop"},"spec":{"decision":"Approve","digest":"sha256:0","token":"a.b.c"}}}}`,
	} {
		f.Add(true, []byte(seed))
		f.Add(false, []byte(seed))
	}
	var w *world
	executions := 0
	f.Fuzz(func(t *testing.T, interactive bool, body []byte) {
		if executions++; executions%500 == 1 { // refusals are recorded, and pile up
			w = newWorld(t)
		}
		path := ApprovalsPath
		if interactive {
			path = ProposalsApprovePath
		}
		post := httptest.NewRequestWithContext(t.Context(), http.MethodPost, path, bytes.NewReader(body))
		post.Header.Set("Content-Type", "application/json")
		answer := httptest.NewRecorder()
		w.server.ServeHTTP(answer, post)
		review := &admissionv1.AdmissionReview{}
		if json.Unmarshal(answer.Body.Bytes(), review) != nil || review.Response == nil || !review.Response.Allowed {
			return
		}
		sent := &admissionv1.AdmissionReview{}
		if err := json.Unmarshal(body, sent); err != nil || sent.Request == nil {
			t.Fatalf("allowed, though it is no request: %s", body)
		}
		stored := sent.Request.Operation == admissionv1.Update || sent.Request.Operation == admissionv1.Delete
		if interactive || !stored {
			t.Errorf("allowed: %s", body)
		}
	})
}

// FuzzApproval has somebody with a good token apply any object with it.
func FuzzApproval(f *testing.F) {
	for _, change := range [][2]string{
		{"", ""},
		{`"decision":"Approve"`, `"decision":"Deny"`},
		{`"decision":"Approve"`, `"decision":"approve"`},
		{`"actionKind":"DeletePod"`, `"actionKind":"DeleteJob"`},
		{`"uid":"pod"`, `"uid":"other"`},
		{`"reason":"it is stuck"`, `"reason":""`},
		{`"namespace":"shop"`, `"namespace":"bank"`},
		{`"spec":{`, `"status":{"phase":"Succeeded"},"spec":{`},
		{`"metadata":{`, `"metadata":{"finalizers":["x"],"ownerReferences":[],`},
	} {
		f.Add(change[0], change[1])
	}
	var w *world
	var good *opsv1alpha1.Approval
	f.Fuzz(func(t *testing.T, old, new string) {
		if w == nil { // dry runs leave nothing behind
			w = newWorld(t)
			good = w.stored(w.mint(t, "alice"))
		}
		text := string(encode(t, good))
		changed := strings.Replace(text, old, new, 1)
		response := w.review(t, "alice", good, func(r *admissionv1.AdmissionRequest) {
			r.Object.Raw, r.DryRun = []byte(changed), ptr.To(true)
			if !json.Valid(r.Object.Raw) {
				r.Object.Raw = nil
			}
		})
		if !response.Allowed {
			return
		}
		have := &opsv1alpha1.Approval{}
		if err := json.Unmarshal([]byte(changed), have); err != nil {
			t.Fatalf("allowed, though it cannot be decoded: %v", err)
		}
		// Explanations by others are not what a person decides on.
		have.Spec.Snapshot.Rationale, have.Spec.Snapshot.Source = good.Spec.Snapshot.Rationale, good.Spec.Snapshot.Source
		if string(encode(t, have.Spec)) != string(encode(t, good.Spec)) || have.Name != good.Name {
			t.Errorf("allowed, with %q for %q: %s", new, old, changed)
		}
	})
}
