// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

var (
	from  = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	until = time.Date(2026, 4, 1, 0, 0, 0, 0, time.UTC)
)

// chain is a certificate with a marker in its name, and another after it.
func chain(t *testing.T) []byte {
	t.Helper()
	var all []byte
	for i, end := range []time.Time{until, until.AddDate(9, 0, 0)} {
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		template := &x509.Certificate{SerialNumber: big.NewInt(int64(i)), DNSNames: []string{marker + ".example.com"}, NotBefore: from, NotAfter: end}
		der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return all
}

const marker = "marker-of-a-value"

// hidden is a Secret with the marker everywhere that a value can be.
func hidden(kind corev1.SecretType, certificate []byte) *corev1.Secret {
	return &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: "web-tls", UID: "uid", Labels: map[string]string{"app": "web"},
			Annotations:   map[string]string{lastApplied: `{"data":{"tls.key":"` + marker + `"}}`, "mine": marker},
			ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "kubectl", FieldsV1: metav1.NewFieldsV1(`{"f:data":{"f:` + marker + `":{}}}`)}},
			Finalizers:    []string{marker},
		},
		Type: kind,
		Data: map[string][]byte{corev1.TLSCertKey: certificate, corev1.TLSPrivateKeyKey: []byte(marker), marker: []byte(marker)},
	}
}

func TestNothingOfAValueIsKept(t *testing.T) {
	for name, secret := range map[string]*corev1.Secret{
		"a TLS Secret":                         hidden(corev1.SecretTypeTLS, chain(t)),
		"a certificate that cannot be read":    hidden(corev1.SecretTypeTLS, []byte("-----BEGIN CERTIFICATE-----\n"+marker+"\n-----END CERTIFICATE-----\n")),
		"a certificate that is not PEM":        hidden(corev1.SecretTypeTLS, []byte(marker)),
		"a PEM block that is no certificate":   hidden(corev1.SecretTypeTLS, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte(marker)})),
		"no certificate at all":                hidden(corev1.SecretTypeTLS, nil),
		"an opaque Secret with a certificate":  hidden(corev1.SecretTypeOpaque, chain(t)),
		"an opaque Secret with what is hidden": func() *corev1.Secret { s := hidden("", nil); s.StringData = map[string]string{"a": marker}; return s }(),
	} {
		t.Run(name, func(t *testing.T) {
			trimmed := trimTLSSecret(secret)
			if path := find(reflect.ValueOf(trimmed), "", map[any]bool{}); path != "" {
				t.Errorf("the value can be read at %s", path)
			}
			again := trimTLSSecret(trimmed.DeepCopy())
			if diff := cmp.Diff(trimmed, again); diff != "" {
				t.Errorf("trimming again changes it (-once +twice):\n%s", diff)
			}
		})
	}
}

// find returns a path at which the marker can be reached, whatever the type and
// whether exported or not.
func find(value reflect.Value, path string, seen map[any]bool) string {
	switch value.Kind() {
	case reflect.String:
		if strings.Contains(value.String(), marker) {
			return path
		}
	case reflect.Pointer, reflect.Interface:
		if value.IsNil() || value.Kind() == reflect.Pointer && seen[value.Pointer()] {
			return ""
		}
		if value.Kind() == reflect.Pointer {
			seen[value.Pointer()] = true
		}
		return find(value.Elem(), path, seen)
	case reflect.Struct:
		for i := range value.NumField() {
			if at := find(value.Field(i), path+"."+value.Type().Field(i).Name, seen); at != "" {
				return at
			}
		}
	case reflect.Slice, reflect.Array:
		if value.Type().Elem().Kind() == reflect.Uint8 && value.Kind() == reflect.Slice {
			// What lies behind the length counts too: it can be reached.
			if bytes.Contains(value.Slice3(0, value.Cap(), value.Cap()).Bytes(), []byte(marker)) {
				return path
			}
			return ""
		}
		for i := range value.Len() {
			if at := find(value.Index(i), path+"[]", seen); at != "" {
				return at
			}
		}
	case reflect.Map:
		for _, key := range value.MapKeys() {
			if at := find(key, path+" key", seen); at != "" {
				return at
			}
			if at := find(value.MapIndex(key), path+"["+key.String()+"]", seen); at != "" {
				return at
			}
		}
	}
	return ""
}

// TestTheSearchFindsMarkers shows that the search above can fail.
func TestTheSearchFindsMarkers(t *testing.T) {
	for name, value := range map[string]any{
		"in Data":               &corev1.Secret{Data: map[string][]byte{"a": []byte(marker)}},
		"as a key":              &corev1.Secret{Data: map[string][]byte{marker: nil}},
		"in managedFields":      &metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{{FieldsV1: metav1.NewFieldsV1(marker)}}},
		"behind a slice's end":  &corev1.Secret{Data: map[string][]byte{"a": []byte(marker)[:1]}},
		"in what is not public": struct{ inner *string }{func() *string { s := marker; return &s }()},
	} {
		if find(reflect.ValueOf(value), "", map[any]bool{}) == "" {
			t.Errorf("%s it is not found", name)
		}
	}
}

func TestTheFirstCertificateOfAChainCounts(t *testing.T) {
	begins, ends, known := Validity(trimTLSSecret(hidden(corev1.SecretTypeTLS, chain(t))))
	if !known || !begins.Equal(from) || !ends.Equal(until) {
		t.Errorf("from %s until %s, known: %t", begins, ends, known)
	}
	for name, secret := range map[string]*corev1.Secret{
		"of an opaque Secret":       hidden(corev1.SecretTypeOpaque, chain(t)),
		"that cannot be read":       hidden(corev1.SecretTypeTLS, []byte("nothing")),
		"that an annotation feigns": {Type: corev1.SecretTypeTLS, ObjectMeta: metav1.ObjectMeta{Annotations: map[string]string{notBefore: "2026-01-01T00:00:00Z", notAfter: "2026-01-02T00:00:00Z"}}},
	} {
		if _, _, known := Validity(trimTLSSecret(secret)); known {
			t.Errorf("a certificate %s is known", name)
		}
	}
}
