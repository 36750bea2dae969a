// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package tlssecretmismatch finds Ingresses and Gateways that serve a certificate
// which is over or nearly so while a better one lies beside it, and hosts that the
// certificate served does not cover. It goes by the Certificates of cert-manager and
// reads no Secret, unless the option tlsSecrets has it look until when those are valid
// that no Certificate writes.
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
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/certificates"
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

	// standardGrace is for hosts and certificates that are changed one after the other.
	standardGrace = 10 * time.Minute
)

type analyzer struct {
	grace   time.Duration
	managed workloads.ManagedBy
	secrets bool
}

// options are the analyzer's own.
type options struct {
	// TLSSecrets has Secrets of type kubernetes.io/tls looked at too that no Certificate
	// writes. The values of all Secrets then come to the process, and are dropped before
	// anything is stored.
	TLSSecrets bool `json:"tlsSecrets"`
}

// New makes the analyzer.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	var own options
	if err := settings.Options(&own); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), managed: settings.ManagedBy, secrets: own.TLSSecrets}
	reads := []live.KindRef{inputs.Certificates.Ref()}
	if a.secrets {
		reads = append(reads, inputs.TLSSecrets.Ref())
	}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: BetterSecret, Severities: []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityWarning}, Summary: "An Ingress or a Gateway serves a certificate that is over, or nearly so, while a better one is in another Secret."},
			{Name: HostNotCovered, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "An Ingress or a Gateway serves a host with a certificate that does not cover it."},
		},
		Rules: []analyzers.Rule{
			{Subject: inputs.Ingresses.Ref(), Reads: reads, Analyze: a.ingress},
			{Subject: inputs.Gateways.Ref(), Reads: reads, Analyze: a.gateway},
		},
	}, nil
}

// server is what serves certificates: an Ingress, or a Gateway.
type server struct {
	object  metav1.Object
	subject v1alpha1.ObjectReference
	entries []networkingv1.IngressTLS
	// path is that of the Secret's name of an entry, in JSON.
	path func(index int) string
}

// Mismatch is a TLS entry that should name another Secret.
type Mismatch struct {
	// Index of the entry in spec.tls.
	Index int
	// Secret is the name of the one served.
	Secret string
	// Served and Better are the Certificates that write the Secret named and the one
	// that should be. Served is nil if none writes it.
	Served, Better *unstructured.Unstructured
	// NearlyOver is when the certificate served became so, and Ends when it is over.
	NearlyOver, Ends time.Time
	// Undone tells that naming the better Secret does harm, because cert-manager makes
	// the Certificates for the Secrets that are named.
	Undone bool
}

// Secrets are the names of the Secret served and the better one.
func (m Mismatch) Secrets() (served, better string) { return m.Secret, secretOf(m.Better) }

// maximumEntries is how many TLS entries of one Ingress or Gateway are looked at:
// more than people write.
const maximumEntries = 100

// Mismatches returns the entries of an Ingress that should name another Secret, of those
// whose Secret a Certificate writes. It asks the view to look again when that can change
// by itself.
func Mismatches(view *live.View, ingress *networkingv1.Ingress) []Mismatch {
	return mismatches(view, ofIngress(ingress), false)
}

func mismatches(view *live.View, s server, secrets bool) []Mismatch {
	var found []Mismatch
	known := map[string]bool{}
	for i, entry := range s.entries[:min(len(s.entries), maximumEntries)] {
		if len(entry.Hosts) == 0 {
			continue
		}
		served, ends := serving(view, s.subject.Namespace, entry.SecretName)
		var nearlyOver time.Time
		switch {
		case served != nil:
			nearlyOver = certificates.NearlyOver(served)
		case secrets:
			nearlyOver, ends = byHand(view, live.Key{Namespace: s.subject.Namespace, Name: entry.SecretName})
		}
		if ends.IsZero() || !analyzers.Past(view, nearlyOver) {
			continue
		}
		view.RecheckAt(ends)
		better := betterThan(view, s.subject.Namespace, entry, served, ends)
		if better == nil || known[discriminator(entry)] {
			continue
		}
		known[discriminator(entry)] = true
		found = append(found, Mismatch{
			Index: i, Secret: entry.SecretName, Served: served, Better: better, NearlyOver: nearlyOver, Ends: ends, Undone: s.undone(served, better),
		})
	}
	return found
}

