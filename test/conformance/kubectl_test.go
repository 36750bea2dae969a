// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package conformance

import (
	"bufio"
	"context"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// controllersDeadline is how long kube-controller-manager may take: where an API
// was away, as in the tests of restarts, its controllers look again every 30 s
// (k8s.io/kubernetes, cmd/kube-controller-manager/app, core.go).
const controllersDeadline = 2 * time.Minute

// background runs kubectl and returns what it prints, line by line, and how it ends.
func background(t *testing.T, arguments ...string) (lines <-chan string, ended <-chan error) {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), arguments...)
	command.Cancel = func() error { return command.Process.Signal(syscall.SIGINT) }
	output, err := command.StdoutPipe()
	must(t, err)
	command.Stderr = command.Stdout
	must(t, command.Start())
	printed, end := make(chan string, 1000), make(chan error, 1)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for scanner := bufio.NewScanner(output); scanner.Scan(); {
			printed <- scanner.Text()
		}
		close(printed)
		end <- command.Wait()
	}()
	t.Cleanup(func() {
		_ = command.Process.Kill()
		<-done
	})
	return printed, end
}

// awaitLine reads lines until one has all the words.
func awaitLine(t *testing.T, lines <-chan string, words ...string) {
	t.Helper()
	limit := time.After(deadline)
	var seen []string
	for {
		select {
		case line, open := <-lines:
			if !open {
				t.Fatalf("kubectl ended before a line with %q; seen:\n%s", words, strings.Join(seen, "\n"))
			}
			seen = append(seen, line)
			matches := true
			for _, word := range words {
				matches = matches && strings.Contains(line, word)
			}
			if matches {
				return
			}
		case <-limit:
			t.Fatalf("no line with %q; seen:\n%s", words, strings.Join(seen, "\n"))
		}
	}
}

func awaitEnd(t *testing.T, what string, ended <-chan error) {
	t.Helper()
	select {
	case err := <-ended:
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	case <-time.After(deadline):
		t.Fatalf("%s did not end", what)
	}
}

// awaitWatches waits until so many watches of findings or proposals of a
// namespace are open, so that what follows happens before their eyes.
func awaitWatches(t *testing.T, resource string, count int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d watches of %s", count, resource), func(context.Context) (bool, string) {
		open := metric(t, "apiserver_longrunning_requests", `resource="`+resource+`"`, `verb="WATCH"`)
		return open >= count, fmt.Sprint(open)
	})
}

// TestKubectlWaits has kubectl wait for what comes only while it waits.
func TestKubectlWaits(t *testing.T) {
	ns := namespace(t)
	name := "finding.srenix.io/" + withFindings(t, ns, "a").Items[0].GetName()
	open := metric(t, "apiserver_longrunning_requests", `resource="findings"`, `verb="WATCH"`)

	_, changed := background(t, "wait", name, "-n", ns, "--timeout=60s", "--for=jsonpath={.spec.message}=Role a allows every verb, also those that do not exist yet, on other.")
	awaitWatches(t, "findings", open+1)
	must(t, updateRole(t.Context(), ns, "a", "other"))
	awaitEnd(t, "kubectl wait --for=jsonpath", changed)

	_, deleted := background(t, "wait", name, "-n", ns, "--timeout=60s", "--for=delete")
	awaitWatches(t, "findings", open+1)
	must(t, deleteRole(t.Context(), ns, "a"))
	awaitEnd(t, "kubectl wait --for=delete", deleted)

	// This one asks again and again, and never watches.
	_, created := background(t, "wait", name, "-n", ns, "--timeout=60s", "--for=create")
	must(t, createRole(t.Context(), ns, "a"))
	awaitEnd(t, "kubectl wait --for=create", created)

	// At once, where it holds already.
	kubectl(t, "wait", name, "-n", ns, "--timeout=60s", "--for=jsonpath={.spec.severity}=Warning")
	kubectl(t, "wait", name, "-n", ns, "--timeout=60s", "--for=create")
	kubectl(t, "wait", name+"-missing", "-n", ns, "--timeout=60s", "--for=delete")
}

func TestKubectlWaitsForConditions(t *testing.T) {
	ns := namespace(t)
	name := "proposal.srenix.io/" + stuckStatefulSet(t, ns, "db").GetName()
	kubectl(t, "wait", name, "-n", ns, "--timeout=60s", "--for=condition=Approvable")
	open := metric(t, "apiserver_longrunning_requests", `resource="proposals"`, `verb="WATCH"`)
	_, blocked := background(t, "wait", name, "-n", ns, "--timeout=60s", "--for=condition=Approvable=false")
	awaitWatches(t, "proposals", open+1)
	kubectl(t, "label", "namespace", ns, "srenix.io/protected=true")
	awaitEnd(t, "kubectl wait --for=condition=Approvable=false", blocked)
	_, healed := background(t, "wait", name, "-n", ns, "--timeout=60s", "--for=delete")
	awaitWatches(t, "proposals", open+1)
	setReady(t, ns, "db-0", true)
	awaitEnd(t, "kubectl wait --for=delete", healed)
}

