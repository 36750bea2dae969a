// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"testing"

	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// authority makes a certificate authority and returns the files of its key and
// certificate.
func authority(t *testing.T) (keyFile, certificateFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := cert.NewSelfSignedCACert(cert.Config{CommonName: "catalog"}, key)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		t.Fatal(err)
	}
	keyFile, certificateFile = filepath.Join(t.TempDir(), "ca.key"), filepath.Join(t.TempDir(), "ca.crt")
	if err := os.WriteFile(keyFile, encoded, 0o600); err != nil {
		t.Fatal(err)
	}
	chain, err := cert.EncodeCertificates(certificate)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(certificateFile, chain, 0o600); err != nil {
		t.Fatal(err)
	}
	return keyFile, certificateFile
}
