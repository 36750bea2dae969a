// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// A failed request is left alone for an hour after the first failure, twice as
	// long after each one more, and for 32 hours at most: cert-manager's own back-off
	// (pkg/controller/certificates/trigger), so that the limits of a certificate
	// authority are never run into on srenix's account.
	firstPause   = time.Hour
	longestPause = 32 * time.Hour
	// After its pause cert-manager deletes a failed request by itself, and makes
	// another. Only if it has not by then can deleting help.
	patience = 10 * time.Minute
)

// freshRequest deletes a CertificateRequest that failed, where its Certificate
// still waits for one, its issuer is well, and cert-manager does not do it by
// itself: it passes over failed requests without a failureTime, which not all
// issuers write, and over Certificates that have several requests for one revision.
func freshRequest(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	for _, related := range finding.Spec.Related {
		if related.Kind != "CertificateRequest" {
			continue
		}
		request, exists := inputs.CertificateRequests.Get(view, live.Key{Namespace: related.Namespace, Name: related.Name})
		if !exists || request.GetUID() != related.UID {
			continue
		}
		if chosen, offered := instead(view, request, related.ObjectReference); offered {
			return chosen, true
		}
	}
	return fix{}, false
}

// instead deletes one request, so that cert-manager makes another.
func instead(view *live.View, request *unstructured.Unstructured, target v1alpha1.ObjectReference) (fix, bool) {
	at, failed := certexpiry.Failed(request)
	certificate := certexpiry.WaitingFor(view, request)
	invalid, _ := inputs.ConditionOf(request, "InvalidRequest")
	if !failed || certificate == nil || invalid.Status == "True" || !issuerReady(view, request) {
		return fix{}, false
	}
	if free := at.Add(patience + pause(inputs.NumberAt(certificate, "status", "failedIssuanceAttempts"))); view.Now().Before(free) {
		view.RecheckAt(free)
		return fix{}, false
	}
	return fix{
		action: v1alpha1.ActionDeleteCertificateRequest, target: target,
		rationale: fmt.Sprintf("CertificateRequest %s failed, Certificate %s still waits, its issuer is Ready, and cert-manager has not replaced the request when it should have. It makes a new one for its next try once the failed one is gone.",
			request.GetName(), certificate.GetName()),
	}, true
}

func pause(attempts int64) time.Duration {
	wait := firstPause
	for ; attempts > 1 && wait < longestPause; attempts-- {
		wait *= 2
	}
	return min(wait, longestPause)
}

// issuerReady tells whether the issuer that a request names is Ready. One of
// another group is not known.
func issuerReady(view *live.View, request *unstructured.Unstructured) bool {
	issuer, _, known := certexpiry.Issuer(view, request)
	if !known || issuer == nil {
		return false
	}
	ready, _ := inputs.ConditionOf(issuer, "Ready")
	return ready.Status == "True"
}

// betterSecret points a TLS entry at the Secret of a Ready Certificate that covers
// its hosts and is valid longer, where cert-manager does not answer that by making a
// second Certificate for it.
func betterSecret(view *live.View, finding *v1alpha1.Finding) (fix, bool) {
	subject := finding.Spec.Subject
	if subject.Kind != "Ingress" {
		return fix{}, false // no action is for a Gateway
	}
	ingress, exists := inputs.Ingresses.Get(view, live.Key{Namespace: subject.Namespace, Name: subject.Name})
	if !exists || ingress.UID != subject.UID || ingress.DeletionTimestamp != nil {
		return fix{}, false
	}
	for _, mismatch := range tlssecretmismatch.Mismatches(view, ingress) {
		if tlssecretmismatch.Discriminator(ingress, mismatch.Index) != finding.Spec.Discriminator {
			continue
		}
		if mismatch.Undone {
			return fix{}, false
		}
		served, better := mismatch.Secrets()
		path := fmt.Sprintf("/spec/tls/%d/secretName", mismatch.Index)
		return fix{
			action: v1alpha1.ActionPatchIngressTLS, target: subject,
			patch: &v1alpha1.Patch{JSONPatch: []v1alpha1.JSONPatchOperation{
				{Op: "test", Path: path, Value: served}, {Op: "replace", Path: path, Value: better},
			}},
			rationale: fmt.Sprintf("Secret %s, which Ingress %s serves, ends at %s; Secret %s of the Ready Certificate %s covers the same hosts and is valid longer.",
				served, ingress.Name, mismatch.Ends.UTC().Format(time.RFC3339), better, mismatch.Better.GetName()),
		}, true
	}
	return fix{}, false
}
