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
	if issuing, _ := inputs.ConditionOf(certificate, "Issuing"); issuing.Status != "True" && !failing(certificate) {
		return nil
	}
	return certificate
}

// failing tells whether the last issuance of a Certificate failed. The condition
// Issuing is then False until the next try, and the time of the failure stays
// until one succeeds (pkg/controller/certificates/issuing).
func failing(certificate *unstructured.Unstructured) bool {
	issuing, _ := inputs.ConditionOf(certificate, "Issuing")
	return issuing.Status == "False" && !inputs.TimeAt(certificate, "status", "lastFailureTime").IsZero()
}

// requestFailed tells whether a request of a Certificate failed that it still waits
// for. That is found of the request then, which there is something to do about, and
// not a second time of the Certificate.
func requestFailed(view *live.View, certificate *unstructured.Unstructured) bool {
	requests := inputs.CertificateRequests.ByIndex(view, inputs.ByController, inputs.Controls(certificate.GetUID()))
	return slices.ContainsFunc(requests, func(request *unstructured.Unstructured) bool {
		_, failed := Failed(request)
		return failed && request.GetDeletionTimestamp() == nil && WaitingFor(view, request) != nil
	})
}

func (a analyzer) request(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	request, exists := inputs.CertificateRequests.Get(view, subject)
	if !exists || request.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	at, failed := Failed(request)
	if !failed {
		return nil, nil
	}
	certificate := WaitingFor(view, request)
	if certificate == nil {
		return nil, nil
	}
	end := at.Add(a.grace)
	view.RecheckAt(end)
	if _, late := a.notReady(view, certificate); !late && view.Now().Before(end) {
		return nil, nil
	}
	ready, _ := inputs.ConditionOf(request, "Ready")
	message := fmt.Sprintf("CertificateRequest %s failed (%s), and Certificate %s still waits for a certificate.", request.GetName(), inputs.Sentence(ready.Message), certificate.GetName())
	why, related := cause(view, certificate)
	if why != "" && why != stated(request) {
		message += " Why: " + why + "."
	}
	related = slices.DeleteFunc(related, func(r v1alpha1.RelatedObject) bool { return r.UID == request.GetUID() })
	spec := about(request, RequestFailed, v1alpha1.SeverityWarning, at, message, append(related, relate("certificate", certificate))...)
	spec.Remediation = v1alpha1.Remediation{
		Text: "Mend what the request says. cert-manager tries again by itself, an hour after the first failure and later each time; cmctl has it try at once. Where it does not try again, it does once this request is gone.",
		Commands: []string{
			fmt.Sprintf("kubectl describe certificaterequest.cert-manager.io %s -n %s", request.GetName(), request.GetNamespace()),
			fmt.Sprintf("cmctl renew %s -n %s", certificate.GetName(), certificate.GetNamespace()),
			fmt.Sprintf("kubectl delete certificaterequest.cert-manager.io %s -n %s", request.GetName(), request.GetNamespace()),
		},
	}
	return []v1alpha1.FindingSpec{spec}, nil
}
