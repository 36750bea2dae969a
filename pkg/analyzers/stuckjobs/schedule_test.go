// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

func at(t *testing.T, text string) time.Time {
	t.Helper()
	if text == "" {
		return time.Time{}
	}
	parsed, err := time.Parse(time.RFC3339, text)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

func TestWhenACronJobIsDue(t *testing.T) {
	const created = "2026-01-01T00:00:00Z"
	for name, c := range map[string]struct {
		schedule, zone, ran, changed string
		controller                   string
		want                         string
	}{
		"UTC, as it was seen to run":       {schedule: "0 4 * * *", ran: "2026-03-09T04:00:00Z", want: "2026-03-10T04:00:00Z"},
		"its time zone":                    {schedule: "0 4 * * *", zone: "America/New_York", ran: "2026-03-10T08:00:00Z", want: "2026-03-11T08:00:00Z"},
		"the clocks went forward":          {schedule: "0 4 * * *", zone: "America/New_York", ran: "2026-03-07T09:00:00Z", want: "2026-03-08T08:00:00Z"},
		"a time that the clocks left out":  {schedule: "30 2 * * *", zone: "America/New_York", ran: "2026-03-07T07:30:00Z", want: "2026-03-09T06:30:00Z"},
		"TZ in the schedule":               {schedule: "TZ=Europe/Berlin 0 4 * * *", ran: "2026-03-09T03:00:00Z", want: "2026-03-10T03:00:00Z"},
		"CRON_TZ in the schedule":          {schedule: "CRON_TZ=Europe/Berlin 0 4 * * *", ran: "2026-03-09T03:00:00Z", want: "2026-03-10T03:00:00Z"},
		"TZ goes before the time zone":     {schedule: "TZ=Europe/Berlin 0 4 * * *", zone: "Asia/Tokyo", ran: "2026-03-09T03:00:00Z", want: "2026-03-10T03:00:00Z"},
		"the controller's zone was told":   {schedule: "0 4 * * *", controller: "Asia/Tokyo", ran: "2026-03-08T19:00:00Z", want: "2026-03-09T19:00:00Z"},
		"its time zone goes before":        {schedule: "0 4 * * *", controller: "Asia/Tokyo", zone: "Europe/Berlin", ran: "2026-03-09T03:00:00Z", want: "2026-03-10T03:00:00Z"},
		"somewhere ahead of UTC":           {schedule: "0 4 * * *", ran: "2026-03-08T20:00:00Z", want: "2026-03-10T16:00:00Z"},
		"somewhere behind UTC, every week": {schedule: "0 20 * * 6", ran: "2026-03-08T04:00:00Z", want: "2026-03-15T08:00:00Z"},
		"every ten minutes, somewhere":     {schedule: "*/10 * * * *", ran: "2026-03-09T04:05:00Z", want: "2026-03-09T05:10:00Z"},
		"an interval":                      {schedule: "@every 90m", ran: "2026-03-09T04:07:00Z", want: "2026-03-09T05:37:00Z"},
		"a name":                           {schedule: "@weekly", ran: "2026-03-08T00:00:00Z", want: "2026-03-15T00:00:00Z"},
		"it never ran":                     {schedule: "@monthly", zone: "Etc/UTC", want: "2026-02-01T00:00:00Z"},
		"it never ran, somewhere":          {schedule: "0 4 * * *", want: "2026-01-02T16:00:00Z"},
		"it was changed since":             {schedule: "0 4 * * *", zone: "Etc/UTC", ran: "2026-02-01T04:00:00Z", changed: "2026-03-10T11:00:00Z", want: "2026-03-11T04:00:00Z"},
		"it ran after it was changed":      {schedule: "0 4 * * *", zone: "Etc/UTC", ran: "2026-03-10T04:00:00Z", changed: "2026-03-09T11:00:00Z", want: "2026-03-11T04:00:00Z"},
		"never":                            {schedule: "0 0 31 2 *", zone: "Etc/UTC", want: ""},
	} {
		t.Run(name, func(t *testing.T) {
			cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(t, created))}}
			cronJob.Spec.Schedule = c.schedule
			if c.zone != "" {
				cronJob.Spec.TimeZone = &c.zone
			}
			if c.ran != "" {
				ran := metav1.NewTime(at(t, c.ran))
				cronJob.Status.LastScheduleTime = &ran
			}
			schedule, known := scheduleOf(cronJob, c.controller)
			if !known {
				t.Fatal("the schedule cannot be read")
			}
			if have := schedule.next(cronJob, at(t, c.changed)); !have.Equal(at(t, c.want)) {
				t.Errorf("due at %s, want %s", have.UTC(), c.want)
			}
		})
	}
}

