// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/clock"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/live"
)

// churn changes ConfigMaps at random until it is stopped. Requests may fail.
func churn(t *testing.T, namespace string) (stop func() (written int)) {
	t.Helper()
	client := kube(t).CoreV1().ConfigMaps(namespace)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	counts := make([]int, 2)
	for worker := range counts {
		running.Go(func() {
			random := rand.New(rand.NewPCG(uint64(worker), 7))
			for ctx.Err() == nil {
				request, cancelRequest := context.WithTimeout(ctx, 2*time.Second)
				if change(request, client, fmt.Sprintf("c%d-%d", worker, random.IntN(20)), random) == nil {
					counts[worker]++
				}
				cancelRequest()
			}
		})
	}
	return sync.OnceValue(func() int {
		cancel()
		running.Wait()
		return counts[0] + counts[1]
	})
}

func change(ctx context.Context, client corev1client.ConfigMapInterface, name string, random *rand.Rand) error {
	object := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"color": []string{"red", "blue"}[random.IntN(2)]}},
		Data:       map[string]string{"n": fmt.Sprint(random.IntN(1000))},
	}
	switch random.IntN(5) {
	case 0:
		return client.Delete(ctx, name, metav1.DeleteOptions{})
	case 1:
		_, err := client.Create(ctx, object, metav1.CreateOptions{})
		return err
	}
	_, err := client.Update(ctx, object, metav1.UpdateOptions{})
	return err
}

func TestTheViewSurvives(t *testing.T) {
	for _, fault := range []struct {
		name   string
		happen func(t *testing.T)
	}{
		{"a restart of kube-apiserver", func(t *testing.T) { control(t, "restart", "kube-apiserver") }},
		{"the death of kube-apiserver", func(t *testing.T) {
			control(t, "kill", "kube-apiserver")
			control(t, "start", "kube-apiserver")
		}},
		{"an etcd that hangs", func(t *testing.T) {
			control(t, "pause", "etcd")
			// It hangs until somebody notices.
			eventually(t, "a request to fail", func(ctx context.Context) (bool, string) {
				ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
				defer cancel()
				_, err := kube(t).CoreV1().ConfigMaps("default").Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "hang-"}}, metav1.CreateOptions{})
				return err != nil, "it was served"
			})
			control(t, "resume", "etcd")
		}},
		{"a restart of etcd", func(t *testing.T) { control(t, "restart", "etcd") }},
	} {
		t.Run(fault.name, func(t *testing.T) {
			ns := namespace(t, "survives")
			engine, _ := start(t, clock.RealClock{})
			stop := churn(t, ns)
			defer stop()
			fault.happen(t)
			eventually(t, "changes to arrive again", func(ctx context.Context) (bool, string) {
				name := fmt.Sprintf("after-%d", rand.Uint64())
				_, err := kube(t).CoreV1().ConfigMaps(ns).Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
				if err != nil {
					return false, err.Error()
				}
				for range 40 {
					if _, arrived := live.Get(engine, mirrors, live.Key{Namespace: ns, Name: name}); arrived {
						return true, ""
					}
					select {
					case <-ctx.Done():
					case <-time.After(50 * time.Millisecond):
					}
				}
				return false, "a change did not arrive"
			})
			if stop() == 0 {
				t.Error("nothing was written meanwhile")
			}
			equalsAfresh(t, engine)
		})
	}
}

func control(t *testing.T, verb, component string) {
	t.Helper()
	if err := cluster.Control(t.Context(), verb, component); err != nil {
		t.Fatal(err)
	}
}

func TestLargeAndStrangeObjects(t *testing.T) {
	ns := namespace(t, "strange")
	engine, _ := start(t, testingclock.NewFakeClock(time.Now()))
	client := kube(t).CoreV1().ConfigMaps(ns)
	for name, data := range map[string]map[string]string{
		"large":                                  {"blob": strings.Repeat("x", 1<<20-1024)},
		"large-letters":                          {"blob": strings.Repeat("日本語", 110_000)},
		"empty":                                  {},
		"many-keys":                              manyKeys(),
		"right-to-left":                          {"text": "\u202eevil\u202c \u0000 \ufeff"},
		"n" + strings.Repeat(".a", 126):          {"name": "of 253 characters"},
		"percent-s":                              {"text": "%s %d %!(NOVERB) {{.}} ${x} `id` '; drop table"},
		"a.b-c.0":                                {".dots_and-dashes.": "{}"},
		"newlines":                               {"text": "a\r\n\tb\x1b[31m"},
		"0":                                      {"text": "a number"},
		"emoji":                                  {"text": "🙂🏳️‍🌈"},
		"looks-like-another--strange--percent-s": {"text": "no"},
	} {
		object := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
		if _, err := client.Create(t.Context(), object, metav1.CreateOptions{}); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
	}
	eventually(t, "all of them to be mirrored", func(context.Context) (bool, string) {
		count := 0
		for _, mirror := range live.List(engine, mirrors) {
			if mirror.Namespace == ns {
				count++
			}
		}
		return count == 13, fmt.Sprint(count) // with kube-root-ca.crt
	})
	equalsAfresh(t, engine)
	if large, _ := live.Get(engine, configs, live.Key{Namespace: ns, Name: "large"}); len(large.Data["blob"]) != 20 {
		t.Errorf("%d bytes of the large one are kept, want 20", len(large.Data["blob"]))
	}
}

func manyKeys() map[string]string {
	keys := map[string]string{}
	for i := range 5000 {
		keys[fmt.Sprintf("key-%d", i)] = "value"
	}
	return keys
}
