// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"context"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const pollInterval = 50 * time.Millisecond

var (
	deadline = 60 * time.Second

	findingsResource        = v1alpha1.SchemeGroupVersion.WithResource("findings")
	clusterFindingsResource = v1alpha1.SchemeGroupVersion.WithResource("clusterfindings")
	proposalsResource       = v1alpha1.SchemeGroupVersion.WithResource("proposals")

	namespaceCounter atomic.Int64
)

// eventually polls a condition until it holds; detail tells what was seen last.
func eventually(t *testing.T, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	eventuallyWithin(t, deadline, what, condition)
}

func eventuallyWithin(t *testing.T, limit time.Duration, what string, condition func(ctx context.Context) (ok bool, detail string)) {
	t.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(t.Context(), pollInterval, limit, true, func(ctx context.Context) (bool, error) {
		ok, seen := condition(ctx)
		if ctx.Err() == nil {
			detail = seen // What is seen while time runs out says nothing.
		}
		return ok, nil
	})
	if err != nil {
		t.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

// limited is a context for what must be over in time.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	t.Cleanup(cancel)
	return ctx
}

// receive waits for a value of a channel.
func receive[T any](t *testing.T, what string, from <-chan T) (value T, open bool) {
	t.Helper()
	select {
	case value, open = <-from:
	case <-time.After(deadline):
		t.Fatalf("waiting for %s: nothing came", what)
	}
	return value, open
}

// must fails the test on an error.
func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// namespace makes a namespace that goes away with the test.
func namespace(t *testing.T) string {
	t.Helper()
	// Another process may have been on the plane before.
	name := fmt.Sprintf("conformance-%d-%d", os.Getpid(), namespaceCounter.Add(1))
	_, err := kube.CoreV1().Namespaces().Create(t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	must(t, err)
	t.Cleanup(func() {
		// Not waited for: a test of its own does that.
		_ = kube.CoreV1().Namespaces().Delete(context.Background(), name, metav1.DeleteOptions{})
	})
	return name
}

// The cheapest finding is that of a Role which allows every verb: it comes in
// milliseconds, changes with the resources that the Role names, and goes with it.

func wideRole(namespace, name string, resources ...string) *rbacv1.Role {
	if len(resources) == 0 {
		resources = []string{"pods"}
	}
	group := ""
	if resources[0] == rbacv1.ResourceAll {
		group = rbacv1.APIGroupAll
	}
	return &rbacv1.Role{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{rbacv1.VerbAll}, APIGroups: []string{group}, Resources: resources}},
	}
}

// createRole makes a Role that allows every verb on the resources, pods if none is named.
func createRole(ctx context.Context, namespace, name string, resources ...string) error {
	_, err := kube.RbacV1().Roles(namespace).Create(ctx, wideRole(namespace, name, resources...), metav1.CreateOptions{})
	return err
}

func updateRole(ctx context.Context, namespace, name string, resources ...string) error {
	_, err := kube.RbacV1().Roles(namespace).Update(ctx, wideRole(namespace, name, resources...), metav1.UpdateOptions{})
	return err
}

func deleteRole(ctx context.Context, namespace, name string) error {
	return kube.RbacV1().Roles(namespace).Delete(ctx, name, metav1.DeleteOptions{})
}

// withFindings makes Roles with a finding each, and waits until these are all
// the findings of the namespace.
func withFindings(t *testing.T, namespace string, names ...string) *unstructured.UnstructuredList {
	t.Helper()
	for _, name := range names {
		must(t, createRole(t.Context(), namespace, name))
	}
	return awaitSubjects(t, namespace, names...)
}

// awaitSubjects waits until the findings of a namespace are about exactly these
// subjects, and returns them in the order of the list.
func awaitSubjects(t *testing.T, namespace string, names ...string) *unstructured.UnstructuredList {
	t.Helper()
	want := slices.Sorted(slices.Values(names))
	var list *unstructured.UnstructuredList
	eventually(t, fmt.Sprintf("findings about %s in %s", want, namespace), func(ctx context.Context) (bool, string) {
		var err error
		if list, err = objects.Resource(findingsResource).Namespace(namespace).List(ctx, metav1.ListOptions{}); err != nil {
			return false, err.Error()
		}
		have := slices.Sorted(slices.Values(subjects(list.Items)))
		return slices.Equal(want, have), fmt.Sprint(have)
	})
	return list
}

