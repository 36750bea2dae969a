// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package plane

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"time"

	certutil "k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// leafAge is how long certificates of a plane are valid: planes live for hours.
const leafAge = 30 * 24 * time.Hour

// authority signs certificates. Its key stays in the plane's directory, so that
// `controlplane kubeconfig` can make users later.
type authority struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

func newAuthority(dir, name string) (*authority, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generating the key of authority %s: %w", name, err)
	}
	certificate, err := certutil.NewSelfSignedCACert(certutil.Config{CommonName: name}, key)
	if err != nil {
		return nil, fmt.Errorf("signing authority %s: %w", name, err)
	}
	a := &authority{certificate: certificate, key: key}
	return a, writePair(dir, name, certificate, key)
}

func loadAuthority(dir, name string) (*authority, error) {
	certificates, err := certutil.CertsFromFile(filepath.Join(dir, name+".crt"))
	if err != nil {
		return nil, fmt.Errorf("reading authority %s: %w", name, err)
	}
	key, err := keyutil.PrivateKeyFromFile(filepath.Join(dir, name+".key"))
	if err != nil {
		return nil, fmt.Errorf("reading the key of authority %s: %w", name, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("reading the key of authority %s: %T cannot sign", name, key)
	}
	return &authority{certificate: certificates[0], key: signer}, nil
}

// leaf signs a certificate; with hosts it serves, without it identifies a client.
func (a *authority) leaf(subject pkix.Name, hosts ...string) (certificate, key []byte, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, fmt.Errorf("generating the key of %s: %w", subject, err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		return nil, nil, fmt.Errorf("choosing a serial number for %s: %w", subject, err)
	}
	template := &x509.Certificate{
		Subject: subject, SerialNumber: serial,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(leafAge),
		KeyUsage:    x509.KeyUsageDigitalSignature,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(hosts) > 0 {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, private.Public(), a.key)
	if err != nil {
		return nil, nil, fmt.Errorf("signing the certificate of %s: %w", subject, err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing the certificate of %s: %w", subject, err)
	}
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(private)
	if err != nil {
		return nil, nil, fmt.Errorf("encoding the key of %s: %w", subject, err)
	}
	return encodeCertificate(parsed), keyPEM, nil
}

func encodeCertificate(certificate *x509.Certificate) []byte {
	encoded, err := certutil.EncodeCertificates(certificate)
	if err != nil {
		panic(err) // Encoding a parsed certificate to memory cannot fail.
	}
	return encoded
}

func writePair(dir, name string, certificate *x509.Certificate, key crypto.Signer) error {
	keyPEM, err := keyutil.MarshalPrivateKeyToPEM(key)
	if err != nil {
		return fmt.Errorf("encoding the key of %s: %w", name, err)
	}
	return writePairPEM(dir, name, encodeCertificate(certificate), keyPEM)
}

func writePairPEM(dir, name string, certificate, key []byte) error {
	if err := os.WriteFile(filepath.Join(dir, name+".crt"), certificate, 0o600); err != nil {
		return fmt.Errorf("writing the certificate of %s: %w", name, err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".key"), key, 0o600); err != nil {
		return fmt.Errorf("writing the key of %s: %w", name, err)
	}
	return nil
}

// writePKI makes everything that a plane's components authenticate with, under dir.
func writePKI(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the directory of certificates: %w", err)
	}
	ca, err := newAuthority(dir, "ca")
	if err != nil {
		return err
	}
	frontProxy, err := newAuthority(dir, "front-proxy-ca")
	if err != nil {
		return err
	}
	for _, pair := range []struct {
		name   string
		signer *authority
		leaf   pkix.Name
		hosts  []string
	}{
		{"serving", ca, pkix.Name{CommonName: "kube-apiserver"}, []string{"127.0.0.1", "localhost", "kubernetes", "kubernetes.default.svc", "10.0.0.1"}},
		{"front-proxy", frontProxy, pkix.Name{CommonName: "front-proxy-client"}, nil},
	} {
		certificate, key, err := pair.signer.leaf(pair.leaf, pair.hosts...)
		if err != nil {
			return err
		}
		if err := writePairPEM(dir, pair.name, certificate, key); err != nil {
			return err
		}
	}
	serviceAccount, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("generating the service account key: %w", err)
	}
	return writePair(dir, "service-account", ca.certificate, serviceAccount)
}
