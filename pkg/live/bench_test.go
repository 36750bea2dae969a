// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"fmt"
	"runtime"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/live"
)

// BenchmarkOneChange is the time from a changed pod to its consequences, in
// clusters of different sizes: it must not depend on the size.
func BenchmarkOneChange(b *testing.B) {
	for _, size := range []int{1000, 50000} {
		b.Run(fmt.Sprintf("%d pods", size), func(b *testing.B) {
			e := live.New(live.Options{Workers: 1})
			for _, rule := range oracleRules()[:1] {
				if err := e.AddRule(rule); err != nil {
					b.Fatal(err)
				}
			}
			live.Feed(b, e)
			live.FeedReplace(e, configs)
			all := make([]*corev1.Pod, size)
			for i := range all {
				all[i] = pod(fmt.Sprintf("ns%d", i%100), fmt.Sprintf("pod%d", i), map[string]string{"config": "ns.x"})
			}
			live.FeedReplace(e, pods, all...)
			for !e.Settled() {
				runtime.Gosched()
			}
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				changed := all[i%size].DeepCopy()
				changed.Spec.NodeName = fmt.Sprint(i)
				live.FeedSet(e, pods, changed)
				for !e.Settled() {
					runtime.Gosched()
				}
			}
		})
	}
}
