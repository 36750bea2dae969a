// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package failedpods

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/util/jsonpath"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func made(t *testing.T) analyzers.Analyzer {
	t.Helper()
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	return analyzer
}

func TestGoldens(t *testing.T) { analyzertest.Run(t, made(t)) }

// However often its Jobs fail, a CronJob has one trouble: it lasts from the first that
// fails until one succeeds, and no later failure begins a grace of its own.
func TestACronJobIsFoundFromOneFailureToTheNext(t *testing.T) {
	for _, every := range []time.Duration{time.Minute, 30 * time.Minute} {
		t.Run(every.String(), func(t *testing.T) {
			golden := analyzertest.Read(t, "testdata/found-last-job-of-a-cron-job-gave-up.yaml")
			cronJob, failed, pod := golden.Objects[0], golden.Objects[1].(*batchv1.Job), golden.Objects[2].(*corev1.Pod)
			began := golden.Now
			play := analyzertest.NewPlay(t, made(t), began, cronJob)
			end := func(n int, how batchv1.JobConditionType) {
				job, left := failed.DeepCopy(), pod.DeepCopy()
				job.Name, job.UID = fmt.Sprintf("report-%d", n), types.UID(fmt.Sprintf("job-%d", n))
				job.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(play.Clock.Now())}}
				analyzertest.Set(play, inputs.Jobs, job)
				if how == batchv1.JobFailed {
					left.Name, left.UID = job.Name+"-a", types.UID(job.Name+"-a")
					left.OwnerReferences[0].Name, left.OwnerReferences[0].UID = job.Name, job.UID
					play.Pod(left)
				}
			}
			for n := range 8 {
				end(n, batchv1.JobFailed)
				for passed := time.Duration(0); passed < every; passed += time.Minute {
					found := play.Found()
					if want := play.Clock.Now().Sub(began) >= standardGrace; (len(found) == 1) != want {
						t.Fatalf("%s after the first failure: found %d", play.Clock.Now().Sub(began), len(found))
					}
					for _, finding := range found {
						if !finding.Since.Time.Equal(began) {
							t.Fatalf("%s after the first failure: since %s, want %s", play.Clock.Now().Sub(began), finding.Since, began)
						}
					}
					play.Step(time.Minute)
				}
			}
			end(100, batchv1.JobComplete)
			if found := play.Found(); len(found) != 0 {
				t.Fatalf("found after one succeeded: %+v", found)
			}
			play.Step(time.Minute)
			end(101, batchv1.JobFailed)
			if found := play.Found(); len(found) != 0 {
				t.Fatalf("found at once though one succeeded in between: %+v", found)
			}
		})
	}
}

// Whoever clears the pods of a failed Job away, as the proposal does, knows of it. Pods
// that were gone when it failed tell nobody.
func TestWhatAFailedJobHadLeftIsClearedAway(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-job-gave-up.yaml")
	var pods, others []live.Object
	for _, object := range golden.Objects {
		if pod, is := object.(*corev1.Pod); is {
			pods = append(pods, pod)
		} else {
			others = append(others, object)
		}
	}
	play := analyzertest.NewPlay(t, made(t), golden.Now, golden.Objects...)
	found := func(want int, when string) {
		t.Helper()
		if have := play.Found(); len(have) != want {
			t.Fatalf("%s: found %+v, want %d", when, have, want)
		}
	}
	found(1, "with its pods")
	for _, pod := range pods {
		analyzertest.Remove(t, play.Cluster, pod)
	}
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Pods)
	found(0, "without its pods")
	play.Step(24 * time.Hour)
	play.Restart()
	found(0, "a day later, after a restart")

	again := others[0].DeepCopyObject().(*batchv1.Job)
	again.UID = "made-again"
	analyzertest.Set(play, inputs.Jobs, again)
	found(1, "once it was made again and failed without pods")
}

// What the command deletes are the pods of that reason that somebody makes again, and no
// others that failed.
func TestOnlyPodsOfTheReasonArePicked(t *testing.T) {
	pod := func(name, reason string, owners ...any) map[string]any {
		status := map[string]any{"phase": "Failed"}
		if reason != "" {
			status["reason"] = reason
		}
		meta := map[string]any{"name": name}
		if len(owners) > 0 {
			meta["ownerReferences"] = owners
		}
		return map[string]any{"metadata": meta, "status": status}
	}
	owner := map[string]any{"kind": "ConfigMap"}
	set := map[string]any{"kind": "ReplicaSet", "controller": true}
	list := map[string]any{"items": []any{
		pod("a", "Evicted", set), pod("b", "", set), pod("c", "OutOfnvidia.com/gpu", set), pod("d", "Evicted", owner, set), pod("e", `"`, set),
		pod("bare", "Evicted"), pod("owned", "Evicted", owner), pod("Evicted", "", set),
	}}
	// As kubectl does it.
	template := jsonpath.New("pods").AllowMissingKeys(true)
	if err := template.Parse(withController); err != nil {
		t.Fatal(err)
	}
	var printed strings.Builder
	if err := template.Execute(&printed, list); err != nil {
		t.Fatal(err)
	}
	for reason, want := range map[string]string{
		"Evicted": "pod/a\npod/d\n", "OutOfnvidia.com/gpu": "pod/c\n", "NodeLost": "",
	} {
		awk := exec.CommandContext(t.Context(), "awk", namesOf(reason))
		awk.Stdin = strings.NewReader(printed.String())
		have, err := awk.Output()
		if err != nil {
			t.Fatal(err)
		}
		if string(have) != want {
			t.Errorf("%s: have %q, want %q", reason, have, want)
		}
	}
}

