// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestEdit(t *testing.T) {
	markers := &config.PolicyConfiguration{GitOpsMarkers: config.GitOpsMarkers{Labels: []string{"example.com/source"}}}
	managedBy := ManagedBy(analyzers.NewSettings(config.AnalyzerConfiguration{}).Under(markers).ManagedBy)
	owned := metav1.ObjectMeta{OwnerReferences: []metav1.OwnerReference{{APIVersion: "argoproj.io/v1alpha1", Kind: "Rollout", Name: "web", Controller: ptr.To(true)}}}
	for name, test := range map[string]struct {
		kind string
		meta metav1.ObjectMeta
		want string
	}{
		"of nobody":                   {"Deployment", metav1.ObjectMeta{Annotations: map[string]string{"a": "b"}}, "kubectl edit deployment/web -n shop"},
		"a cron job":                  {"CronJob", metav1.ObjectMeta{}, "kubectl edit cronjob/web -n shop"},
		"a replica set of its own":    {"ReplicaSet", metav1.ObjectMeta{}, "kubectl edit replicaset/web -n shop"},
		"applied by Argo CD":          {"Deployment", metav1.ObjectMeta{Annotations: map[string]string{"argocd.argoproj.io/tracking-id": "x"}}, "managed from a source elsewhere (annotation argocd.argoproj.io/tracking-id=x)"},
		"applied by Flux":             {"CronJob", metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}}, "managed from a source elsewhere (label kustomize.toolkit.fluxcd.io/name=apps)"},
		"a job applied by Flux":       {"Job", metav1.ObjectMeta{Labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}}, "managed from a source elsewhere"},
		"with a marker of the site":   {"Deployment", metav1.ObjectMeta{Labels: map[string]string{"example.com/source": "fleet"}}, "managed from a source elsewhere (label example.com/source=fleet)"},
		"a replica set of a Rollout":  {"ReplicaSet", owned, "ReplicaSet web is made by Rollout web"},
		"a stateful set of an owner":  {"StatefulSet", owned, "StatefulSet web is made by Rollout web"},
		"a job of another controller": {"Job", owned, "Job web is made by Rollout web"},
		"a job":                       {"Job", metav1.ObjectMeta{}, "make another Job"},
		"a pod":                       {"Pod", metav1.ObjectMeta{}, "make another pod"},
	} {
		t.Run(name, func(t *testing.T) {
			version := map[string]string{"Pod": "v1", "Job": "batch/v1", "CronJob": "batch/v1"}[test.kind]
			if version == "" {
				version = "apps/v1"
			}
			w := Workload{Reference: v1alpha1.ObjectReference{APIVersion: version, Kind: test.kind, Namespace: "shop", Name: "web"}, Meta: &test.meta}
			instead, commands := managedBy.Template(w)
			if have := strings.Join(append(commands, instead), ""); !strings.Contains(have, test.want) {
				t.Errorf("have %q, want it to say %q", have, test.want)
			}
			if (len(commands) == 0) == (instead == "") {
				t.Errorf("have commands %q and %q, want one of them", commands, instead)
			}
		})
	}
}
