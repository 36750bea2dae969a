// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"
)

const (
	// constantFindings is how many findings there are at every size, to compare sizes.
	constantFindings = 100
	// healthyAlways is how many StatefulSets are left to make changes with.
	healthyAlways   = 10
	listRequests    = 300
	listWarmUp      = 30
	listReach       = 1.0
	listGrowthReach = 1.2
)

// constantTroubles is the number of findings that is the same at every size
// which has so many StatefulSets.
func (b *bench) constantTroubles() int {
	return min(constantFindings, len(b.cluster.sets)-healthyAlways)
}

// measureList measures LIST of as many findings as one pod in a hundred makes,
// and of a number that is the same at every size, each against as many custom
// resources of the same content.
func (b *bench) measureList(ctx context.Context, size int) error {
	share := b.cluster.troubles
	if err := b.measureListOf(ctx, size, share); err != nil {
		return err
	}
	if constant := b.constantTroubles(); constant != share {
		if err := b.measureListOf(ctx, size, constant); err != nil {
			return err
		}
	}
	b.reportListGrowth(size)
	return b.awaitFindings(ctx, share)
}

func (b *bench) measureListOf(ctx context.Context, size, count int) error {
	if err := b.awaitFindings(ctx, count); err != nil {
		return err
	}
	// What follows from the last change, and proposals' names in the findings.
	if err := b.settle(ctx); err != nil {
		return err
	}
	if err := b.mirrorFindings(ctx); err != nil {
		return err
	}
	ours := listing{client: b.directHTTP, server: b.direct.Host, path: findingsPath, resource: "findings"}
	custom := listing{client: b.adminHTTP, server: b.admin.Host, path: mirrorPath, resource: mirrors}
	aggregated := listing{client: b.adminHTTP, server: b.admin.Host, path: findingsPath, resource: "findings"}
	for range listWarmUp {
		for _, l := range []*listing{&ours, &custom, &aggregated} {
			if _, err := l.request(ctx); err != nil {
				return err
			}
		}
	}
	for _, l := range []*listing{&ours, &custom, &aggregated} {
		l.took = nil
		if err := l.readOwnTime(ctx, &l.before); err != nil {
			return err
		}
	}
	// In turn, so that whatever else the machine does hits both.
	for range listRequests {
		for _, l := range []*listing{&ours, &custom} {
			took, err := l.request(ctx)
			if err != nil {
				return err
			}
			l.took = append(l.took, took)
		}
	}
	for _, l := range []*listing{&ours, &custom} {
		if err := l.readOwnTime(ctx, &l.after); err != nil {
			return err
		}
	}
	for range listRequests / 3 {
		took, err := aggregated.request(ctx)
		if err != nil {
			return err
		}
		aggregated.took = append(aggregated.took, took)
	}
	value, baseline := milliseconds(median(ours.took)), milliseconds(median(custom.took))
	b.report.add(result{
		Name: fmt.Sprintf(nameListTime, count), Size: size, Value: value, Unit: "ms", Baseline: &baseline, Ratio: some(value / baseline),
		Reach: fmt.Sprintf("%.1fx", listReach), Met: some(value <= listReach*baseline),
		Note: fmt.Sprintf("medians of %d requests to each server itself, without the aggregator and without compression, bodies read; %d and %d bytes; means by the servers' own metrics %.2f and %.2f ms; through the aggregator %.2f ms",
			listRequests, ours.bytes, custom.bytes, ours.ownMean(), custom.ownMean(), milliseconds(median(aggregated.took))),
	})
	return nil
}

// reportListGrowth compares the constant number of findings at this size and the smallest.
func (b *bench) reportListGrowth(size int) {
	name := fmt.Sprintf(nameListTime, constantFindings)
	first, now := b.report.find(name, b.options.sizes[0]), b.report.find(name, size)
	if first == nil || now == nil || first == now {
		return
	}
	b.report.add(result{
		Name: name + ", against the smallest size", Size: size, Value: now.Value, Unit: "ms", Baseline: &first.Value,
		Ratio: some(now.Value / first.Value), Reach: fmt.Sprintf("%.1fx", listGrowthReach), Met: some(now.Value <= listGrowthReach*first.Value),
		Note: fmt.Sprintf("the same number of findings among %s and among %s; kube-apiserver's own factor is %.2fx", pods(first.Size), pods(size), *now.Baseline / *first.Baseline),
	})
}

// listing is one LIST that is asked for again and again.
type listing struct {
	client                 *http.Client
	server, path, resource string

	took  []time.Duration
	bytes int64
	// before and after are the server's own sums of its LISTs of the resource.
	before, after ownTime
}

// request asks once and returns how long it took until the last byte was read.
func (l *listing) request(ctx context.Context) (time.Duration, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, l.server+l.path, nil)
	if err != nil {
		return 0, err
	}
	began := time.Now()
	response, err := l.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	l.bytes, err = io.Copy(io.Discard, response.Body)
	took := time.Since(began)
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %s", l.path, response.Status)
	}
	return took, err
}

// ownTime is the count and the sum, in seconds, of a server's histogram.
type ownTime struct{ count, seconds float64 }

func (l *listing) readOwnTime(ctx context.Context, into *ownTime) error {
	body, err := get(ctx, l.client, l.server+"/metrics")
	if err != nil {
		return fmt.Errorf("reading metrics: %w", err)
	}
	labels := map[string]string{"resource": l.resource, "verb": "LIST"}
	into.count = sumMetric(body, "apiserver_request_duration_seconds_count", labels)
	into.seconds = sumMetric(body, "apiserver_request_duration_seconds_sum", labels)
	return nil
}

// ownMean is in milliseconds.
func (l *listing) ownMean() float64 {
	return 1000 * (l.after.seconds - l.before.seconds) / (l.after.count - l.before.count)
}

// findings returns the findings as srenix's server has them, undecoded.
func (b *bench) findings(ctx context.Context) ([]json.RawMessage, error) {
	body, err := get(ctx, b.directHTTP, b.direct.Host+findingsPath)
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	var list struct{ Items []json.RawMessage }
	if err := json.Unmarshal(body, &list); err != nil {
		return nil, fmt.Errorf("reading the findings: %w", err)
	}
	return list.Items, nil
}
