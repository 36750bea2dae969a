// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package rollout

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	certutil "k8s.io/client-go/util/cert"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/test/harness"
)

const (
	servingSecret = "srenix-serving-certs"
	servingName   = "srenix-apiserver." + harness.Namespace + ".svc"
	// renewalDeadline is for two looks at what is published, a minute apart.
	renewalDeadline = 4 * time.Minute
)

// TestACertificateIsRenewedUnderLoad: while replicas go over to another certificate of
// another authority, no list through the aggregator fails, no webhook is missed, and
// whoever connects anew with the authorities that kube-apiserver has just then can
// verify each replica.
func TestACertificateIsRenewedUnderLoad(t *testing.T) {
	r := install(t)
	const namespace = "shop"
	r.populate(namespace)
	r.age()

	stopLists := r.load(namespace)
	stopApprovals := r.loadWebhook(namespace)
	stopConnecting, served := r.connect()
	aged := r.secret().Data[corev1.TLSCertKey]
	r.within(renewalDeadline, "every replica to serve another certificate than the aged one", func(context.Context) (bool, string) {
		serving := served()
		if len(serving) < 2 {
			return false, fmt.Sprint(serving)
		}
		renewed := leafOf(t, r.secret().Data[corev1.TLSCertKey])
		for _, serial := range serving {
			if serial == leafOf(t, aged) || serial != renewed {
				return false, fmt.Sprintf("%v, of which %s is in the Secret", serving, renewed)
			}
		}
		return true, ""
	})
	for what, stop := range map[string]func() (int64, []string){"lists": stopLists, "requests for the webhook": stopApprovals, "new connections": stopConnecting} {
		requests, failures := stop()
		t.Logf("%d %s during the renewal, %d failed", requests, what, len(failures))
		if requests == 0 {
			t.Errorf("no %s were made", what)
		}
		if len(failures) > 0 {
			t.Errorf("%d of %d %s failed, the first: %s", len(failures), requests, what, failures[0])
		}
	}
}

func (r *rollout) secret() *corev1.Secret {
	r.Helper()
	secret, err := r.kube().CoreV1().Secrets(harness.Namespace).Get(r.Context(), servingSecret, metav1.GetOptions{})
	if err != nil {
		r.Fatal(err)
	}
	return secret
}

// age puts a certificate into the Secret whose end is near, as if it had been made long
// ago, with the authority of the one that is served.
func (r *rollout) age() {
	r.Helper()
	chain, key, err := certutil.GenerateSelfSignedCertKeyWithOptions(certutil.SelfSignedCertKeyOptions{
		Host:   "localhost",
		MaxAge: 30 * 24 * time.Hour,
		AlternateDNS: []string{
			"srenix-apiserver." + harness.Namespace, servingName, servingName + ".cluster.local",
		},
	})
	if err != nil {
		r.Fatal(err)
	}
	secret := r.secret()
	_, authority := pem.Decode(chain)
	secret.Data[corev1.TLSCertKey], secret.Data[corev1.TLSPrivateKeyKey] = chain, key
	secret.Data["ca.crt"] = append(bytes.Clone(authority), secret.Data["ca.crt"]...)
	if _, err := r.kube().CoreV1().Secrets(harness.Namespace).Update(r.Context(), secret, metav1.UpdateOptions{}); err != nil {
		r.Fatal(err)
	}
}

func leafOf(t *testing.T, chain []byte) string {
	t.Helper()
	certificates, err := certutil.ParseCertsPEM(chain)
	if err != nil {
		t.Fatal(err)
	}
	return certificates[0].SerialNumber.String()
}

// loadWebhook posts Approvals without a good token until it is stopped. The webhook's
// refusal of each is how it answers; anything else is a failure.
func (r *rollout) loadWebhook(namespace string) (stop func() (requests int64, failures []string)) {
	approvals := r.client(r.config).Resource(opsv1alpha1.SchemeGroupVersion.WithResource("approvals")).Namespace(namespace)
	digest := "sha256:" + strings.Repeat("0", 64)
	return repeatedly(func(ctx context.Context) error {
		_, err := approvals.Create(ctx, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": opsv1alpha1.SchemeGroupVersion.String(), "kind": "Approval", "metadata": map[string]any{"generateName": "no-"},
			"spec": map[string]any{
				"decision": string(v1alpha1.DecisionApprove), "token": "no.token.atall",
				"proposal": map[string]any{"name": "none", "uid": "none", "digest": digest},
				"snapshot": map[string]any{
					"digest": digest, "actionKind": string(v1alpha1.ActionDeletePod), "diagnosticClass": "none", "rationale": "none",
					"source": string(v1alpha1.SourceRule), "tier": string(v1alpha1.TierFix),
					"finding": map[string]any{"name": "none", "uid": "none", "since": "2030-01-01T00:00:00Z"},
					"target":  map[string]any{"apiVersion": "v1", "kind": "Pod", "namespace": namespace, "name": "none", "uid": "none"},
				},
			},
		}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if apierrors.IsForbidden(err) && strings.Contains(err.Error(), "approval of proposal "+namespace+"/none refused") {
			return nil
		}
		return fmt.Errorf("the webhook's answer was: %w", err)
	})
}

// connect opens connections to all replicas until it is stopped, each verified with
// what kube-apiserver is told of the authority at that time. served are the serial
// numbers of the certificates that were seen last, by replica.
func (r *rollout) connect() (stop func() (connections int64, failures []string), served func() map[string]string) {
	services, err := aggregator.NewForConfig(r.config)
	if err != nil {
		r.Fatal(err)
	}
	var mu sync.Mutex
	serials := map[string]string{}
	stop = repeatedly(func(ctx context.Context) error {
		service, err := services.ApiregistrationV1().APIServices().Get(ctx, "v1alpha1.srenix.io", metav1.GetOptions{})
		if err != nil {
			return err
		}
		roots := x509.NewCertPool()
		roots.AppendCertsFromPEM(service.Spec.CABundle)
		for _, address := range r.srenix.Balancer.Ready() {
			dialer := tls.Dialer{NetDialer: &net.Dialer{Timeout: deadline}, Config: &tls.Config{RootCAs: roots, ServerName: servingName, MinVersion: tls.VersionTLS12}}
			connection, err := dialer.DialContext(ctx, "tcp", address)
			if err != nil {
				return fmt.Errorf("connecting to %s: %w", address, err)
			}
			serial := connection.(*tls.Conn).ConnectionState().PeerCertificates[0].SerialNumber.String()
			if err := connection.Close(); err != nil {
				return err
			}
			mu.Lock()
			serials[address] = serial
			mu.Unlock()
		}
		return nil
	})
	return stop, func() map[string]string {
		mu.Lock()
		defer mu.Unlock()
		seen := map[string]string{}
		for address, serial := range serials {
			seen[address] = serial
		}
		return seen
	}
}
