// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package survive

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"strconv"
	"sync"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/dynamic/dynamicinformer"
	"k8s.io/client-go/tools/cache"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

var findings = v1alpha1.SchemeGroupVersion.WithResource("findings")

// resources are all that srenix serves.
var resources = []string{"findings", "clusterfindings", "proposals"}

func content(object *unstructured.Unstructured) string {
	object = object.DeepCopy()
	object.SetResourceVersion("") // the one thing that replicas differ in
	text, err := json.Marshal(object.Object)
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func name(resource string, object *unstructured.Unstructured) string {
	return resource + " " + object.GetNamespace() + "/" + object.GetName()
}

// said is all that one server serves.
func (s *installation) said(ctx context.Context, client dynamic.Interface) (map[string]string, error) {
	all := map[string]string{}
	for _, resource := range resources {
		list, err := client.Resource(v1alpha1.SchemeGroupVersion.WithResource(resource)).List(ctx, metav1.ListOptions{})
		if err != nil {
			return nil, fmt.Errorf("listing %s: %w", resource, err)
		}
		for i := range list.Items {
			all[name(resource, &list.Items[i])] = content(&list.Items[i])
		}
	}
	return all, nil
}

// agrees holds both replicas and an informer to what a server says that has just started.
func (s *installation) agrees(watched *watched, fresh string) {
	s.Helper()
	server, port, err := s.srenix.NewReplica(s.Context(), fresh)
	must(s.T, err)
	must(s.T, server.Start())
	defer func() {
		if err := server.Stop(); err != nil {
			s.Error(err)
		}
	}()
	backends := []string{net.JoinHostPort("127.0.0.1", strconv.Itoa(port))}
	s.eventually("the fresh server to be ready", func(ctx context.Context) (bool, string) {
		_, err := s.get(ctx, backends[0], "/readyz")
		return err == nil, fmt.Sprint(err)
	})
	s.eventually("both replicas to be ready", func(context.Context) (bool, string) {
		return len(s.srenix.Balancer.Ready()) == 2, fmt.Sprint(s.srenix.Balancer.Ready())
	})
	backends = append(backends, s.srenix.Balancer.Ready()...)
	var served int
	s.eventually("replicas, informer and a fresh server to agree", func(ctx context.Context) (bool, string) {
		views := []map[string]string{}
		for _, address := range backends {
			view, err := s.said(ctx, s.direct(address))
			if err != nil {
				return false, err.Error()
			}
			views = append(views, view)
		}
		served = len(views[0])
		views = append(views, watched.view())
		for i, view := range views[1:] {
			if diff := cmp.Diff(views[0], view); diff != "" {
				return false, fmt.Sprintf("%d served afresh, and from %s (-fresh +there):\n%s", served, append(backends[1:], "the informer")[i], diff)
			}
		}
		return true, ""
	})
	if served == 0 {
		s.Error("nothing is served, which proves nothing")
	}
	for _, replica := range s.srenix.Replicas {
		if replica.Ended() {
			s.Errorf("%s ended; the end of its log:\n%s", replica.Name, replica.LogTail())
		}
	}
	watched.check(s.T)
	s.Logf("%d objects are served by all", served)
}

// watched is what informers know that go on all the time, and whether what they
// were told makes sense: nothing added twice, nothing changed or deleted that was
// not there.
type watched struct {
	informers []cache.SharedIndexInformer

	mu    sync.Mutex
	told  map[string]bool
	wrong []string
}

func (s *installation) watch() *watched {
	s.Helper()
	w := &watched{told: map[string]bool{}}
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	s.Cleanup(func() { cancel(); running.Wait() })
	factory := dynamicinformer.NewDynamicSharedInformerFactory(s.client(s.config), 0)
	for _, resource := range resources {
		informer := factory.ForResource(v1alpha1.SchemeGroupVersion.WithResource(resource)).Informer()
		hear := func(what string, was, is bool) func(object any) {
			return func(object any) {
				key, err := cache.DeletionHandlingMetaNamespaceKeyFunc(object)
				if err != nil {
					key = err.Error()
				}
				w.hear(what, resource+" "+key, was, is)
			}
		}
		changed := hear("changed", true, true)
		_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: hear("added", false, true), DeleteFunc: hear("deleted", true, false),
			UpdateFunc: func(_, object any) { changed(object) },
		})
		must(s.T, err)
		w.informers = append(w.informers, informer)
		running.Go(func() { informer.RunWithContext(ctx) })
	}
	return w
}

func (w *watched) hear(what, key string, was, is bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.told[key] != was {
		w.wrong = append(w.wrong, what+" "+key)
	}
	w.told[key] = is
}

func (w *watched) check(t interface{ Errorf(string, ...any) }) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.wrong) > 0 {
		t.Errorf("the informers were told what cannot be: %v", w.wrong)
	}
}

func (w *watched) view() map[string]string {
	all := map[string]string{}
	for i, informer := range w.informers {
		for _, object := range informer.GetStore().List() {
			stored := object.(*unstructured.Unstructured)
			all[name(resources[i], stored)] = content(stored)
		}
	}
	return all
}

// count is how many objects of a resource have a reason.
func (w *watched) count(resource, reason string) int {
	count := 0
	for i, informer := range w.informers {
		if resources[i] != resource {
			continue
		}
		for _, object := range informer.GetStore().List() {
			if text, _, _ := unstructured.NestedString(object.(*unstructured.Unstructured).Object, "spec", "reason"); text == reason {
				count++
			}
		}
	}
	return count
}

// subjects are the kinds and names that findings are about.
func (w *watched) subjects() map[[2]string]bool {
	all := map[[2]string]bool{}
	for _, informer := range w.informers {
		for _, object := range informer.GetStore().List() {
			subject, _, _ := unstructured.NestedStringMap(object.(*unstructured.Unstructured).Object, "spec", "subject")
			all[[2]string{subject["kind"], subject["name"]}] = true
		}
	}
	return all
}
