// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
)

// sightings tells by the history alone what an engine may remember of pods without a
// node: since when each is, as the rule nodeless sees it. As long as the engine is not
// waited for, it may have looked at any moment, or not at all, so there may be several.
type sightings struct {
	now  func() time.Time
	pods map[live.Key]*corev1.Pod
	// lost tells that nothing can be judged just now.
	lost bool
	may  map[live.Key]map[sighting]bool
}

type sighting struct {
	since time.Time // zero if nothing is remembered
	// current tells that the pod has been judged as it is.
	current bool
}

func (s sighting) String() string { return fmt.Sprintf("%s (judged as it is: %t)", s.since, s.current) }

// changed notes that a pod was set or deleted.
func (s *sightings) changed(pod live.Key) {
	if s.may[pod] == nil {
		s.may[pod] = map[sighting]bool{{}: true}
	}
	s.outdate(pod, func(sighting) bool { return true })
}

// moved notes that the clock was set: what was seen later than now is judged again.
func (s *sightings) moved() {
	now := s.now()
	for pod := range s.may {
		s.outdate(pod, func(known sighting) bool { return known.since.After(now) })
	}
}

// lose notes that nothing can be judged until it is found.
func (s *sightings) lose() { s.lost = true }

func (s *sightings) found() {
	s.lost = false
	s.moved()
}

func (s *sightings) outdate(pod live.Key, which func(sighting) bool) {
	next := map[sighting]bool{}
	for known := range s.may[pod] {
		known.current = known.current && !which(known)
		next[known] = true
		if s.pods[pod] == nil {
			next[sighting{current: true}] = true
		} else if !s.lost {
			next[sighting{since: s.judged(pod, known.since), current: true}] = true
		}
	}
	s.may[pod] = next
}

func (s *sightings) judged(pod live.Key, since time.Time) time.Time {
	if s.pods[pod].Spec.NodeName != "" {
		return time.Time{}
	}
	if now := s.now(); since.IsZero() || since.After(now) {
		return now
	}
	return since
}

// differ tells what an engine that is settled cannot remember, or must.
func (s *sightings) differ(remembered map[live.Observation]time.Time) string {
	for o := range remembered {
		if o.ID != "nodeless" || s.may[o.Subject] == nil {
			return fmt.Sprintf("%v is remembered, which nobody has seen", o)
		}
	}
	for pod, may := range s.may {
		is := sighting{since: remembered[live.Observation{Rule: "nodeless", Subject: pod, ID: "nodeless"}], current: true}
		if !may[is] {
			return fmt.Sprintf("pod %s is remembered to be without a node since %s (never, if that is zero), want one of %v", pod, is.since, may)
		}
		s.may[pod] = map[sighting]bool{is: true}
	}
	return ""
}
