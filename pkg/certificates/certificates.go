// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package certificates tells what follows from the Certificates of cert-manager: when
// one should have been renewed by, and whether two are of one issuer. It reads nothing
// but the object that it is handed.
package certificates

import (
	"cmp"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

const (
	// Soon is how long before its end a certificate is nearly over, where its lifetime
	// does not make it less.
	Soon = 48 * time.Hour
	// RenewalGrace is how long after its renewalTime a renewal may take.
	RenewalGrace = 15 * time.Minute

	// tenth of the lifetime: so little may be left.
	tenth = 10
)

// Lifetime is that of the certificate that a Certificate wrote last; 0 if that is not
// known.
func Lifetime(certificate *unstructured.Unstructured) time.Duration {
	begins, ends := timeAt(certificate, "notBefore"), timeAt(certificate, "notAfter")
	if begins.IsZero() || ends.Before(begins) {
		return 0
	}
	return ends.Sub(begins)
}

// Late is when a certificate with so much of its life left should have been renewed. What
// is to be renewed later than that is not late, however little is left: who renews a
// year's certificate two weeks before its end wants it so. Then it is the grace after
// the renewalTime. It is zero if nobody knows when the certificate ends.
func Late(certificate *unstructured.Unstructured, left, grace time.Duration) time.Time {
	ends := timeAt(certificate, "notAfter")
	if ends.IsZero() {
		return time.Time{}
	}
	late := ends.Add(-left)
	if renewal := timeAt(certificate, "renewalTime"); !renewal.IsZero() && late.Before(renewal.Add(grace)) {
		return renewal.Add(grace)
	}
	return late
}

// NearlyOver is when so little is left of a certificate that another should be served:
// two days or, if that is less, a tenth of its lifetime, and not before it should have
// been renewed; its end at the latest. It is zero if nobody knows when that is.
func NearlyOver(certificate *unstructured.Unstructured) time.Time {
	late, ends := Late(certificate, min(Lifetime(certificate)/tenth, Soon), RenewalGrace), timeAt(certificate, "notAfter")
	if late.After(ends) {
		return ends
	}
	return late
}

// SameIssuer tells whether two Certificates name the same issuer, so that whoever trusts
// what the one wrote trusts what the other does.
func SameIssuer(a, b *unstructured.Unstructured) bool {
	one, other := issuerOf(a), issuerOf(b)
	return one.name != "" && one == other
}

type issuer struct{ group, kind, name string }

// issuerOf is the issuer of a Certificate, with cert-manager's own standards filled in.
func issuerOf(certificate *unstructured.Unstructured) issuer {
	at := func(field string) string { return textAt(certificate, "spec", "issuerRef", field) }
	return issuer{group: cmp.Or(at("group"), "cert-manager.io"), kind: cmp.Or(at("kind"), "Issuer"), name: at("name")}
}

func textAt(object *unstructured.Unstructured, path ...string) string {
	text, _, err := unstructured.NestedString(object.Object, path...)
	if err != nil {
		return ""
	}
	return text
}

func timeAt(certificate *unstructured.Unstructured, field string) time.Time {
	at, err := time.Parse(time.RFC3339, textAt(certificate, "status", field))
	if err != nil {
		return time.Time{}
	}
	return at
}
