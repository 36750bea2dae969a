// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"fmt"
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

var began = time.Date(2026, 3, 10, 9, 0, 0, 0, time.UTC)

func condition(kind, status, reason string, at time.Time) map[string]any {
	return map[string]any{"type": kind, "status": status, "reason": reason, "message": "said", "lastTransitionTime": at.Format(time.RFC3339)}
}

// renewing is a Certificate whose renewal began, and failed before if that is not zero.
// Without attempts it has what it wants.
func renewing(issuing string, at, failedAt time.Time, attempts int64) *unstructured.Unstructured {
	status := map[string]any{
		"notBefore": began.AddDate(0, -1, 0).Format(time.RFC3339), "notAfter": began.AddDate(0, 6, 0).Format(time.RFC3339), "revision": int64(3),
	}
	conditions := []any{condition("Ready", "True", "Ready", began.AddDate(0, -1, 0))}
	switch issuing {
	case "True":
		conditions = append(conditions, condition("Issuing", "True", "Renewing", at))
	case "False":
		conditions = append(conditions, condition("Issuing", "False", "Failed", at))
	default:
		status["revision"] = int64(4)
	}
	if attempts > 0 {
		status["lastFailureTime"], status["failedIssuanceAttempts"] = failedAt.Format(time.RFC3339), attempts
	}
	status["conditions"] = conditions
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "Certificate",
		"metadata": map[string]any{"name": "web", "namespace": "shop", "uid": "cert-web"},
		"spec":     map[string]any{"secretName": "web-tls", "issuerRef": map[string]any{"name": "ca"}}, "status": status,
	}}
}

// requested is the request of a try: cert-manager gives that of one revision one name.
func requested(try int, reason string, at time.Time) *unstructured.Unstructured {
	status := map[string]any{"conditions": []any{condition("Ready", map[bool]string{true: "True", false: "False"}[reason == "Issued"], reason, at)}}
	if reason == "Failed" || reason == "Denied" {
		status["failureTime"] = at.Format(time.RFC3339)
	}
	request := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "cert-manager.io/v1", "kind": "CertificateRequest",
		"metadata": map[string]any{
			"name": "web-4", "namespace": "shop", "uid": fmt.Sprintf("request-%d", try), "creationTimestamp": at.Format(time.RFC3339),
			"annotations": map[string]any{"cert-manager.io/certificate-revision": "4"},
		},
		"status": status,
	}}
	controller := true
	request.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "cert-manager.io/v1", Kind: "Certificate", Name: "web", UID: "cert-web", Controller: &controller}})
	return request
}

// TestRetriesAreOneTrouble plays what cert-manager writes while a renewal fails again and
// again, and the old certificate is still good.
func TestRetriesAreOneTrouble(t *testing.T) {
	play := analyzertest.NewPlay(t, made(t, `{}`), began)
	set := func(certificate, request *unstructured.Unstructured) {
		if request != nil {
			analyzertest.Store(t, play.Cluster, []live.Object{request})
		} else {
			analyzertest.Remove(t, play.Cluster, requested(0, "", began))
		}
		analyzertest.Set(play, inputs.Certificates, certificate)
		livetest.Settle(t, play.Engine, play.Cluster, inputs.CertificateRequests)
	}
	uids := map[types.UID]bool{}
	stands := func(when string) {
		t.Helper()
		found := play.Found()
		if len(found) != 1 || found[0].Reason != RequestFailed || !found[0].Since.Time.Equal(began.Add(time.Minute)) {
			t.Fatalf("%s: found %+v", when, found)
		}
		uids[analyzers.NewFinding(Name, found[0]).UID] = true
		if len(uids) != 1 {
			t.Fatalf("%s: the finding is another one", when)
		}
	}
	var failedAt time.Time
	for try := range 4 {
		now := play.Clock.Now()
		set(renewing("True", now, failedAt, int64(try)), nil)
		if try > 0 {
			stands("cert-manager deleted the failed request")
		}
		set(renewing("True", now, failedAt, int64(try)), requested(try, "Pending", now))
		play.Step(time.Minute)
		if try > 0 {
			stands("it made another")
		}
		before := failedAt
		failedAt = play.Clock.Now()
		set(renewing("True", now, before, int64(try)), requested(try, "Failed", failedAt))
		set(renewing("False", failedAt, failedAt, int64(try)+1), requested(try, "Failed", failedAt))
		if try > 0 {
			stands("that failed too")
			related := play.Found()[0].Related
			if !slices.ContainsFunc(related, func(r v1alpha1.RelatedObject) bool { return r.UID == types.UID(fmt.Sprintf("request-%d", try)) }) {
				t.Errorf("what failed is not related: %+v", related)
			}
		} else if found := play.Found(); len(found) > 0 {
			t.Fatalf("found at once: %+v", found)
		}
		play.Step(time.Hour << try)
		stands("the pause is over")
	}
	play.Restart()
	stands("after a restart")
	now := play.Clock.Now()
	set(renewing("", now, time.Time{}, 0), requested(9, "Issued", now))
	if found := play.Found(); len(found) > 0 {
		t.Errorf("found of a certificate that has been renewed: %+v", found)
	}
}

// TestRetriesOfWhatIsDeniedAreNoFailure has nothing found between two requests of which
// the first was denied.
func TestRetriesOfWhatIsDeniedAreNoFailure(t *testing.T) {
	play := analyzertest.NewPlay(t, made(t, `{}`), began.Add(time.Hour), renewing("False", began, began, 1), requested(1, "Denied", began))
	for _, certificate := range []*unstructured.Unstructured{renewing("False", began, began, 1), renewing("True", began.Add(time.Hour), began, 1)} {
		analyzertest.Set(play, inputs.Certificates, certificate)
		if found := play.Found(); len(found) > 0 {
			t.Errorf("found %+v", found)
		}
		analyzertest.Remove(t, play.Cluster, requested(1, "", began))
		livetest.Settle(t, play.Engine, play.Cluster, inputs.CertificateRequests)
	}
}

// TestWhatIsNotTriedAgainIsOver removes the failed request of a renewal that somebody
// asked for before its time.
func TestWhatIsNotTriedAgainIsOver(t *testing.T) {
	play := analyzertest.NewPlay(t, made(t, `{}`), began.Add(time.Hour), renewing("False", began, began, 1), requested(1, "Failed", began))
	if found := play.Found(); len(found) != 1 {
		t.Fatalf("found %+v", found)
	}
	certificate := renewing("False", began, began, 1)
	if err := unstructured.SetNestedField(certificate.Object, began.AddDate(0, 4, 0).Format(time.RFC3339), "status", "renewalTime"); err != nil {
		t.Fatal(err)
	}
	analyzertest.Remove(t, play.Cluster, requested(1, "", began))
	livetest.Settle(t, play.Engine, play.Cluster, inputs.CertificateRequests)
	if found := play.Found(); len(found) != 1 {
		t.Fatalf("it is over with its request: %+v", found)
	}
	analyzertest.Set(play, inputs.Certificates, certificate)
	if found := play.Found(); len(found) > 0 {
		t.Errorf("found %+v", found)
	}
}
