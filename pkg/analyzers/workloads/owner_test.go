// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// meta is of an object of a name, which is its UID too, under a controller.
func meta(name, apiVersion, kind, controller string) metav1.ObjectMeta {
	object := metav1.ObjectMeta{Namespace: "shop", Name: name, UID: types.UID(name)}
	if controller != "" {
		yes := true
		object.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: controller, UID: types.UID(controller), Controller: &yes}}
	}
	return object
}

func TestOwner(t *testing.T) {
	stranger := &appsv1.StatefulSet{ObjectMeta: meta("db", "", "", "")}
	stranger.UID = "made anew"
	for name, test := range map[string]struct {
		objects []live.Object
		pod     metav1.ObjectMeta
		want    string
	}{
		"nobody": {pod: meta("p", "", "", ""), want: "Pod p"},
		"a Deployment": {
			objects: []live.Object{&appsv1.Deployment{ObjectMeta: meta("web", "", "", "")}, &appsv1.ReplicaSet{ObjectMeta: meta("web-1", "apps/v1", "Deployment", "web")}},
			pod:     meta("p", "apps/v1", "ReplicaSet", "web-1"), want: "Deployment web",
		},
		"a ReplicaSet of another kind": {
			objects: []live.Object{&appsv1.ReplicaSet{ObjectMeta: meta("web-1", "argoproj.io/v1alpha1", "Rollout", "web")}},
			pod:     meta("p", "apps/v1", "ReplicaSet", "web-1"), want: "ReplicaSet web-1",
		},
		"a CronJob": {
			objects: []live.Object{&batchv1.CronJob{ObjectMeta: meta("report", "", "", "")}, &batchv1.Job{ObjectMeta: meta("report-1", "batch/v1", "CronJob", "report")}},
			pod:     meta("p", "batch/v1", "Job", "report-1"), want: "CronJob report",
		},
		"a Job": {objects: []live.Object{&batchv1.Job{ObjectMeta: meta("once", "", "", "")}}, pod: meta("p", "batch/v1", "Job", "once"), want: "Job once"},
		"a StatefulSet": {
			objects: []live.Object{&appsv1.StatefulSet{ObjectMeta: meta("db", "", "", "")}}, pod: meta("p", "apps/v1", "StatefulSet", "db"), want: "StatefulSet db",
		},
		"a DaemonSet":         {objects: []live.Object{&appsv1.DaemonSet{ObjectMeta: meta("agent", "", "", "")}}, pod: meta("p", "apps/v1", "DaemonSet", "agent"), want: "DaemonSet agent"},
		"another of the name": {objects: []live.Object{stranger}, pod: meta("p", "apps/v1", "StatefulSet", "db"), want: "Pod p"},
		"one that is gone":    {pod: meta("p", "apps/v1", "ReplicaSet", "web-1"), want: "Pod p"},
		"another group's Job": {objects: []live.Object{&batchv1.Job{ObjectMeta: meta("once", "", "", "")}}, pod: meta("p", "batch.volcano.sh/v1alpha1", "Job", "once"), want: "Pod p"},
	} {
		t.Run(name, func(t *testing.T) {
			reads := OwnerReads()[1:]
			names := analyzers.Analyzer{Name: "Owners", Rules: []analyzers.Rule{{
				Subject: inputs.Pods.Ref(), Reads: reads,
				Analyze: func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
					pod, _ := inputs.Pods.Get(view, subject)
					w := Owner(view, pod)
					return []v1alpha1.FindingSpec{{Reason: "Owner", Subject: w.Reference, Message: w.String()}}, nil
				},
			}}}
			pod := &corev1.Pod{ObjectMeta: test.pod}
			found := analyzertest.Analyze(t, names, time.Unix(0, 0), 0, append(test.objects, pod))
			if len(found) != 1 || found[0].Message != test.want {
				t.Errorf("have %v, want %s", found, test.want)
			}
		})
	}
}