// TestKubectlGetWatches prints a line for each event, with the columns of a table.
func TestKubectlGetWatches(t *testing.T) {
	t.Parallel()
	ns := namespace(t)
	name := withFindings(t, ns, "a").Items[0].GetName()
	events, _ := background(t, "get", "findings.srenix.io", "-n", ns, "-w", "--output-watch-events")
	awaitLine(t, events, "EVENT", "NAME", "SEVERITY")
	awaitLine(t, events, "ADDED", name, "Warning", "Role/a")
	wide, _ := background(t, "get", "findings.srenix.io", name, "-n", ns, "-w", "-o", "wide")
	awaitLine(t, wide, name, "Role a allows every verb")
	must(t, createRole(t.Context(), ns, "wide-1", "*"))
	critical, _ := background(t, "get", "findings.srenix.io", "-n", ns, "-w", "--field-selector=spec.severity=Critical", "-o", "name")
	awaitLine(t, critical, "wildcard-everything-wide-1")
	must(t, updateRole(t.Context(), ns, "a", "other"))
	awaitLine(t, events, "MODIFIED", name)
	awaitLine(t, wide, name, "on other.")
	must(t, deleteRole(t.Context(), ns, "a"))
	awaitLine(t, events, "DELETED", name)
	must(t, createRole(t.Context(), ns, "wide-2", "*"))
	awaitLine(t, events, "ADDED", "Critical", "Role/wide-2")
	awaitLine(t, critical, "wildcard-everything-wide-2")
}

// TestControllersOfTheClusterGoOn is about those of kube-controller-manager that
// look at every kind that can be deleted: quota, garbage collection and namespace
// deletion. They have to discover ours, and to pass them over.
func TestControllersOfTheClusterGoOn(t *testing.T) {
	t.Parallel()
	served, err := kube.Discovery().ServerResourcesForGroupVersion(v1alpha1.SchemeGroupVersion.String())
	must(t, err)
	for _, kind := range served.APIResources {
		if slices.Contains(kind.Verbs, "delete") || slices.Contains(kind.Verbs, "list") == strings.Contains(kind.Name, "/") {
			t.Errorf("%s has the verbs %v, want one that can be listed and not deleted", kind.Name, kind.Verbs)
		}
	}
	ns := namespace(t)
	withFindings(t, ns, "a", "b")
	// It comes by itself, and is to be counted from the start.
	eventually(t, "the namespace's own ConfigMap", func(ctx context.Context) (bool, string) {
		_, err := kube.CoreV1().ConfigMaps(ns).Get(ctx, "kube-root-ca.crt", metav1.GetOptions{})
		return err == nil, fmt.Sprint(err)
	})
	hard := corev1.ResourceList{"count/configmaps": resource.MustParse("10")}
	_, err = kube.CoreV1().ResourceQuotas(ns).Create(t.Context(), &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Name: "counts"}, Spec: corev1.ResourceQuotaSpec{Hard: hard},
	}, metav1.CreateOptions{})
	must(t, err)
	used := func(want string) {
		t.Helper()
		eventuallyWithin(t, controllersDeadline, "the quota to count "+want+" ConfigMaps", func(ctx context.Context) (bool, string) {
			quota, err := kube.CoreV1().ResourceQuotas(ns).Get(ctx, "counts", metav1.GetOptions{})
			if err != nil {
				return false, err.Error()
			}
			have := quota.Status.Used["count/configmaps"]
			return have.String() == want, fmt.Sprint(quota.Status.Used)
		})
	}
	used("1")
	owner, err := kube.CoreV1().ConfigMaps(ns).Create(t.Context(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	must(t, err)
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owned", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: owner.Name, UID: owner.UID}}}}
	_, err = kube.CoreV1().ConfigMaps(ns).Create(t.Context(), owned, metav1.CreateOptions{})
	must(t, err)
	used("3")
	must(t, kube.CoreV1().ConfigMaps(ns).Delete(t.Context(), "owner", metav1.DeleteOptions{}))
	eventuallyWithin(t, controllersDeadline, "the garbage collector to delete what is owned", func(ctx context.Context) (bool, string) {
		_, err := kube.CoreV1().ConfigMaps(ns).Get(ctx, "owned", metav1.GetOptions{})
		return apierrors.IsNotFound(err), fmt.Sprint(err)
	})
	used("1")
	must(t, kube.CoreV1().Namespaces().Delete(t.Context(), ns, metav1.DeleteOptions{}))
	eventuallyWithin(t, controllersDeadline, "the namespace to go", func(ctx context.Context) (bool, string) {
		namespace, err := kube.CoreV1().Namespaces().Get(ctx, ns, metav1.GetOptions{})
		if err == nil {
			return false, fmt.Sprintf("%+v", namespace.Status)
		}
		return apierrors.IsNotFound(err), err.Error()
	})
	awaitSubjects(t, ns)
}
