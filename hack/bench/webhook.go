// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"sync/atomic"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	certutil "k8s.io/client-go/util/cert"
	"k8s.io/utils/ptr"
)

// webhook is a validating webhook that allows everything: what admission costs
// without any policy.
type webhook struct {
	bench  *bench
	server *http.Server
	calls  atomic.Int64
}

const webhookConfiguration = "bench"

// startWebhook serves the webhook and makes kube-apiserver call it for decisions.
func (b *bench) startWebhook(ctx context.Context) (*webhook, error) {
	certificate, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{Host: "localhost", MaxAge: 24 * time.Hour})
	if err != nil {
		return nil, fmt.Errorf("generating the webhook's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the webhook's certificate: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listening for the webhook: %w", err)
	}
	w := &webhook{bench: b}
	w.server = &http.Server{
		Handler: w, ReadHeaderTimeout: 10 * time.Second,
		TLSConfig: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}},
	}
	go func() { _ = w.server.ServeTLS(listener, "", "") }() // It ends with close.
	none := admissionregistrationv1.SideEffectClassNone
	_, err = b.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Create(ctx, &admissionregistrationv1.ValidatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: webhookConfiguration},
		Webhooks: []admissionregistrationv1.ValidatingWebhook{{
			Name: decisions + "." + benchGroup, AdmissionReviewVersions: []string{"v1"}, SideEffects: &none,
			ClientConfig: admissionregistrationv1.WebhookClientConfig{
				URL: ptr.To(fmt.Sprintf("https://localhost:%d/", listener.Addr().(*net.TCPAddr).Port)), CABundle: certificate,
			},
			Rules: []admissionregistrationv1.RuleWithOperations{{
				Operations: []admissionregistrationv1.OperationType{admissionregistrationv1.Create},
				Rule:       admissionregistrationv1.Rule{APIGroups: []string{benchGroup}, APIVersions: []string{"v1"}, Resources: []string{decisions}},
			}},
		}},
	}, metav1.CreateOptions{})
	if err != nil {
		w.close()
		return nil, fmt.Errorf("registering the webhook: %w", err)
	}
	return w, nil
}

// ServeHTTP allows what is asked.
func (w *webhook) ServeHTTP(writer http.ResponseWriter, request *http.Request) {
	var review admissionv1.AdmissionReview
	if err := json.NewDecoder(request.Body).Decode(&review); err != nil || review.Request == nil {
		http.Error(writer, "not an AdmissionReview", http.StatusBadRequest)
		return
	}
	w.calls.Add(1)
	review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	writer.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(writer).Encode(review) // Else kube-apiserver says what it got.
}

func (w *webhook) close() {
	// Also after an interrupt; with the plane it goes anyway.
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	_ = w.bench.kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Delete(ctx, webhookConfiguration, metav1.DeleteOptions{})
	_ = w.server.Close()
}
