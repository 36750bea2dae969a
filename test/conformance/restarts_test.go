// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"net/http"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

var apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}

// notifications are what an informer told its owner, by the finding's subject.
type notifications struct {
	mu      sync.Mutex
	told    []change
	present map[types.UID]bool
	wrong   []string
}

func (n *notifications) handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc: func(object any) { n.add(watch.Added, object.(*unstructured.Unstructured)) },
		UpdateFunc: func(before, after any) {
			was, is := before.(*unstructured.Unstructured).DeepCopy(), after.(*unstructured.Unstructured).DeepCopy()
			// Another server has other versions for the same.
			was.SetResourceVersion("")
			is.SetResourceVersion("")
			if !cmp.Equal(was.Object, is.Object) {
				n.add(watch.Modified, is)
			}
		},
		DeleteFunc: func(object any) {
			if gone, ok := object.(cache.DeletedFinalStateUnknown); ok {
				object = gone.Obj
			}
			n.add(watch.Deleted, object.(*unstructured.Unstructured))
		},
	}
}

func (n *notifications) add(kind watch.EventType, object *unstructured.Unstructured) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if have := n.present[object.GetUID()]; have == (kind == watch.Added) {
		n.wrong = append(n.wrong, fmt.Sprintf("%s of %s, whose presence was %t", kind, subject(object), have))
	}
	n.present[object.GetUID()] = kind != watch.Deleted
	n.told = append(n.told, change{kind, subject(object)})
}

// since returns what was told since the last call.
func (n *notifications) since() []change {
	n.mu.Lock()
	defer n.mu.Unlock()
	told := n.told
	n.told = nil
	return told
}

// runInformer runs an informer until the test ends, and waits until it has synced.
func runInformer(t *testing.T, from cache.ListerWatcher) (cache.Store, *notifications) {
	t.Helper()
	n := &notifications{present: map[types.UID]bool{}}
	informer := cache.NewSharedIndexInformer(from, &unstructured.Unstructured{}, 0, cache.Indexers{})
	registration, err := informer.AddEventHandler(n.handler())
	must(t, err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	t.Cleanup(func() { cancel(); <-done })
	eventually(t, "the informer to sync", func(context.Context) (bool, string) { return registration.HasSynced(), "" })
	return informer.GetStore(), n
}

// checkTold checks that what an informer told is what happened, and that alone.
func checkTold(t *testing.T, n *notifications, want map[change]int) {
	t.Helper()
	have := map[change]int{}
	eventually(t, "the informer to tell what happened", func(context.Context) (bool, string) {
		for _, told := range n.since() {
			have[told]++
		}
		return len(have) >= len(want), fmt.Sprint(have)
	})
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("the informer told (-want +have):\n%s", diff)
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, wrong := range n.wrong {
		t.Errorf("the informer told %s", wrong)
	}
}

// TestInformersGoThroughARestart kills the server, changes things while there is
// none, and starts it again. Its versions are new then, and everything from
// before it is gone.
func TestInformersGoThroughARestart(t *testing.T) {
	for name, wrap := range map[string]func(cache.ListerWatcher) cache.ListerWatcher{
		"streaming lists": func(lw cache.ListerWatcher) cache.ListerWatcher { return lw },
		"with lists":      func(lw cache.ListerWatcher) cache.ListerWatcher { return withoutWatchList{lw} },
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			c := newClient(t, admin)
			before := withFindings(t, ns, "changed", "deleted", "same")
			page := c.get(t, findings(ns), "limit=1", jsonType).list(t)
			s := newSource(ns, objects)
			store, n := runInformer(t, wrap(s.listWatch()))
			checkTold(t, n, map[change]int{{watch.Added, "changed"}: 1, {watch.Added, "deleted"}: 1, {watch.Added, "same"}: 1})

			must(t, srenix.APIServer.Kill())
			must(t, deleteRole(t.Context(), ns, "deleted"))
			must(t, createRole(t.Context(), ns, "added"))
			must(t, updateRole(t.Context(), ns, "changed", "other"))
			must(t, srenix.APIServer.Start())
			must(t, srenix.WaitAvailable(t.Context()))

			after := awaitSubjects(t, ns, "added", "changed", "same")
			awaitEqual(t, store, s.resource())
			checkTold(t, n, map[change]int{{watch.Added, "added"}: 1, {watch.Deleted, "deleted"}: 1, {watch.Modified, "changed"}: 1})
			if version(t, after.GetResourceVersion()) <= version(t, before.GetResourceVersion()) {
				t.Errorf("the version was %s before the restart and is %s after it", before.GetResourceVersion(), after.GetResourceVersion())
			}
			checkGone(t, c, ns, before.GetResourceVersion())
			checkRefusal(t, c.get(t, findings(ns), "limit=1&"+selecting("continue", page.GetContinue()), jsonType), http.StatusGone, metav1.StatusReasonExpired)

			must(t, createRole(t.Context(), ns, "later"))
			checkTold(t, n, map[change]int{{watch.Added, "later"}: 1})
		})
	}
}

