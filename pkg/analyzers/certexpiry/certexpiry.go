// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certexpiry finds certificates of cert-manager that do not come, are not
// renewed in time or are over, requests for them that failed, and caBundles that
// are over. It walks from the Certificate to the first real cause. It reads no
// Secret, unless the option tlsSecrets has it look at those that no Certificate
// writes.
package certexpiry

import (
	"errors"
	"fmt"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/certificates"
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
	// RequestFailed means that the requests of a Certificate fail, which still waits for one.
	RequestFailed = "CertificateRequestFailed"
	// BundleExpires means that a caBundle holds nothing that is valid for long.
	BundleExpires = "CABundleExpiresSoon"
	// BundleExpired means that it holds nothing that is valid.
	BundleExpired = "CABundleExpired"

	standardGrace = certificates.RenewalGrace
	// A tenth of the lifetime: so late may a renewal be, and so little may be left.
	tenth           = 10
	standardPercent = 100 / tenth
)

type analyzer struct {
	grace time.Duration
	// soon is how long before its end a certificate is nearly over, whatever its lifetime.
	soon time.Duration
	// percent of the lifetime: so late may a renewal be, and so little may be left.
	percent int32
}

// Options of the analyzer.
type Options struct {
	// TLSSecrets has Secrets of type kubernetes.io/tls looked at too. The values of
	// all Secrets then come to the process, and are dropped before anything is stored.
	TLSSecrets bool `json:"tlsSecrets,omitempty"`
	// ExpiresWithin is how long before its end a certificate is nearly over, unless it
	// lives for less than twice that; 48h by default.
	ExpiresWithin *metav1.Duration `json:"expiresWithin,omitempty"`
	// LifetimePercent is the part of a certificate's lifetime that a renewal may be late,
	// and in which, at its end, the certificate is nearly over: 1 to 50; 10 by default.
	LifetimePercent *int32 `json:"lifetimePercent,omitempty"`
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	var own Options
	if err := settings.Options(&own); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), soon: certificates.Soon, percent: standardPercent}
	if own.ExpiresWithin != nil {
		a.soon = own.ExpiresWithin.Duration
	}
	if own.LifetimePercent != nil {
		a.percent = *own.LifetimePercent
	}
	switch {
	case a.soon <= 0:
		return analyzers.Analyzer{}, errors.New("options: expiresWithin must be more than 0s")
	case a.percent < 1 || a.percent > 50:
		return analyzers.Analyzer{}, errors.New("options: lifetimePercent must be from 1 to 50")
	}
	critical, warning := []v1alpha1.Severity{v1alpha1.SeverityCritical}, []v1alpha1.Severity{v1alpha1.SeverityWarning}
	chain := []live.KindRef{inputs.CertificateRequests.Ref(), inputs.Orders.Ref(), inputs.Challenges.Ref(), inputs.Issuers.Ref(), inputs.ClusterIssuers.Ref()}
	made := analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: NotReady, Severities: warning, Summary: "A Certificate is not Ready, and why."},
			{Name: RenewalOverdue, Severities: warning, Summary: "A certificate should have been renewed a tenth of its lifetime ago."},
			{Name: ExpiresSoon, Severities: slices.Concat(critical, warning), Summary: "A certificate is over in two days, or in a tenth of its lifetime."},
			{Name: Expired, Severities: slices.Concat(critical, warning), Summary: "A certificate is over."},
			{Name: RequestFailed, Severities: warning, Summary: "The CertificateRequests of a Certificate fail, which still waits for one."},
			{Name: BundleExpires, Severities: append(slices.Clone(critical), v1alpha1.SeverityInfo), Summary: "A caBundle of a webhook or an APIService holds nothing that is valid for long."},
			{Name: BundleExpired, Severities: critical, Summary: "A caBundle of a webhook or an APIService holds nothing that is valid."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Certificates.Ref(), Reads: chain, Analyze: a.certificate},
			{Subject: inputs.ValidatingWebhookConfigurations.Ref(), Analyze: validatingWebhooks},
			{Subject: inputs.MutatingWebhookConfigurations.Ref(), Analyze: mutatingWebhooks},
			{Subject: inputs.APIServices.Ref(), Analyze: apiService},
		},
	}
	if own.TLSSecrets {
		made.Rules = append(made.Rules, a.secrets())
	}
	return made, nil
}

