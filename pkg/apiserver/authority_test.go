// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"encoding/pem"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	apiserverwebhook "k8s.io/apiserver/pkg/util/webhook"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/fake"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	fakeaggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/fake"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/webhook"
)

// shipped is the webhook configuration of artifacts/.
func shipped(t *testing.T) *admissionregistrationv1.ValidatingWebhookConfiguration {
	t.Helper()
	data, err := os.ReadFile("../../artifacts/kustomize/base/webhook.yaml")
	if err != nil {
		t.Fatal(err)
	}
	configuration := &admissionregistrationv1.ValidatingWebhookConfiguration{}
	if err := yaml.UnmarshalStrict(data, configuration); err != nil {
		t.Fatal(err)
	}
	return configuration
}

// What is shipped names no path: who applies it again must not take it back.
func TestTheServerFillsInWhereItsWebhooksAre(t *testing.T) {
	configuration := shipped(t)
	var named []string
	for _, one := range configuration.Webhooks {
		named = append(named, one.Name)
		if one.ClientConfig.Service.Path != nil || one.ClientConfig.CABundle != nil {
			t.Errorf("webhook %s is shipped with what the server fills in", one.Name)
		}
		if webhook.Paths()[one.Name] == "" {
			t.Errorf("webhook %s is not served", one.Name)
		}
	}
	if len(named) != len(webhook.Paths()) {
		t.Errorf("shipped are %v", named)
	}
	foreign := configuration.Webhooks[0].DeepCopy()
	foreign.Name, foreign.ClientConfig.Service.Path = "site.example.com", ptr.To("/site")
	byURL := configuration.Webhooks[1].DeepCopy()
	byURL.ClientConfig = admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://localhost:9443/validate-approvals")}
	configuration.Webhooks = append(configuration.Webhooks, *foreign, *byURL)

	kube := fake.NewClientset(configuration)
	services := fakeaggregator.NewSimpleClientset(&apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.srenix.io"}}) //nolint:staticcheck // NewClientset needs a schema that this API has not.
	p := newPublication(t, kube, services)
	certificate := p.served.certificate()
	published := func() (paths []string) {
		t.Helper()
		if err := p.publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		have, err := kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), webhookConfiguration, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, one := range have.Webhooks {
			if string(one.ClientConfig.CABundle) != string(certificate.ca) {
				t.Errorf("webhook %s has another caBundle", one.Name)
			}
			if one.ClientConfig.URL != nil {
				paths = append(paths, *one.ClientConfig.URL)
			} else {
				paths = append(paths, *one.ClientConfig.Service.Path)
			}
		}
		return paths
	}
	secret := "/" + certificate.path
	for _, path := range webhook.Paths() {
		path = webhook.SecretPath(certificate.path, path)
		if problems := apiserverwebhook.ValidateWebhookService(nil, "srenix-system", "srenix-apiserver", &path, 9443); len(problems) > 0 {
			t.Errorf("kube-apiserver refuses the path: %v", problems)
		}
	}
	want := []string{secret + "/validate-proposals-approve", secret + "/validate-approvals", "/site", "https://localhost:9443" + secret + "/validate-approvals"}
	if diff := cmp.Diff(want, published()); diff != "" {
		t.Errorf("paths (-want +have):\n%s", diff)
	}
	service, err := services.ApiregistrationV1().APIServices().Get(t.Context(), "v1alpha1.srenix.io", metav1.GetOptions{})
	if err != nil || string(service.Spec.CABundle) != string(certificate.ca) {
		t.Errorf("the APIService has caBundle %q: %v", service.Spec.CABundle, err)
	}

	// Nothing is written where all is as it should be, and what was taken back comes again.
	kube.ClearActions()
	published()
	for _, action := range kube.Actions() {
		if action.GetVerb() == "update" {
			t.Error("it was written again")
		}
	}
	if _, err := kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Update(t.Context(), configuration, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, published()); diff != "" {
		t.Errorf("paths after it was installed anew (-want +have):\n%s", diff)
	}
}

