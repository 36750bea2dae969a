// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

// inquiriesPerHour is how many investigations by a model one person may cause within an
// hour in each diagnostic class, and srenix itself.
const inquiriesPerHour = 10

// bucket is whose budget counts, as audit.Source names them, and for what.
type bucket struct{ by, class string }

// inquiry is one investigation by a model: all that it is asked about what is known of
// one finding.
type inquiry struct {
	of    client.ObjectKey
	about string
}

// buckets count inquiries by the calls that Investigations tell of, so that restarts
// and other advisors count the same. What this program has let through counts, too,
// until its calls are noted.
type buckets struct {
	client  client.Reader
	clock   clock.PassiveClock
	metrics *metrics

	mu sync.Mutex
	// taken is when an inquiry was let through that is under way, or has been made
	// within the hour: whoever deletes an Investigation gets nothing back for it.
	taken map[bucket]map[inquiry]time.Time
	// full are the buckets that had no room when they were counted last.
	full map[bucket]fullness
}

// fullness is until when a bucket has no room, but for inquiries that it has already.
type fullness struct {
	until time.Time
	made  map[inquiry]time.Time
}

func newBuckets(reader client.Reader, clock clock.PassiveClock, metrics *metrics) *buckets {
	return &buckets{client: reader, clock: clock, metrics: metrics, taken: map[bucket]map[inquiry]time.Time{}, full: map[bucket]fullness{}}
}

// take lets an inquiry through, or returns how long to wait until there is room for it.
// One that has begun within the hour is let through. Whoever takes ends it once the calls
// are noted. A bucket is counted once until it has room again, however many wait for it.
func (b *buckets) take(ctx context.Context, from bucket, of inquiry) (time.Duration, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.clock.Now()
	full := b.full[from]
	if wait := full.until.Sub(now); wait > 0 && wait <= callsCount && full.made[of].IsZero() {
		b.metrics.postponed.Inc()
		return wait, nil
	}
	delete(b.full, from)
	made, err := b.made(ctx, from, now)
	if err != nil {
		return 0, err
	}
	if _, underWay := made[of]; !underWay && len(made) >= inquiriesPerHour {
		var times []time.Time
		for _, at := range made {
			times = append(times, at)
		}
		slices.SortFunc(times, time.Time.Compare)
		until := times[len(times)-inquiriesPerHour].Add(callsCount)
		wait := until.Sub(now)
		b.full[from] = fullness{until: until, made: made}
		b.metrics.postponed.Inc()
		klog.FromContext(ctx).Info("A model is not asked about findings of an analyzer for now, because it was asked about as many as it may be within an hour",
			"by", from.by, "analyzer", from.class, "maximum", inquiriesPerHour, "wait", wait)
		return wait, nil
	}
	if b.taken[from] == nil {
		b.taken[from] = map[inquiry]time.Time{}
	}
	b.taken[from][of] = now
	return 0, nil
}

// end ends an inquiry, which counts for an hour if a call was made.
func (b *buckets) end(from bucket, of inquiry, made bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if made {
		return
	}
	delete(b.full, from)
	delete(b.taken[from], of)
	if len(b.taken[from]) == 0 {
		delete(b.taken, from)
	}
}

// made are the inquiries within the last hour by the time of their first call in it.
func (b *buckets) made(ctx context.Context, from bucket, now time.Time) (map[inquiry]time.Time, error) {
	all := &opsv1alpha1.InvestigationList{}
	if err := b.client.List(ctx, all, client.MatchingLabels{analyzers.AnalyzerLabel: from.class}); err != nil {
		return nil, fmt.Errorf("counting what a model was asked about: %w", err)
	}
	maps.DeleteFunc(b.taken[from], func(_ inquiry, at time.Time) bool { return now.Sub(at) >= callsCount })
	made := map[inquiry]time.Time{}
	maps.Copy(made, b.taken[from])
	for i := range all.Items {
		for _, call := range all.Items[i].Status.Calls {
			if audit.Source(call.By) != from.by || !mayBeMade(call) || now.Sub(call.At.Time) >= callsCount {
				continue
			}
			of := inquiry{of: client.ObjectKeyFromObject(&all.Items[i]), about: call.About}
			if at, known := made[of]; !known || call.At.Time.Before(at) {
				made[of] = call.At.Time
			}
		}
	}
	return made, nil
}

// mayBeMade tells whether the model was asked, or may have been. Of a call that was not
// made, there is an outcome and no attempt.
func mayBeMade(call opsv1alpha1.ModelCall) bool {
	return call.Attempts > 0 || underWay(call) || call.Outcome == opsv1alpha1.OutcomeInterrupted
}
