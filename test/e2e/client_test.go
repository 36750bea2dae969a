// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

var findingsResource = v1alpha1.SchemeGroupVersion.WithResource("findings")

func clientScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, opsv1alpha1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	return scheme
}

// withoutWatchList tells a reflector that the server cannot stream lists.
type withoutWatchList struct{ cache.ListerWatcher }

func (withoutWatchList) IsWatchListSemanticsUnSupported() bool { return true }

func TestInformersWithAndWithoutWatchList(t *testing.T) {
	ns := namespace(t)
	finding := stuckStatefulSet(t, ns, "db").Spec.Finding.Name
	resource := dynamicClient(t, adminConfig(t)).Resource(findingsResource).Namespace(ns)
	lists := 0
	listWatch := &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			lists++
			return resource.List(ctx, options)
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			return resource.Watch(ctx, options)
		},
	}
	for name, test := range map[string]struct {
		source cache.ListerWatcher
		lists  bool
	}{
		"with WatchList":    {listWatch, false},
		"without WatchList": {withoutWatchList{listWatch}, true},
	} {
		t.Run(name, func(t *testing.T) {
			lists = 0
			informer := cache.NewSharedIndexInformer(test.source, nil, 0, cache.Indexers{})
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan struct{})
			go func() {
				defer close(done)
				informer.RunWithContext(ctx)
			}()
			defer func() { cancel(); <-done }()
			if !cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
				t.Fatal("the informer did not sync")
			}
			if _, exists, err := informer.GetStore().GetByKey(ns + "/" + finding); err != nil || !exists {
				t.Errorf("the informer lacks the finding: %v", err)
			}
			if (lists > 0) != test.lists {
				t.Errorf("the reflector listed %d times", lists)
			}
		})
	}
}

func TestWatchSemantics(t *testing.T) {
	ns, empty := namespace(t), namespace(t)
	finding := stuckStatefulSet(t, ns, "db").Spec.Finding.Name
	client := dynamicClient(t, adminConfig(t)).Resource(findingsResource)
	list, err := client.Namespace(ns).List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if list.GetResourceVersion() == "" || len(list.Items) != 1 || list.Items[0].GetResourceVersion() == "" {
		t.Fatalf("list %q with %d items", list.GetResourceVersion(), len(list.Items))
	}
	current, err := strconv.ParseUint(list.GetResourceVersion(), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	stream := true

	t.Run("initial events and their end", func(t *testing.T) {
		for namespace, want := range map[string][]watch.EventType{ns: {watch.Added, watch.Bookmark}, empty: {watch.Bookmark}} {
			events := watchEvents(t, client.Namespace(namespace), metav1.ListOptions{
				SendInitialEvents: &stream, ResourceVersionMatch: metav1.ResourceVersionMatchNotOlderThan, AllowWatchBookmarks: true,
			}, len(want))
			for i, event := range events {
				if event.Type != want[i] {
					t.Errorf("event %d is %s, want %s", i, event.Type, want[i])
				}
			}
			last, err := runtime.DefaultUnstructuredConverter.ToUnstructured(events[len(events)-1].Object)
			if err != nil {
				t.Fatal(err)
			}
			if content, _ := json.Marshal(last); !strings.Contains(string(content), metav1.InitialEventsAnnotationKey) {
				t.Errorf("the bookmark lacks its annotation: %s", content)
			}
		}
	})
	t.Run("from 0 sends the present state", func(t *testing.T) {
		if event := watchEvents(t, client.Namespace(ns), metav1.ListOptions{ResourceVersion: "0"}, 1)[0]; event.Type != watch.Added {
			t.Errorf("have %s, want ADDED", event.Type)
		}
	})
	for name, version := range map[string]uint64{"an expired version": 5, "a version of another replica": current + 1<<40} {
		t.Run(name+" is gone", func(t *testing.T) {
			event := watchEvents(t, client.Namespace(ns), metav1.ListOptions{ResourceVersion: strconv.FormatUint(version, 10)}, 1)[0]
			status := apierrors.FromObject(event.Object)
			if event.Type != watch.Error || !apierrors.IsResourceExpired(status) {
				t.Errorf("have %s %v, want ERROR 410 Expired", event.Type, status)
			}
		})
	}
	t.Run("leaving a selector is a deletion", func(t *testing.T) {
		watcher, err := client.Namespace(ns).Watch(t.Context(), metav1.ListOptions{
			ResourceVersion: list.GetResourceVersion(), FieldSelector: "metadata.name=" + finding,
		})
		if err != nil {
			t.Fatal(err)
		}
		defer watcher.Stop()
		kubectl(t, "annotate", "pod", "db-0", "-n", ns, "controlplane.srenix.io/ready-")
		if event := nextEvent(t, watcher); event.Type != watch.Deleted {
			t.Errorf("have %s, want DELETED", event.Type)
		}
	})
	t.Run("limit and continue", func(t *testing.T) {
		for _, name := range []string{"a", "b", "c"} {
			stuckStatefulSet(t, ns, name)
		}
		seen := 0
		options := metav1.ListOptions{Limit: 2}
		for {
			page, err := client.Namespace(ns).List(t.Context(), options)
			if err != nil {
				t.Fatal(err)
			}
			seen += len(page.Items)
			if options.Continue = page.GetContinue(); options.Continue == "" {
				break
			}
		}
		if seen != 3 {
			t.Errorf("paging saw %d findings, want 3", seen)
		}
	})
}

type watchable interface {
	Watch(ctx context.Context, options metav1.ListOptions) (watch.Interface, error)
}

func watchEvents(t *testing.T, client watchable, options metav1.ListOptions, count int) []watch.Event {
	t.Helper()
	watcher, err := client.Watch(t.Context(), options)
	if err != nil {
		t.Fatal(err)
	}
	defer watcher.Stop()
	var events []watch.Event
	for range count {
		events = append(events, nextEvent(t, watcher))
	}
	return events
}

func nextEvent(t *testing.T, watcher watch.Interface) watch.Event {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	select {
	case event, open := <-watcher.ResultChan():
		if !open {
			t.Fatal("the watch ended")
		}
		return event
	case <-ctx.Done():
		t.Fatal("no event came")
	}
	return watch.Event{}
}

func TestQuotaReconcilesAndNamespacesDelete(t *testing.T) {
	ns := namespace(t)
	stuckStatefulSet(t, ns, "db")
	kubectl(t, "create", "quota", "pods", "-n", ns, "--hard=pods=10,count/configmaps=5")
	eventually(t, "the quota to count pods", func(context.Context) (bool, string) {
		used := kubectl(t, "get", "quota", "pods", "-n", ns, "-o", "jsonpath={.status.used.pods}")
		return used == "2", used
	})
	kubectl(t, "create", "configmap", "one-more", "-n", ns)
	eventually(t, "the quota to count another ConfigMap", func(context.Context) (bool, string) {
		used := kubectl(t, "get", "quota", "pods", "-n", ns, "-o", `jsonpath={.status.used.count/configmaps}`)
		return used == "2", used // With kube-root-ca.crt.
	})
	kubectl(t, "delete", "namespace", ns, "--timeout=60s")
	eventually(t, "the findings of the namespace to go", func(context.Context) (bool, string) {
		left := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "name")
		return left == "", left
	})
}

