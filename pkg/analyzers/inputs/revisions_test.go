// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"
)

func digestsIn(t *testing.T, spec, ownerKind string) map[string]string {
	t.Helper()
	data, err := yaml.YAMLToJSON(fmt.Appendf(nil, "{spec: {template: {$patch: replace, metadata: {}, spec: %s}}}", spec))
	if err != nil {
		t.Fatal(err)
	}
	digests := map[string]string{}
	kept := digestsOf(&appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: ownerKind, Controller: ptr.To(true)}}},
		Data:       runtime.RawExtension{Raw: data},
	})
	if len(kept) > 0 {
		if err := json.Unmarshal(kept, &digests); err != nil {
			t.Fatal(err)
		}
	}
	return digests
}

// A change of a template is in the parts that it belongs to, and in no other.
func TestPartsOfATemplate(t *testing.T) {
	const before = `{containers: [{name: app, image: "example/app:1", resources: {requests: {cpu: "1"}}}, {name: side, image: "example/side:1"}]}`
	for after, want := range map[string]string{
		before: "",
		strings.Replace(before, `"1"`, "1000m", 1):                                                              "", // as much
		strings.Replace(before, `"1"`, `"2"`, 1):                                                                "resources run",
		strings.Replace(before, "app:1", "app:2", 1):                                                            "image/app run",
		strings.Replace(before, "example/app", "example/web", 1):                                                "image/app repository/app run",
		strings.Replace(before, "example/app", "registry.example.com/app", 1):                                   "image/app registry/app repository/app run",
		strings.Replace(before, "example/app", "docker.io/example/app", 1):                                      "image/app run",
		strings.Replace(before, "example/app", "Example/app", 1):                                                "image/app registry/app repository/app run",
		strings.Replace(before, "name: side,", "name: side, imagePullPolicy: Never,", 1):                        "pullPolicy/side",
		strings.Replace(before, "name: side,", "name: side, command: [x],", 1):                                  "run",
		strings.Replace(before, "name: side,", "name: side, env: [{name: A}],", 1):                              "configuration run",
		strings.Replace(before, "name: side,", "name: side, ports: [{containerPort: 1}],", 1):                   "run",
		strings.Replace(before, "name: side,", "name: side, ports: [{containerPort: 1, hostPort: 1}],", 1):      "hostPorts run",
		strings.Replace(before, "name: side,", "name: side, securityContext: {privileged: true},", 1):           "run security",
		strings.Replace(before, "name: side,", "name: side, readinessProbe: {tcpSocket: {port: 1}},", 1):        "run",
		strings.Replace(before, "{containers", "{nodeSelector: {a: b}, containers", 1):                          "scheduling",
		strings.Replace(before, "{containers", "{tolerations: [{key: a}], containers", 1):                       "scheduling",
		strings.Replace(before, "{containers", "{imagePullSecrets: [{name: a}], containers", 1):                 "pullSecrets",
		strings.Replace(before, "{containers", "{terminationGracePeriodSeconds: 5, containers", 1):              "",
		strings.Replace(before, "{containers", "{runtimeClassName: a, containers", 1):                           "run sandbox scheduling",
		strings.Replace(before, "{containers", "{hostAliases: [{ip: 10.0.0.1}], containers", 1):                 "run sandbox",
		strings.Replace(before, "{containers", "{volumes: [{name: a, emptyDir: {}}], containers", 1):            "run",
		strings.Replace(before, "{containers", "{volumes: [{name: a, hostPath: {path: /a}}], containers", 1):    "run storage",
		strings.Replace(before, "{containers", "{volumes: [{name: a, secret: {secretName: a}}], containers", 1): "configuration content run",
	} {
		was, is := digestsIn(t, before, "StatefulSet"), digestsIn(t, after, "StatefulSet")
		if len(was) == 0 || len(is) == 0 {
			t.Fatalf("no digests of %s", after)
		}
		var changed []string
		for key := range maps.Keys(was) {
			if is[key] != was[key] {
				changed = append(changed, key)
			}
		}
		slices.Sort(changed)
		if diff := cmp.Diff(strings.Fields(want), changed); diff != "" && len(changed)+len(want) > 0 {
			t.Errorf("%s\nchanges (-want +have):\n%s", after, diff)
		}
	}
}

func TestOfOtherRevisionsNothingIsKept(t *testing.T) {
	if kept := digestsIn(t, "{containers: [{name: app}]}", "DaemonSet"); len(kept) > 0 {
		t.Errorf("kept %v of a DaemonSet", kept)
	}
	for _, data := range []string{"", "null", "{}", `{"spec":{"template":7}}`, `{"spec":{}}`, "no JSON"} {
		revision := &appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Controller: ptr.To(true)}}},
			Data:       runtime.RawExtension{Raw: []byte(data)},
		}
		revision.Data.Raw = digestsOf(revision)
		if digest, known := PartOf(revision, PartRun, ""); known {
			t.Errorf("%q has %s", data, digest)
		}
	}
}
