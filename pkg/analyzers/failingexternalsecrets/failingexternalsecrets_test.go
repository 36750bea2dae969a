// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failingexternalsecrets

import (
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func standard(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, standard(t)) }

func engineOf(t *testing.T, now time.Time, cluster *livetest.Cluster) *live.Engine {
	t.Helper()
	engine := live.New(live.Options{Clock: testingclock.NewFakeClock(now), RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Steps: 1}})
	for _, rule := range analyzers.LiveRules(standard(t)) {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	return engine
}

// TestTheVersionBeforeIsRead holds that operators that serve v1beta1 only are read.
func TestTheVersionBeforeIsRead(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-store-and-not-what-depends-on-it.yaml")
	for _, object := range golden.Objects {
		if object := object.(*unstructured.Unstructured); object.GetKind() != "PushSecret" {
			object.SetAPIVersion("external-secrets.io/v1beta1")
		}
	}
	cluster := analyzertest.Cluster(t, golden.Objects)
	for _, resource := range []string{"externalsecrets", "secretstores", "clustersecretstores", "clusterexternalsecrets"} {
		cluster.NotInstalled(schema.GroupVersionResource{Group: "external-secrets.io", Version: "v1", Resource: resource})
	}
	found := live.List(engineOf(t, golden.Now, cluster), analyzers.DetectedFindings)
	if len(found) != 1 || found[0].Spec.Reason != StoreNotReady || found[0].Spec.Subject.APIVersion != "external-secrets.io/v1beta1" {
		t.Errorf("found %v", found)
	}
}

func TestNothingIsSaidWhereTheOperatorIsNotInstalled(t *testing.T) {
	cluster := &livetest.Cluster{}
	for _, version := range []string{"v1", "v1beta1", "v1alpha1"} {
		for _, resource := range []string{"externalsecrets", "secretstores", "clustersecretstores", "clusterexternalsecrets", "pushsecrets"} {
			cluster.NotInstalled(schema.GroupVersionResource{Group: "external-secrets.io", Version: version, Resource: resource})
		}
	}
	engine := engineOf(t, time.Unix(0, 0), cluster)
	for _, status := range live.List(engine, live.Statuses()) {
		if status.State != live.Healthy {
			t.Errorf("%s is %s: %s", status.Rule, status.State, status.Message)
		}
	}
}

func TestJunkIsNotFoundAndPanicsNothing(t *testing.T) {
	now := time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC)
	for name, fields := range map[string]map[string]any{
		"nothing":            {},
		"spec is text":       {"spec": "x", "status": "y"},
		"spec is a number":   {"spec": int64(1), "status": 1.5},
		"status is a list":   {"status": []any{"x"}},
		"conditions are odd": {"status": map[string]any{"conditions": []any{"x", int64(1), nil, map[string]any{"type": int64(1)}, map[string]any{"type": "Ready", "status": true}}}},
		"stores are odd":     {"spec": map[string]any{"secretStoreRef": "vault", "secretStoreRefs": map[string]any{}, "data": []any{"x", map[string]any{"sourceRef": "y"}}, "dataFrom": "z"}},
		"stores are names of other types": {"spec": map[string]any{
			"secretStoreRef": map[string]any{"name": int64(1), "kind": []any{}}, "secretStoreRefs": []any{map[string]any{"name": "a/b/c", "kind": "ключ"}},
		}},
		"refresh is odd": {
			"spec":   map[string]any{"refreshInterval": int64(3600), "refreshPolicy": int64(1), "secretStoreRef": map[string]any{"name": "vault"}},
			"status": map[string]any{"refreshTime": "yesterday", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
		},
		"a huge interval": {
			"spec":   map[string]any{"refreshInterval": "2540400h", "secretStoreRef": map[string]any{"name": "vault"}},
			"status": map[string]any{"refreshTime": "2026-03-10T11:00:00Z", "conditions": []any{map[string]any{"type": "Ready", "status": "True"}}},
		},
		"multi-byte": {"status": map[string]any{"conditions": []any{map[string]any{"type": "Ready", "status": "Unknown", "message": strings.Repeat("ключ 鍵", 1000)}}}},
	} {
		t.Run(name, func(t *testing.T) {
			var objects []live.Object
			for kind, version := range map[string]string{"ExternalSecret": "v1", "SecretStore": "v1", "ClusterSecretStore": "v1", "ClusterExternalSecret": "v1", "PushSecret": "v1alpha1"} {
				object := &unstructured.Unstructured{Object: map[string]any{}}
				for field, value := range fields {
					object.Object[field] = value
				}
				object = object.DeepCopy()
				object.SetAPIVersion("external-secrets.io/" + version)
				object.SetKind(kind)
				object.SetName("vault")
				if !strings.HasPrefix(kind, "Cluster") {
					object.SetNamespace("shop")
				}
				objects = append(objects, object)
			}
			after := time.Hour
			if _, told := fields["status"]; !told {
				after -= time.Minute // then nobody has looked at it
			}
			if found := analyzertest.Analyze(t, standard(t), now, after, objects); len(found) > 0 {
				t.Errorf("found %v", found)
			}
		})
	}
}

func TestLongMessagesAreCutBetweenRunes(t *testing.T) {
	store := &unstructured.Unstructured{Object: map[string]any{"status": map[string]any{"conditions": []any{map[string]any{
		"type": "Ready", "status": "False", "message": strings.Repeat("鍵", 1000), "lastTransitionTime": "2026-03-10T11:00:00Z",
	}}}}}
	store.SetAPIVersion("external-secrets.io/v1")
	store.SetKind("ClusterSecretStore")
	store.SetName("vault")
	found := analyzertest.Analyze(t, standard(t), time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), 0, []live.Object{store})
	if len(found) != 1 || !strings.Contains(found[0].Message, strings.Repeat("鍵", 200)+"...") {
		t.Errorf("found %v", found)
	}
}