func TestOpenAPIResolves(t *testing.T) {
	client := kubeClient(t).Discovery().RESTClient()
	for _, path := range []string{"/openapi/v2", "/openapi/v3/apis/srenix.io/v1alpha1"} {
		content, err := client.Get().AbsPath(path).SetHeader("Accept", "application/json").DoRaw(t.Context())
		if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		var document map[string]any
		if err := json.Unmarshal(content, &document); err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		references := 0
		walkReferences(document, func(reference string) {
			references++
			if err := resolve(document, reference); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
		if references == 0 || !strings.Contains(string(content), "io.srenix.v1alpha1.Finding") {
			t.Errorf("%s has %d references and no Finding among its models", path, references)
		}
	}
}

func walkReferences(node any, visit func(string)) {
	switch node := node.(type) {
	case map[string]any:
		for key, value := range node {
			if reference, ok := value.(string); ok && key == "$ref" {
				visit(reference)
				continue
			}
			walkReferences(value, visit)
		}
	case []any:
		for _, value := range node {
			walkReferences(value, visit)
		}
	}
}

func resolve(document map[string]any, reference string) error {
	var node any = document
	for _, step := range strings.Split(strings.TrimPrefix(reference, "#/"), "/") {
		step = strings.NewReplacer("~1", "/", "~0", "~").Replace(step)
		object, ok := node.(map[string]any)
		if !ok || object[step] == nil {
			return fmt.Errorf("%s does not resolve", reference)
		}
		node = object[step]
	}
	return nil
}

// startReplica starts a second aggregated server and returns how to ask it
// directly: it authenticates and authorizes by itself.
func startReplica(t *testing.T, name string) (direct func(kubeconfig string) *rest.Config) {
	t.Helper()
	replica, port, err := srenix.NewReplica(t.Context(), name)
	if err != nil {
		t.Fatal(err)
	}
	if err := replica.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := replica.Stop(); err != nil {
			t.Error(err)
		}
	})
	return directTo(t, port)
}

// directTo returns how to reach the server on a port without the aggregator.
func directTo(t *testing.T, port int) (direct func(kubeconfig string) *rest.Config) {
	t.Helper()
	secret, err := kubeClient(t).CoreV1().Secrets("srenix-system").Get(t.Context(), "srenix-serving-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func(kubeconfig string) *rest.Config {
		config := restConfig(t, kubeconfig)
		config.Host = fmt.Sprintf("https://localhost:%d", port)
		config.CAData = secret.Data["ca.crt"]
		return config
	}
}