func (a analyzer) ingress(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	ingress, exists := inputs.Ingresses.Get(view, subject)
	if !exists || ingress.DeletionTimestamp != nil {
		return nil, nil
	}
	return a.judge(view, ofIngress(ingress)), nil
}

func ofIngress(ingress *networkingv1.Ingress) server {
	return server{
		object:  ingress,
		subject: v1alpha1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "Ingress", Namespace: ingress.Namespace, Name: ingress.Name, UID: ingress.UID},
		entries: ingress.Spec.TLS,
		path:    func(index int) string { return fmt.Sprintf("/spec/tls/%d/secretName", index) },
	}
}

func (a analyzer) judge(view *live.View, s server) []v1alpha1.FindingSpec {
	var found []v1alpha1.FindingSpec
	for _, mismatch := range mismatches(view, s, a.secrets) {
		found = append(found, a.betterSecret(view, s, mismatch))
	}
	return append(found, a.notCovered(view, s)...)
}

func (a analyzer) betterSecret(view *live.View, s server, m Mismatch) v1alpha1.FindingSpec {
	served, better := m.Secrets()
	severity, what, since := v1alpha1.SeverityWarning, "nearly over", m.NearlyOver
	if !view.Now().Before(m.Ends) {
		severity, what, since = v1alpha1.SeverityCritical, "over", m.Ends
	}
	entry := s.entries[m.Index]
	text := "Point the entry at the better Secret, or mend the Certificate that is served."
	same, of, command := "of the same issuer, ", v1alpha1.RelatedObject{Relation: "certificate served"}, ""
	if m.Served != nil {
		of.ObjectReference = certificate(m.Served)
		command = fmt.Sprintf("kubectl describe certificate.cert-manager.io %s -n %s", m.Served.GetName(), s.subject.Namespace)
	} else {
		same, text = "", "Point the entry at the better Secret, if its clients trust that issuer too, or write a new certificate to the one that is served: no Certificate does."
		of.ObjectReference = v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Secret", Namespace: s.subject.Namespace, Name: served}
		command = fmt.Sprintf("kubectl describe secret %s -n %s", served, s.subject.Namespace)
	}
	commands := []string{command}
	instead := a.managed.Elsewhere(s.subject.Kind+" "+s.subject.Name, s.object)
	switch {
	case m.Undone:
		text = "Mend the Certificate that is served: see why its issuance fails."
		if m.Served == nil {
			text = fmt.Sprintf("See in the events of %s %s why cert-manager has made no Certificate for Secret %s.", s.subject.Kind, s.subject.Name, served)
			commands = append(commands, fmt.Sprintf("kubectl describe %s %s -n %s", s.resource(), s.subject.Name, s.subject.Namespace))
		}
		text += fmt.Sprintf(" cert-manager makes a Certificate for every Secret that %s %s names (by its annotations), so naming the better Secret would have it make a second one for that, and delete what it made for this one. What serves the better Secret has no such annotation.",
			s.subject.Kind, s.subject.Name)
		commands = append(commands, fmt.Sprintf("kubectl get certificaterequests.cert-manager.io -n %s", s.subject.Namespace))
	case instead != "":
		text += instead
	default:
		commands = append(commands, fmt.Sprintf("kubectl patch %s %s -n %s --type=json -p %s", s.resource(), s.subject.Name, s.subject.Namespace,
			analyzers.Quote(fmt.Sprintf(`[{"op":"test","path":%q,"value":%q},{"op":"replace","path":%q,"value":%q}]`, s.path(m.Index), served, s.path(m.Index), better))))
	}
	return v1alpha1.FindingSpec{
		Reason: BetterSecret, Severity: severity, Subject: s.subject, Discriminator: discriminator(entry),
		Related: []v1alpha1.RelatedObject{
			of,
			{Relation: "better certificate", ObjectReference: certificate(m.Better)},
		},
		Message: fmt.Sprintf("%s %s serves %s with Secret %s, whose certificate is %s (%s). Certificate %s is Ready, %scovers the same hosts and is valid longer; it is in Secret %s.",
			s.subject.Kind, s.subject.Name, list(entry.Hosts), served, what, m.Ends.UTC().Format(time.RFC3339), m.Better.GetName(), same, better),
		Remediation: v1alpha1.Remediation{Text: text, Commands: commands},
		Since:       metav1.NewTime(since),
	}
}

