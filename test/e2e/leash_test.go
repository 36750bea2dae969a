// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// TestTheSecondLeashHoldsTheExecutor uses the executor's own credentials, with
// every right of the cluster added to them, for what it must not do.
func TestTheSecondLeashHoldsTheExecutor(t *testing.T) {
	ns, protected := namespace(t), namespace(t)
	executor := escapedExecutor(t)
	kubectl(t, "label", "namespace", protected, "srenix.io/protected=true")
	for _, namespace := range []string{ns, protected} {
		readyStatefulSet(t, namespace, "db")
	}
	kubectl(t, "create", "deployment", "app", "-n", ns, "--image=example/app:1")
	kubectl(t, "create", "deployment", "managed", "-n", ns, "--image=example/app:1")
	kubectl(t, "label", "deployment", "managed", "-n", ns, "helm.toolkit.fluxcd.io/name=shop")
	restart := func(value string) string {
		return fmt.Sprintf(`{"spec":{"template":{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":%q}}}}}`, value)
	}
	now := time.Now().UTC().Format(time.RFC3339)

	for name, test := range map[string]struct {
		arguments []string
		layer     string
	}{
		"set an image":                 {[]string{"set", "image", "deployment/app", "*=evil:1", "-n", ns}, "TargetScope"},
		"scale":                        {[]string{"scale", "deployment/app", "--replicas=0", "-n", ns}, "ActionKindAllowlist"},
		"change replicas":              {[]string{"patch", "deployment", "app", "-n", ns, "-p", `{"spec":{"replicas":9}}`}, "TargetScope"},
		"annotate the Deployment":      {[]string{"annotate", "deployment", "app", "-n", ns, "a=b"}, "TargetScope"},
		"annotate the template":        {[]string{"patch", "deployment", "app", "-n", ns, "-p", `{"spec":{"template":{"metadata":{"annotations":{"a":"b"}}}}}`}, "TargetScope"},
		"restart at no time":           {[]string{"patch", "deployment", "app", "-n", ns, "-p", restart("now")}, "TargetScope"},
		"restart what Flux manages":    {[]string{"patch", "deployment", "managed", "-n", ns, "-p", restart(now)}, "GitOpsManaged"},
		"label":                        {[]string{"label", "deployment", "app", "-n", ns, "a=b"}, "TargetScope"},
		"delete a Deployment":          {[]string{"delete", "deployment", "app", "-n", ns}, "ActionKindAllowlist"},
		"delete a pod without its UID": {[]string{"delete", "pod", "db-1", "-n", ns}, "TargetScope"},
		"delete all pods":              {[]string{"delete", "pods", "--all", "-n", ns}, "TargetScope"},
		"create a ConfigMap":           {[]string{"create", "configmap", "x", "-n", ns}, "ActionKindAllowlist"},
		"make itself a token":          {[]string{"create", "token", "srenix-apiserver", "-n", harness.Namespace}, "ActionKindAllowlist"},
		"exec":                         {[]string{"exec", "db-1", "-n", ns, "--", "true"}, "ActionKindAllowlist"},
		"bind a role":                  {[]string{"create", "clusterrolebinding", "x", "--clusterrole=cluster-admin", "--user=x"}, "ActionKindAllowlist"},
	} {
		t.Run(name, func(t *testing.T) {
			output := kubectlFails(t, executor, test.arguments...)
			if !strings.Contains(output, "srenix-executor-leash") || !strings.Contains(output, test.layer) {
				t.Errorf("refused otherwise than by layer %s of the leash:\n%s", test.layer, output)
			}
		})
	}

	client, err := kubernetes.NewForConfig(restConfig(t, executor))
	if err != nil {
		t.Fatal(err)
	}
	deletePod := func(namespace, name string) error {
		pod, err := client.CoreV1().Pods(namespace).Get(t.Context(), name, metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		return client.CoreV1().Pods(namespace).Delete(t.Context(), name, *metav1.NewPreconditionDeleteOptions(string(pod.UID)))
	}
	if err := deletePod(protected, "db-0"); err == nil || !strings.Contains(err.Error(), "NamespaceProtection") {
		t.Errorf("deleting a pod in a protected namespace: %v", err)
	}
	if err := deletePod(ns, "db-0"); err != nil {
		t.Errorf("deleting one pod by UID, which it may: %v", err)
	}
	patch := []byte(restart(now))
	if _, err := client.AppsV1().Deployments(ns).Patch(t.Context(), "app", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Errorf("restarting a Deployment, which it may: %v", err)
	}
	if _, err := client.AppsV1().Deployments(ns).Get(t.Context(), "app", metav1.GetOptions{}); err != nil {
		t.Errorf("reading: %v", err)
	}
}

// escapedExecutor gives the executor's identity every right and returns its kubeconfig.
func escapedExecutor(t *testing.T) string {
	t.Helper()
	kubectl(t, "create", "clusterrolebinding", "e2e-escaped", "--clusterrole=cluster-admin", "--serviceaccount="+harness.Namespace+":srenix-executor")
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "clusterrolebinding", "e2e-escaped")
	})
	path, err := srenix.ServiceAccountKubeconfig(t.Context(), "srenix-executor")
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestTheTwoLeashesNameTheSame holds the lists in CEL equal to those in Go.
func TestTheTwoLeashesNameTheSame(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(filepath.Join(root, "artifacts", "kustomize", "base", "policies", "executor-leash.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	// Folded lines of the manifest are one line of CEL.
	cel := strings.Join(strings.Fields(string(content)), " ")
	markers := policy.GitOpsMarkers()
	for what, list := range map[string][]string{
		"protected namespaces": policy.ProtectedNamespaces(),
		"annotations":          markers.Annotations,
		"labels":               markers.Labels,
		"managers":             policy.GitOpsManagers(),
	} {
		if want := `["` + strings.Join(list, `", "`) + `"]`; !strings.Contains(cel, want) {
			t.Errorf("the leash in CEL lacks the %s of the one in Go: %s", what, want)
		}
	}
}

func TestAuditEventsAreImmutable(t *testing.T) {
	ns := namespace(t)
	mint(t, approver(t, ns, "alice"), stuckStatefulSet(t, ns, "db")) // Minting is audited.
	name := strings.Fields(kubectl(t, "get", "auditevents", "-o", "name"))[0]
	for _, arguments := range [][]string{
		{"delete", name},
		{"label", name, "a=b"},
		{"patch", name, "--type=merge", "-p", `{"spec":{"message":"nothing happened"}}`},
	} {
		output := kubectlFails(t, srenix.Plane.Kubeconfig(), arguments...)
		if !strings.Contains(output, "hash chain") && !strings.Contains(output, "cannot be changed") {
			t.Errorf("kubectl %v: %s", arguments, output)
		}
	}
	forged := strings.Replace(kubectl(t, "get", name, "-o", "json"), `"name": "0`, `"name": "9`, 1)
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "create", "--validate=false", "-f", "-")
	command.Stdin = strings.NewReader(forged)
	if output, err := command.CombinedOutput(); err == nil || !strings.Contains(string(output), "appended by srenix itself") {
		t.Errorf("the admin appended an event: %s", output)
	}
	if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
		t.Errorf("audit verify: %s", output)
	}
}

