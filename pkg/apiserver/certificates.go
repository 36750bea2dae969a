// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/retry"
)

const (
	// servingSecret holds the serving certificate that all replicas share.
	servingSecret = "srenix-serving-certs"
	// certificateAge is the lifetime of a serving certificate made here.
	certificateAge = 365 * 24 * time.Hour
	// renewBefore is how long before its end a running server replaces a certificate.
	renewBefore = certificateAge / 3
	// startBefore is how long before its end a server that starts does: others serve
	// the old one still, and only what runs tells kube-apiserver first.
	startBefore = time.Hour
	// formerAuthorities is how many of them are published beside the present one.
	formerAuthorities = 2
	// caKey is the Secret's key of the authority that signed the certificate.
	caKey = "ca.crt"
	// pathKey is the Secret's key of the first element of the webhooks' paths.
	pathKey = "webhook-path"
)

// servingCertificate is a key pair and the authorities to verify it with, in PEM:
// its own, and those of the certificates that other replicas may serve still.
type servingCertificate struct {
	cert, key, ca []byte
	// path is what kube-apiserver proves itself by: who does not know it does not
	// find the webhooks.
	path string
}

// secretPath is what kube-apiserver takes in the path of a webhook's Service, whose
// elements are like names of objects, and cannot be guessed.
var secretPath = regexp.MustCompile(`^[a-z0-9]{26,63}$`)

// ensureCertificate returns the certificate in the Secret, or makes one where
// there is none that fits until a time. The authority's key exists only while it
// signs. The path stays the same when the certificate is replaced. A Secret that is
// gone is made again from what this process serves, if it does.
func ensureCertificate(ctx context.Context, client kubernetes.Interface, namespace string, hosts []string, now, until time.Time, served *servingCertificate) (*servingCertificate, error) {
	secrets := client.CoreV1().Secrets(namespace)
	var current *servingCertificate
	err := retry.OnError(retry.DefaultBackoff, func(err error) bool {
		// Another replica was faster; its certificate is as good.
		return apierrors.IsAlreadyExists(err) || apierrors.IsConflict(err)
	}, func() error {
		secret, err := secrets.Get(ctx, servingSecret, metav1.GetOptions{})
		missing := apierrors.IsNotFound(err)
		if err != nil && !missing {
			return err
		}
		current = served
		if !missing {
			current = certificateIn(secret)
			if current.usable(hosts, until) && secretPath.MatchString(current.path) {
				return nil
			}
		}
		if current, err = current.replaced(hosts, now, until); err != nil {
			return err
		}
		data := map[string][]byte{
			corev1.TLSCertKey: current.cert, corev1.TLSPrivateKeyKey: current.key, caKey: current.ca, pathKey: []byte(current.path),
		}
		if missing {
			_, err = secrets.Create(ctx, &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Name: servingSecret, Namespace: namespace},
				Type:       corev1.SecretTypeTLS, Data: data,
			}, metav1.CreateOptions{})
			return err
		}
		secret.Data = data
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("ensuring the serving certificate in Secret %s/%s: %w", namespace, servingSecret, err)
	}
	return current, nil
}

func certificateIn(secret *corev1.Secret) *servingCertificate {
	return &servingCertificate{
		cert: secret.Data[corev1.TLSCertKey], key: secret.Data[corev1.TLSPrivateKeyKey], ca: secret.Data[caKey], path: string(secret.Data[pathKey]),
	}
}

// replaced makes what is not good any more, which may be all of it, and keeps the rest.
func (s *servingCertificate) replaced(hosts []string, now, until time.Time) (*servingCertificate, error) {
	if s == nil {
		s = &servingCertificate{}
	}
	next := *s
	if !s.usable(hosts, until) {
		generated, err := generateCertificate(hosts, certificateAge)
		if err != nil {
			return nil, err
		}
		next = *generated
		next.ca = append(next.ca, s.formerAuthorities(now)...)
	}
	if next.path = s.path; !secretPath.MatchString(next.path) {
		next.path = strings.ToLower(rand.Text())
	}
	return &next, nil
}

// formerAuthorities are the newest of those by which certificates verify still.
func (s *servingCertificate) formerAuthorities(now time.Time) []byte {
	authorities, err := certutil.ParseCertsPEM(s.ca)
	if err != nil {
		return nil // there are none, or none can be read
	}
	authorities = slices.DeleteFunc(authorities, func(authority *x509.Certificate) bool { return !now.Before(authority.NotAfter) })
	var encoded []byte
	for _, authority := range authorities[:min(formerAuthorities, len(authorities))] {
		encoded = append(encoded, pem.EncodeToMemory(&pem.Block{Type: certutil.CertificateBlockType, Bytes: authority.Raw})...)
	}
	return encoded
}

// usable tells whether the certificate will verify for every host at the time.
func (s *servingCertificate) usable(hosts []string, at time.Time) bool {
	pair, err := tls.X509KeyPair(s.cert, s.key)
	if err != nil {
		return false
	}
	leaf, err := x509.ParseCertificate(pair.Certificate[0])
	if err != nil {
		return false
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(s.ca) {
		return false
	}
	for _, host := range hosts {
		if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, DNSName: host, CurrentTime: at}); err != nil {
			return false
		}
	}
	return true
}

func generateCertificate(hosts []string, age time.Duration) (*servingCertificate, error) {
	cert, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{
		Host: hosts[0], AlternateDNS: hosts[1:], MaxAge: age,
	})
	if err != nil {
		return nil, fmt.Errorf("generating a serving certificate: %w", err)
	}
	// The library appends the authority to the leaf.
	_, rest := pem.Decode(cert)
	authority, _ := pem.Decode(rest)
	if authority == nil {
		return nil, fmt.Errorf("generating a serving certificate: no authority came with it")
	}
	return &servingCertificate{cert: cert, key: key, ca: pem.EncodeToMemory(authority)}, nil
}
