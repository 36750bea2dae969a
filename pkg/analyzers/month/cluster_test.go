// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"container/heap"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/vault"
)

// cluster is what kube-apiserver keeps, and what is to happen to it: each thing at its
// time, in the order in which they were planned.
type cluster struct {
	t       *testing.T
	served  *livetest.Cluster
	objects map[string]live.Object
	uids    int
	plans   agenda
	planned int

	nodes     []*corev1.Node
	pods      map[types.UID][]*corev1.Pod // by controller
	bound     map[types.UID]string        // pods of DaemonSets, to nodes
	revisions map[types.UID]int64
	controllers
	vault  inVault
	poller *vault.Poller // of the newest engine
	// done counts what happened, by what it was.
	done map[string]int
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	return &cluster{
		t: t, served: &livetest.Cluster{}, objects: map[string]live.Object{}, pods: map[types.UID][]*corev1.Pod{},
		bound: map[types.UID]string{}, revisions: map[types.UID]int64{}, done: map[string]int{}, controllers: controllers{sync: map[types.UID]func(){}, queued: map[types.UID]bool{}},
	}
}

// plan is one thing that is to happen.
type plan struct {
	at    time.Time
	order int
	do    func()
}

type agenda []plan

func (a agenda) Len() int { return len(a) }
func (a agenda) Less(i, j int) bool {
	if a[i].at.Equal(a[j].at) {
		return a[i].order < a[j].order
	}
	return a[i].at.Before(a[j].at)
}
func (a agenda) Swap(i, j int) { a[i], a[j] = a[j], a[i] }
func (a *agenda) Push(x any)   { *a = append(*a, x.(plan)) }
func (a *agenda) Pop() any {
	last := (*a)[len(*a)-1]
	*a = (*a)[:len(*a)-1]
	return last
}

// at plans something for a time, and in for so long from now.
func (c *cluster) at(when time.Time, do func()) {
	c.planned++
	heap.Push(&c.plans, plan{when, c.planned, do})
}

func (c *cluster) in(span time.Duration, do func()) { c.at(time.Now().Add(span), do) }

// every has something happen again and again.
func (c *cluster) every(span time.Duration, do func()) {
	c.in(span, func() {
		do()
		c.every(span, do)
	})
}

// daily has something happen at a time of each day, with the number of the day.
func (c *cluster) daily(offset time.Duration, do func(day int)) {
	for day := range days {
		c.in(time.Duration(day)*24*time.Hour+offset, func() { do(day) })
	}
}

// run lets time pass, and what was planned happen. Timers of the engine that are due
// meanwhile fire at their own times, and all that follows is over before time goes on.
func (c *cluster) run(span time.Duration) {
	end := time.Now().Add(span)
	for len(c.plans) > 0 && !c.plans[0].at.After(end) {
		next := heap.Pop(&c.plans).(plan)
		time.Sleep(time.Until(next.at))
		synctest.Wait()
		next.do()
		synctest.Wait()
	}
	time.Sleep(time.Until(end))
	synctest.Wait()
}

// expire forgets what has been, as kube-apiserver does after minutes: whoever watches
// reads everything again.
func (c *cluster) expire() {
	seen := map[schema.GroupVersionResource]bool{}
	for _, object := range c.objects {
		resource, _ := meta.UnsafeGuessKindToResource(kindOf(object))
		if !seen[resource] {
			seen[resource] = true
			c.served.Expire(resource)
		}
	}
}

func keyOf(object live.Object) string {
	kind := kindOf(object)
	return fmt.Sprintf("%s %s/%s", kind.GroupKind(), object.GetNamespace(), object.GetName())
}

func kindOf(object live.Object) schema.GroupVersionKind {
	if custom, is := object.(*unstructured.Unstructured); is {
		return custom.GroupVersionKind()
	}
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		panic(err) // all that is played is registered
	}
	return kinds[0]
}

// create stores a new object as the API server does.
func (c *cluster) create(object live.Object) {
	c.t.Helper()
	if object.GetUID() == "" {
		c.uids++
		object.SetUID(types.UID(fmt.Sprintf("00000000-0000-4000-8000-%012d", c.uids)))
	}
	object.SetCreationTimestamp(now())
	object.SetGeneration(1)
	c.store(object)
}

