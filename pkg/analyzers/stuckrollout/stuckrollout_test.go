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

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
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

// Each try to make a pod has another name, and a quota counts; what is found must
// stay the same.
func TestARefusalKeepsItsWords(t *testing.T) {
	for message, want := range map[string]string{
		`pods "web-6b7-x2l" is forbidden: exceeded quota: few, requested: pods=1, used: pods=5, limited: pods=5`:                           "ResourceQuota few is used up",
		`pods "web-6b7-x2l" is forbidden: violates PodSecurity "restricted:latest": privileged (container "c" must not set it)`:            `violates PodSecurity "restricted:latest": privileged (container "c" must not set it)`,
		`admission webhook "guard.example.com" denied the request: no`:                                                                     `admission webhook "guard.example.com" denied the request: no`,
		`Pod "web-6b7-x2l" is invalid: spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit`: `spec.containers[0].resources.requests: Invalid value: "1": must be less than or equal to cpu limit`,
		"": "",
	} {
		if have := words(message); have != want {
			t.Errorf("%q: have %q, want %q", message, have, want)
		}
	}
}
