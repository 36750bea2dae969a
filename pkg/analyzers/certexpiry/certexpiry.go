// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certexpiry finds certificates of cert-manager that do not come, are not
// renewed in time or are over, and requests for them that failed. It walks from
// the Certificate to the first real cause, and reads no Secret.
package certexpiry

import (
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "CertExpiry"
	// NotReady means that a Certificate has not been Ready for the grace.
	NotReady = "CertificateNotReady"
	// RenewalOverdue means that a certificate should have been renewed some time ago.
	RenewalOverdue = "RenewalOverdue"
	// ExpiresSoon means that a certificate is nearly over.
	ExpiresSoon = "CertificateExpiresSoon"
	// Expired means that it is over.
	Expired = "CertificateExpired"
	// RequestFailed means that a request failed whose Certificate still waits for one.
	RequestFailed = "CertificateRequestFailed"

	standardGrace = 15 * time.Minute
	// soon is how long before its end a certificate is nearly over, whatever its lifetime.
	soon = 48 * time.Hour
	// A tenth of the lifetime: so late may a renewal be, and so little may be left.
	tenth = 10
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	critical, warning := []v1alpha1.Severity{v1alpha1.SeverityCritical}, []v1alpha1.Severity{v1alpha1.SeverityWarning}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: NotReady, Severities: warning, Summary: "A Certificate is not Ready, and why."},
			{Name: RenewalOverdue, Severities: warning, Summary: "A certificate should have been renewed a tenth of its lifetime ago."},
			{Name: ExpiresSoon, Severities: critical, Summary: "A certificate is over in two days, or in a tenth of its lifetime."},
			{Name: Expired, Severities: critical, Summary: "A certificate is over."},
			{Name: RequestFailed, Severities: warning, Summary: "A CertificateRequest failed whose Certificate still waits for one."},
		},
		Rules: []analyzers.Rule{
			{
				Subject: inputs.Certificates.Ref(),
				Reads:   []live.KindRef{inputs.CertificateRequests.Ref(), inputs.Orders.Ref(), inputs.Challenges.Ref()},
				Analyze: a.certificate,
			},
			{Subject: inputs.CertificateRequests.Ref(), Reads: []live.KindRef{inputs.Certificates.Ref()}, Analyze: a.request},
		},
	}, nil
}

func (a analyzer) certificate(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	certificate, exists := inputs.Certificates.Get(view, subject)
	if !exists || certificate.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	if finding, found := expiry(view, certificate); found {
		return []v1alpha1.FindingSpec{finding}, nil
	}
	ready, has := inputs.ConditionOf(certificate, "Ready")
	if !has || ready.Status != "False" || ready.LastTransition.IsZero() {
		return nil, nil
	}
	if end := ready.LastTransition.Add(a.grace); view.Now().Before(end) {
		view.RecheckAt(end)
		return nil, nil
	}
	why, related := cause(view, certificate)
	if why == "" {
		why = inputs.Sentence(ready.Message)
	}
	return []v1alpha1.FindingSpec{about(certificate, NotReady, v1alpha1.SeverityWarning, ready.LastTransition,
		fmt.Sprintf("Certificate %s is not Ready: %s.", certificate.GetName(), why), related...)}, nil
}

// expiry tells how a certificate that was issued stands in time.
func expiry(view *live.View, certificate *unstructured.Unstructured) (v1alpha1.FindingSpec, bool) {
	begins, ends := inputs.TimeAt(certificate, "status", "notBefore"), inputs.TimeAt(certificate, "status", "notAfter")
	if ends.IsZero() {
		return v1alpha1.FindingSpec{}, false
	}
	lifetime := ends.Sub(begins)
	if begins.IsZero() || lifetime <= 0 {
		lifetime = 0
	}
	name, now := certificate.GetName(), view.Now()
	left := lifetime / tenth
	if soon < lifetime/2 {
		left = max(left, soon) // of a certificate for hours, two days are nothing
	}
	overdue := inputs.TimeAt(certificate, "status", "renewalTime")
	if !overdue.IsZero() {
		overdue = overdue.Add(lifetime / tenth)
	}
	for _, at := range []time.Time{ends, ends.Add(-left), overdue} {
		view.RecheckAt(at)
	}
	until := ends.UTC().Format(time.RFC3339)
	switch {
	case !now.Before(ends):
		return about(certificate, Expired, v1alpha1.SeverityCritical, ends, fmt.Sprintf("The certificate of Certificate %s was valid until %s.", name, until)), true
	case left > 0 && !now.Before(ends.Add(-left)):
		return about(certificate, ExpiresSoon, v1alpha1.SeverityCritical, ends.Add(-left),
			fmt.Sprintf("The certificate of Certificate %s is valid until %s, and has not been renewed.", name, until)), true
	case !overdue.IsZero() && !now.Before(overdue):
		return about(certificate, RenewalOverdue, v1alpha1.SeverityWarning, overdue,
			fmt.Sprintf("The certificate of Certificate %s should have been renewed by %s; it is valid until %s.", name, overdue.UTC().Format(time.RFC3339), until)), true
	}
	return v1alpha1.FindingSpec{}, false
}