// A CronJob whose failed Jobs are deleted soon is found from the first night until a run
// succeeds, though each night begins with a Job that runs.
func TestACronJobWhoseJobsGoIsFoundUntilOneSucceeds(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-last-job-of-a-cron-job-did-not-succeed-and-is-gone.yaml")
	cronJob := golden.Objects[0].(*batchv1.CronJob)
	ran := analyzertest.Read(t, "testdata/found-last-job-of-a-cron-job-gave-up.yaml").Objects[1].(*batchv1.Job)
	play := analyzertest.NewPlay(t, made(t), golden.Now, cronJob)
	night := func(n int, how batchv1.JobConditionType, want int) {
		t.Helper()
		found := func(when string, want int) {
			t.Helper()
			if have := play.Found(); len(have) != want {
				t.Fatalf("night %d, %s: found %+v, want %d", n, when, have, want)
			}
		}
		job, begins := ran.DeepCopy(), metav1.NewTime(play.Clock.Now())
		job.Name, job.UID, job.CreationTimestamp, job.Status = fmt.Sprintf("report-%d", n), types.UID(fmt.Sprintf("job-%d", n)), begins, batchv1.JobStatus{Active: 1}
		cronJob.Status.LastScheduleTime = &begins
		cronJob.Status.Active = []corev1.ObjectReference{{Kind: "Job", Name: job.Name, UID: job.UID}}
		analyzertest.Set(play, inputs.Jobs, job)
		analyzertest.Set(play, inputs.CronJobs, cronJob.DeepCopy())
		before := min(n, 1)
		found("while it runs", before)
		play.Step(time.Minute)
		ends := metav1.NewTime(play.Clock.Now())
		job.Status = batchv1.JobStatus{Conditions: []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: ends}}}
		cronJob.Status.Active = nil
		if how == batchv1.JobComplete {
			before, cronJob.Status.LastSuccessfulTime = 0, &ends
		}
		analyzertest.Set(play, inputs.Jobs, job)
		analyzertest.Set(play, inputs.CronJobs, cronJob.DeepCopy())
		found("when it ended", before)
		play.Step(100 * time.Second)
		analyzertest.Remove(t, play.Cluster, job)
		livetest.Settle(t, play.Engine, play.Cluster, inputs.Jobs)
		found("when it went", before)
		play.Step(12 * time.Hour)
		found("half a day later", want)
	}
	play.Step(time.Hour)
	cronJob.Status.LastSuccessfulTime = &metav1.Time{Time: play.Clock.Now()}
	analyzertest.Set(play, inputs.CronJobs, cronJob.DeepCopy())
	play.Step(12 * time.Hour)
	night(0, batchv1.JobFailed, 1)
	night(1, batchv1.JobFailed, 1)
	night(2, batchv1.JobFailed, 1)
	night(3, batchv1.JobComplete, 0)
}

// What an owner's later Job has made good stays so when that one is cleared away first, and
// the next failure is a trouble of its own.
func TestAFailureThatWasMadeGoodIsNotFoundAgain(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/miss-a-later-job-of-another-projects-controller-succeeded.yaml")
	var jobs []*batchv1.Job
	for _, object := range golden.Objects {
		if job, is := object.(*batchv1.Job); is {
			jobs = append(jobs, job)
		}
	}
	play := analyzertest.NewPlay(t, made(t), golden.Now, golden.Objects...)
	analyzertest.Remove(t, play.Cluster, jobs[1])
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Jobs)
	play.Step(time.Hour)
	play.Restart()
	if found := play.Found(); len(found) != 0 {
		t.Fatalf("found once the Job that succeeded is gone: %+v", found)
	}

	next := jobs[0].DeepCopy()
	next.Name, next.UID = "import-3", "import-3"
	next.Status.Conditions[0].LastTransitionTime = metav1.NewTime(play.Clock.Now())
	analyzertest.Set(play, inputs.Jobs, next)
	if found := play.Found(); len(found) != 0 {
		t.Fatalf("found within the grace of the next failure: %+v", found)
	}
	play.Step(standardGrace)
	found := play.Found()
	if len(found) != 1 || found[0].Subject.Kind != "ScaledJob" || !found[0].Since.Time.Equal(next.Status.Conditions[0].LastTransitionTime.Time) {
		t.Fatalf("after the next failure found %+v, want one of the owner since then", found)
	}

	// One more is the same trouble, at once and since the first.
	more := next.DeepCopy()
	more.Name, more.UID = "import-4", "import-4"
	more.Status.Conditions[0].LastTransitionTime = metav1.NewTime(play.Clock.Now())
	analyzertest.Set(play, inputs.Jobs, more)
	after := play.Found()
	if len(after) != 1 || !after[0].Since.Equal(&found[0].Since) || after[0].Message != found[0].Message {
		t.Fatalf("after one more failed found %+v, want the same finding", after)
	}
	analyzertest.Remove(t, play.Cluster, next)
	livetest.Settle(t, play.Engine, play.Cluster, inputs.Jobs)
	if left := play.Found(); len(left) != 1 || !left[0].Since.Equal(&found[0].Since) {
		t.Fatalf("once the first is cleared away found %+v, want it to stay since the first", left)
	}
}

