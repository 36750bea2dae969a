// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/observations"
	"github.com/srenix/srenix/test/harness"
)

// missingFinding returns the finding about a missing ordinal zero as one server has it.
func missingFinding(ctx context.Context, t *testing.T, config *rest.Config, namespace string) (*v1alpha1.Finding, string) {
	t.Helper()
	list, err := dynamicClient(t, config).Resource(findingsResource).Namespace(namespace).
		List(ctx, metav1.ListOptions{FieldSelector: "spec.reason=OrdinalZeroMissing"})
	if err != nil {
		return nil, err.Error()
	}
	if len(list.Items) != 1 {
		return nil, fmt.Sprint(len(list.Items), " findings")
	}
	finding := &v1alpha1.Finding{}
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(list.Items[0].Object, finding); err != nil {
		return nil, err.Error()
	}
	return finding, ""
}

// remembered returns the times that are stored in the cluster.
func remembered(t *testing.T) map[string]string {
	t.Helper()
	output := kubectl(t, "get", "configmap", "srenix-first-observed", "-n", "srenix-system", "--ignore-not-found", "-o", "jsonpath={.data}")
	times := map[string]string{}
	if output != "" {
		if err := json.Unmarshal([]byte(output), &times); err != nil {
			t.Fatal(err)
		}
	}
	return times
}

// withoutOrdinalZero makes a StatefulSet whose pod zero is missing.
func withoutOrdinalZero(t *testing.T, namespace string) (finding *v1alpha1.Finding) {
	t.Helper()
	readyStatefulSet(t, namespace, "db")
	// A quota that is used up keeps the StatefulSet controller from replacing it.
	kubectl(t, "create", "quota", "full", "-n", namespace, "--hard=pods=1")
	kubectl(t, "delete", "pod", "db-0", "-n", namespace)
	eventually(t, "the missing pod to be found", func(ctx context.Context) (ok bool, detail string) {
		finding, detail = missingFinding(ctx, t, adminConfig(t), namespace)
		return finding != nil, detail
	})
	return finding
}

// writes are the versions of what is stored that come after the first.
type writes struct {
	watch.Interface
	stored *corev1.ConfigMap
	count  int
}

func watchWrites(t *testing.T) *writes {
	t.Helper()
	client := kubeClient(t).CoreV1().ConfigMaps(harness.Namespace)
	stored, err := client.Get(t.Context(), observations.Name, metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	w, err := client.Watch(t.Context(), metav1.ListOptions{
		FieldSelector: "metadata.name=" + observations.Name, ResourceVersion: stored.ResourceVersion,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.Stop)
	return &writes{Interface: w, stored: stored}
}

// take takes what was written since, and holds it to leaving alone what was stored
// with a time.
func (w *writes) take(t *testing.T, since string) {
	t.Helper()
	for {
		select {
		case event := <-w.ResultChan():
			now, ok := event.Object.(*corev1.ConfigMap)
			if !ok || event.Type != watch.Modified {
				t.Fatalf("what is stored was %s: %v", event.Type, event.Object)
			}
			for key, before := range w.stored.Data {
				if before == since && now.Data[key] != before {
					t.Errorf("%s is stored as %q, and was as %q", key, now.Data[key], before)
				}
			}
			w.stored, w.count = now, w.count+1
		default:
			return
		}
	}
}

// written is how many times a server says that it has stored what it observed.
func written(ctx context.Context, t *testing.T, server *rest.Config) (int, error) {
	t.Helper()
	client, err := kubernetes.NewForConfig(server)
	if err != nil {
		return 0, err
	}
	metrics, err := client.RESTClient().Get().AbsPath("/metrics").Do(ctx).Raw()
	if err != nil {
		return 0, err
	}
	line := regexp.MustCompile(`(?m)^srenix_first_observed_writes_total{result="Succeeded"} (\d+)$`).FindSubmatch(metrics)
	if line == nil {
		return 0, errors.New("there is no such metric")
	}
	return strconv.Atoi(string(line[1]))
}

// TestFirstObservedTimesOutliveTheProcessAndAgree takes the one condition that no
// object dates: that a pod is missing.
func TestFirstObservedTimesOutliveTheProcessAndAgree(t *testing.T) {
	ns := namespace(t)
	before := withoutOrdinalZero(t, ns)
	since := before.Spec.Since.UTC().Format(time.RFC3339)
	eventually(t, "its time to be stored", func(context.Context) (bool, string) {
		stored := fmt.Sprint(remembered(t))
		return strings.Contains(stored, since), stored
	})

	t.Run("a second replica says the same", func(t *testing.T) {
		config := startReplica(t, "srenix-apiserver-agrees")(srenix.Plane.Kubeconfig())
		eventually(t, "the replica to have the same finding", func(ctx context.Context) (bool, string) {
			there, detail := missingFinding(ctx, t, config, ns)
			if there == nil {
				return false, detail
			}
			there.ResourceVersion = before.ResourceVersion // the one thing that replicas differ in
			diff := cmp.Diff(before, there)
			return diff == "", diff
		})
	})
	t.Run("a restart moves nothing", func(t *testing.T) {
		eventually(t, "seconds to pass since it was first observed", func(context.Context) (bool, string) {
			return time.Since(before.Spec.Since.Time) > 3*time.Second, since
		})
		if err := srenix.APIServer.Kill(); err != nil {
			t.Fatal(err)
		}
		stored := watchWrites(t)
		if err := errors.Join(srenix.APIServer.Start(), srenix.WaitAvailable(t.Context())); err != nil {
			t.Fatal(err)
		}
		after, detail := missingFinding(t.Context(), t, adminConfig(t), ns)
		if after == nil {
			t.Fatalf("the first answer lacks the finding: %s", detail)
		}
		after.ResourceVersion = before.ResourceVersion
		if diff := cmp.Diff(before, after); diff != "" {
			t.Errorf("before and after (-want +got):\n%s", diff)
		}
		// All that is written again would be by the time that something new is.
		next := withoutOrdinalZero(t, namespace(t)).Spec.Since.UTC().Format(time.RFC3339)
		server := directTo(t, srenix.APIPort())(srenix.Plane.Kubeconfig())
		eventually(t, "something new to be stored, with as many writes as there were changes", func(ctx context.Context) (bool, string) {
			stored.take(t, since)
			times := slices.Collect(maps.Values(stored.stored.Data))
			count, err := written(ctx, t, server)
			return err == nil && slices.Contains(times, next) && count == stored.count, fmt.Sprintf("%v after %d changes in %d writes, %v", times, stored.count, count, err)
		})
		t.Logf("%d writes since the restart", stored.count)
	})
	t.Run("it is forgotten when it ends", func(t *testing.T) {
		kubectl(t, "delete", "quota", "full", "-n", ns)
		eventually(t, "the finding and its time to go", func(ctx context.Context) (bool, string) {
			finding, _ := missingFinding(ctx, t, adminConfig(t), ns)
			stored := fmt.Sprint(remembered(t))
			return finding == nil && !strings.Contains(stored, since), stored
		})
	})
}
