// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// What a sick node reports every few seconds must evaluate nothing, and what is
// another trouble must.
func TestAHeartbeatIsNoChange(t *testing.T) {
	node := func(heartbeat, message string) *corev1.Node {
		at, err := time.Parse(time.RFC3339, heartbeat)
		if err != nil {
			t.Fatal(err)
		}
		return &corev1.Node{
			ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "node-1", ResourceVersion: heartbeat},
			Status: corev1.NodeStatus{Conditions: []corev1.NodeCondition{
				{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionFalse, LastHeartbeatTime: metav1.NewTime(at), Message: "kubelet has sufficient memory available"},
				{Type: corev1.NodeReady, Status: corev1.ConditionFalse, LastHeartbeatTime: metav1.NewTime(at), Message: message},
			}},
		}
	}
	trimmed := func(heartbeat, message string) *corev1.Node {
		cluster := &livetest.Cluster{}
		cluster.Set(Nodes.Ref().Resource(), node(heartbeat, message))
		engine := live.New(live.Options{Clock: testingclock.NewFakeClock(time.Now())})
		if err := engine.AddRule(live.Rule{Name: "nodes", Subject: Nodes.Ref(), Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil }}); err != nil {
			t.Fatal(err)
		}
		livetest.Run(t, engine, cluster)
		kept, exists := Nodes.Get(engine.Snapshot(), types.NamespacedName{Name: "node-1"})
		if !exists {
			t.Fatal("the node is not kept")
		}
		return kept
	}
	first := trimmed("2026-03-10T12:00:00Z", "PLEG is not healthy: pleg was last seen active 3m12.5s ago; threshold is 3m0s")
	if diff := cmp.Diff(first, trimmed("2026-03-10T12:00:10Z", "PLEG is not healthy: pleg was last seen active 3m22.5s ago; threshold is 3m0s")); diff != "" {
		t.Errorf("a heartbeat changes what is kept (-before +after):\n%s", diff)
	}
	if cmp.Equal(first, trimmed("2026-03-10T12:00:20Z", "container runtime is down")) {
		t.Error("another trouble does not change what is kept")
	}
}
