// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// A pod's status.reason is what is told of its trouble here, and "well" is none.
func TestAReasonIsSteady(t *testing.T) {
	reasons := []string{"Cold", "Hungry", "Tired"}
	analyzer := analyzers.Analyzer{Name: "Feelings", Rules: []analyzers.Rule{{
		Subject: inputs.Pods.Ref(),
		Analyze: func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
			pod, exists := inputs.Pods.Get(view, subject)
			if !exists || pod.Status.Reason == "well" {
				return nil, nil
			}
			reason := analyzers.Steady(view, "it", pod.Status.Reason, reasons)
			return []v1alpha1.FindingSpec{{Reason: reason, Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "tool"}}}, nil
		},
	}}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "tool", UID: "tool"}, Status: corev1.PodStatus{Phase: corev1.PodPending, Reason: "well"}}
	play := analyzertest.NewPlay(t, analyzer, time.Date(2026, 3, 10, 12, 0, 0, 0, time.UTC), pod)
	for _, step := range []struct {
		after      time.Duration
		told, want string
	}{
		{0, "", ""},
		{time.Hour, "Hungry", "Hungry"},
		{time.Hour, "", "Hungry"},
		{time.Hour, "Cold", "Hungry"},
		{9 * time.Minute, "Hungry", "Hungry"},
		{time.Minute, "Cold", "Hungry"},
		{9 * time.Minute, "Tired", "Hungry"},
		{9 * time.Minute, "Cold", "Hungry"},
		{10 * time.Minute, "", "Cold"}, // it was told for all of the ten minutes
		{time.Hour, "Hungry", "Cold"},
		{time.Second, "well", "none"},
		{time.Second, "Tired", "Tired"},
	} {
		play.Step(step.after)
		pod.Status.Reason = step.told
		play.Pod(pod)
		have := "none"
		for _, finding := range play.Found() {
			have = finding.Reason
		}
		if have != step.want {
			t.Fatalf("%q is told after %s: have %q, want %q", step.told, step.after, have, step.want)
		}
	}
}
