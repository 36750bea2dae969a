// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"fmt"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Failed tells whether a CertificateRequest failed, and when. One that was denied
// did not: another one would be denied too.
func Failed(request *unstructured.Unstructured) (at time.Time, failed bool) {
	ready, has := inputs.ConditionOf(request, "Ready")
	if !has || ready.Status != "False" || ready.Reason != "Failed" {
		return time.Time{}, false
	}
	if at = inputs.TimeAt(request, "status", "failureTime"); at.IsZero() {
		at = ready.LastTransition
	}
	return at, !at.IsZero()
}

// revision is the annotation of a CertificateRequest that numbers what it asks for.
// status.revision of the Certificate is the number of what it has
// (pkg/controller/certificates/requestmanager).
const revision = "cert-manager.io/certificate-revision"

// WaitingFor returns the Certificate that still waits for what a request was to
// bring, or nil: one that is being issued, or whose last issuance failed.
func WaitingFor(view *live.View, request *unstructured.Unstructured) *unstructured.Unstructured {
	owner := metav1.GetControllerOf(request)
	if owner == nil || owner.Kind != "Certificate" {
		return nil
	}
	certificate, exists := inputs.Certificates.Get(view, live.Key{Namespace: request.GetNamespace(), Name: owner.Name})
	if !exists || certificate.GetUID() != owner.UID || certificate.GetDeletionTimestamp() != nil {
		return nil
	}
	if n, err := strconv.ParseInt(request.GetAnnotations()[revision], 10, 64); err == nil && n != inputs.NumberAt(certificate, "status", "revision")+1 {
		return nil // it is history
	}
	if !waits(view, certificate) {
		return nil
	}
	return certificate
}

// waits tells whether a Certificate waits for another certificate: it is being issued,
// or that failed and is tried again. Where it is Ready and not to be renewed yet,
// cert-manager does not: a change that failed was taken back, or a renewal that somebody
// asked for (pkg/controller/certificates/trigger).
func waits(view *live.View, certificate *unstructured.Unstructured) bool {
	if issuing, _ := inputs.ConditionOf(certificate, "Issuing"); issuing.Status == "True" {
		return true
	}
	if !failing(certificate) {
		return false
	}
	ready, _ := inputs.ConditionOf(certificate, "Ready")
	return ready.Status != "True" || analyzers.Past(view, inputs.TimeAt(certificate, "status", "renewalTime"))
}

// failing tells whether the last issuance of a Certificate failed. The condition
// Issuing is then False until the next try, and the time of the failure stays
// until one succeeds (pkg/controller/certificates/issuing).
func failing(certificate *unstructured.Unstructured) bool {
	issuing, _ := inputs.ConditionOf(certificate, "Issuing")
	return issuing.Status == "False" && !inputs.TimeAt(certificate, "status", "lastFailureTime").IsZero()
}

// issuanceFails is observed of a Certificate from the failure of a request until one
// succeeds: cert-manager deletes a failed request before it makes the next.
const issuanceFails = "issuance fails"

// failedRequests are the requests of a Certificate that failed and that it still waits for.
func failedRequests(view *live.View, certificate *unstructured.Unstructured) []*unstructured.Unstructured {
	requests := inputs.CertificateRequests.ByIndex(view, inputs.ByController, inputs.Controls(certificate.GetUID()))
	return slices.DeleteFunc(slices.Clone(requests), func(request *unstructured.Unstructured) bool {
		_, failed := Failed(request)
		return !failed || request.GetDeletionTimestamp() != nil || WaitingFor(view, request) == nil
	})
}

// failure tells since when the issuance of a Certificate fails, and which requests
// failed that are still there. It goes on while cert-manager tries again, and the time
// of the last failure stays: that goes when a request succeeds
// (pkg/controller/certificates/issuing). A denied request begins nothing.
func failure(view *live.View, certificate *unstructured.Unstructured) (since time.Time, requests []*unstructured.Unstructured, fails bool) {
	requests = failedRequests(view, certificate)
	told := inputs.TimeAt(certificate, "status", "lastFailureTime")
	if _, before := view.Observed(issuanceFails); len(requests) == 0 && (!before || told.IsZero() || !waits(view, certificate)) {
		return time.Time{}, nil, false
	}
	for _, request := range requests {
		if at, _ := Failed(request); told.IsZero() || at.Before(told) {
			told = at
		}
	}
	return view.Began(issuanceFails, told), requests, true
}

// requestFailed tells of a Certificate whose requests fail, at the end of the grace
// of that, or at once if it has not been Ready for as long.
func (a analyzer) requestFailed(view *live.View, certificate *unstructured.Unstructured) (finding v1alpha1.FindingSpec, found, fails bool) {
	since, requests, fails := failure(view, certificate)
	if !fails {
		return v1alpha1.FindingSpec{}, false, false
	}
	ended := analyzers.Past(view, since.Add(a.grace))
	if _, late := a.notReady(view, certificate); !late && !ended {
		return v1alpha1.FindingSpec{}, false, true
	}
	name, namespace := certificate.GetName(), certificate.GetNamespace()
	why, related := cause(view, certificate)
	message := fmt.Sprintf("The last request of Certificate %s failed at %s, and cert-manager tries again; the Certificate still waits for a certificate.",
		name, inputs.TextAt(certificate, "status", "lastFailureTime"))
	remediation := v1alpha1.Remediation{
		Text:     "Mend what the requests say. cert-manager tries again by itself, an hour after the first failure and later each time; cmctl has it try at once.",
		Commands: []string{fmt.Sprintf("kubectl describe certificate.cert-manager.io %s -n %s", name, namespace)},
	}
	if request := newest(requests); request != nil {
		ready, _ := inputs.ConditionOf(request, "Ready")
		message = fmt.Sprintf("CertificateRequest %s failed (%s), and Certificate %s still waits for a certificate.", request.GetName(), inputs.Sentence(ready.Message), name)
		if why == stated(request) {
			why = ""
		}
		remediation.Text += " Where it does not try again, it does once the failed request is gone."
		remediation.Commands = []string{
			fmt.Sprintf("kubectl describe certificaterequest.cert-manager.io %s -n %s", request.GetName(), namespace),
			fmt.Sprintf("kubectl delete certificaterequest.cert-manager.io %s -n %s", request.GetName(), namespace),
		}
	}
	remediation.Commands = slices.Insert(remediation.Commands, 1, fmt.Sprintf("cmctl renew %s -n %s", name, namespace))
	if why != "" {
		message += " Why: " + why + "."
	}
	var failed []v1alpha1.RelatedObject
	for _, request := range requests {
		failed = append(failed, relate("request", request))
		related = slices.DeleteFunc(related, func(r v1alpha1.RelatedObject) bool { return r.UID == request.GetUID() })
	}
	finding = about(certificate, RequestFailed, v1alpha1.SeverityWarning, since, message, append(failed, related...)...)
	finding.Remediation = remediation
	return finding, true, true
}
