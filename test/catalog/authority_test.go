// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
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

// srenix and Kubernetes themselves bind all ServiceAccounts to something, and an account
// that nobody has bound is found all the same.
func TestAnAccountWithoutABindingIsFound(t *testing.T) {
	kubectl(t, "create", "namespace", "unbound")
	all := kubectl(t, "get", "rolebindings,clusterrolebindings", "-A", "-o", "jsonpath={.items[*].subjects[*].name}")
	if !strings.Contains(all, "system:authenticated") {
		t.Fatalf("no binding is for everybody: %s", all)
	}
	apply(t, `
apiVersion: v1
kind: ServiceAccount
metadata: {name: web, namespace: unbound}
---
apiVersion: v1
kind: ServiceAccount
metadata: {name: bound, namespace: unbound}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: bound, namespace: unbound}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: view}
subjects: [{kind: ServiceAccount, name: bound}]
---
apiVersion: v1
kind: Pod
metadata: {name: web, namespace: unbound}
spec: {serviceAccountName: web, containers: [{name: app, image: "example/app:1"}]}
---
apiVersion: v1
kind: Pod
metadata: {name: bound, namespace: unbound}
spec: {serviceAccountName: bound, containers: [{name: app, image: "example/app:1"}]}
`)
	found(t, "unbound", "ServiceAccountUnbound", "web")
	if have := kubectl(t, "get", "findings.srenix.io", "-n", "unbound", "--field-selector", "spec.subject.name=bound", "-o", "name"); have != "" {
		t.Errorf("found of the account that is bound: %s", have)
	}
}
