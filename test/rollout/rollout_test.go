// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package rollout restarts two replicas of the aggregated server, one after the
// other as a Deployment does, under clients that list, watch and change.
package rollout

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	deadline = 90 * time.Second
	roles    = 30
)

// configuration has a grace of a second, for what is still.
const configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers:
  WorkloadStateDrift: {grace: 1s}
`

var findings = v1alpha1.SchemeGroupVersion.WithResource("findings")

type rollout struct {
	*testing.T
	srenix *harness.Srenix
	config *rest.Config
}

func install(t *testing.T) *rollout {
	t.Helper()
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 1, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	srenix, err := harness.Install(t.Context(), p, harness.Options{Replicas: 2, Configuration: configuration})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	config, err := p.Config()
	if err != nil {
		t.Fatal(err)
	}
	r := &rollout{T: t, srenix: srenix, config: config}
	r.eventually("both replicas to be ready", func(context.Context) (bool, string) {
		return len(srenix.Balancer.Ready()) == 2, fmt.Sprint(srenix.Balancer.Ready())
	})
	return r
}

func (r *rollout) eventually(what string, condition func(ctx context.Context) (ok bool, detail string)) {
	r.Helper()
	r.within(deadline, what, condition)
}

func (r *rollout) within(deadline time.Duration, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	r.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(r.Context(), 50*time.Millisecond, deadline, true, func(ctx context.Context) (ok bool, err error) {
		ok, detail = condition(ctx)
		return ok, nil
	})
	if err != nil {
		r.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

func (r *rollout) kube() kubernetes.Interface {
	client, err := kubernetes.NewForConfig(r.config)
	if err != nil {
		r.Fatal(err)
	}
	return client
}

func (r *rollout) client(config *rest.Config) dynamic.Interface {
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		r.Fatal(err)
	}
	return client
}

// change turns the wildcards of Roles on, changes what they are about, and turns them
// off, until it is stopped.
func (r *rollout) change(namespace string) (stop func()) {
	client := r.kube().RbacV1().Roles(namespace)
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	running.Go(func() {
		steps := []struct{ verb, resource string }{{"*", "pods"}, {"*", "services"}, {"get", "services"}}
		for i := 0; ctx.Err() == nil; i++ {
			step := steps[i/roles%len(steps)]
			role := &rbacv1.Role{
				ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("wide-%d", i%roles)},
				Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{step.resource}, Verbs: []string{step.verb}}},
			}
			if _, err := client.Update(ctx, role, metav1.UpdateOptions{}); err != nil && ctx.Err() == nil {
				r.Errorf("changing a Role: %v", err)
				return
			}
		}
	})
	return sync.OnceFunc(func() {
		cancel()
		running.Wait()
	})
}

// load lists findings until it is stopped, and tells how often, and what failed.
func (r *rollout) load(namespace string) (stop func() (requests int64, failures []string)) {
	var requests []func(context.Context) error
	for range 4 {
		client := r.client(r.config).Resource(findings).Namespace(namespace)
		requests = append(requests, func(ctx context.Context) error {
			_, err := client.List(ctx, metav1.ListOptions{})
			return err
		})
	}
	return repeatedly(requests...)
}

// repeatedly makes requests until it is stopped, each again and again beside the others.
func repeatedly(requests ...func(context.Context) error) (stop func() (made int64, failures []string)) {
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	var made atomic.Int64
	var mu sync.Mutex
	var failures []string
	for _, request := range requests {
		running.Go(func() {
			for ctx.Err() == nil {
				err := request(ctx)
				if ctx.Err() != nil {
					return
				}
				made.Add(1)
				if err != nil {
					mu.Lock()
					failures = append(failures, err.Error())
					mu.Unlock()
				}
			}
		})
	}
	return func() (int64, []string) {
		cancel()
		running.Wait()
		return made.Load(), failures
	}
}

// contentOf is what an object is without its version, the one thing that replicas differ in.
func contentOf(object *unstructured.Unstructured) string {
	object = object.DeepCopy()
	object.SetResourceVersion("")
	text, err := json.Marshal(object.Object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func TestARollingRestartUnderAnInformerLosesNothing(t *testing.T) {
	r := install(t)
	const namespace = "shop"
	r.populate(namespace)
	informer := r.follow()
	raw := r.followRaw()
	still, err := harness.NewStill(t.Context(), r.kube(), r.client(r.config))
	if err != nil {
		t.Fatal(err)
	}

	stopChanges := r.change(namespace)
	defer stopChanges()
	stopLoad := r.load(namespace)
	for _, replica := range r.srenix.Replicas {
		if err := replica.Stop(); err != nil {
			t.Fatal(err)
		}
		if err := replica.Start(); err != nil {
			t.Fatal(err)
		}
		r.eventually("it to be ready again", func(context.Context) (bool, string) {
			return len(r.srenix.Balancer.Ready()) == 2, fmt.Sprint(r.srenix.Balancer.Ready())
		})
	}
	stopChanges()
	requests, failures := stopLoad()
	t.Logf("%d lists during the rolling restart, %d failed", requests, len(failures))
	if len(failures) > 0 {
		t.Errorf("%d of %d lists failed, the first: %s", len(failures), requests, failures[0])
	}

	r.equals("the informer's store", func() (content map[string]string) {
		content = map[string]string{}
		for _, object := range informer.GetStore().List() {
			stored := object.(*unstructured.Unstructured)
			content[harness.KeyOf(stored)] = contentOf(stored)
		}
		return content
	})
	r.equals("what the raw watch told", func() map[string]string { return raw.content(t) })
	t.Log(raw.summary(t))
	r.replicasAgree()
	if told := still.Told(); len(told) > 0 {
		t.Errorf("of what did not change was told: %q", told)
	}
}

// populate makes a namespace with the Roles that change changes.
func (r *rollout) populate(namespace string) {
	r.Helper()
	if _, err := r.kube().CoreV1().Namespaces().Create(r.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, metav1.CreateOptions{}); err != nil {
		r.Fatal(err)
	}
	for i := range roles {
		role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("wide-%d", i)}}
		if _, err := r.kube().RbacV1().Roles(namespace).Create(r.Context(), role, metav1.CreateOptions{}); err != nil {
			r.Fatal(err)
		}
	}
}

// follow runs an informer on findings until the end of the test. What it tells must
// make sense: nothing added twice, nothing changed or deleted that was not there.
func (r *rollout) follow() cache.SharedIndexInformer {
	r.Helper()
	informer := dynamicinformer.NewDynamicSharedInformerFactory(r.client(r.config), 0).ForResource(findings).Informer()
	told := map[string]bool{}
	var wrong []string
	say := func(what, key string, was, is bool) {
		if told[key] != was {
			wrong = append(wrong, what+" "+key)
		}
		told[key] = is
	}
	keyOf := func(object any) string {
		key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
		if err != nil {
			return err.Error()
		}
		return key
	}
	if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(object any) { say("added", keyOf(object), false, true) },
		UpdateFunc: func(_, object any) { say("changed", keyOf(object), true, true) },
		DeleteFunc: func(object any) { say("deleted", keyOf(object), true, false) },
	}); err != nil {
		r.Fatal(err)
	}
	ctx, cancel := context.WithCancel(r.Context())
	var running sync.WaitGroup
	running.Go(func() { informer.RunWithContext(ctx) })
	r.Cleanup(func() {
		cancel()
		running.Wait()
		if len(wrong) > 0 {
			r.Errorf("the informer was told what cannot be: %v", wrong)
		}
	})
	return informer
}

// equals waits until a client knows what the servers list.
func (r *rollout) equals(what string, known func() (content map[string]string)) {
	r.Helper()
	r.eventually(what+" to equal a fresh list", func(ctx context.Context) (bool, string) {
		list, err := r.client(r.config).Resource(findings).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		want := map[string]string{}
		for i := range list.Items {
			want[harness.KeyOf(&list.Items[i])] = contentOf(&list.Items[i])
		}
		got := known()
		return cmp.Equal(want, got), cmp.Diff(want, got)
	})
}

// replicasAgree compares all that each replica serves, byte by byte.
func (r *rollout) replicasAgree() {
	r.Helper()
	r.eventually("both replicas to serve the same bytes", func(ctx context.Context) (bool, string) {
		var said []map[string]string
		for _, address := range r.srenix.Balancer.Ready() {
			config := rest.CopyConfig(r.config)
			config.Host, config.CAData, config.Insecure = "https://"+address, nil, true
			all := map[string]string{}
			for _, resource := range []string{"findings", "clusterfindings", "proposals"} {
				list, err := r.client(config).Resource(v1alpha1.SchemeGroupVersion.WithResource(resource)).List(ctx, metav1.ListOptions{})
				if err != nil {
					return false, err.Error()
				}
				for i := range list.Items {
					all[resource+" "+list.Items[i].GetNamespace()+"/"+list.Items[i].GetName()] = contentOf(&list.Items[i])
				}
			}
			said = append(said, all)
		}
		if len(said) != 2 {
			return false, fmt.Sprint(len(said), " replicas are ready")
		}
		return cmp.Equal(said[0], said[1]), cmp.Diff(said[0], said[1])
	})
}
