// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"regexp"
	"strconv"

	"k8s.io/client-go/kubernetes"
)

// What a server may have more than before all of it happened, once that is over. It
// is 25 MiB at first and up to 60 MiB at the end: the cachers' windows of past
// events, empty at first, hold those of the last minute or so by then, each with the
// object before and after, and the heap in use counts whole spans, of which a burst
// leaves many half empty. How much of the burst falls into that minute depends on
// the machine, hence the slack.
const (
	heapFactor = 3
	heapSlack  = 16 << 20
)

func (s *installation) get(ctx context.Context, address, path string) (string, error) {
	client, err := kubernetes.NewForConfig(s.direct(address))
	if err != nil {
		return "", err
	}
	body, err := client.RESTClient().Get().AbsPath(path).DoRaw(ctx)
	return string(body), err
}

// inUse is the heap of each replica in bytes, after what nobody needs was collected.
func (s *installation) inUse() (heaps []float64, detail string) {
	s.Helper()
	for _, address := range s.srenix.Balancer.Ready() {
		client, err := kubernetes.NewForConfig(s.direct(address))
		must(s.T, err)
		_, err = client.RESTClient().Get().AbsPath("/debug/pprof/heap").Param("gc", "1").DoRaw(s.Context())
		must(s.T, err)
		metrics, err := s.get(s.Context(), address, "/metrics")
		must(s.T, err)
		bytes := gauge(metrics, "go_memstats_heap_inuse_bytes")
		heaps = append(heaps, bytes)
		detail += fmt.Sprintf("%s: %.1f MiB, %.0f goroutines; ", address, bytes/(1<<20), gauge(metrics, "go_goroutines"))
	}
	return heaps, detail
}

func gauge(metrics, name string) float64 {
	line := regexp.MustCompile(`(?m)^` + name + ` (\S+)$`).FindStringSubmatch(metrics)
	if line == nil {
		return -1
	}
	value, err := strconv.ParseFloat(line[1], 64)
	if err != nil {
		return -1
	}
	return value
}

// returns waits until each replica's heap is near what it was.
func (s *installation) returns(before []float64) {
	s.Helper()
	s.eventually("the heap to be near what it was", func(context.Context) (bool, string) {
		now, detail := s.inUse()
		if len(now) != len(before) {
			return false, detail
		}
		for i := range now {
			if now[i] <= 0 || now[i] > heapFactor*before[i]+heapSlack {
				return false, detail
			}
		}
		s.Log("at the end ", detail)
		return true, ""
	})
}
