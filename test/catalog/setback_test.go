// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"strings"
	"testing"

	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
)

// The StatefulSet controller keeps a pod that never became Ready when its template is
// set back. What srenix says to do about it does it.
func TestAPodThatAStatefulSetKeepsIsMended(t *testing.T) {
	kubectl(t, "create", "namespace", "set-back")
	apply(t, `
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: set-back}
spec:
  serviceName: db
  replicas: 2
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: db, image: "example/db:1"}]}
`)
	kubectl(t, "rollout", "status", "statefulset/db", "-n", "set-back", "--timeout=90s")
	kubectl(t, "patch", "statefulset", "db", "-n", "set-back", "--type=merge", "-p", `{"spec":{"template":{"spec":{"schedulerName":"nobody"}}}}`)
	found(t, "set-back", pendingpods.Unschedulable, "db")
	remediation := func() string {
		return kubectl(t, "get", "findings.srenix.io", "-n", "set-back", "--field-selector", "spec.reason="+pendingpods.Unschedulable, "-o", "jsonpath={.items[*].spec.remediation}")
	}
	proposed := func() string {
		return kubectl(t, "get", "proposals.srenix.io", "-n", "set-back", "-o", "jsonpath={range .items[*]}{.spec.actionKind} {.spec.target.name};{end}")
	}
	if have := proposed(); have != "" {
		t.Errorf("before the template is mended, %s is proposed", have)
	}
	stuck := kubectl(t, "get", "pod", "db-1", "-n", "set-back", "-o", "jsonpath={.metadata.uid}")

	kubectl(t, "rollout", "undo", "statefulset/db", "-n", "set-back")
	const remove = "kubectl delete pod db-1 -n set-back"
	eventually(t, "the pod to be offered for deletion", func(context.Context) (bool, string) {
		have := remediation() + " " + proposed()
		return strings.Contains(have, remove) && strings.Contains(have, "DeletePod db-1;"), have
	})
	if have := kubectl(t, "get", "pod", "db-1", "-n", "set-back", "-o", "jsonpath={.metadata.uid}"); have != stuck {
		t.Fatal("the StatefulSet controller has replaced the pod by itself: this test and the analyzers are about nothing")
	}
	kubectl(t, strings.Fields(remove)[1:]...)
	kubectl(t, "rollout", "status", "statefulset/db", "-n", "set-back", "--timeout=90s")
	cleared(t, "set-back", pendingpods.Unschedulable, "db")
}
