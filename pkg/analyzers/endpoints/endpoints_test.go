// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func made(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, made(t)) }

func TestJunkIsNoTrouble(t *testing.T) {
	long := strings.Repeat("ä", 100_000)
	meta := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "shop", Name: name} }
	objects := []live.Object{
		&corev1.Service{ObjectMeta: meta("s"), Spec: corev1.ServiceSpec{Selector: map[string]string{long: long}, Type: corev1.ServiceType(long)}},
		&networkingv1.Ingress{ObjectMeta: meta("i"), Spec: networkingv1.IngressSpec{
			DefaultBackend: &networkingv1.IngressBackend{Service: &networkingv1.IngressServiceBackend{}},
			Rules:          []networkingv1.IngressRule{{}, {Host: long}},
		}},
		&admissionregistrationv1.MutatingWebhookConfiguration{
			ObjectMeta: metav1.ObjectMeta{Name: "w"},
			Webhooks:   []admissionregistrationv1.MutatingWebhook{{}, {ClientConfig: admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{}}}},
		},
	}
	for name, spec := range map[string]any{
		"none": nil, "text": long, "rules": map[string]any{"rules": "a"}, "rule": map[string]any{"rules": []any{"a", nil, float64(1)}},
		"backends": map[string]any{"rules": []any{map[string]any{"backendRefs": map[string]any{}}}},
		"backend": map[string]any{"rules": []any{map[string]any{"backendRefs": []any{
			"a", map[string]any{}, map[string]any{"name": int64(1)}, map[string]any{"name": "web", "weight": float64(0)},
			map[string]any{"name": "web", "weight": "much"}, map[string]any{"name": "web", "kind": long},
		}}}},
	} {
		objects = append(objects, &unstructured.Unstructured{Object: map[string]any{
			"apiVersion": "gateway.networking.k8s.io/v1", "kind": "HTTPRoute", "metadata": map[string]any{"namespace": "shop", "name": name}, "spec": spec,
		}})
	}
	for _, finding := range analyzertest.Analyze(t, made(t), time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), time.Hour, objects) {
		t.Errorf("found %+v", finding)
	}
}