func (a analyzer) certificate(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	certificate, exists := inputs.Certificates.Get(view, subject)
	if !exists || certificate.GetDeletionTimestamp() != nil {
		return nil, nil
	}
	// What the requests say is found in the place of CertificateNotReady: there is
	// something to do about them.
	failed, found, fails := a.requestFailed(view, certificate)
	var findings []v1alpha1.FindingSpec
	if found {
		findings = append(findings, failed)
	}
	if finding, found := a.expiry(view, certificate); found {
		return append(findings, finding), nil
	}
	if inputs.Untold(certificate) {
		return append(findings, neglected(view, certificate)...), nil
	}
	since, found := a.notReady(view, certificate)
	if !found || fails {
		return findings, nil
	}
	why, related := cause(view, certificate)
	if why == "" {
		ready, _ := inputs.ConditionOf(certificate, "Ready")
		why = inputs.Sentence(ready.Message)
	}
	return []v1alpha1.FindingSpec{about(certificate, NotReady, v1alpha1.SeverityWarning, since,
		fmt.Sprintf("Certificate %s is not Ready: %s.", certificate.GetName(), why), related...)}, nil
}

// neglected tells of a Certificate that cert-manager has said nothing about, which
// otherwise judges it in seconds.
func neglected(view *live.View, certificate *unstructured.Unstructured) []v1alpha1.FindingSpec {
	since, is := analyzers.Neglected(view, 0)
	if !is {
		return nil
	}
	finding := about(certificate, NotReady, v1alpha1.SeverityWarning, since,
		fmt.Sprintf("Certificate %s does not say whether it is Ready: cert-manager has not looked at it.", certificate.GetName()))
	finding.Remediation.Text = "See whether cert-manager runs and gets on; it looks at what is new by itself."
	finding.Remediation.Commands[1] = "kubectl get deployments -A -l app.kubernetes.io/name=cert-manager"
	return []v1alpha1.FindingSpec{finding}
}

// notReady tells whether a Certificate has not been Ready for the grace, and since when.
func (a analyzer) notReady(view *live.View, certificate *unstructured.Unstructured) (since time.Time, found bool) {
	ready, has := inputs.ConditionOf(certificate, "Ready")
	if !has || ready.Status != "False" || ready.LastTransition.IsZero() {
		return time.Time{}, false
	}
	return ready.LastTransition, analyzers.Past(view, ready.LastTransition.Add(a.grace))
}

// expiry tells how a certificate that was issued stands in time.
func (a analyzer) expiry(view *live.View, certificate *unstructured.Unstructured) (v1alpha1.FindingSpec, bool) {
	ends, lifetime := inputs.TimeAt(certificate, "status", "notAfter"), certificates.Lifetime(certificate)
	if ends.IsZero() {
		return v1alpha1.FindingSpec{}, false
	}
	name, now := certificate.GetName(), view.Now()
	part := lifetime / 100 * time.Duration(a.percent)
	left := part
	if a.soon < lifetime/2 {
		left = max(left, a.soon) // of a certificate for hours, two days are nothing
	}
	late, overdue := certificates.Late(certificate, left, a.grace), time.Time{}
	if renewal := inputs.TimeAt(certificate, "status", "renewalTime"); !renewal.IsZero() {
		overdue = renewal.Add(part)
	}
	for _, at := range []time.Time{ends, late, overdue} {
		view.RecheckAt(at)
	}
	until := ends.UTC().Format(time.RFC3339)
	why, related := "", []v1alpha1.RelatedObject(nil)
	if ready, _ := inputs.ConditionOf(certificate, "Ready"); ready.Status == "False" || failing(certificate) {
		if why, related = cause(view, certificate); why != "" {
			why = " Why: " + why + "."
		}
	}
	switch {
	case !now.Before(ends):
		return about(certificate, Expired, v1alpha1.SeverityCritical, ends,
			fmt.Sprintf("The certificate of Certificate %s was valid until %s.%s", name, until, why), related...), true
	case left > 0 && !now.Before(late):
		return about(certificate, ExpiresSoon, v1alpha1.SeverityCritical, late,
			fmt.Sprintf("The certificate of Certificate %s is valid until %s, and has not been renewed.%s", name, until, why), related...), true
	case !overdue.IsZero() && !now.Before(overdue):
		return about(certificate, RenewalOverdue, v1alpha1.SeverityWarning, overdue,
			fmt.Sprintf("The certificate of Certificate %s should have been renewed by %s; it is valid until %s.%s", name, overdue.UTC().Format(time.RFC3339), until, why), related...), true
	}
	return v1alpha1.FindingSpec{}, false
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
