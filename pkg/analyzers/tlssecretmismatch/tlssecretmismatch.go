// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tlssecretmismatch finds Ingresses that serve a certificate which is over
// or nearly so while a better one lies beside it, and hosts that the certificate
// served does not cover. It goes by the Certificates of cert-manager and reads no
// Secret.
package tlssecretmismatch

import (
	"fmt"
	"slices"
	"strings"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/hostname"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "TLSSecretMismatch"
	// BetterSecret means that a TLS entry names a Secret whose certificate is over,
	// or nearly so, while a Ready Certificate covers its hosts in another Secret.
	BetterSecret = "BetterSecret"
	// HostNotCovered means that a host of a TLS entry is not among the names of the
	// certificate that the entry serves.
	HostNotCovered = "HostNotCovered"

	// soon is how long before its end a certificate counts as nearly over.
	soon = 48 * time.Hour
	// standardGrace is for hosts and certificates that are changed one after the other.
	standardGrace = 10 * time.Minute
)

type analyzer struct{ grace time.Duration }

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace)}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: BetterSecret, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityWarning}, Summary: "An Ingress serves a certificate that is over, or nearly so, while a better one is in another Secret."},
			{Name: HostNotCovered, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "An Ingress serves a host with a certificate that does not cover it."},
		},
		Rules: []analyzers.Rule{{Subject: inputs.Ingresses.Ref(), Reads: []live.KindRef{inputs.Certificates.Ref()}, Analyze: a.ingress}},
	}, nil
}

// Mismatch is a TLS entry that should name another Secret.
type Mismatch struct {
	// Index of the entry in spec.tls.
	Index int
	// Served and Better are the Certificates that write the Secret named and the one
	// that should be.
	Served, Better *unstructured.Unstructured
	// Ends is when the certificate served is over.
	Ends time.Time
}

// Secrets are the names of the Secret served and the better one.
func (m Mismatch) Secrets() (served, better string) { return secretOf(m.Served), secretOf(m.Better) }

// maximumEntries is how many TLS entries of one Ingress are looked at: more than
// people write.
const maximumEntries = 100

// Mismatches returns the entries of an Ingress that should name another Secret. It
// asks the view to look again when that can change by itself.
func Mismatches(view *live.View, ingress *networkingv1.Ingress) []Mismatch {
	var found []Mismatch
	known := map[string]bool{}
	for i, entry := range ingress.Spec.TLS[:min(len(ingress.Spec.TLS), maximumEntries)] {
		served, ends := serving(view, ingress.Namespace, entry.SecretName)
		if served == nil || ends.IsZero() || len(entry.Hosts) == 0 {
			continue
		}
		if begins := ends.Add(-soon); view.Now().Before(begins) {
			view.RecheckAt(begins)
			continue
		}
		view.RecheckAt(ends)
		better := betterThan(view, ingress.Namespace, entry, ends)
		if better == nil || known[Discriminator(ingress, i)] {
			continue
		}
		known[Discriminator(ingress, i)] = true
		view.RecheckAt(inputs.TimeAt(better, "status", "notAfter").Add(-soon))
		found = append(found, Mismatch{Index: i, Served: served, Better: better, Ends: ends})
	}
	return found
}

func (a analyzer) ingress(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	ingress, exists := inputs.Ingresses.Get(view, subject)
	if !exists || ingress.DeletionTimestamp != nil {
		return nil, nil
	}
	var found []v1alpha1.FindingSpec
	for _, mismatch := range Mismatches(view, ingress) {
		found = append(found, betterSecret(view, ingress, mismatch))
	}
	return append(found, a.notCovered(view, ingress)...), nil
}

func betterSecret(view *live.View, ingress *networkingv1.Ingress, m Mismatch) v1alpha1.FindingSpec {
	served, better := m.Secrets()
	severity, what, since := v1alpha1.SeverityWarning, "nearly over", m.Ends.Add(-soon)
	if !view.Now().Before(m.Ends) {
		severity, what, since = v1alpha1.SeverityCritical, "over", m.Ends
	}
	hosts := list(ingress.Spec.TLS[m.Index].Hosts)
	return v1alpha1.FindingSpec{
		Reason: BetterSecret, Severity: severity, Subject: reference(ingress),
		Discriminator: Discriminator(ingress, m.Index),
		Related: []v1alpha1.RelatedObject{
			{Relation: "certificate served", ObjectReference: certificate(m.Served)},
			{Relation: "better certificate", ObjectReference: certificate(m.Better)},
		},
		Message: fmt.Sprintf("Ingress %s serves %s with Secret %s, whose certificate is %s (%s). Certificate %s is Ready, covers the same hosts and is valid longer; it is in Secret %s.",
			ingress.Name, hosts, served, what, m.Ends.UTC().Format(time.RFC3339), m.Better.GetName(), better),
		Remediation: v1alpha1.Remediation{
			Text: "Point the entry at the better Secret, or mend the Certificate that is served.",
			Commands: []string{
				fmt.Sprintf("kubectl describe certificate.cert-manager.io %s -n %s", m.Served.GetName(), ingress.Namespace),
				fmt.Sprintf("kubectl patch ingress %s -n %s --type=json -p '[{\"op\":\"test\",\"path\":\"/spec/tls/%d/secretName\",\"value\":%q},{\"op\":\"replace\",\"path\":\"/spec/tls/%d/secretName\",\"value\":%q}]'",
					ingress.Name, ingress.Namespace, m.Index, served, m.Index, better),
			},
		},
		Since: metav1.NewTime(since),
	}
}

