// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
)

const (
	// burstChanges is enough for garbage collections, whose cost is part of a
	// change's, at 1k and 10k pods; at 50k one comes only every 7,000 or so.
	burstChanges = 4000
	burstRate    = 500
	idleWindow   = 5 * time.Second
	steadyWindow = 20 * time.Second
	changeReach  = 1.2
	steadyReach  = 1.0 // percent of a core
)

// measureCPU measures the CPU time that one change of a pod takes, in srenix's
// server and in the bare program, each alone.
func (b *bench) measureCPU(ctx context.Context, size int) error {
	ours, rate, err := b.ourCPUPerChange(ctx, size)
	if err != nil {
		return err
	}
	few, err := b.fewAnalyzersCPUPerChange(ctx, size)
	if err != nil {
		return err
	}
	bare, err := b.bareCPUPerChange(ctx, size)
	if err != nil {
		return err
	}
	value, baseline := float64(ours.Microseconds()), float64(bare.Microseconds())
	note := fmt.Sprintf("%d changes at %.0f/s, idle CPU taken off, with the garbage collections that fell into them", burstChanges, rate)
	r := result{Name: "CPU for one pod change", Size: size, Value: value, Unit: "us", Note: note}
	if first := b.report.find(r.Name, b.options.sizes[0]); first != nil {
		r.Baseline, r.Ratio = some(first.Value), some(value/first.Value)
		r.Reach, r.Met = fmt.Sprintf("%.1fx", changeReach), some(value <= changeReach*first.Value)
		r.Note += "; the baseline is the same at " + pods(first.Size)
	}
	b.report.add(r)
	b.report.add(result{
		Name: "CPU for one pod change, all analyzers against three", Size: size, Value: value, Unit: "us",
		Baseline: some(float64(few.Microseconds())), Ratio: some(value / float64(few.Microseconds())),
		Note: "the three are " + strings.Join(fewAnalyzers, ", "),
	})
	b.report.add(result{Name: nameChange, Size: size, Value: value, Unit: "us", Baseline: &baseline, Ratio: some(value / baseline), Note: note})
	return nil
}

func (b *bench) ourCPUPerChange(ctx context.Context, size int) (each time.Duration, rate float64, err error) {
	if err := b.settle(ctx); err != nil {
		return 0, 0, err
	}
	// The end of the work is seen by a change that is made after all others.
	o, err := b.observe(ctx)
	if err != nil {
		return 0, 0, err
	}
	defer o.stop()
	return b.cpuPerChange(ctx, b.srenix.APIServer.PID(), size, func() error {
		for _, trouble := range []bool{true, false} {
			if _, err := b.sampleChange(ctx, o, b.cluster.healthySets()[0], trouble); err != nil {
				return err
			}
		}
		return nil
	})
}

// fewAnalyzers are those that srenix began with.
var fewAnalyzers = []string{"ConfigDrift", "RBACDrift", "WorkloadStateDrift"}

// fewAnalyzersCPUPerChange measures the same server with all other analyzers off.
func (b *bench) fewAnalyzersCPUPerChange(ctx context.Context, size int) (each time.Duration, err error) {
	for _, entry := range catalog.All() {
		if !slices.Contains(fewAnalyzers, entry.Name) {
			b.srenix.APIServer.Environment = append(b.srenix.APIServer.Environment, catalog.Variable(entry.Name)+"=off")
		}
	}
	if err := b.restartServer(ctx); err != nil {
		return 0, err
	}
	each, _, err = b.ourCPUPerChange(ctx, size)
	b.srenix.APIServer.Environment = nil
	return each, errors.Join(err, b.restartServer(ctx))
}

func (b *bench) restartServer(ctx context.Context) error {
	if err := b.stopServer(); err != nil {
		return err
	}
	if err := b.startServer(ctx); err != nil {
		return err
	}
	return b.awaitAggregated(ctx)
}

