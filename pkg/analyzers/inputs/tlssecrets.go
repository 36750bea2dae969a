// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"crypto/x509"
	"encoding/pem"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
)

// TLSSecrets are the Secrets with until when their certificates are valid. Whoever
// reads them has the values of all Secrets sent to this process, where Trim drops
// them before anything is stored; so nothing reads them that is not switched on.
var TLSSecrets = live.NewInput(corev1.SchemeGroupVersion.WithResource("secrets"), live.InputOptions[*corev1.Secret]{Trim: trimTLSSecret})

// What trimTLSSecret leaves of a certificate is kept in StringData, which the API
// server takes and never gives: no Secret can come with it.
const (
	notBefore = "notBefore"
	notAfter  = "notAfter"
)

// trimTLSSecret makes a new object of the few fields that are read, so that no
// other has to be thought of.
func trimTLSSecret(in *corev1.Secret) *corev1.Secret {
	out := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: in.Namespace, Name: in.Name, UID: in.UID, Labels: in.Labels, DeletionTimestamp: in.DeletionTimestamp,
		},
		Type: in.Type,
	}
	switch {
	case in.Type != corev1.SecretTypeTLS:
	case in.StringData != nil:
		out.StringData = in.StringData // trimmed already
	default:
		if begins, until := leaf(in.Data[corev1.TLSCertKey]); !until.IsZero() {
			out.StringData = map[string]string{notBefore: begins.UTC().Format(time.RFC3339), notAfter: until.UTC().Format(time.RFC3339)}
		}
	}
	return out
}

// leaf is the validity of the first certificate of a chain, which is the server's
// own (RFC 8446, section 4.4.2); zero if it cannot be read.
func leaf(chain []byte) (begins, until time.Time) {
	block, _ := pem.Decode(chain)
	if block == nil {
		return time.Time{}, time.Time{}
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return time.Time{}, time.Time{}
	}
	return certificate.NotBefore, certificate.NotAfter
}

// Validity tells from when to when the certificate of one of TLSSecrets is valid,
// and whether it has one that can be read.
func Validity(secret *corev1.Secret) (begins, until time.Time, known bool) {
	begins, err := time.Parse(time.RFC3339, secret.StringData[notBefore])
	if err != nil {
		return time.Time{}, time.Time{}, false
	}
	until, err = time.Parse(time.RFC3339, secret.StringData[notAfter])
	return begins, until, err == nil
}