// Discriminator tells the entries of one Ingress apart, in whatever order they are.
func Discriminator(ingress *networkingv1.Ingress, index int) string {
	entry := ingress.Spec.TLS[index]
	return entry.SecretName + "/" + slices.Min(append([]string{}, entry.Hosts...))
}

func (a analyzer) notCovered(view *live.View, ingress *networkingv1.Ingress) []v1alpha1.FindingSpec {
	var found []v1alpha1.FindingSpec
	known := map[string]bool{}
	for i, entry := range ingress.Spec.TLS[:min(len(ingress.Spec.TLS), maximumEntries)] {
		served, _ := serving(view, ingress.Namespace, entry.SecretName)
		if served == nil || len(entry.Hosts) == 0 {
			continue
		}
		names := inputs.TextsAt(served, "spec", "dnsNames")
		if name := inputs.TextAt(served, "spec", "commonName"); name != "" {
			names = append(names, name)
		}
		missing := slices.DeleteFunc(slices.Clone(entry.Hosts), func(host string) bool { return hostname.Covers(names, host) })
		if len(missing) == 0 || known[Discriminator(ingress, i)] {
			continue
		}
		known[Discriminator(ingress, i)] = true
		since := view.FirstObserved(HostNotCovered + "/" + Discriminator(ingress, i))
		if end := since.Add(a.grace); view.Now().Before(end) {
			view.RecheckAt(end)
			continue
		}
		found = append(found, v1alpha1.FindingSpec{
			Reason: HostNotCovered, Severity: v1alpha1.SeverityWarning, Subject: reference(ingress), Discriminator: Discriminator(ingress, i),
			Related: []v1alpha1.RelatedObject{{Relation: "certificate served", ObjectReference: certificate(served)}},
			Message: fmt.Sprintf("Ingress %s serves %s with Secret %s, and Certificate %s, which writes it, does not cover that.", ingress.Name, list(missing), entry.SecretName, served.GetName()),
			Remediation: v1alpha1.Remediation{
				Text: "Add the hosts to the Certificate, or name a Secret that covers them.",
				Commands: []string{
					fmt.Sprintf("kubectl edit certificate.cert-manager.io %s -n %s", served.GetName(), ingress.Namespace),
					fmt.Sprintf("kubectl get certificates.cert-manager.io -n %s", ingress.Namespace),
				},
			},
			Since: metav1.NewTime(since),
		})
	}
	return found
}

// serving returns the Certificate that writes a Secret, and until when what it
// wrote is valid. With several, which fight over it, nothing can be said.
func serving(view *live.View, namespace, secret string) (*unstructured.Unstructured, time.Time) {
	writers := inputs.Certificates.ByIndex(view, inputs.BySecret, namespace+"/"+secret)
	if len(writers) != 1 {
		return nil, time.Time{}
	}
	return writers[0], inputs.TimeAt(writers[0], "status", "notAfter")
}

// betterThan returns the Ready Certificate, of another Secret, that covers the
// hosts of an entry and is valid longest, longer than the one served.
func betterThan(view *live.View, namespace string, entry networkingv1.IngressTLS, ends time.Time) *unstructured.Unstructured {
	var best *unstructured.Unstructured
	for _, candidate := range inputs.Certificates.List(view, namespace, nil) {
		secret, until := secretOf(candidate), inputs.TimeAt(candidate, "status", "notAfter")
		ready, _ := inputs.ConditionOf(candidate, "Ready")
		switch {
		case secret == "" || secret == entry.SecretName || candidate.GetDeletionTimestamp() != nil || ready.Status != "True":
		case !until.After(ends) || !view.Now().Before(until.Add(-soon)):
		case !hostname.CoversAll(inputs.TextsAt(candidate, "spec", "dnsNames"), entry.Hosts):
		case best == nil || until.After(inputs.TimeAt(best, "status", "notAfter")) ||
			until.Equal(inputs.TimeAt(best, "status", "notAfter")) && candidate.GetName() < best.GetName():
			best = candidate
		}
	}
	return best
}

func secretOf(certificate *unstructured.Unstructured) string {
	return inputs.TextAt(certificate, "spec", "secretName")
}

func reference(ingress *networkingv1.Ingress) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: ingress.Namespace, Name: ingress.Name, UID: ingress.UID}
}

func certificate(c *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: c.GetAPIVersion(), Kind: "Certificate", Namespace: c.GetNamespace(), Name: c.GetName(), UID: c.GetUID()}
}

// list names at most three hosts: a message is a sentence.
func list(hosts []string) string {
	const most = 3
	if len(hosts) <= most {
		return strings.Join(hosts, ", ")
	}
	return strings.Join(hosts[:most], ", ") + " and others"
}
