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
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
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

// However many Jobs of one owner are in trouble, one after the other, it is one trouble
// since the first, and says the same.
func TestJobsOfOneOwnerAreFoundOnce(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	golden := analyzertest.Read(t, "testdata/found-indexes-failed-in-jobs-of-one-owner.yaml")
	namespace, first, last := golden.Objects[0], golden.Objects[1].(*batchv1.Job), golden.Objects[2].(*batchv1.Job)
	play := analyzertest.NewPlay(t, analyzer, golden.Now, namespace, first)
	one := func(job string) *v1alpha1.Finding {
		t.Helper()
		found := live.List(play.Engine, analyzers.DetectedFindings)
		if len(found) != 1 || len(found[0].Spec.Related) != 1 || found[0].Spec.Related[0].Name != job {
			t.Fatalf("found %+v, want one with Job %s", found, job)
		}
		return found[0]
	}
	before := one(first.Name)
	analyzertest.Set(play, inputs.Jobs, last)
	both := one(last.Name)
	analyzertest.Remove(t, play.Cluster, first)
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Jobs)
	for _, now := range []*v1alpha1.Finding{both, one(last.Name)} {
		if now.UID != before.UID || now.Spec.Message != before.Spec.Message || !now.Spec.Since.Equal(&before.Spec.Since) {
			t.Errorf("it is %s since %s: %s; want %s since %s: %s", now.UID, now.Spec.Since, now.Spec.Message, before.UID, before.Spec.Since, before.Spec.Message)
		}
	}
	analyzertest.Remove(t, play.Cluster, last)
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Jobs)
	if found := play.Found(); len(found) != 0 {
		t.Errorf("found %+v when all are gone", found)
	}
}