func TestSchedulesThatNobodyCanRead(t *testing.T) {
	for _, schedule := range []string{
		"", "TZ", "TZ=", "TZ=0", "TZ=Europe/Berlin", "TZ=Nowhere/Else 0 4 * * *", "CRON_TZ=", "0 4 * *", "0 4 * * * *", "61 4 * * *", "@never", "@every",
		strings.Repeat("ä", 100_000),
	} {
		if _, known := scheduleOf(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: schedule}}, ""); known {
			t.Errorf("%.40q can be read", schedule)
		}
	}
	for _, zone := range []string{"Nowhere/Else", "../etc/passwd"} {
		if _, known := scheduleOf(&batchv1.CronJob{Spec: batchv1.CronJobSpec{Schedule: "0 4 * * *", TimeZone: &zone}}, ""); known {
			t.Errorf("time zone %q can be read", zone)
		}
	}
}

func FuzzSchedule(f *testing.F) {
	f.Add("0 4 * * *", "Europe/Berlin")
	f.Add("TZ=0", "")
	f.Add("@every 1ns", "Etc/UTC")
	f.Fuzz(func(t *testing.T, text, zone string) {
		cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(at(t, "2026-01-01T00:00:00Z"))}}
		cronJob.Spec.Schedule, cronJob.Spec.TimeZone = text, &zone
		if schedule, known := scheduleOf(cronJob, ""); known {
			if due := schedule.next(cronJob, time.Time{}); !due.IsZero() && !due.After(cronJob.CreationTimestamp.Time) {
				t.Errorf("due at %s", due)
			}
		}
	})
}

func TestTheControllersTimeZoneIsChecked(t *testing.T) {
	for zone, valid := range map[string]bool{"Europe/Berlin": true, "UTC": true, "": true, "Local": false, "Mars": false} {
		_, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(`{"timeZone": "` + zone + `"}`)}}))
		if (err == nil) != valid || err != nil && !strings.Contains(err.Error(), "options: timeZone") {
			t.Errorf("%q: %v", zone, err)
		}
	}
}

func TestJunkIsNoTrouble(t *testing.T) {
	analyzer, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{}))
	if err != nil {
		t.Fatal(err)
	}
	long := strings.Repeat("ä", 100_000)
	negative := int64(-1)
	cronJob := &batchv1.CronJob{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "junk", UID: "junk", ManagedFields: []metav1.ManagedFieldsEntry{{}}}}
	cronJob.Spec = batchv1.CronJobSpec{Schedule: long, TimeZone: &long, ConcurrencyPolicy: batchv1.ForbidConcurrent, StartingDeadlineSeconds: &negative}
	cronJob.Status.LastScheduleTime = &metav1.Time{}
	undated := cronJob.DeepCopy()
	undated.Name, undated.UID, undated.Spec.Schedule, undated.Spec.TimeZone = "undated", "undated", "* * * * *", nil
	job := &batchv1.Job{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "junk", OwnerReferences: []metav1.OwnerReference{{}}}}
	job.Status.Conditions = []batchv1.JobCondition{{}, {Type: batchv1.JobConditionType(long), Status: corev1.ConditionTrue}}
	for _, finding := range analyzertest.Analyze(t, analyzer, at(t, "2026-03-10T12:00:00Z"), time.Hour, []live.Object{cronJob, undated, job}) {
		t.Errorf("found %+v", finding)
	}
}
