// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/yaml"
)

// hashed is the name that kustomize gives the configuration.
var hashed = regexp.MustCompile(`^(srenix-configuration)-[0-9a-z]{10}$`)

// comparable returns objects by what they are. It evens out what the two ways to
// install do differently on purpose: kustomize makes the Namespace, which Helm
// leaves to `kubectl create namespace`, and has a hash of the configuration in its
// name where the chart has one in an annotation of the pods. Where a folded line of
// YAML is indented further, kustomize reads an empty line more, which is nothing to CEL.
func comparable(t *testing.T, objects []*unstructured.Unstructured) map[string]any {
	t.Helper()
	found := map[string]any{}
	for _, object := range objects {
		object = object.DeepCopy()
		switch object.GetKind() {
		case "Namespace":
			continue
		case "ValidatingAdmissionPolicy":
			object.Object["spec"] = withoutEmptyLines(object.Object["spec"])
		case "ConfigMap":
			object.SetName(hashed.ReplaceAllString(object.GetName(), "$1"))
			text, _, err := unstructured.NestedString(object.Object, "data", "config.yaml")
			if err != nil {
				t.Fatal(err)
			}
			configuration := map[string]any{}
			if err := yaml.UnmarshalStrict([]byte(text), &configuration); err != nil {
				t.Fatal(err)
			}
			object.Object["data"] = configuration
		case "Deployment":
			unstructured.RemoveNestedField(object.Object, "spec", "template", "metadata", "annotations", "checksum/configuration")
			if annotations, _, _ := unstructured.NestedMap(object.Object, "spec", "template", "metadata", "annotations"); len(annotations) == 0 {
				unstructured.RemoveNestedField(object.Object, "spec", "template", "metadata", "annotations")
			}
			volumes, _, err := unstructured.NestedSlice(object.Object, "spec", "template", "spec", "volumes")
			if err != nil {
				t.Fatal(err)
			}
			for _, volume := range volumes {
				if of, ok := volume.(map[string]any)["configMap"].(map[string]any); ok {
					of["name"] = hashed.ReplaceAllString(of["name"].(string), "$1")
				}
			}
			if err := unstructured.SetNestedSlice(object.Object, volumes, "spec", "template", "spec", "volumes"); err != nil {
				t.Fatal(err)
			}
		}
		key := strings.Join([]string{object.GetAPIVersion(), object.GetKind(), object.GetNamespace(), object.GetName()}, " ")
		if found[key] != nil {
			t.Errorf("there are two of %s", key)
		}
		found[key] = object.Object
	}
	return found
}

func withoutEmptyLines(value any) any {
	switch value := value.(type) {
	case string:
		return strings.ReplaceAll(value, "\n\n", "\n")
	case []any:
		for i := range value {
			value[i] = withoutEmptyLines(value[i])
		}
	case map[string]any:
		for key := range value {
			value[key] = withoutEmptyLines(value[key])
		}
	}
	return value
}

func TestTheAdvisorIsTheSameByChartAndKustomize(t *testing.T) {
	base, err := Kustomization("base")
	if err != nil {
		t.Fatal(err)
	}
	advisor, err := Kustomization("advisor")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := Render(Namespace, advised)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(comparable(t, slices.Concat(base, advisor)), comparable(t, rendered.Objects)); diff != "" {
		t.Errorf("the chart with the advisor (+) differs from both kustomizations (-):\n%s", diff)
	}
}

// What every program has that is beside the API server, the advisor has where it runs.
func TestTheAdvisorIsMonitoredAndFencedAsTheExecutorIs(t *testing.T) {
	const values = "networkPolicy: {enabled: true}\nmetrics: {serviceMonitor: {enabled: true}}\n"
	of := func(values, program string) (kinds []string) {
		rendered, err := Render(Namespace, values)
		if err != nil {
			t.Fatal(err)
		}
		for _, object := range rendered.Objects {
			if name := object.GetName(); name == program || name == program+"-metrics" {
				kinds = append(kinds, object.GetKind())
			}
		}
		slices.Sort(kinds)
		return kinds
	}
	if have, want := of(values+advised, "srenix-advisor"), of(values+advised, "srenix-executor"); !slices.Equal(have, want) || !slices.Contains(have, "NetworkPolicy") {
		t.Errorf("of the advisor there are %v, of the executor %v", have, want)
	}
	if have := of(values, "srenix-advisor"); len(have) > 0 {
		t.Errorf("without the advisor there are %v of it", have)
	}
}

func TestChartAndKustomizeBaseInstallTheSame(t *testing.T) {
	base, err := Kustomization("base")
	if err != nil {
		t.Fatal(err)
	}
	rendered, err := Render(Namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(comparable(t, base), comparable(t, rendered.Objects)); diff != "" {
		t.Errorf("the chart (+) differs from the kustomize base (-):\n%s", diff)
	}
	for _, object := range rendered.Objects {
		if object.GetKind() == "Namespace" {
			t.Error("the chart makes a Namespace, which Helm would delete with all that is in it")
		}
	}
}

// Policies name the namespace in the text of expressions, where kustomize does not
// find it.
func TestAnyNamespaceWillDo(t *testing.T) {
	const elsewhere = "trouble"
	there, err := Render(elsewhere, "")
	if err != nil {
		t.Fatal(err)
	}
	here, err := Render(Namespace, "")
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(comparable(t, here.Objects))
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	if err := json.Unmarshal([]byte(strings.ReplaceAll(string(text), Namespace, elsewhere)), &want); err != nil {
		t.Fatal(err)
	}
	got := map[string]any{}
	if text, err = json.Marshal(comparable(t, there.Objects)); err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("in another namespace (+) it differs by more than the namespace (-):\n%s", diff)
	}
}
