// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package install installs, upgrades and uninstalls the Helm chart on a local
// control plane, by Helm's own actions. Its pods are played by kwok; what matters
// of them runs beside, as a process with their service account's token.
package install

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"helm.sh/helm/v4/pkg/action"
	"helm.sh/helm/v4/pkg/kube"
	release "helm.sh/helm/v4/pkg/release/v1"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/chart"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// deadline is how long anything may take on a busy machine.
const deadline = 2 * time.Minute

var (
	apiServices = schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"}
	webhooks    = schema.GroupVersionResource{Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingwebhookconfigurations"}
	crds        = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}
)

// site is a cluster and what Helm works on it with.
type site struct {
	*testing.T
	plane   *plane.Plane
	srenix  *harness.Srenix
	kube    kubernetes.Interface
	dynamic dynamic.Interface
	helm    *action.Configuration
}

func newSite(t *testing.T) *site {
	t.Helper()
	p, err := plane.Start(t.Context(), plane.Options{Dir: filepath.Join(t.TempDir(), "plane"), Nodes: 3, Progress: os.Stderr})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	config, err := p.Config()
	if err != nil {
		t.Fatal(err)
	}
	s := &site{T: t, plane: p, srenix: &harness.Srenix{Plane: p}}
	if s.kube, err = kubernetes.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	if s.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	flags := genericclioptions.NewConfigFlags(false)
	flags.KubeConfig, flags.Namespace = ptr.To(p.Kubeconfig()), ptr.To(chart.Namespace)
	s.helm = action.NewConfiguration(action.ConfigurationSetLogger(slog.DiscardHandler))
	if err := s.helm.Init(flags, chart.Namespace, ""); err != nil {
		t.Fatal(err)
	}
	return s
}

// kubectl runs it as the admin and returns what it prints.
func (s *site) kubectl(arguments ...string) string {
	s.Helper()
	output, _, err := s.plane.Kubectl(s.Context(), arguments...)
	if err != nil {
		s.Fatal(err)
	}
	return output
}

// eventually waits until there is no problem.
func (s *site) eventually(what string, problem func(context.Context) string) {
	s.Helper()
	var last string
	err := wait.PollUntilContextTimeout(s.Context(), 100*time.Millisecond, deadline, true, func(ctx context.Context) (bool, error) {
		last = problem(ctx)
		return last == "", nil
	})
	if err != nil {
		s.Fatalf("waiting until %s: %v (%s)", what, err, last)
	}
}

// held keeps the pods of Jobs from completing, until this process has done what
// they are for.
type held struct{}

// Run implements postrenderer.PostRenderer.
func (held) Run(manifests *bytes.Buffer) (*bytes.Buffer, error) {
	objects, err := chart.Decode(manifests.String())
	if err != nil {
		return nil, err
	}
	out := &bytes.Buffer{}
	for _, object := range objects {
		if object.GetKind() == "Job" {
			if err := unstructured.SetNestedField(object.Object, "false", "spec", "template", "metadata", "annotations", "controlplane.srenix.io/ready"); err != nil {
				return nil, err
			}
		}
		content, err := yaml.Marshal(object.Object)
		if err != nil {
			return nil, err
		}
		fmt.Fprintf(out, "---\n%s", content)
	}
	return out, nil
}

func (s *site) install(values map[string]any) *release.Release {
	s.Helper()
	content, err := chart.Load()
	if err != nil {
		s.Fatal(err)
	}
	install := action.NewInstall(s.helm)
	install.ReleaseName, install.Namespace = chart.ReleaseName, chart.Namespace
	install.WaitStrategy, install.Timeout, install.PostRenderer = kube.HookOnlyStrategy, deadline, held{}
	made, err := install.RunWithContext(s.Context(), content, values)
	if err != nil {
		s.Fatal(err)
	}
	return made.(*release.Release)
}

func (s *site) upgrade(values map[string]any) {
	s.Helper()
	content, err := chart.Load()
	if err != nil {
		s.Fatal(err)
	}
	upgrade := action.NewUpgrade(s.helm)
	upgrade.Namespace, upgrade.WaitStrategy, upgrade.Timeout, upgrade.PostRenderer = chart.Namespace, kube.HookOnlyStrategy, deadline, held{}
	if _, err := upgrade.RunWithContext(s.Context(), chart.ReleaseName, content, values); err != nil {
		s.Fatal(err)
	}
}

