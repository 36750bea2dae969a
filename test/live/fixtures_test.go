// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
)

const deadline = 90 * time.Second

var (
	// configs keep of a ConfigMap what its first letters are.
	configs = live.NewInput(corev1.SchemeGroupVersion.WithResource("configmaps"), live.InputOptions[*corev1.ConfigMap]{
		Trim: func(in *corev1.ConfigMap) *corev1.ConfigMap {
			in.ManagedFields = nil
			for name, value := range in.Data {
				in.Data[name] = strings.Clone(string([]rune(value)[:min(20, len([]rune(value)))]))
			}
			return in
		},
	})
	widgets = live.NewInput(schema.GroupVersionResource{Group: "live.example.com", Version: "v1", Resource: "widgets"},
		live.InputOptions[*unstructured.Unstructured]{Optional: true, Versions: []string{"v1beta1"}})

	mirrors  = live.NewDerived[*corev1.ConfigMap]("mirrors", nil)
	censuses = live.NewDerived[*corev1.ConfigMap]("censuses", nil)
)

// rules mirror each ConfigMap with what it says and the widget that it names, and
// count those of each namespace.
func rules() []live.Rule {
	made := func(namespace, name, text string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string]string{"text": text}}
	}
	return []live.Rule{
		{
			Name: "mirror", Subject: configs.Ref(), Reads: []live.KindRef{widgets.Ref()}, Outputs: []live.KindRef{mirrors.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				config, ok := configs.Get(v, subject)
				if !ok {
					return nil, nil
				}
				text := fmt.Sprint(config.Data, config.Labels)
				if widget, ok := widgets.Get(v, subject); ok {
					size, _, _ := unstructured.NestedString(widget.Object, "spec", "size")
					text += " " + widget.GetAPIVersion() + " " + size
				}
				return []live.Output{live.Emit(mirrors, made(subject.Namespace, subject.Name, text))}, nil
			},
		},
		{
			Name: "census", Subject: mirrors.Ref(), Reads: []live.KindRef{configs.Ref()}, Outputs: []live.KindRef{censuses.Ref()},
			Evaluate: func(v *live.View, subject live.Key) ([]live.Output, error) {
				if subject.Name != "kube-root-ca.crt" { // there is one in each namespace
					return nil, nil
				}
				all := configs.List(v, subject.Namespace, nil)
				red := configs.List(v, subject.Namespace, labels.SelectorFromSet(labels.Set{"color": "red"}))
				return []live.Output{live.Emit(censuses, made(subject.Namespace, "census", fmt.Sprint(len(all), " ", len(red))))}, nil
			},
		},
	}
}

// start runs an engine on the plane until the test ends, or it is stopped.
func start(t *testing.T, clock clock.WithTicker) (engine *live.Engine, stop func()) {
	t.Helper()
	config := config(t)
	transport, err := rest.TransportFor(config)
	if err != nil {
		t.Fatal(err)
	}
	// Its own connections, so that they can be closed with it.
	source, err := live.NewSource(&rest.Config{Host: config.Host, Transport: transport}, nil)
	if err != nil {
		t.Fatal(err)
	}
	engine = live.New(live.Options{Clock: clock})
	for _, rule := range rules() {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- engine.Run(ctx, source) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		closeIdle(transport)
	}
	t.Cleanup(stop)
	waiting, cancelWait := context.WithTimeout(t.Context(), deadline)
	defer cancelWait()
	if err := engine.WaitForSync(waiting); err != nil {
		t.Fatal(err)
	}
	return engine, stop
}

func closeIdle(transport http.RoundTripper) {
	if closer, ok := transport.(interface{ CloseIdleConnections() }); ok {
		closer.CloseIdleConnections()
	}
}

func config(t *testing.T) *rest.Config {
	t.Helper()
	config, err := cluster.Config()
	if err != nil {
		t.Fatal(err)
	}
	return config
}

func kube(t *testing.T) kubernetes.Interface {
	t.Helper()
	client, err := kubernetes.NewForConfig(config(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func dynamicClient(t *testing.T) dynamic.Interface {
	t.Helper()
	client, err := dynamic.NewForConfig(config(t))
	if err != nil {
		t.Fatal(err)
	}
	return client
}

// eventually polls a condition until it holds; detail tells what was seen last.
func eventually(t *testing.T, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (ok bool, err error) {
		ok, detail = condition(ctx)
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

func namespace(t *testing.T, name string) string {
	t.Helper()
	_, err := kube(t).CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	return name
}

// derived is all that an engine has computed.
func derived(engine *live.Engine) map[string]string {
	all := map[string]string{}
	for _, kind := range []live.Kind[*corev1.ConfigMap]{mirrors, censuses} {
		for _, object := range live.List(engine, kind) {
			all[fmt.Sprint(kind.Ref(), " ", object.Namespace, "/", object.Name)] = object.Data["text"]
		}
	}
	return all
}

// equalsAfresh waits until an engine has computed what a new one does.
func equalsAfresh(t *testing.T, engine *live.Engine) {
	t.Helper()
	eventually(t, "the engine to equal one that has just started", func(context.Context) (bool, string) {
		fresh, stop := start(t, clock.RealClock{})
		defer stop()
		for _, status := range live.List(engine, live.Statuses()) {
			if status.State != live.Healthy {
				return false, status.Message
			}
		}
		if !engine.Settled() {
			return false, "not settled"
		}
		diff := cmp.Diff(derived(fresh), derived(engine))
		return diff == "", diff
	})
}
