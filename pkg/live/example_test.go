// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live_test

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// Config maps that pods mount but that do not exist, kept up to date.
func ExampleEngine() {
	// Kinds are declared once: two inputs, and one collection to compute.
	mounted := live.NewInput(podResource, live.InputOptions[*corev1.Pod]{
		Trim: func(p *corev1.Pod) *corev1.Pod { // only what the rule reads is kept
			return &corev1.Pod{
				ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: p.Name},
				Spec:       corev1.PodSpec{Volumes: p.Spec.Volumes},
			}
		},
	})
	available := live.NewInput(configResource, live.InputOptions[*corev1.ConfigMap]{})
	problems := live.NewDerived[*corev1.Event]("problems", nil)

	engine := live.New(live.Options{})
	err := engine.AddRule(live.Rule{
		Name:    "missing-config",
		Subject: mounted.Ref(),
		Reads:   []live.KindRef{available.Ref()},
		Outputs: []live.KindRef{problems.Ref()},
		Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
			pod, ok := mounted.Get(v, subject)
			if !ok {
				return nil, nil
			}
			var outputs []live.Output
			for _, volume := range pod.Spec.Volumes {
				if volume.ConfigMap == nil {
					continue
				}
				name := volume.ConfigMap.Name
				// This read is what has the pod evaluated again when the config map
				// comes or goes.
				if _, ok := available.Get(v, live.Key{Namespace: subject.Namespace, Name: name}); ok {
					continue
				}
				outputs = append(outputs, live.Emit(problems, &corev1.Event{
					ObjectMeta: metav1.ObjectMeta{Namespace: subject.Namespace, Name: subject.Name + "." + name},
					Message:    fmt.Sprintf("pod %s needs config map %s", subject.Name, name),
				}))
			}
			return outputs, nil
		},
	})
	if err != nil {
		panic(err)
	}
	changes := make(chan string, 10)
	err = live.Subscribe(engine, problems, func(old, new *corev1.Event) {
		switch {
		case old == nil:
			changes <- "new: " + new.Message
		case new == nil:
			changes <- "gone: " + old.Message
		}
	})
	if err != nil {
		panic(err)
	}

	// Outside of tests the source is live.NewSource(config, scheme).
	var cluster livetest.Cluster
	cluster.Set(podResource, &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web"},
		Spec: corev1.PodSpec{Volumes: []corev1.Volume{{VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}},
		}}}},
	})
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	ended := make(chan error)
	go func() { ended <- engine.Run(ctx, &cluster) }()
	if err := engine.WaitForSync(ctx); err != nil {
		panic(err)
	}
	fmt.Println(<-changes)

	cluster.Set(configResource, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "settings"}})
	fmt.Println(<-changes)

	cancel()
	if err := <-ended; err != nil {
		panic(err)
	}
	// Output:
	// new: pod web needs config map settings
	// gone: pod web needs config map settings
}
