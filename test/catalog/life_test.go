// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/gitopsdrift"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	"github.com/srenix/srenix/test/healthy"
)

// life plays what the controllers of Argo CD, Flux, CloudNativePG and cert-manager write
// of their objects in one namespace.
type life struct {
	*cluster
	healthy.State
}

func newLife(t *testing.T, namespace string) *life {
	t.Helper()
	return &life{cluster: newCluster(t), State: healthy.State{Namespace: namespace}}
}

// fill returns a file of package healthy, filled in.
func fill(t *testing.T, file string, state healthy.State) string {
	t.Helper()
	filled, err := state.Fill(file)
	if err != nil {
		t.Fatal(err)
	}
	return filled
}

// change has people change the objects: what the controllers say is of before.
func (l *life) change(t *testing.T) {
	t.Helper()
	l.Round++
	l.Begun = l.Now()
	apply(t, fill(t, "life/objects.yaml", l.State))
}

// at has the controllers write what they do at a stage.
func (l *life) at(t *testing.T, stage string) {
	t.Helper()
	for _, document := range strings.Split(fill(t, "life/"+stage+".yaml", l.State), "\n---\n") {
		object := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(document), &object.Object); err != nil {
			t.Fatalf("%s: %v", stage, err)
		}
		l.write(t, object)
	}
}

// write writes a status. Of Applications it is no subresource.
func (l *life) write(t *testing.T, object *unstructured.Unstructured) {
	t.Helper()
	kind := object.GroupVersionKind()
	mapping, err := l.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatal(err)
	}
	client := l.client.Resource(mapping.Resource).Namespace(object.GetNamespace())
	observe(t, client, object)
	var subresources []string
	if kind.Kind != "Application" {
		subresources = []string{"status"}
	}
	options := metav1.ApplyOptions{FieldManager: "controller", Force: true}
	if _, err := client.Apply(t.Context(), object.GetName(), object, options, subresources...); err != nil {
		t.Fatalf("%s %s: %v", object.GetKind(), object.GetName(), err)
	}
}

// observe says in each condition which generation it is about, as Flux does.
func observe(t *testing.T, client dynamic.ResourceInterface, object *unstructured.Unstructured) {
	t.Helper()
	conditions, has, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		t.Fatal(err)
	}
	if !has || !strings.HasSuffix(object.GroupVersionKind().Group, ".toolkit.fluxcd.io") {
		return
	}
	stored, err := client.Get(t.Context(), object.GetName(), metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, condition := range conditions {
		condition.(map[string]any)["observedGeneration"] = stored.GetGeneration()
	}
	if err := unstructured.SetNestedSlice(object.Object, conditions, "status", "conditions"); err != nil {
		t.Fatal(err)
	}
}

// request makes the CertificateRequest of a renewal, which is being issued.
func (l *life) request(t *testing.T) {
	t.Helper()
	name := fmt.Sprintf("web-%d", l.Round)
	uid := kubectl(t, "get", "certificate", "web", "-n", l.Namespace, "-o", "jsonpath={.metadata.uid}")
	apply(t, fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: CertificateRequest
metadata:
  name: %[1]s
  namespace: %[2]s
  annotations: {cert-manager.io/certificate-name: web, cert-manager.io/certificate-revision: "%[3]d"}
  ownerReferences: [{apiVersion: cert-manager.io/v1, kind: Certificate, name: web, uid: %[4]s, controller: true}]
spec: {request: eA==, issuerRef: {name: house}}
`, name, l.Namespace, l.Round, uid))
	pending := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: CertificateRequest
metadata: {name: %[1]s, namespace: %[2]s}
status:
  conditions:
    - {type: Approved, status: "True", reason: cert-manager.io, message: Certificate request has been approved by cert-manager.io, lastTransitionTime: "%[3]s"}
    - {type: Ready, status: "False", reason: Pending, message: Waiting for the issuer, lastTransitionTime: "%[3]s"}
`, name, l.Namespace, l.Now())), &pending.Object); err != nil {
		t.Fatal(err)
	}
	l.write(t, pending)
}

// stages of a change, between being well and being well again.
var stages = []string{"begun", "underway", "closing"}

// What other projects' controllers write while they do what they are for: Applications
// are out of sync and synced again, Flux reconciles, a PostgreSQL cluster is updated with
// a switchover, certificates are issued and renewed. Each change takes less than the
// grace, and all of them together take longer.
func TestControllersAtWorkAreQuiet(t *testing.T) {
	kubectl(t, "create", "namespace", "life")
	life := newLife(t, "life")
	l := listen(t, "life")
	life.change(t)
	life.at(t, "healthy")
	const step = grace / 5
	for range 2 {
		l.pass(t, step)
		life.change(t)
		life.request(t)
		for _, stage := range stages {
			life.at(t, stage)
			l.pass(t, step)
		}
		life.at(t, "healthy")
	}
	l.pass(t, grace+step)
	l.silent(t)
	if t.Failed() {
		return
	}
	// What does not get on is told of.
	life.change(t)
	life.at(t, "underway")
	for _, told := range [][2]string{
		{gitopsdrift.OutOfSync, "by-hand"}, {gitopsdrift.HealthMissing, "by-hand"}, {gitopsdrift.NotReady, "cache"},
		{workloadstatedrift.SwitchoverStuck, "db"}, {certexpiry.NotReady, "api"},
	} {
		found(t, "life", told[0], told[1])
	}
}
