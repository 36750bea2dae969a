// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
)

func TestGoldens(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	analyzertest.Run(t, analyzer)
}

// A Job that began long ago and is given pods only now has its grace, too.
func TestAJobThatIsGivenItsParallelismHasItsGrace(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	golden := analyzertest.Read(t, "testdata/found-job-without-pods-and-without-events.yaml")
	job := golden.Objects[0].(*batchv1.Job)
	job.Spec.Parallelism = ptr.To[int32](0)
	play := analyzertest.NewPlay(t, analyzer, golden.Now, job)
	play.Step(time.Hour)
	given := job.DeepCopy()
	given.Spec.Parallelism = ptr.To[int32](2)
	analyzertest.Set(play, inputs.Jobs, given)
	play.Step(standardGrace - time.Second)
	if found := play.Found(); len(found) != 0 {
		t.Fatalf("found within the grace: %+v", found)
	}
	play.Step(time.Second)
	if found := play.Found(); len(found) != 1 || found[0].Reason != PodsNotCreated || !found[0].Since.Time.Equal(job.Status.StartTime.Time) {
		t.Fatalf("found after the grace is %+v", found)
	}
}