// TestAnExecutorOffTheSecondLeashDoesNotStart takes the binding of the second leash away.
func TestAnExecutorOffTheSecondLeashDoesNotStart(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(root, "artifacts", "kustomize", "base", "policies", "executor-leash.yaml")
	kubectl(t, "delete", "validatingadmissionpolicybinding", "srenix-executor-leash")
	t.Cleanup(func() {
		if _, _, err := srenix.Plane.Kubectl(context.Background(), "apply", "-f", file); err != nil {
			t.Error(err)
		}
	})
	kubeconfig, err := srenix.ServiceAccountKubeconfig(t.Context(), "srenix-executor")
	if err != nil {
		t.Fatal(err)
	}
	executor, err := kubernetes.NewForConfig(restConfig(t, kubeconfig))
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the leash to hold no more", func(ctx context.Context) (bool, string) {
		lease := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Name: "off-the-leash"}}
		_, err := executor.CoordinationV1().Leases(harness.Namespace).Create(ctx, lease, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err == nil, fmt.Sprint(err)
	})
	loose, err := srenix.NewExecutor(t.Context(), "srenix-executor-loose")
	if err != nil {
		t.Fatal(err)
	}
	if err := loose.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := loose.Kill(); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it to end", func(context.Context) (bool, string) { return loose.Ended(), loose.LogTail() })
	if tail := loose.LogTail(); !strings.Contains(tail, "the second leash does not hold this executor") || !strings.Contains(tail, "--allow-without-second-leash") {
		t.Errorf("it does not say why it ended:\n%s", tail)
	}

	// One that is told to do without it says so in the audit chain before it does anything.
	knowing, err := srenix.NewExecutor(t.Context(), "srenix-executor-knowing", "--allow-without-second-leash")
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(srenix.Executor.Stop(), knowing.Start()); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := errors.Join(knowing.Stop(), srenix.Executor.Start()); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "the audit chain to have that it goes without", func(context.Context) (bool, string) {
		recorded := kubectl(t, "get", "auditevents", "-l", audit.LabelType+"="+string(opsv1alpha1.AuditConfigurationChanged), "-o", "jsonpath={.items[*].spec.message}")
		return strings.Contains(recorded, "with --allow-without-second-leash"), recorded
	})
}
