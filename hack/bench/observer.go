// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// sampleDeadline is how long the events of one change may take.
const sampleDeadline = 20 * time.Second

// observer sees what a change of a pod leads to: the pod's own event at a raw
// watcher of all pods, and the event of its finding at a watcher of all findings,
// through the aggregator. Both are watchers of client-go. A second raw watcher, on
// a connection of its own, tells how far apart two see the same by chance.
type observer struct {
	stopReading context.CancelFunc
	done        sync.WaitGroup
	failed      chan error
	// cuts is how often the server ended a watch, as kube-apiserver does with
	// clients that do not keep up; it is then taken up where it ended.
	cuts atomic.Int64

	mu      sync.Mutex
	awaited map[sighting]chan time.Time
}

// eye is one of the watchers.
type eye int

const (
	rawEye eye = iota
	twinEye
	findingEye
)

// sighting is an event that somebody waits for: of a pod, or of the finding
// about a StatefulSet, which began or ended.
type sighting struct {
	at              eye
	namespace, name string
	trouble         bool
}

// opening starts a watch from a resourceVersion.
type opening func(version string) (watch.Interface, error)

// observe starts both watchers, from now on.
func (b *bench) observe(ctx context.Context) (*observer, error) {
	podsNow, err := b.kube.CoreV1().Pods("").List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return nil, fmt.Errorf("listing pods: %w", err)
	}
	client, err := findingsClient(b.admin)
	if err != nil {
		return nil, err
	}
	var findingsNow v1alpha1.FindingList
	if err := client.Get().Resource("findings").Do(ctx).Into(&findingsNow); err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	o := &observer{stopReading: cancel, awaited: map[sighting]chan time.Time{}, failed: make(chan error, 3)}
	for at, kube := range []kubernetes.Interface{rawEye: b.kube, twinEye: b.twin} {
		o.start(ctx, "pods", podsNow.ResourceVersion, podSighting(eye(at)), func(version string) (watch.Interface, error) {
			return kube.CoreV1().Pods("").Watch(ctx, metav1.ListOptions{ResourceVersion: version})
		})
	}
	o.start(ctx, "findings", findingsNow.ResourceVersion, findingSighting, func(version string) (watch.Interface, error) {
		options := metav1.ListOptions{Watch: true, ResourceVersion: version}
		return client.Get().Resource("findings").VersionedParams(&options, metav1.ParameterCodec).Watch(ctx)
	})
	return o, nil
}

// findingsClient returns a client that decodes the types of srenix.io.
func findingsClient(config *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		return nil, fmt.Errorf("making a scheme: %w", err)
	}
	config = rest.CopyConfig(config)
	config.GroupVersion, config.APIPath = &v1alpha1.SchemeGroupVersion, "/apis"
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("making a client of findings: %w", err)
	}
	return client, nil
}

func podSighting(at eye) func(watch.Event) (sighting, bool) {
	return func(event watch.Event) (sighting, bool) {
		pod, ok := event.Object.(*corev1.Pod)
		if !ok {
			return sighting{}, false
		}
		s := sighting{at: at, namespace: pod.Namespace, name: pod.Name}
		for _, condition := range pod.Status.Conditions {
			if condition.Type == corev1.PodReady {
				s.trouble = condition.Status != corev1.ConditionTrue
			}
		}
		return s, true
	}
}

func findingSighting(event watch.Event) (sighting, bool) {
	finding, ok := event.Object.(*v1alpha1.Finding)
	if !ok || event.Type == watch.Modified {
		return sighting{}, ok
	}
	return sighting{
		at: findingEye, namespace: finding.Namespace, name: finding.Spec.Subject.Name, trouble: event.Type == watch.Added,
	}, true
}

// start reads a watch, and takes it up again where the server ended it.
func (o *observer) start(ctx context.Context, what, version string, of func(watch.Event) (sighting, bool), open opening) {
	o.done.Go(func() {
		for ctx.Err() == nil {
			watcher, err := open(version)
			if err == nil {
				version, err = o.read(watcher, version, of)
				watcher.Stop()
			}
			if err != nil && ctx.Err() == nil {
				o.failed <- fmt.Errorf("watching %s: %w", what, err)
				return
			}
			o.cuts.Add(1)
		}
	})
}

// read hands the times of events to who waits for them, until the watch ends. It
// returns the last version that it saw.
func (o *observer) read(watcher watch.Interface, version string, of func(watch.Event) (sighting, bool)) (string, error) {
	for event := range watcher.ResultChan() {
		at := time.Now()
		s, ok := of(event)
		if !ok {
			return version, apierrors.FromObject(event.Object)
		}
		if object, err := meta.Accessor(event.Object); err == nil {
			version = object.GetResourceVersion()
		}
		o.mu.Lock()
		if awaiting, found := o.awaited[s]; found {
			awaiting <- at
			delete(o.awaited, s)
		}
		o.mu.Unlock()
	}
	return version, nil
}

func (o *observer) await(s sighting) <-chan time.Time {
	at := make(chan time.Time, 1)
	o.mu.Lock()
	defer o.mu.Unlock()
	o.awaited[s] = at
	return at
}

func (o *observer) stop() {
	o.stopReading()
	o.done.Wait()
}

// sample is how long one change took until its events were seen.
type sample struct {
	// pod is from just before the write to the pod's own event; onTop is from
	// there to the finding's event; apart is how far apart two raw watchers were.
	pod, onTop, apart time.Duration
}

// sampleChange makes or ends a trouble, and waits for its events.
func (b *bench) sampleChange(ctx context.Context, o *observer, w *workload, trouble bool) (sample, error) {
	zero := w.members[0].pod
	awaited := [...]<-chan time.Time{
		rawEye:     o.await(sighting{at: rawEye, namespace: zero.Namespace, name: zero.Name, trouble: trouble}),
		twinEye:    o.await(sighting{at: twinEye, namespace: zero.Namespace, name: zero.Name, trouble: trouble}),
		findingEye: o.await(sighting{at: findingEye, namespace: w.namespace, name: w.name, trouble: trouble}),
	}
	began := time.Now()
	if err := b.cluster.setTrouble(ctx, w, trouble); err != nil {
		return sample{}, err
	}
	deadline := time.NewTimer(sampleDeadline)
	defer deadline.Stop()
	var seen [len(awaited)]time.Time
	for i, event := range awaited {
		select {
		case seen[i] = <-event:
		case err := <-o.failed:
			return sample{}, err
		case <-deadline.C:
			what := "the pod"
			if eye(i) == findingEye {
				what = "the finding"
			}
			return sample{}, fmt.Errorf("no event of %s within %s of a change of pod %s/%s", what, sampleDeadline, zero.Namespace, zero.Name)
		case <-ctx.Done():
			return sample{}, ctx.Err()
		}
	}
	return sample{
		pod: seen[rawEye].Sub(began), onTop: seen[findingEye].Sub(seen[rawEye]), apart: seen[twinEye].Sub(seen[rawEye]).Abs(),
	}, nil
}
