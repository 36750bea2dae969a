// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package hygiene

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	pollInterval = 100 * time.Millisecond
	// deadline has room for what controllers do every half minute or at a growing interval.
	deadline = 3 * time.Minute
	service  = "apiservice/v1alpha1.srenix.io"
)

// trouble is a way for the aggregated server to be of no use.
type trouble struct {
	begin, end func() error
}

func troubles() map[string]trouble {
	return map[string]trouble{
		"down": {
			begin: func() error { return srenix.APIServer.Kill() },
			end:   func() error { return srenix.APIServer.Start() },
		},
		"hung": {
			begin: func() error { return srenix.APIServer.Pause() },
			end:   func() error { return srenix.APIServer.Resume() },
		},
	}
}

// TestTheClusterGoesOnWithoutTheServer has the server in trouble, and looks at
// everything that Kubernetes lets go on, and at what it does not: namespaces stay
// until the server is back.
func TestTheClusterGoesOnWithoutTheServer(t *testing.T) {
	for name, trouble := range troubles() {
		t.Run(name, func(t *testing.T) {
			leaving, staying := namespace(t), namespace(t)
			running(t, leaving)
			running(t, staying)
			outOf := into(t, trouble)

			t.Run("kubectl get all", func(t *testing.T) {
				if output := kubectl(t, "get", "all", "-n", staying); !strings.Contains(output, "deployment.apps/web") || !strings.Contains(output, "pod/web-") {
					t.Errorf("it shows\n%s", output)
				}
			})
			t.Run("kubectl api-resources", func(t *testing.T) {
				// It fails where kube-apiserver has forgotten what the server had, and
				// tells so beside all the others.
				if stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), "api-resources"); !strings.Contains(stdout, "deployments") || (err != nil && !strings.Contains(stderr, "srenix.io")) {
					t.Errorf("it shows %v\n%s%s", err, stdout, stderr)
				}
			})
			t.Run("rollouts", func(t *testing.T) {
				kubectl(t, "scale", "deployment/web", "--replicas=3", "-n", staying)
				kubectl(t, "rollout", "status", "deployment/web", "-n", staying, "--timeout=90s")
			})
			t.Run("quota", func(t *testing.T) {
				kubectl(t, "create", "quota", "counts", "--hard=count/configmaps=10", "-n", staying)
				eventually(t, "the quota to count", func() (bool, string) {
					used := kubectl(t, "get", "resourcequota", "counts", "-n", staying, "-o", `jsonpath={.status.used.count/configmaps}`)
					return used == "1", used
				})
			})
			t.Run("garbage collection", func(t *testing.T) {
				kubectl(t, "delete", "deployment", "web", "-n", staying, "--cascade=background")
				eventually(t, "the ReplicaSet and its pods to go", func() (bool, string) {
					left := kubectl(t, "get", "replicasets,pods", "-n", staying, "-o", "name")
					return left == "", left
				})
			})
			t.Run("deletion of a namespace waits, and says for what", func(t *testing.T) {
				kubectl(t, "delete", "namespace", leaving, "--wait=false")
				eventually(t, "the namespace to say what it waits for", func() (bool, string) {
					conditions := kubectl(t, "get", "namespace", leaving, "-o", `jsonpath={range .status.conditions[?(@.type=="NamespaceDeletionDiscoveryFailure")]}{.status} {.message}{end}`)
					return strings.HasPrefix(conditions, "True") && strings.Contains(conditions, "srenix.io/v1alpha1"), conditions
				})
			})

			began := time.Now()
			outOf()
			available(t)
			back := time.Since(began)
			eventually(t, "the namespace to go", func() (bool, string) { return gone(t, "namespace/"+leaving) })
			t.Logf("back after %s; the namespace was gone after %s", back.Round(100*time.Millisecond), time.Since(began).Round(100*time.Millisecond))
		})
	}
}

// TestDeletingTheAPIServiceSetsTheClusterFree is the remedy where a server does not
// come back.
func TestDeletingTheAPIServiceSetsTheClusterFree(t *testing.T) {
	trouble := troubles()["down"]
	leaving := namespace(t)
	running(t, leaving)
	t.Cleanup(func() {
		_, stderr, err := srenix.Plane.Kubectl(context.Background(), "apply", "-k", srenix.OverlayDir())
		if err != nil {
			t.Errorf("%v\n%s", err, stderr)
		}
		// The server, which is back by now, publishes its authority in it.
		if err := srenix.WaitAvailable(context.Background()); err != nil {
			t.Error(err)
		}
	})
	into(t, trouble)
	kubectl(t, "delete", "namespace", leaving, "--wait=false")
	eventually(t, "the namespace to wait", func() (bool, string) {
		condition := kubectl(t, "get", "namespace", leaving, "-o", `jsonpath={.status.conditions[?(@.type=="NamespaceDeletionDiscoveryFailure")].status}`)
		return condition == "True", condition
	})
	began := time.Now()
	kubectl(t, "delete", service)
	eventually(t, "the namespace to go", func() (bool, string) { return gone(t, "namespace/"+leaving) })
	t.Logf("the namespace was gone %s after the APIService", time.Since(began).Round(100*time.Millisecond))
	if _, stderr, err := srenix.Plane.Kubectl(t.Context(), "api-resources"); err != nil || stderr != "" {
		t.Errorf("kubectl api-resources still complains: %v\n%s", err, stderr)
	}
}

// into brings trouble, and waits until the aggregator has noticed. It is over when
// the test ends, or when what is returned is called.
func into(t *testing.T, trouble trouble) (outOf func()) {
	t.Helper()
	available(t)
	outOf = sync.OnceFunc(func() {
		if err := trouble.end(); err != nil {
			t.Error(err)
		}
	})
	t.Cleanup(outOf)
	if err := trouble.begin(); err != nil {
		t.Fatal(err)
	}
	kubectl(t, "wait", "--for=condition=Available=False", service, "--timeout=2m")
	return outOf
}

func available(t *testing.T) {
	t.Helper()
	if err := srenix.WaitAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
}

var namespaces atomic.Int64

func namespace(t *testing.T) string {
	t.Helper()
	name := fmt.Sprintf("hygiene-%d", namespaces.Add(1))
	kubectl(t, "create", "namespace", name)
	return name
}

// running makes a Deployment whose pods run.
func running(t *testing.T, namespace string) {
	t.Helper()
	kubectl(t, "create", "deployment", "web", "--image=web", "-n", namespace)
	kubectl(t, "rollout", "status", "deployment/web", "-n", namespace, "--timeout=90s")
}

func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stdout+stderr)
	}
	return stdout
}

func gone(t *testing.T, object string) (bool, string) {
	t.Helper()
	left := kubectl(t, "get", object, "--ignore-not-found", "-o", "yaml")
	return left == "", left
}

func eventually(t *testing.T, what string, condition func() (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, deadline, true, func(context.Context) (bool, error) {
		var ok bool
		ok, detail = condition()
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}
