// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckrollout

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// A set that gets its pods one by one, however slowly, gets on.
func TestASetThatGetsPodsIsNotFound(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	for file, scale := range map[string]func(live.Object, int32){
		"found-stateful-set-lacks-all-pods.yaml": func(object live.Object, pods int32) {
			set := object.(*appsv1.StatefulSet)
			set.Spec.Replicas = ptr.To[int32](10)
			set.Status.Replicas, set.Status.ReadyReplicas = pods, pods
		},
		"found-daemon-set-lacks-pods-that-a-policy-keeps-out.yaml": func(object live.Object, pods int32) {
			set := object.(*appsv1.DaemonSet)
			set.Status.DesiredNumberScheduled = 10
			set.Status.CurrentNumberScheduled, set.Status.UpdatedNumberScheduled = pods, pods
		},
	} {
		t.Run(file, func(t *testing.T) {
			golden := analyzertest.Read(t, "testdata/"+file)
			play := analyzertest.NewPlay(t, analyzer, golden.Now, golden.Objects...)
			for pods := range int32(5) {
				set := golden.Objects[0].DeepCopyObject().(live.Object)
				scale(set, pods)
				analyzertest.Store(t, play.Cluster, []live.Object{set})
				livetest.Settle(t, play.Engine, play.Cluster, inputs.StatefulSets)
				livetest.Settle(t, play.Engine, play.Cluster, inputs.DaemonSets)
				play.Step(standardGrace - time.Minute)
				if found := play.Found(); len(found) != 0 {
					t.Fatalf("found with %d pods: %+v", pods, found)
				}
			}
			play.Step(time.Minute)
			if found := play.Found(); len(found) != 1 {
				t.Fatalf("found %+v once it does not get on, want one", found)
			}
		})
	}
}

func TestJunkIsNoTrouble(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ä", 100_000)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name), Annotations: map[string]string{revision: long}}
	}
	negative, zero := int32(-1), int32(0)
	deployment := &appsv1.Deployment{ObjectMeta: meta("d"), Spec: appsv1.DeploymentSpec{Replicas: &negative, ProgressDeadlineSeconds: &zero}}
	deployment.Status.Conditions = []appsv1.DeploymentCondition{{}, {Type: appsv1.DeploymentProgressing, Message: long}}
	bare := &appsv1.Deployment{ObjectMeta: meta("bare"), Spec: appsv1.DeploymentSpec{ProgressDeadlineSeconds: &zero}}
	bare.Status.Conditions = []appsv1.DeploymentCondition{{Type: appsv1.DeploymentProgressing, Status: corev1.ConditionFalse, Reason: createError, Message: long}}
	set := &appsv1.StatefulSet{ObjectMeta: meta("s"), Spec: appsv1.StatefulSetSpec{Replicas: &negative}}
	set.Status.UpdateRevision = long
	partitioned := &appsv1.StatefulSet{ObjectMeta: meta("p")}
	partitioned.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{}
	partitioned.Status.UpdatedReplicas = 7
	daemons := &appsv1.DaemonSet{ObjectMeta: meta("x"), Status: appsv1.DaemonSetStatus{UpdatedNumberScheduled: 3}}
	for _, finding := range analyzertest.Analyze(t, analyzer, time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), time.Hour, []live.Object{deployment, bare, set, partitioned, daemons}) {
		t.Errorf("found %+v", finding)
	}
}
