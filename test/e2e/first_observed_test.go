// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
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

// TestFirstObservedTimesOutliveTheProcessAndAgree takes the one condition that no
// object dates: that a pod is missing.
func TestFirstObservedTimesOutliveTheProcessAndAgree(t *testing.T) {
	ns := namespace(t)
	readyStatefulSet(t, ns, "db")
	// A quota that is used up keeps the StatefulSet controller from replacing it.
	kubectl(t, "create", "quota", "full", "-n", ns, "--hard=pods=1")
	kubectl(t, "delete", "pod", "db-0", "-n", ns)
	var before *v1alpha1.Finding
	eventually(t, "the missing pod to be found", func(ctx context.Context) (ok bool, detail string) {
		before, detail = missingFinding(ctx, t, adminConfig(t), ns)
		return before != nil, detail
	})
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
		if err := errors.Join(srenix.APIServer.Kill(), srenix.APIServer.Start(), srenix.WaitAvailable(t.Context())); err != nil {
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
