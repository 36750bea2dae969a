// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package endpoints

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestScalingUpFromZeroIsNoTrouble scales a Deployment up that was at zero for a day.
// Its controller leaves Progressing as it was.
func TestScalingUpFromZeroIsNoTrouble(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-ingress.yaml")
	play := analyzertest.NewPlay(t, made(t), golden.Now, golden.Objects...)
	var deployment *appsv1.Deployment
	for _, object := range golden.Objects {
		if d, is := object.(*appsv1.Deployment); is {
			deployment = d
		}
	}
	pod := golden.Objects[len(golden.Objects)-1]
	scale := func(replicas int32, readyToo bool) {
		d := deployment.DeepCopy()
		d.Spec.Replicas = &replicas
		if replicas == 0 || !readyToo {
			analyzertest.Remove(t, play.Cluster, pod)
		} else {
			analyzertest.Store(t, play.Cluster, golden.Objects[len(golden.Objects)-1:])
		}
		livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
		analyzertest.Set(play, inputs.Deployments, d)
	}
	found := func(when string, severity v1alpha1.Severity, since time.Time) {
		t.Helper()
		have := play.Found()
		if severity == "" {
			if len(have) > 0 {
				t.Fatalf("%s: found %+v", when, have)
			}
			return
		}
		if len(have) != 1 || have[0].Severity != severity || !have[0].Since.Time.Equal(since) {
			t.Fatalf("%s: found %+v", when, have)
		}
	}
	scale(0, false)
	play.Step(24 * time.Hour)
	found("at zero for a day", v1alpha1.SeverityInfo, golden.Now)

	scaledUp := play.Clock.Now()
	scale(1, false)
	found("scaled up just now", "", time.Time{})
	scale(1, true)
	play.Step(9 * time.Minute)
	found("within the grace of a start", "", time.Time{})
	play.Restart()
	found("after a restart", "", time.Time{})
	play.Step(time.Minute)
	found("past the grace of a start", v1alpha1.SeverityWarning, scaledUp)

	scale(0, false)
	found("at zero again", v1alpha1.SeverityInfo, golden.Now)
}