// resource is what kubectl calls it.
func (s server) resource() string {
	group, _, _ := strings.Cut(s.subject.APIVersion, "/")
	return strings.ToLower(s.subject.Kind) + "." + group
}

// Discriminator tells the entries of one Ingress apart, in whatever order they are.
func Discriminator(ingress *networkingv1.Ingress, index int) string {
	return discriminator(ingress.Spec.TLS[index])
}

func discriminator(entry networkingv1.IngressTLS) string {
	return entry.SecretName + "/" + slices.Min(append([]string{}, entry.Hosts...))
}

func (a analyzer) notCovered(view *live.View, s server) []v1alpha1.FindingSpec {
	var found []v1alpha1.FindingSpec
	known := map[string]bool{}
	for _, entry := range s.entries[:min(len(s.entries), maximumEntries)] {
		served, _ := serving(view, s.subject.Namespace, entry.SecretName)
		if served == nil || len(entry.Hosts) == 0 {
			continue
		}
		names := inputs.TextsAt(served, "spec", "dnsNames")
		if name := inputs.TextAt(served, "spec", "commonName"); name != "" {
			names = append(names, name)
		}
		missing := slices.DeleteFunc(slices.Clone(entry.Hosts), func(host string) bool { return hostname.Covers(names, host) })
		if len(missing) == 0 || known[discriminator(entry)] {
			continue
		}
		known[discriminator(entry)] = true
		since := view.FirstObserved(HostNotCovered + "/" + discriminator(entry))
		if end := since.Add(a.grace); view.Now().Before(end) {
			view.RecheckAt(end)
			continue
		}
		named := fmt.Sprintf("certificate.cert-manager.io %s -n %s", served.GetName(), s.subject.Namespace)
		instead, edit := a.managed.Edit("Certificate "+served.GetName(), named, served)
		found = append(found, v1alpha1.FindingSpec{
			Reason: HostNotCovered, Severity: v1alpha1.SeverityWarning, Subject: s.subject, Discriminator: discriminator(entry),
			Related: []v1alpha1.RelatedObject{{Relation: "certificate served", ObjectReference: certificate(served)}},
			Message: fmt.Sprintf("%s %s serves %s with Secret %s, and Certificate %s, which writes it, does not cover that.", s.subject.Kind, s.subject.Name, list(missing), entry.SecretName, served.GetName()),
			Remediation: v1alpha1.Remediation{
				Text:     "Add the hosts to the Certificate, or name a Secret that covers them." + instead,
				Commands: append([]string{fmt.Sprintf("kubectl get certificates.cert-manager.io -n %s", s.subject.Namespace)}, edit...),
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

// byHand tells until when the certificate of a Secret is valid that no Certificate
// writes, and when it is nearly over: two days or, if that is less, a tenth of its
// lifetime before. It is zero if nobody knows.
func byHand(view *live.View, key live.Key) (nearlyOver, ends time.Time) {
	if len(inputs.Certificates.ByIndex(view, inputs.BySecret, key.String())) > 0 {
		return time.Time{}, time.Time{}
	}
	secret, exists := inputs.TLSSecrets.Get(view, key)
	if !exists || secret.DeletionTimestamp != nil {
		return time.Time{}, time.Time{}
	}
	begins, ends, known := inputs.Validity(secret)
	if !known {
		return time.Time{}, time.Time{}
	}
	const tenth = 10
	return ends.Add(-min(ends.Sub(begins)/tenth, certificates.Soon)), ends
}

// betterThan returns the Ready Certificate, of another Secret, that covers the
// hosts of an entry and is valid longest, longer than the one served. It is of the same
// issuer: who trusts that of the one served need not trust another. Of a Secret that no
// Certificate writes that is not known.
func betterThan(view *live.View, namespace string, entry networkingv1.IngressTLS, served *unstructured.Unstructured, ends time.Time) *unstructured.Unstructured {
	var best *unstructured.Unstructured
	for _, candidate := range inputs.Certificates.List(view, namespace, nil) {
		secret, until := secretOf(candidate), inputs.TimeAt(candidate, "status", "notAfter")
		ready, _ := inputs.ConditionOf(candidate, "Ready")
		switch {
		case secret == "" || secret == entry.SecretName || candidate.GetDeletionTimestamp() != nil || ready.Status != "True":
		case served != nil && !certificates.SameIssuer(candidate, served) || !until.After(ends) || analyzers.Past(view, certificates.NearlyOver(candidate)):
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