// However many Jobs of one owner fail alike, the finding says the same, and with whichever
// words the controller of Jobs names a pod that is gone.
func TestOneMoreFailureOfAnOwnerIsTheSameFinding(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-jobs-of-another-projects-controller-failed.yaml")
	namespace, failed, pod := golden.Objects[0], golden.Objects[1].(*batchv1.Job), golden.Objects[2].(*corev1.Pod)
	for name, test := range map[string]struct {
		pods          bool
		message, says string
	}{
		"with pods":              {true, "", "Of the last one's pods: its container app ended with exit code 3."},
		"without":                {false, "Job has reached the specified backoff limit", "The last one says: Job has reached the specified backoff limit (BackoffLimitExceeded)."},
		"by a container's code":  {false, "Container app for pod shop/%s-x failed with exit code 42 matching FailJob rule at index 0", "Container app for its pod failed with exit code 42 matching"},
		"by a condition of pods": {false, "Pod shop/%s-x has condition DisruptionTarget matching FailJob rule at index 1", "The last one says: Its pod has condition DisruptionTarget matching"},
	} {
		t.Run(name, func(t *testing.T) {
			play := analyzertest.NewPlay(t, made(t), golden.Now, namespace)
			end := func(name string) {
				job, left := failed.DeepCopy(), pod.DeepCopy()
				job.Name, job.UID = name, types.UID(name)
				job.Status.Conditions[0].LastTransitionTime = metav1.NewTime(play.Clock.Now())
				job.Status.Conditions[0].Message = strings.ReplaceAll(test.message, "%s", name)
				if test.pods {
					left.Name, left.UID = name+"-a", types.UID(name+"-a")
					left.OwnerReferences[0].Name, left.OwnerReferences[0].UID = job.Name, job.UID
					play.Pod(left)
				}
				analyzertest.Set(play, inputs.Jobs, job)
			}
			end("import-1")
			play.Step(standardGrace)
			first := live.List(play.Engine, analyzers.DetectedFindings)
			if len(first) != 1 || !strings.HasPrefix(first[0].Spec.Message, "Jobs of ScaledJob import failed") || !strings.Contains(first[0].Spec.Message, test.says) {
				t.Fatalf("found %+v, want one that says %q", first, test.says)
			}
			for n := 2; n < 5; n++ {
				play.Step(time.Minute)
				end(fmt.Sprintf("import-%d", n))
				found := live.List(play.Engine, analyzers.DetectedFindings)
				if len(found) != 1 {
					t.Fatalf("after %d failures: found %d, want one", n, len(found))
				}
				if diff := cmp.Diff(first[0].ObjectMeta, found[0].ObjectMeta); diff != "" {
					t.Errorf("after %d failures it is another (-first +now):\n%s", n, diff)
				}
				if diff := cmp.Diff(first[0].Spec.Message, found[0].Spec.Message); diff != "" {
					t.Errorf("after %d failures it says (-first +now):\n%s", n, diff)
				}
				var related []string
				for _, object := range found[0].Spec.Related {
					if object.Kind == "Job" {
						related = append(related, object.Name)
					}
				}
				if diff := cmp.Diff([]string{"import-1"}, related); diff != "" {
					t.Errorf("after %d failures related Jobs (-want +have):\n%s", n, diff)
				}
			}
		})
	}
}

// The pods of the Job that failed last are where whoever looks into it begins.
func TestRelatedArePodsOfTheLastAndThenTheFirstJob(t *testing.T) {
	golden := analyzertest.Read(t, "testdata/found-jobs-of-another-projects-controller-failed.yaml")
	found := analyzertest.Analyze(t, made(t), golden.Now, golden.After, golden.Objects)
	if len(found) != 1 {
		t.Fatalf("found %+v, want one", found)
	}
	var related []string
	for _, object := range found[0].Related {
		related = append(related, object.Relation+" "+object.Name)
	}
	want := []string{"failed pod import-3-a", "Job that failed first import-1"}
	if diff := cmp.Diff(want, related); diff != "" {
		t.Errorf("related (-want +have):\n%s", diff)
	}
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, word := range map[string]string{`{"leftFor":"0s"}`: "leftFor", `{"leftFor":"-1h"}`: "leftFor", `{"leftFor":"soon"}`: "leftFor", `{"pile":0}`: "pile", `{"left":"1h"}`: "left"} {
		settings := analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}})
		if _, err := New(settings); err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("%s: %v", options, err)
		}
	}
}
