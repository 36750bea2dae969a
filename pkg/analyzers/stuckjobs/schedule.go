// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckjobs

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // the image has no time zones

	"github.com/robfig/cron/v3"
	batchv1 "k8s.io/api/batch/v1"
)

// schedule is when a CronJob runs.
type schedule struct {
	cron.Schedule
	// zoned tells that it does not depend on where kube-controller-manager runs.
	zoned bool
}

// scheduleOf reads the schedule of a CronJob as kube-controller-manager does
// (k8s.io/kubernetes, pkg/controller/cronjob): a TZ in the schedule goes before the
// timeZone, and a timeZone that is not known means that it does not run. zone is
// the one that kube-controller-manager runs in, "" if nobody has said.
func scheduleOf(cronJob *batchv1.CronJob, zone string) (s schedule, known bool) {
	// The parser panics for some of what begins with TZ.
	defer func() {
		if recover() != nil {
			s, known = schedule{}, false
		}
	}()
	if own := cronJob.Spec.TimeZone; own != nil {
		if _, err := time.LoadLocation(*own); err != nil {
			return schedule{}, false
		}
		zone = *own
	}
	text := cronJob.Spec.Schedule
	s.zoned = strings.Contains(text, "TZ")
	if !s.zoned && zone != "" {
		text, s.zoned = fmt.Sprintf("TZ=%s %s", zone, text), true
	}
	parsed, err := cron.ParseStandard(text)
	if err != nil {
		return schedule{}, false
	}
	if _, every := parsed.(cron.ConstantDelaySchedule); every {
		s.zoned = true
	}
	s.Schedule = parsed
	return s, true
}

// Without a time zone a schedule is meant in the one that kube-controller-manager
// runs in, which nobody can ask for. That is mostly UTC, and else at most so far
// ahead of it or behind.
const (
	mostAhead  = 14 * time.Hour
	mostBehind = 12 * time.Hour
)

// next returns the time by which a CronJob should have run next, zero if it never
// does. changed is when it was changed last: from then on it may have another
// schedule, or go on after it was suspended.
func (s schedule) next(cronJob *batchv1.CronJob, changed time.Time) time.Time {
	from := cronJob.CreationTimestamp.Time
	ran := cronJob.Status.LastScheduleTime
	if ran != nil && ran.After(from) {
		from = ran.Time
	}
	if changed.After(from) {
		from = changed
	}
	from = from.UTC()
	due := s.Next(from)
	last := ran != nil && from.Equal(ran.Time)
	switch {
	case from.IsZero() || due.IsZero():
		return time.Time{}
	case s.zoned || last && s.Next(from.Add(-time.Second)).Equal(from):
		return due // it is known which zone is meant, or it ran when UTC says
	case s.hourly():
		return due.Add(time.Hour) // zones differ by parts of an hour
	}
	return s.Next(from.Add(mostAhead)).Add(mostBehind)
}

// after returns the time by which a CronJob should have run once more after it was due.
func (s schedule) after(due time.Time) time.Time {
	next := s.Next(due)
	if s.zoned || s.hourly() {
		return next
	}
	return next.Add(mostBehind) // due may be that much too late already
}

// hourly tells whether a schedule is the same in every hour of every day.
func (s schedule) hourly() bool {
	const star = 1 << 63 // of package cron, for a field that excludes nothing
	spec, is := s.Schedule.(*cron.SpecSchedule)
	return is && spec.Hour&spec.Dom&spec.Month&spec.Dow&star != 0
}