// state is UID and generation of all objects of a release, by what they are.
func (s *site) state(of *release.Release) map[string]string {
	s.Helper()
	objects, err := chart.Decode(of.Manifest)
	if err != nil {
		s.Fatal(err)
	}
	groups, err := restmapper.GetAPIGroupResources(s.kube.Discovery())
	if err != nil {
		s.Fatal(err)
	}
	mapper := restmapper.NewDiscoveryRESTMapper(groups)
	found := map[string]string{}
	for _, object := range objects {
		kind := object.GroupVersionKind()
		mapping, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
		if err != nil {
			s.Fatal(err)
		}
		var client dynamic.ResourceInterface = s.dynamic.Resource(mapping.Resource)
		if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
			client = s.dynamic.Resource(mapping.Resource).Namespace(object.GetNamespace())
		}
		current, err := client.Get(s.Context(), object.GetName(), metav1.GetOptions{})
		if err != nil {
			s.Errorf("it was installed and is not there: %v", err)
			continue
		}
		found[kind.Kind+" "+object.GetNamespace()+"/"+object.GetName()] = fmt.Sprintf("%s generation %d", current.GetUID(), current.GetGeneration())
	}
	return found
}

// left are the objects of cluster scope, and those of kube-system that somebody
// gave rights with. What the control plane makes of itself, and the namespace, are
// left out.
func (s *site) left(ctx context.Context) (map[string]bool, error) {
	lists, err := discovery.ServerPreferredResources(s.kube.Discovery())
	if err != nil && !discovery.IsGroupDiscoveryFailedError(err) {
		return nil, err
	}
	found := map[string]bool{}
	for _, list := range lists {
		version, err := schema.ParseGroupVersion(list.GroupVersion)
		if err != nil {
			return nil, err
		}
		for _, resource := range list.APIResources {
			own := slices.Contains([]string{"roles", "rolebindings", "configmaps", "secrets", "services"}, resource.Name)
			if !slices.Contains(resource.Verbs, "list") || resource.Namespaced && !own || resource.Name == "nodes" || resource.Name == "namespaces" {
				continue
			}
			client := s.dynamic.Resource(version.WithResource(resource.Name))
			var objects *unstructured.UnstructuredList
			if resource.Namespaced {
				objects, err = client.Namespace(metav1.NamespaceSystem).List(ctx, metav1.ListOptions{})
			} else {
				objects, err = client.List(ctx, metav1.ListOptions{})
			}
			if apierrors.IsNotFound(err) {
				continue // Its CustomResourceDefinition went in between.
			}
			if err != nil {
				return nil, fmt.Errorf("listing %s: %w", resource.Name, err)
			}
			for _, object := range objects.Items {
				found[resource.Name+" "+object.GetNamespace()+"/"+object.GetName()] = true
			}
		}
	}
	return found, nil
}

// restricted makes the namespace as docs/install.md says.
func (s *site) restricted() {
	s.kubectl("create", "namespace", chart.Namespace)
	s.kubectl("label", "namespace", chart.Namespace, "pod-security.kubernetes.io/enforce=restricted")
}

// available waits until the pods of both programs, which kwok plays, are Ready, and
// so were admitted.
func (s *site) available() {
	s.Helper()
	s.eventually("the Deployments are available", func(ctx context.Context) string {
		for _, name := range []string{"srenix-apiserver", "srenix-executor"} {
			deployment, err := s.kube.AppsV1().Deployments(chart.Namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return err.Error()
			}
			if !complete(deployment) {
				return fmt.Sprintf("%s: %+v", name, deployment.Status)
			}
		}
		return ""
	})
}

func complete(deployment *appsv1.Deployment) bool {
	return deployment.Status.ObservedGeneration == deployment.Generation &&
		deployment.Status.UpdatedReplicas == *deployment.Spec.Replicas &&
		deployment.Status.AvailableReplicas == *deployment.Spec.Replicas
}

