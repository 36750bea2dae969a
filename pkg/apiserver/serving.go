// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"sync"

	"k8s.io/apiserver/pkg/server/dynamiccertificates"
)

// served is the certificate that this process serves, on the port of the API and
// on that of the webhook. It may be exchanged at any time.
type served struct {
	mu        sync.RWMutex
	current   *servingCertificate
	pair      *tls.Certificate
	listeners []dynamiccertificates.Listener
}

var _ dynamiccertificates.CertKeyContentProvider = &served{}

func newServed(certificate *servingCertificate) (*served, error) {
	s := &served{}
	return s, s.exchange(certificate)
}

// exchange serves another certificate from now on, if it is another one.
func (s *served) exchange(certificate *servingCertificate) error {
	pair, err := tls.X509KeyPair(certificate.cert, certificate.key)
	if err != nil {
		return fmt.Errorf("using the serving certificate of Secret %s: %w", servingSecret, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.current != nil && bytes.Equal(s.current.cert, certificate.cert) {
		return nil
	}
	s.current, s.pair = certificate, &pair
	for _, listener := range s.listeners {
		listener.Enqueue()
	}
	return nil
}

func (s *served) certificate() *servingCertificate {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.current
}

// Name implements dynamiccertificates.CertKeyContentProvider.
func (s *served) Name() string { return servingSecret }

// CurrentCertKeyContent implements dynamiccertificates.CertKeyContentProvider.
func (s *served) CurrentCertKeyContent() (cert, key []byte) {
	current := s.certificate()
	return current.cert, current.key
}

// AddListener implements dynamiccertificates.CertKeyContentProvider.
func (s *served) AddListener(listener dynamiccertificates.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.listeners = append(s.listeners, listener)
}

// GetCertificate is for a tls.Config.
func (s *served) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.pair, nil
}