// newPublication is of a replica that starts.
func newPublication(t *testing.T, kube kubernetes.Interface, services *fakeaggregator.Clientset) *publication {
	t.Helper()
	now, hosts := time.Now(), servingHosts(namespace)
	certificate, err := ensureCertificate(t.Context(), kube, namespace, hosts, now, now.Add(startBefore), nil)
	if err != nil {
		t.Fatal(err)
	}
	served, err := newServed(certificate)
	if err != nil {
		t.Fatal(err)
	}
	return &publication{
		kube: kube, services: services.ApiregistrationV1(), namespace: namespace,
		hosts: hosts, clock: testingclock.NewFakePassiveClock(now), served: served,
	}
}

type counter int

func (c *counter) Enqueue() { *c++ }

// What is published verifies every replica at every step of a renewal.
func TestACertificateIsRenewedWhileAllReplicasServe(t *testing.T) {
	kube := fake.NewClientset(shipped(t))
	services := fakeaggregator.NewSimpleClientset(&apiregistrationv1.APIService{ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.srenix.io"}}) //nolint:staticcheck // NewClientset needs a schema that this API has not.
	old, err := generateCertificate(servingHosts(namespace), renewBefore-24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	old.path = strings.Repeat("a", 26)
	_, err = kube.CoreV1().Secrets(namespace).Create(t.Context(), &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: servingSecret}, Data: map[string][]byte{
		corev1.TLSCertKey: old.cert, corev1.TLSPrivateKeyKey: old.key, caKey: old.ca, pathKey: []byte(old.path),
	}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	replicas := map[string]*publication{"a": newPublication(t, kube, services), "b": newPublication(t, kube, services)}
	var exchanged counter
	replicas["a"].served.AddListener(&exchanged)
	serves := func(name string) bool {
		cert, _ := replicas[name].served.CurrentCertKeyContent()
		return bytes.Equal(cert, old.cert)
	}
	for i, step := range []struct {
		replica    string
		aOld, bOld bool
	}{
		{"a", true, true}, {"b", true, true}, {"a", false, true}, {"a", false, true}, {"b", false, false}, {"a", false, false},
	} {
		if err := replicas[step.replica].publish(t.Context()); err != nil {
			t.Fatal(err)
		}
		if serves("a") != step.aOld || serves("b") != step.bOld {
			t.Errorf("step %d: a serves the old one: %t, b: %t", i, serves("a"), serves("b"))
		}
		service, err := services.ApiregistrationV1().APIServices().Get(t.Context(), "v1alpha1.srenix.io", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		configuration, err := kube.AdmissionregistrationV1().ValidatingWebhookConfigurations().Get(t.Context(), webhookConfiguration, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for name, replica := range replicas {
			for _, bundle := range [][]byte{service.Spec.CABundle, configuration.Webhooks[0].ClientConfig.CABundle} {
				shown := *replica.served.certificate()
				shown.ca = bundle
				if !shown.usable(replica.hosts, replica.clock.Now()) {
					t.Errorf("step %d: what is published does not verify %s", i, name)
				}
			}
		}
	}
	if exchanged != 1 {
		t.Errorf("the API server was told of %d exchanges", exchanged)
	}
	renewed := replicas["a"].served.certificate()
	pair, err := replicas["a"].served.GetCertificate(nil)
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(renewed.cert); !bytes.Equal(pair.Certificate[0], block.Bytes) || renewed.path != old.path {
		t.Errorf("the webhook serves another certificate, or at the path %s", renewed.path)
	}

	// Whoever deletes the Secret changes nothing.
	if err := kube.CoreV1().Secrets(namespace).Delete(t.Context(), servingSecret, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := replicas["b"].publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	secret, err := kube.CoreV1().Secrets(namespace).Get(t.Context(), servingSecret, metav1.GetOptions{})
	if err != nil || !bytes.Equal(secret.Data[corev1.TLSCertKey], renewed.cert) || string(secret.Data[pathKey]) != old.path {
		t.Errorf("the Secret came back as another one: %v", err)
	}
}