// cause walks from a Certificate to what last went wrong: its newest request, that
// one's order, and the order's challenges.
func cause(view *live.View, certificate *unstructured.Unstructured) (string, []v1alpha1.RelatedObject) {
	request := newest(inputs.CertificateRequests.ByIndex(view, inputs.ByController, inputs.Controls(certificate.GetUID())))
	if request == nil {
		return "", nil
	}
	why, related := stated(request), []v1alpha1.RelatedObject{relate("request", request)}
	order := newest(inputs.Orders.ByIndex(view, inputs.ByController, inputs.Controls(request.GetUID())))
	if order == nil {
		return why, related
	}
	related = append(related, relate("order", order))
	if reason := inputs.TextAt(order, "status", "reason"); reason != "" {
		why = fmt.Sprintf("its order is %s: %s", inputs.TextAt(order, "status", "state"), inputs.Sentence(reason))
	}
	for _, challenge := range inputs.Challenges.ByIndex(view, inputs.ByController, inputs.Controls(order.GetUID())) {
		if state := inputs.TextAt(challenge, "status", "state"); state == "valid" || inputs.TextAt(challenge, "status", "reason") == "" {
			continue
		}
		related = append(related, relate("challenge", challenge))
		return fmt.Sprintf("the challenge for %s is %s: %s", inputs.TextAt(challenge, "spec", "dnsName"),
			inputs.TextAt(challenge, "status", "state"), inputs.Sentence(inputs.TextAt(challenge, "status", "reason"))), related
	}
	return why, related
}

// newest returns the object that was made last.
func newest(objects []*unstructured.Unstructured) *unstructured.Unstructured {
	var found *unstructured.Unstructured
	for _, object := range objects {
		if found == nil || found.GetCreationTimestamp().Time.Before(object.GetCreationTimestamp().Time) ||
			found.GetCreationTimestamp() == object.GetCreationTimestamp() && found.GetName() < object.GetName() {
			found = object
		}
	}
	return found
}

func stated(request *unstructured.Unstructured) string {
	for _, kind := range []string{"Denied", "InvalidRequest", "Ready"} {
		if condition, has := inputs.ConditionOf(request, kind); has && (condition.Status == "True") == (kind != "Ready") && condition.Message != "" {
			return fmt.Sprintf("its request %s says: %s", request.GetName(), inputs.Sentence(condition.Message))
		}
	}
	return ""
}

// Failed tells whether a CertificateRequest failed, and when. One that was denied,
// or is not valid, would fail again.
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

// WaitingFor returns the Certificate that still waits for what a request was to
// bring, or nil.
func WaitingFor(view *live.View, request *unstructured.Unstructured) *unstructured.Unstructured {
	owner := metav1.GetControllerOf(request)
	if owner == nil || owner.Kind != "Certificate" {
		return nil
	}
	certificate, exists := inputs.Certificates.Get(view, live.Key{Namespace: request.GetNamespace(), Name: owner.Name})
	if !exists || certificate.GetUID() != owner.UID || certificate.GetDeletionTimestamp() != nil {
		return nil
	}
	if issuing, has := inputs.ConditionOf(certificate, "Issuing"); !has || issuing.Status != "True" {
		return nil
	}
	return certificate
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
	if end := at.Add(a.grace); view.Now().Before(end) {
		view.RecheckAt(end)
		return nil, nil
	}
	ready, _ := inputs.ConditionOf(request, "Ready")
	spec := about(request, RequestFailed, v1alpha1.SeverityWarning, at,
		fmt.Sprintf("CertificateRequest %s failed (%s), and Certificate %s still waits for a certificate.", request.GetName(), inputs.Sentence(ready.Message), certificate.GetName()),
		relate("certificate", certificate))
	spec.Remediation = v1alpha1.Remediation{
		Text: "Mend what the request says. cert-manager makes another request for a Certificate that waits, once this one is gone.",
		Commands: []string{
			fmt.Sprintf("kubectl describe certificaterequest.cert-manager.io %s -n %s", request.GetName(), request.GetNamespace()),
			fmt.Sprintf("kubectl delete certificaterequest.cert-manager.io %s -n %s", request.GetName(), request.GetNamespace()),
		},
	}
	return []v1alpha1.FindingSpec{spec}, nil
}

func about(object *unstructured.Unstructured, reason string, severity v1alpha1.Severity, since time.Time, message string, related ...v1alpha1.RelatedObject) v1alpha1.FindingSpec {
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: severity, Subject: reference(object), Related: related, Message: message,
		Remediation: v1alpha1.Remediation{
			Text: "See the Certificate, and the requests that were made for it, and mend what they say.",
			Commands: []string{
				fmt.Sprintf("kubectl describe certificate.cert-manager.io %s -n %s", object.GetName(), object.GetNamespace()),
				fmt.Sprintf("kubectl get certificaterequests.cert-manager.io -n %s", object.GetNamespace()),
			},
		},
		Since: metav1.NewTime(since),
	}
}

func relate(relation string, object *unstructured.Unstructured) v1alpha1.RelatedObject {
	return v1alpha1.RelatedObject{Relation: relation, ObjectReference: reference(object)}
}

func reference(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}
