// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"fmt"
	"regexp"
	"strconv"
)

// What a server may have more after all faults and a second burst than after the first
// burst, before any. The first leaves 24 MiB; the faults and the second add about ten,
// most of which are the cachers' windows of past events, with a snapshot for each: they
// grow with how much falls into a minute or so, and keep what they have until other
// events take its place. 2 KiB kept for each change would be 20 MiB.
const (
	heapFactor = 1.1
	heapSlack  = 15 << 20
)

// goroutineSlack is for connections and watches that are not closed yet, each with a
// few goroutines.
const goroutineSlack = 50

func (s *installation) get(ctx context.Context, address, path string) (string, error) {
	body, err := s.direct(address).rest.Get().AbsPath(path).DoRaw(ctx)
	return string(body), err
}

// usage is what a replica uses, after what nobody needs was collected.
type usage struct{ heap, goroutines float64 }

// inUse is what each replica uses.
func (s *installation) inUse(ctx context.Context) (all []usage, detail string, err error) {
	for _, address := range s.srenix.Balancer.Ready() {
		if _, err := s.direct(address).rest.Get().AbsPath("/debug/pprof/heap").Param("gc", "1").DoRaw(ctx); err != nil {
			return nil, detail, fmt.Errorf("collecting the garbage of %s: %w", address, err)
		}
		metrics, err := s.get(ctx, address, "/metrics")
		if err != nil {
			return nil, detail, fmt.Errorf("reading the metrics of %s: %w", address, err)
		}
		of := usage{gauge(metrics, "go_memstats_heap_alloc_bytes"), gauge(metrics, "go_goroutines")}
		all = append(all, of)
		detail += fmt.Sprintf("%s: %.1f MiB, %.0f goroutines; ", address, of.heap/(1<<20), of.goroutines)
	}
	return all, detail, nil
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

// returns waits until each replica uses about what it did before.
func (s *installation) returns(before []usage) {
	s.Helper()
	s.eventually("the heap and the goroutines to be near what they were", func(ctx context.Context) (bool, string) {
		now, detail, err := s.inUse(ctx)
		if err != nil {
			return false, err.Error()
		}
		if len(now) != len(before) {
			return false, detail
		}
		for i := range now {
			if now[i].heap <= 0 || now[i].heap > heapFactor*before[i].heap+heapSlack {
				return false, detail
			}
			if now[i].goroutines <= 0 || now[i].goroutines > before[i].goroutines+goroutineSlack {
				return false, detail
			}
		}
		s.Log("at the end ", detail)
		return true, ""
	})
}
