// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// lapse is how long an input may go without news (pkg/live, longestLapse).
const lapse = 30 * time.Second

// outage has etcd hang for longer than an input may go without news. As long as
// kube-apiserver runs, it serves what it heard of last, keeps watches open, and sends
// bookmarks on them: for its clients nothing has happened. It fails its liveness
// probe, though, and once it is restarted for that, it cannot come up.
//
// With kube-apiserver there is no aggregator: what can be read meanwhile is read from
// the servers themselves, by who needs no access review, as a member of system:masters.
func (s *installation) outage() {
	s.Helper()
	replicas := s.srenix.Balancer.Ready()
	before := map[string]map[string]string{}
	for _, address := range replicas {
		said, err := s.said(s.Context(), s.direct(address))
		must(s.T, err)
		before[address] = said
	}
	s.pauseEtcd()
	paused := time.Now()
	for _, address := range replicas {
		// A list of kube-apiserver's own kinds would wait for etcd.
		said, err := s.said(s.Context(), s.client(s.config))
		must(s.T, err)
		if diff := cmp.Diff(before[address], said); diff != "" {
			s.Errorf("through the aggregator, while etcd hangs (-before +now):\n%s", diff)
		}
	}
	s.control("kill", "kube-apiserver")
	for _, address := range replicas {
		s.eventually(address+" to say what it cannot see, and all that it said before", func(ctx context.Context) (bool, string) {
			said, err := s.said(ctx, s.direct(address))
			if err != nil {
				return false, err.Error()
			}
			degraded := takeDegraded(said)
			if diff := cmp.Diff(before[address], said); diff != "" {
				s.Fatalf("what %s said before, and says now (-before +now):\n%s", address, diff)
			}
			if len(degraded) == 0 || !strings.Contains(degraded[0], "(InputFailing)") || !strings.Contains(degraded[0], "cannot be read and is retried") {
				return false, fmt.Sprintf("%q are degraded", degraded)
			}
			metrics, err := s.get(ctx, address, "/metrics")
			if err != nil {
				return false, err.Error()
			}
			failing, rule := gauge(metrics, `live_input_state\{input="pods",state="Failing"\}`), gauge(metrics, `live_rule_degraded\{rule="WorkloadStateDrift/statefulsets\.apps"\}`)
			return failing == 1 && rule == 1, fmt.Sprintf("the metrics say %v of the pods and %v of WorkloadStateDrift of StatefulSets", failing, rule)
		})
	}
	if took := time.Since(paused); took < lapse {
		s.Errorf("after %s already an input counts as failing", took)
	}
	s.Logf("inputs count as failing after %s", time.Since(paused).Round(time.Second))
	s.control("resume", "etcd")
	s.control("start", "kube-apiserver")
	for _, address := range replicas {
		s.eventually(address+" to say what it said before, and nothing else", func(ctx context.Context) (bool, string) {
			said, err := s.said(ctx, s.direct(address))
			if err != nil {
				return false, err.Error()
			}
			diff := cmp.Diff(before[address], said)
			return diff == "", diff
		})
	}
	// A leader that cannot renew its lease ends, for the kubelet to start it again.
	if s.srenix.Executor.Ended() {
		must(s.T, s.srenix.Executor.Start())
	}
}

// takeDegraded takes the clusterfindings about degraded analyzers out of what is said.
func takeDegraded(said map[string]string) (degraded []string) {
	maps.DeleteFunc(said, func(_, content string) bool {
		is := strings.Contains(content, `"reason":"`+v1alpha1.ReasonAnalyzerDegraded+`"`)
		if is {
			degraded = append(degraded, content)
		}
		return is
	})
	return degraded
}
