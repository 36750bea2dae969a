// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes/fake"
)

const namespace = "srenix-system"

func TestTheCertificateIsSharedUntilItMustBeReplaced(t *testing.T) {
	client := fake.NewClientset()
	now := time.Now()
	hosts := servingHosts(namespace)
	ensure := func(hosts []string) *servingCertificate {
		t.Helper()
		certificate, err := ensureCertificate(t.Context(), client, namespace, hosts, now, now.Add(renewBefore), nil)
		if err != nil {
			t.Fatal(err)
		}
		if !certificate.usable(hosts, now) {
			t.Fatal("the certificate is not usable")
		}
		return certificate
	}
	first := ensure(hosts)
	if second := ensure(hosts); !bytes.Equal(first.cert, second.cert) || first.path != second.path {
		t.Error("a second replica made a certificate or a path of its own")
	}
	other := ensure([]string{"localhost", "another.example"})
	if bytes.Equal(first.cert, other.cert) {
		t.Error("the certificate was kept, though it does not cover the hosts")
	}
	if other.path != first.path || !secretPath.MatchString(first.path) {
		t.Errorf("the path was %q and is %q", first.path, other.path)
	}
	secret, err := client.CoreV1().Secrets(namespace).Get(t.Context(), servingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(secret.Data[corev1.TLSCertKey], other.cert) {
		t.Error("the new certificate was not stored")
	}
	secret.Data[corev1.TLSPrivateKeyKey] = []byte("not a key")
	if _, err := client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ensure(hosts)
	// One from before there were paths gets one, and goes on being used.
	secret, err = client.CoreV1().Secrets(namespace).Get(t.Context(), servingSecret, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	delete(secret.Data, pathKey)
	if _, err := client.CoreV1().Secrets(namespace).Update(t.Context(), secret, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if last := ensure(hosts); !bytes.Equal(last.cert, secret.Data[corev1.TLSCertKey]) || !secretPath.MatchString(last.path) || last.path == first.path {
		t.Errorf("the path is %q", last.path)
	}
}

func TestACertificateNearItsEndIsNotUsable(t *testing.T) {
	certificate, err := generateCertificate([]string{"localhost"}, certificateAge)
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		at   time.Time
		host string
		want bool
	}{
		"now":              {time.Now(), "localhost", true},
		"before its end":   {time.Now().Add(certificateAge - 2*time.Hour), "localhost", true},
		"after its end":    {time.Now().Add(certificateAge + time.Hour), "localhost", false},
		"for another host": {time.Now(), "example.com", false},
	} {
		if have := certificate.usable([]string{test.host}, test.at); have != test.want {
			t.Errorf("%s: usable is %t, want %t", name, have, test.want)
		}
	}
}

func TestTheAuthoritySignsNothingElse(t *testing.T) {
	certificate, err := generateCertificate([]string{"localhost"}, certificateAge)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Contains(certificate.ca, []byte("PRIVATE")) || bytes.Count(certificate.ca, []byte("BEGIN CERTIFICATE")) != 1 {
		t.Error("what is published is not one certificate")
	}
}

func TestOptionsAreValidated(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"no namespace":    func(o *Options) { o.Namespace = "" },
		"wrong namespace": func(o *Options) { o.Namespace = "Srenix_System" },
		"port zero":       func(o *Options) { o.WebhookBindPort = 0 },
		"not an address":  func(o *Options) { o.WebhookBindAddress = "localhost" },
	} {
		options := NewOptions()
		options.Namespace = namespace
		if err := options.Validate(); err != nil {
			t.Fatalf("the defaults: %v", err)
		}
		change(options)
		if options.Validate() == nil {
			t.Errorf("%s: no error", name)
		}
	}
}
