// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/test/healthy"
)

// listener remembers every finding that there has been, in some namespaces, however
// short its life.
type listener struct {
	mu   sync.Mutex
	told []string
}

func listen(t *testing.T, namespaces ...string) *listener {
	t.Helper()
	restConfig, err := srenix.Plane.Config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	l := &listener{}
	factory := dynamicinformer.NewDynamicSharedInformerFactory(client, 0)
	for _, resource := range []string{"findings", "clusterfindings"} {
		informer := factory.ForResource(v1alpha1.SchemeGroupVersion.WithResource(resource)).Informer()
		note := func(object any) {
			finding, ok := object.(*unstructured.Unstructured)
			if !ok {
				return
			}
			severity, _, _ := unstructured.NestedString(finding.Object, "spec", "severity")
			of := finding.GetNamespace()
			if of != "" && !slices.Contains(namespaces, of) {
				return
			}
			message, _, _ := unstructured.NestedString(finding.Object, "spec", "message")
			l.mu.Lock()
			defer l.mu.Unlock()
			l.told = append(l.told, fmt.Sprintf("%s %s/%s: %s", severity, of, finding.GetName(), message))
		}
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{AddFunc: note, UpdateFunc: func(_, object any) { note(object) }})
		if err != nil {
			t.Fatal(err)
		}
	}
	factory.Start(t.Context().Done())
	for resource, synced := range factory.WaitForCacheSync(t.Context().Done()) {
		if !synced {
			t.Fatalf("%s are not synced", resource)
		}
	}
	return l
}

// silent fails the test if anything was told.
func (l *listener) silent(t *testing.T) {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, line := range slices.Compact(slices.Sorted(slices.Values(l.told))) {
		t.Errorf("cried wolf: %s", line)
	}
}

// pass waits until a time is over, as long as nothing is told.
func (l *listener) pass(t *testing.T, span time.Duration) {
	t.Helper()
	end := time.Now().Add(span)
	eventually(t, "time to pass", func(context.Context) (bool, string) {
		l.mu.Lock()
		defer l.mu.Unlock()
		return time.Now().After(end) || len(l.told) > 0, ""
	})
}

func ready(t *testing.T, namespace string) {
	t.Helper()
	for _, workload := range []string{"deployment/web", "statefulset/db", "daemonset/agent"} {
		kubectl(t, "rollout", "status", workload, "-n", namespace, "--timeout=90s")
	}
}

// Clean installs of what people run, and ordinary workloads: nothing at all.
func TestAHealthyClusterIsQuiet(t *testing.T) {
	installs, err := healthy.Installs()
	if err != nil {
		t.Fatal(err)
	}
	namespaces := []string{"argocd", "cert-manager", "cnpg-system", "external-secrets", "flux-system", "quiet", "kube-system", "default"}
	for _, namespace := range []string{"argocd", "cert-manager", "external-secrets", "flux-system", "quiet"} {
		_, stderr, err := srenix.Plane.Kubectl(t.Context(), "create", "namespace", namespace)
		if err != nil && !strings.Contains(stderr, "AlreadyExists") {
			t.Fatal(err)
		}
	}
	// What an init container of Argo CD's Redis writes; here none runs.
	kubectl(t, "create", "secret", "generic", "argocd-redis", "-n", "argocd", "--from-literal=auth=any")
	l := listen(t, namespaces...)
	life := newLife(t, "quiet") // before webhooks ask a server that does not run here
	life.change(t)
	life.at(t, "healthy")
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "validatingwebhookconfiguration", "cnpg-validating-webhook-configuration", "--ignore-not-found")
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "mutatingwebhookconfiguration", "cnpg-mutating-webhook-configuration", "--ignore-not-found")
	})
	for _, install := range installs {
		arguments := []string{"--force-conflicts"}
		if install.Given {
			arguments = append(arguments, "-n", install.Namespace)
		}
		apply(t, install.Objects, arguments...)
	}
	apply(t, fill(t, "ordinary.yaml", healthy.State{Namespace: "quiet"}))
	ready(t, "quiet")
	l.pass(t, 2*grace)
	l.silent(t)
}

// Normal change, with graces of seconds: rolling updates, scaling, configuration
// that is rolled out, a drained node, pods deleted by hand. No finding comes, so none
// flaps.
func TestChangeIsQuiet(t *testing.T) {
	kubectl(t, "create", "namespace", "churn")
	apply(t, fill(t, "ordinary.yaml", healthy.State{Namespace: "churn"}))
	ready(t, "churn")
	l := listen(t, "churn")
	nodes := strings.Fields(kubectl(t, "get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"))
	for round := range 3 {
		image := fmt.Sprintf("example/web:%d", round+2)
		kubectl(t, "set", "image", "deployment/web", "web="+image, "-n", "churn")
		kubectl(t, "set", "image", "statefulset/db", "db="+image, "-n", "churn")
		kubectl(t, "set", "image", "daemonset/agent", "agent="+image, "-n", "churn")
		kubectl(t, "scale", "deployment/web", "-n", "churn", fmt.Sprintf("--replicas=%d", 4+3*(round%2)))
		ready(t, "churn")
		node := nodes[round%len(nodes)]
		kubectl(t, "drain", node, "--ignore-daemonsets", "--force", "--delete-emptydir-data", "--grace-period=1", "--timeout=60s")
		ready(t, "churn")
		kubectl(t, "uncordon", node)
		kubectl(t, "patch", "configmap", "settings", "-n", "churn", "--type=merge", "-p", fmt.Sprintf(`{"data":{"round":"%d"}}`, round))
		kubectl(t, "rollout", "restart", "deployment/web", "-n", "churn")
		kubectl(t, "delete", "pod", "db-1", "-n", "churn", "--wait=false")
		kubectl(t, "delete", "job", "migrate", "-n", "churn", "--ignore-not-found")
		ready(t, "churn")
	}
	l.pass(t, 2*grace)
	l.silent(t)
	// The listener would have heard: something that is wrong is found meanwhile, and
	// something that is worth a word.
	apply(t, `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: everything, namespace: churn}
rules: [{apiGroups: ["*"], resources: ["*"], verbs: ["*"]}]
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: parked, namespace: churn}
spec: {interval: 1m, prune: true, suspend: true, path: ./deploy, sourceRef: {kind: GitRepository, name: shop}}
`)
	for _, severity := range []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityInfo} {
		eventually(t, "the listener to hear of what is "+string(severity), func(context.Context) (bool, string) {
			l.mu.Lock()
			defer l.mu.Unlock()
			told := func(line string) bool { return strings.HasPrefix(line, string(severity)+" ") }
			return slices.ContainsFunc(l.told, told), fmt.Sprint(l.told)
		})
	}
}