// store has the object served as it is now.
func (c *cluster) store(object live.Object) {
	c.t.Helper()
	c.objects[keyOf(object)] = object
	analyzertest.Store(c.t, c.served, []live.Object{object})
}

// edit changes what people want of an object.
func (c *cluster) edit(object live.Object, change func()) {
	c.t.Helper()
	change()
	object.SetGeneration(object.GetGeneration() + 1)
	c.store(object)
}

func (c *cluster) remove(object live.Object) {
	c.t.Helper()
	delete(c.objects, keyOf(object))
	analyzertest.Remove(c.t, c.served, object)
}

// get returns the object of a name, which must be there.
func get[T live.Object](c *cluster, kind schema.GroupKind, namespace, name string) T {
	c.t.Helper()
	object, is := c.objects[fmt.Sprintf("%s %s/%s", kind, namespace, name)].(T)
	if !is {
		c.t.Fatalf("there is no %s %s/%s", kind, namespace, name)
	}
	return object
}

// now is the time as the API has it: in whole seconds.
func now() metav1.Time { return metav1.NewTime(time.Now().Truncate(time.Second)) }

// decode reads the objects of a manifest, in its order.
func decode(t *testing.T, manifest string) []live.Object {
	t.Helper()
	var objects []live.Object
	for _, document := range strings.Split("\n"+manifest, "\n---") {
		content := &unstructured.Unstructured{}
		if err := utilyaml.Unmarshal([]byte(document), &content.Object); err != nil {
			t.Fatal(err)
		}
		switch {
		case len(content.Object) == 0:
		case content.IsList():
			if err := content.EachListItem(func(item runtime.Object) error {
				objects = append(objects, typed(t, item.(*unstructured.Unstructured)))
				return nil
			}); err != nil {
				t.Fatal(err)
			}
		default:
			objects = append(objects, typed(t, content))
		}
	}
	return objects
}

// typed returns an object as what client-go knows it as, if it does.
func typed(t *testing.T, object *unstructured.Unstructured) live.Object {
	t.Helper()
	known, err := scheme.Scheme.New(object.GroupVersionKind())
	if runtime.IsNotRegisteredError(err) {
		return object
	}
	if err == nil {
		err = runtime.DefaultUnstructuredConverter.FromUnstructured(object.Object, known)
	}
	if err != nil {
		t.Fatal(err)
	}
	if secret, is := known.(*corev1.Secret); is {
		for key, value := range secret.StringData {
			if secret.Data == nil {
				secret.Data = map[string][]byte{}
			}
			secret.Data[key] = []byte(value)
		}
		secret.StringData = nil
	}
	return known.(live.Object)
}

// clusterScoped are the kinds of the corpus that have no namespace.
var clusterScoped = []string{
	"Namespace", "Node", "ClusterRole", "ClusterRoleBinding", "CustomResourceDefinition", "ValidatingWebhookConfiguration",
	"MutatingWebhookConfiguration", "APIService", "PriorityClass", "ClusterIssuer", "ClusterImageCatalog", "ClusterSecretStore",
}

// apply creates the objects of a manifest and has what makes pods make them.
func (c *cluster) apply(namespace, manifest string) {
	c.t.Helper()
	for _, object := range decode(c.t, manifest) {
		kind := kindOf(object).Kind
		if object.GetNamespace() == "" && !slices.Contains(clusterScoped, kind) {
			object.SetNamespace(namespace)
		}
		if kind == "CustomResourceDefinition" {
			continue // all are served
		}
		c.create(object)
		c.control(object)
	}
}

// namespace creates one, with what there is in each.
func (c *cluster) namespace(name string) {
	c.t.Helper()
	if _, has := c.objects["Namespace /"+name]; has {
		return
	}
	c.create(&corev1.Namespace{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelMetadataName: name}},
		Status:     corev1.NamespaceStatus{Phase: corev1.NamespaceActive},
	})
	c.create(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "default"}})
	c.create(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "kube-root-ca.crt"}, Data: map[string]string{"ca.crt": "any"}})
}

// ownedBy is the reference of a controller.
func ownedBy(owner live.Object) []metav1.OwnerReference {
	kind := kindOf(owner)
	return []metav1.OwnerReference{{
		APIVersion: kind.GroupVersion().String(), Kind: kind.Kind, Name: owner.GetName(), UID: owner.GetUID(),
		Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
	}}
}
