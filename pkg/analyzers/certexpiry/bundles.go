// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	day = 24 * time.Hour
	// noticeAtMost bounds how long before its end what no Certificate renews is nearly
	// over: of what is valid for ten years, a tenth is a year.
	noticeAtMost = 30 * day
	// What lives for at most a quarter of a year, or not much longer, is renewed by
	// operators, and some do so a week before the end: CloudNativePG its certificates for
	// 90 days, when it looks after them (expiringCheckThreshold). They have a day for it.
	quarter         = 100 * day
	noticeOfQuarter = 6 * day
)

// lastHours are those before the end of a caBundle in which nobody renews it any more as
// designed: Kyverno does when less than 60 hours are left, and the Operator Lifecycle
// Manager, which waits longest, when less than a day is (DefaultCertMinFresh). It has four
// hours for it. There is no telling whether a bundle is renewed so or was made by hand,
// so until then that it ends is not more than worth knowing.
const lastHours = 20 * time.Hour

// notice is how long before its end what no Certificate renews is nearly over: a tenth
// of its lifetime, within bounds.
func notice(begins, ends time.Time) time.Duration {
	lifetime := ends.Sub(begins)
	if lifetime < quarter {
		return min(lifetime/tenth, noticeOfQuarter)
	}
	return min(lifetime/tenth, noticeAtMost)
}

// bundle is one caBundle of a configuration.
type bundle struct {
	// usedBy is the webhook that it is for, or empty for the whole object.
	usedBy        string
	certificates  []byte // PEM
	begins, until time.Time
}

func validatingWebhooks(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	configuration, exists := inputs.ValidatingWebhookConfigurations.Get(view, subject)
	if !exists {
		return nil, nil
	}
	var bundles []bundle
	for _, webhook := range configuration.Webhooks {
		bundles = append(bundles, bundle{usedBy: webhook.Name, certificates: webhook.ClientConfig.CABundle})
	}
	return judge(view, configuration, "admissionregistration.k8s.io/v1", "ValidatingWebhookConfiguration", bundles), nil
}

func mutatingWebhooks(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	configuration, exists := inputs.MutatingWebhookConfigurations.Get(view, subject)
	if !exists {
		return nil, nil
	}
	var bundles []bundle
	for _, webhook := range configuration.Webhooks {
		bundles = append(bundles, bundle{usedBy: webhook.Name, certificates: webhook.ClientConfig.CABundle})
	}
	return judge(view, configuration, "admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration", bundles), nil
}

func apiService(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	service, exists := inputs.APIServices.Get(view, subject)
	if !exists {
		return nil, nil
	}
	certificates, err := base64.StdEncoding.DecodeString(inputs.TextAt(service, "spec", "caBundle"))
	if err != nil {
		return nil, nil //nolint:nilerr // what cannot be read says nothing
	}
	return judge(view, service, "apiregistration.k8s.io/v1", "APIService", []bundle{{certificates: certificates}}), nil
}

// judge makes one finding of the bundles of an object, about those that end first.
func judge(view *live.View, object metav1.Object, apiVersion, kind string, bundles []bundle) []v1alpha1.FindingSpec {
	if object.GetDeletionTimestamp() != nil {
		return nil
	}
	var first []bundle
	for _, b := range bundles {
		b.begins, b.until = validity(b.certificates)
		switch {
		case b.until.IsZero():
		case len(first) == 0 || b.until.Before(first[0].until):
			first = []bundle{b}
		case b.until.Equal(first[0].until):
			first = append(first, b)
		}
	}
	if len(first) == 0 {
		return nil
	}
	ends, now := first[0].until, view.Now()
	late := ends.Add(-notice(first[0].begins, ends))
	urgent := ends.Add(-lastHours)
	if urgent.Before(late) {
		urgent = late // of what lives for days, hours are nothing
	}
	for _, at := range []time.Time{late, urgent, ends} {
		view.RecheckAt(at)
	}
	until := ends.UTC().Format(time.RFC3339)
	finding := v1alpha1.FindingSpec{
		Reason: BundleExpires, Severity: v1alpha1.SeverityInfo, Since: metav1.NewTime(late),
		Subject: v1alpha1.ObjectReference{APIVersion: apiVersion, Kind: kind, Name: object.GetName(), UID: object.GetUID()},
		Message: fmt.Sprintf("The caBundle of %s %s%s has no certificate that is valid after %s. From then on the API server does not reach what it is for.", kind, object.GetName(), users(first), until),
		Remediation: v1alpha1.Remediation{
			Text: "See who writes the caBundle (an annotation of cert-manager's injector, or an operator), and have that renew its authority and the certificates it signed.",
			Commands: []string{
				fmt.Sprintf("kubectl get %s %s -o yaml", strings.ToLower(kind), object.GetName()),
				"kubectl get certificates.cert-manager.io -A",
			},
		},
	}
	switch {
	case now.Before(late):
		return nil
	case !now.Before(ends):
		finding.Reason, finding.Severity, finding.Since = BundleExpired, v1alpha1.SeverityCritical, metav1.NewTime(ends)
		finding.Message = fmt.Sprintf("The caBundle of %s %s%s has no certificate that was valid after %s. The API server does not reach what it is for.", kind, object.GetName(), users(first), until)
	case !now.Before(urgent):
		finding.Severity = v1alpha1.SeverityCritical
	}
	return []v1alpha1.FindingSpec{finding}
}

// users names at most three of the webhooks that bundles are for.
func users(bundles []bundle) string {
	const most = 3
	var names []string
	for _, b := range bundles {
		if b.usedBy != "" {
			names = append(names, b.usedBy)
		}
	}
	slices.Sort(names)
	switch {
	case len(names) == 0:
		return ""
	case len(names) > most:
		names = append(names[:most:most], "others")
	}
	return " (" + strings.Join(names, ", ") + ")"
}

// validity is that of the certificate of a bundle that is valid longest: while an
// authority is replaced, the old one and the new one stand side by side. It is
// zero if there is none that can be read.
func validity(bundle []byte) (begins, until time.Time) {
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			continue // of the others at least it is known
		}
		if certificate.NotAfter.After(until) {
			begins, until = certificate.NotBefore, certificate.NotAfter
		}
	}
	return begins, until
}