// checkGone checks that a watch from a version of another server is refused, so
// that its client lists again.
func checkGone(t *testing.T, c client, ns, from string) {
	t.Helper()
	events := c.watch(t, findings(ns), selecting("resourceVersion", from), jsonType).rest(t)
	if len(events) != 1 || events[0].kind != watch.Error || events[0].code() != http.StatusGone {
		t.Errorf("watching from version %s of another server: have %v, want one ERROR with 410", from, events)
	}
}

// startReplica starts a second server and returns how to reach it directly.
func startReplica(t *testing.T) (config *rest.Config, port int) {
	t.Helper()
	return startNamedReplica(t, "srenix-apiserver-1")
}

func startNamedReplica(t *testing.T, name string) (config *rest.Config, port int) {
	t.Helper()
	replica, port, err := srenix.NewReplica(t.Context(), name)
	must(t, err)
	must(t, replica.Start())
	t.Cleanup(func() {
		if err := replica.Kill(); err != nil {
			t.Error(err)
		}
	})
	config = directConfig(t, port)
	c := newClient(t, config)
	eventually(t, "the replica to be ready", func(ctx context.Context) (bool, string) {
		response, err := c.request(ctx, "/readyz", "", "text/plain")
		if err != nil {
			return false, err.Error()
		}
		defer response.Body.Close()
		return response.StatusCode == http.StatusOK, response.Status
	})
	return config, port
}

// TestClientsMoveBetweenReplicas moves an informer to and fro. The replica that
// started first has the lower versions, so that both ways are a case of their own.
func TestClientsMoveBetweenReplicas(t *testing.T) {
	ns := namespace(t)
	withFindings(t, ns, "a", "b")
	config, _ := startReplica(t)
	older := dynamic.NewForConfigOrDie(directConfig(t, srenix.APIPort()))
	newer := dynamic.NewForConfigOrDie(config)
	s := newSource(ns, older)
	// A watch that ends by itself goes on from its version, at the other replica.
	s.timeout = 2
	store, n := runInformer(t, s.listWatch())
	checkTold(t, n, map[change]int{{watch.Added, "a"}: 1, {watch.Added, "b"}: 1})
	for i, to := range []dynamic.Interface{newer, older, newer} {
		expired := s.expired.Load()
		role := fmt.Sprintf("step-%d", i)
		s.move(to)
		must(t, createRole(t.Context(), ns, role))
		checkTold(t, n, map[change]int{{watch.Added, role}: 1})
		eventually(t, "the other replica to refuse the version", func(context.Context) (bool, string) {
			return s.expired.Load() > expired, fmt.Sprintf("step %d: %d refusals", i, s.expired.Load())
		})
		awaitEqual(t, store, to.Resource(findingsResource).Namespace(ns))
	}
	// Nothing else was told before this.
	must(t, createRole(t.Context(), ns, "marker"))
	checkTold(t, n, map[change]int{{watch.Added, "marker"}: 1})
}

// TestAggregatorMovesToAnotherReplica has kube-apiserver itself turn to the other
// replica when one is lost, as it does behind a Service.
func TestAggregatorMovesToAnotherReplica(t *testing.T) {
	ns := namespace(t)
	c := newClient(t, admin)
	from := withFindings(t, ns, "a", "b").GetResourceVersion()
	s := newSource(ns, objects)
	store, n := runInformer(t, s.listWatch())
	checkTold(t, n, map[change]int{{watch.Added, "a"}: 1, {watch.Added, "b"}: 1})
	_, port := startReplica(t)
	turn := func(to int) {
		patch := fmt.Sprintf(`{"spec":{"service":{"port":%d}}}`, to)
		_, err := objects.Resource(apiServices).Patch(context.Background(), "v1alpha1.srenix.io", types.MergePatchType, []byte(patch), metav1.PatchOptions{})
		must(t, err)
	}
	turn(port)
	t.Cleanup(func() {
		turn(srenix.APIPort())
		if srenix.APIServer.Ended() {
			must(t, srenix.APIServer.Start())
		}
		must(t, srenix.WaitAvailable(context.Background()))
	})
	must(t, srenix.APIServer.Kill())
	must(t, deleteRole(t.Context(), ns, "a"))
	must(t, createRole(t.Context(), ns, "c"))
	checkTold(t, n, map[change]int{{watch.Added, "c"}: 1, {watch.Deleted, "a"}: 1})
	awaitEqual(t, store, s.resource())
	checkGone(t, c, ns, from)
}