// registration is what the server fills in of the objects by which it is called.
func (s *site) registration() (service *unstructured.Unstructured, filledIn map[string]any) {
	s.Helper()
	service, err := s.dynamic.Resource(apiServices).Get(s.Context(), "v1alpha1.srenix.io", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	webhook, err := s.dynamic.Resource(webhooks).Get(s.Context(), "srenix", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	filledIn = map[string]any{}
	filledIn["authority of the API"], _, _ = unstructured.NestedString(service.Object, "spec", "caBundle")
	configured, _, _ := unstructured.NestedSlice(webhook.Object, "webhooks")
	for _, one := range configured {
		name := one.(map[string]any)["name"].(string)
		filledIn["authority of "+name], _, _ = unstructured.NestedString(one.(map[string]any), "clientConfig", "caBundle")
		filledIn["path of "+name], _, _ = unstructured.NestedString(one.(map[string]any), "clientConfig", "service", "path")
	}
	return service, filledIn
}

func TestInstallUpgradeUninstall(t *testing.T) {
	s := newSite(t)
	before, err := s.left(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.restricted()

	installed := s.install(map[string]any{"networkPolicy": map[string]any{"enabled": true}})
	if !strings.Contains(installed.Info.Notes, "srenix dev is installed in namespace srenix-system") {
		t.Errorf("the notes are\n%s", installed.Info.Notes)
	}
	s.state(installed)
	s.available()
	registered := s.registered()

	// The server itself fills in by what it is recognized, and begins the audit chain.
	apiPort, webhookPort, err := harness.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	server, err := s.srenix.NewAPIServer(t.Context(), "srenix-apiserver-0", apiPort, webhookPort)
	if err != nil {
		t.Fatal(err)
	}
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Kill() })
	s.eventually("the server has published its authority and begun the chain", func(context.Context) string {
		if server.Ended() {
			t.Fatalf("it ended:\n%s", server.LogTail())
		}
		_, filledIn := s.registration()
		for what, content := range filledIn {
			if content == "" {
				return "there is no " + what
			}
		}
		if s.kubectl("get", "auditevents", "-o", "name") == "" {
			return "there are no audit events"
		}
		return ""
	})
	s.ignoredByGitOps(registered)

	t.Run("an upgrade to the same changes nothing", func(t *testing.T) {
		service, filledIn := s.registration()
		objects := s.state(installed)
		s.upgrade(map[string]any{"networkPolicy": map[string]any{"enabled": true}})
		if diff := cmp.Diff(objects, s.state(installed)); diff != "" {
			t.Errorf("objects changed:\n%s", diff)
		}
		after, filledInAfter := s.registration()
		if service.GetUID() != after.GetUID() {
			t.Error("the APIService was registered anew")
		}
		if diff := cmp.Diff(filledIn, filledInAfter); diff != "" {
			t.Errorf("what the server filled in was taken back:\n%s", diff)
		}
	})

	t.Run("an upgrade to another configuration rolls the pods and keeps the API", func(t *testing.T) {
		service, filledIn := s.registration()
		objects := s.state(installed)
		s.upgrade(map[string]any{
			"networkPolicy": map[string]any{"enabled": true},
			"configuration": map[string]any{"policy": map[string]any{"approvalsPerHour": 3}},
			"analyzers":     map[string]any{"gitopsDrift": map[string]any{"enabled": false}},
		})
		var changed []string
		now := s.state(installed)
		for what := range objects {
			if now[what] != objects[what] {
				changed = append(changed, what)
			}
		}
		slices.Sort(changed)
		// A ConfigMap has no generation.
		if want := []string{"Deployment srenix-system/srenix-apiserver", "Deployment srenix-system/srenix-executor"}; !slices.Equal(changed, want) {
			t.Errorf("changed are %v, must be %v", changed, want)
		}
		s.available()
		after, filledInAfter := s.registration()
		if service.GetUID() != after.GetUID() || !cmp.Equal(filledIn, filledInAfter) {
			t.Error("the APIService was registered anew, or what the server filled in was taken back")
		}
	})

	if err := server.Stop(); err != nil {
		t.Fatal(err)
	}
	s.uninstall()

	s.eventually("nothing of cluster scope is left behind", func(ctx context.Context) string {
		after, err := s.left(ctx)
		if err != nil {
			return err.Error()
		}
		maps.DeleteFunc(after, func(what string, _ bool) bool { return before[what] })
		return strings.Join(slices.Sorted(maps.Keys(after)), ", ")
	})
	s.kubectl("delete", "namespace", chart.Namespace, "--wait", "--timeout="+deadline.String())
}

// uninstall has Helm uninstall, and is the kubelet of the hook's pod meanwhile.
func (s *site) uninstall() {
	s.Helper()
	uninstall := action.NewUninstall(s.helm)
	uninstall.WaitStrategy, uninstall.Timeout = kube.HookOnlyStrategy, deadline
	ended := make(chan error, 1)
	go func() {
		_, err := uninstall.Run(chart.ReleaseName)
		ended <- err
	}()

	var pod string
	s.eventually("the hook's pod runs", func(ctx context.Context) string {
		select {
		case err := <-ended:
			s.Fatalf("Helm did not wait for the hook: %v", err)
		default:
		}
		pods, err := s.kube.CoreV1().Pods(chart.Namespace).List(ctx, metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=srenix-deregister"})
		if err != nil {
			return err.Error()
		}
		if len(pods.Items) != 1 || pods.Items[0].Status.Phase != "Running" {
			return fmt.Sprintf("there are %d", len(pods.Items))
		}
		pod = pods.Items[0].Name
		return ""
	})
	standing := func(when string) {
		s.Helper()
		if _, err := s.dynamic.Resource(crds).Get(s.Context(), "approvals.ops.srenix.io", metav1.GetOptions{}); err != nil {
			s.Errorf("%s: %v", when, err)
		}
		if _, err := s.dynamic.Resource(webhooks).Get(s.Context(), "srenix", metav1.GetOptions{}); err != nil {
			s.Errorf("%s: %v", when, err)
		}
		if _, err := s.kube.AppsV1().Deployments(chart.Namespace).Get(s.Context(), "srenix-apiserver", metav1.GetOptions{}); err != nil {
			s.Errorf("%s: %v", when, err)
		}
	}
	standing("before the hook")
	if _, err := s.dynamic.Resource(apiServices).Get(s.Context(), "v1alpha1.srenix.io", metav1.GetOptions{}); err != nil {
		s.Errorf("the APIService went before the hook: %v", err)
	}

	// The hook's own command, arguments and account.
	kubeconfig, err := s.srenix.ServiceAccountKubeconfig(s.Context(), "srenix-deregister")
	if err != nil {
		s.Fatal(err)
	}
	if may, _, _ := s.plane.KubectlAs(s.Context(), kubeconfig, "auth", "can-i", "delete", "apiservices/v1.apps"); strings.TrimSpace(may) != "no" {
		s.Errorf("whether the hook may delete another APIService: %s", may)
	}
	job, err := s.kube.BatchV1().Jobs(chart.Namespace).Get(s.Context(), "srenix-deregister", metav1.GetOptions{})
	if err != nil {
		s.Fatal(err)
	}
	container := job.Spec.Template.Spec.Containers[0]
	if job.Spec.Template.Spec.ServiceAccountName != "srenix-deregister" || len(container.Command) == 0 {
		s.Fatalf("the hook runs %v as %s", container.Command, job.Spec.Template.Spec.ServiceAccountName)
	}
	program, err := plane.Binary(strings.TrimPrefix(container.Command[0], "/"))
	if err != nil {
		s.Fatal(err)
	}
	arguments := append(append(slices.Clone(container.Command[1:]), container.Args...), "--kubeconfig="+kubeconfig)
	if _, _, err := plane.RunCommand(exec.CommandContext(s.Context(), program, arguments...)); err != nil {
		s.Fatal(err)
	}
	if _, err := s.dynamic.Resource(apiServices).Get(s.Context(), "v1alpha1.srenix.io", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
		s.Errorf("the hook has left the APIService: %v", err)
	}
	standing("after the hook")

	released, err := json.Marshal(map[string]any{"metadata": map[string]any{"annotations": map[string]any{"controlplane.srenix.io/ready": nil}}})
	if err != nil {
		s.Fatal(err)
	}
	if _, err := s.kube.CoreV1().Pods(chart.Namespace).Patch(s.Context(), pod, types.MergePatchType, released, metav1.PatchOptions{}); err != nil {
		s.Fatal(err)
	}
	if err := <-ended; err != nil {
		s.Fatalf("uninstalling: %v", err)
	}
}