func TestUnknownIsNotHealthy(t *testing.T) {
	const binding = "srenix-apiserver-secrets-reader"
	kubectl(t, "delete", "clusterrolebinding", binding)
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "create", "clusterrolebinding", binding, "--clusterrole="+binding, "--serviceaccount=srenix-system:srenix-apiserver")
	})
	ns := namespace(t)
	stuckStatefulSet(t, ns, "db")
	config := startReplica(t, "srenix-apiserver-blind")(srenix.Plane.Kubeconfig())
	degraded := func(ctx context.Context) ([]v1alpha1.ClusterFinding, string) {
		list, err := dynamicClient(t, config).Resource(v1alpha1.SchemeGroupVersion.WithResource("clusterfindings")).
			List(ctx, metav1.ListOptions{FieldSelector: "spec.reason=AnalyzerDegraded,spec.analyzer=ConfigDrift"})
		if err != nil {
			return nil, err.Error()
		}
		var found []v1alpha1.ClusterFinding
		content, _ := json.Marshal(list.Items)
		if err := json.Unmarshal(content, &found); err != nil {
			return nil, err.Error()
		}
		return found, string(content)
	}
	var commands []string
	eventually(t, "the analyzer that cannot read Secrets to be reported", func(ctx context.Context) (bool, string) {
		found, detail := degraded(ctx)
		if len(found) != 1 || !strings.Contains(detail, "InputForbidden") {
			return false, detail
		}
		commands = found[0].Spec.Remediation.Commands
		return strings.Contains(found[0].Spec.Message, `{apiGroups: [""], resources: ["secrets"], verbs: [list, watch]}`), detail
	})
	eventually(t, "the analyzers that can see to go on", func(ctx context.Context) (bool, string) {
		list, err := dynamicClient(t, config).Resource(findingsResource).Namespace(ns).List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		return len(list.Items) == 1, fmt.Sprint(len(list.Items), " findings")
	})
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "clusterrolebinding,clusterrole", "srenix-reads-secrets")
	})
	// What the finding says to do is what heals it.
	for _, command := range commands {
		program, arguments, _ := strings.Cut(command, " ")
		if program != "kubectl" {
			t.Fatalf("not a kubectl command: %s", command)
		}
		kubectl(t, strings.Fields(arguments)...)
	}
	eventually(t, "it to heal by itself", func(ctx context.Context) (bool, string) {
		found, detail := degraded(ctx)
		return found != nil && len(found) == 0, detail
	})
}

func TestReplicasAgree(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	proposal := stuckStatefulSet(t, ns, "db")
	direct := startReplica(t, "srenix-apiserver-1")
	second := dynamicClient(t, direct(srenix.Plane.Kubeconfig())).Resource(findingsResource).Namespace(ns)
	first := dynamicClient(t, adminConfig(t)).Resource(findingsResource).Namespace(ns)
	eventually(t, "the replicas to serve the same", func(ctx context.Context) (bool, string) {
		mine, err := first.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		theirs, err := second.List(ctx, metav1.ListOptions{})
		if err != nil {
			return false, err.Error()
		}
		if len(mine.Items) != 1 || len(theirs.Items) != 1 {
			return false, fmt.Sprintf("%d and %d findings", len(mine.Items), len(theirs.Items))
		}
		a, b := mine.Items[0], theirs.Items[0]
		if a.GetResourceVersion() == b.GetResourceVersion() {
			t.Error("the replicas share a resourceVersion")
		}
		a.SetResourceVersion("")
		b.SetResourceVersion("")
		x, _ := json.Marshal(a.Object)
		y, _ := json.Marshal(b.Object)
		return string(x) == string(y), string(x) + "\n" + string(y)
	})

	// A client that moves from the newer replica to the older one is told to list again.
	theirs, err := second.List(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	event := watchEvents(t, first, metav1.ListOptions{ResourceVersion: theirs.GetResourceVersion()}, 1)[0]
	if event.Type != watch.Error || !apierrors.IsResourceExpired(apierrors.FromObject(event.Object)) {
		t.Errorf("watching with the other replica's version: %s %v", event.Type, event.Object)
	}

	// A token is good at either, and only once.
	minted := mint(t, alice, proposal)
	body, err := json.Marshal(approvalRequest(proposal.Spec.Digest, minted.Token))
	if err != nil {
		t.Fatal(err)
	}
	config := direct(alice)
	config.GroupVersion = &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = clientgoscheme.Codecs.WithoutConversion()
	client, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	path := []string{"/apis/srenix.io/v1alpha1/namespaces", ns, "proposals", proposal.Name, "approve"}
	if err := client.Post().AbsPath(path...).SetHeader("Content-Type", "application/json").Body(body).Do(t.Context()).Error(); err != nil {
		t.Fatalf("approving at the second replica with a token of the first: %v", err)
	}
	if _, err := post(t, alice, proposal, "approve", approvalRequest(proposal.Spec.Digest, minted.Token)); err == nil {
		t.Error("the token was taken twice, once by each replica")
	}
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+minted.ApprovalName, "-n", ns, "--timeout=90s")
}