// cpuPerChange measures a process that reads pods; barrier returns once it has
// taken in every change made before.
func (b *bench) cpuPerChange(ctx context.Context, pid, size int, barrier func() error) (each time.Duration, rate float64, err error) {
	idle, err := cpuOver(ctx, pid, idleWindow)
	if err != nil {
		return 0, 0, err
	}
	before, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	group, groupContext := errgroup.WithContext(ctx)
	if pid == b.srenix.APIServer.PID() {
		group.Go(func() error {
			return b.profile(groupContext, fmt.Sprintf("%d-change-cpu.pb.gz", size), fmt.Sprintf("profile?seconds=%d", burstChanges/burstRate))
		})
	}
	took, err := b.burst(ctx, burstChanges, burstRate)
	if err := errors.Join(err, group.Wait()); err != nil {
		return 0, 0, err
	}
	if err := barrier(); err != nil {
		return 0, 0, err
	}
	after, err := cpuTime(pid)
	if err != nil {
		return 0, 0, err
	}
	baseLoad := time.Duration(float64(idle) * float64(time.Since(began)) / float64(idleWindow))
	return (after - before - baseLoad) / burstChanges, burstChanges / took.Seconds(), nil
}

func (b *bench) bareCPUPerChange(ctx context.Context, size int) (each time.Duration, err error) {
	if err := b.stopServer(); err != nil {
		return 0, err
	}
	p, err := b.startBare(ctx)
	if err != nil {
		return 0, err
	}
	each, _, err = b.cpuPerChange(ctx, p.pid(), size, func() error {
		// It tells nobody what it has seen; a second is ample for an event.
		return pass(ctx, time.Second)
	})
	if err := errors.Join(err, p.stop()); err != nil {
		return 0, err
	}
	return each, b.startServer(ctx)
}

// measureSteady measures what the server does while nothing changes.
func (b *bench) measureSteady(ctx context.Context, size int) error {
	if err := b.settle(ctx); err != nil {
		return err
	}
	before, reviewsBefore, err := b.writesToKubeAPIServer(ctx)
	if err != nil {
		return err
	}
	used, err := cpuOver(ctx, b.srenix.APIServer.PID(), steadyWindow)
	if err != nil {
		return err
	}
	after, reviewsAfter, err := b.writesToKubeAPIServer(ctx)
	if err != nil {
		return err
	}
	writes := after - before
	b.report.add(result{
		Name: "steady state, writes to kube-apiserver", Size: size, Value: writes, Unit: "", Reach: "0", Met: some(writes == 0),
		Note: fmt.Sprintf("in %s, by anybody but kube-apiserver itself, for nothing else runs; by its apiserver_request_total, without leases; beside them %.0f access and token reviews, which store nothing", steadyWindow, reviewsAfter-reviewsBefore),
	})
	percent := 100 * used.Seconds() / steadyWindow.Seconds()
	b.report.add(result{
		Name: "steady state, CPU", Size: size, Value: percent, Unit: "% of a core", Reach: fmt.Sprintf("%.0f %%", steadyReach), Met: some(percent < steadyReach),
		Note: fmt.Sprintf("over %s", steadyWindow),
	})
	return nil
}

// writesToKubeAPIServer counts the requests that changed something, and the
// reviews of access and tokens, which are posted and change nothing.
func (b *bench) writesToKubeAPIServer(ctx context.Context) (writes, reviews float64, err error) {
	body, err := get(ctx, b.adminHTTP, b.admin.Host+"/metrics")
	if err != nil {
		return 0, 0, fmt.Errorf("reading kube-apiserver's metrics: %w", err)
	}
	eachSeries(body, "apiserver_request_total", func(labels map[string]string, value float64) {
		switch labels["verb"] {
		case "POST", "PUT", "PATCH", "APPLY", "DELETE", "DELETECOLLECTION":
		default:
			return
		}
		switch labels["group"] {
		case "authentication.k8s.io", "authorization.k8s.io":
			reviews += value
		case "coordination.k8s.io":
			// kube-apiserver's own lease, and those of nobody else here.
		default:
			writes += value
		}
	})
	return writes, reviews, nil
}