// subject is the name of what a finding is about.
func subject(finding *unstructured.Unstructured) string {
	name, _, _ := unstructured.NestedString(finding.Object, "spec", "subject", "name")
	return name
}

func subjects(items []unstructured.Unstructured) []string {
	names := []string{}
	for i := range items {
		names = append(names, subject(&items[i]))
	}
	return names
}

func names(items []unstructured.Unstructured) []string {
	names := []string{}
	for i := range items {
		names = append(names, items[i].GetName())
	}
	return names
}

// version reads a resourceVersion as the number that it is.
func version(t *testing.T, text string) uint64 {
	t.Helper()
	number, err := strconv.ParseUint(text, 10, 64)
	if err != nil {
		t.Fatalf("resourceVersion %q: %v", text, err)
	}
	return number
}

// foreign is a version that no server has given out yet.
func foreign(t *testing.T, current string) string {
	t.Helper()
	return strconv.FormatUint(version(t, current)+1<<40, 10)
}

// kubectl runs the plane's kubectl as the admin and fails the test if it fails.
func kubectl(t *testing.T, arguments ...string) string {
	t.Helper()
	stdout, stderr, err := srenix.Plane.Kubectl(t.Context(), arguments...)
	if err != nil {
		t.Fatalf("%v\n%s", err, stdout+stderr)
	}
	return stdout
}

// userConfig is the client configuration of a user with a client certificate.
func userConfig(t *testing.T, user string) *rest.Config {
	t.Helper()
	path, err := srenix.Plane.UserKubeconfig(t.Context(), user)
	must(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	config.QPS = -1
	return config
}

// directConfig is how the admin reaches a server without the aggregator.
func directConfig(t *testing.T, port int) *rest.Config {
	t.Helper()
	secret, err := kube.CoreV1().Secrets("srenix-system").Get(t.Context(), "srenix-serving-certs", metav1.GetOptions{})
	must(t, err)
	config := rest.CopyConfig(admin)
	config.Host = fmt.Sprintf("https://localhost:%d", port)
	config.CAData = secret.Data["ca.crt"]
	return config
}

// stuckStatefulSet makes a StatefulSet of two whose pod zero stops being Ready,
// and waits for its proposal.
func stuckStatefulSet(t *testing.T, namespace, name string) *unstructured.Unstructured {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "apply", "-f", "-")
	command.Stdin = strings.NewReader(fmt.Sprintf(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: %[2]s, namespace: %[1]s}
spec:
  serviceName: %[2]s
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: %[2]s}}
  template:
    metadata: {labels: {app: %[2]s}}
    spec: {containers: [{name: c, image: "example/db:1"}]}
`, namespace, name))
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("applying a StatefulSet: %v: %s", err, output)
	}
	kubectl(t, "rollout", "status", "statefulset/"+name, "-n", namespace, "--timeout=60s")
	setReady(t, namespace, name+"-0", false)
	var proposal *unstructured.Unstructured
	eventually(t, "a proposal for "+name, func(ctx context.Context) (bool, string) {
		list, err := objects.Resource(proposalsResource).Namespace(namespace).List(ctx, metav1.ListOptions{FieldSelector: "spec.target.name=" + name + "-0"})
		if err != nil {
			return false, err.Error()
		}
		if len(list.Items) != 1 {
			return false, fmt.Sprint(len(list.Items), " proposals")
		}
		proposal = &list.Items[0]
		return true, ""
	})
	return proposal
}

// setReady makes kwok set a pod's readiness.
func setReady(t *testing.T, namespace, pod string, ready bool) {
	t.Helper()
	annotation := "controlplane.srenix.io/ready=false"
	if ready {
		annotation = "controlplane.srenix.io/ready-"
	}
	kubectl(t, "annotate", "pod", pod, "-n", namespace, annotation, "--overwrite")
}

// phaseOf is a proposal's phase.
func phaseOf(e event) string {
	phase, _, _ := unstructured.NestedString(e.object.Object, "status", "phase")
	return phase
}
