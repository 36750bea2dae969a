// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/silences"
	"github.com/srenix/srenix/test/plane"
)

// options with which goldens are made where they are not the default.
var options = map[string]string{"CertExpiry": `{"tlsSecrets": true}`, "TLSSecretMismatch": `{"tlsSecrets": true}`}

// configured are analyzers whose goldens want options that are not for a cluster
// without what they name.
var configured = map[string]string{
	"VaultPathMissing": `{"address": "https://vault.example.com:8200", "tokenFile": "/token", "alsoKnownAs": ["http://vault.vault.svc:8200"]}`,
}

// Every command of every remediation is run, with the objects of its golden
// applied: a read as it is, a change as a server-side dry run. So none has a wrong
// name, flag, namespace or shape, and every golden is what the API server takes.
func TestRemediationCommandsRun(t *testing.T) {
	cluster := newCluster(t)
	// As a cluster has it whose controllers elect a leader; here there is one of each.
	apply(t, "apiVersion: coordination.k8s.io/v1\nkind: Lease\nmetadata: {name: kube-controller-manager, namespace: kube-system}\nspec: {holderIdentity: one}\n")
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	var goldens, misses, commands atomic.Int64
	for _, entry := range catalog.All() {
		if entry.Name == silences.Name {
			continue // it reads what others found, and has no goldens: see below
		}
		files, err := filepath.Glob(filepath.Join(root, "pkg", "analyzers", strings.ToLower(entry.Name), "testdata", "found-*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if len(files) == 0 {
			t.Errorf("%s has no goldens", entry.Name)
		}
		nearMisses, err := filepath.Glob(filepath.Join(root, "pkg", "analyzers", strings.ToLower(entry.Name), "testdata", "miss-*.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range nearMisses {
			t.Run(entry.Name+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				if malformed(t, file) {
					return
				}
				misses.Add(1)
				for _, object := range objects(t, file) {
					cluster.createObject(t, object, metav1.DryRunAll)
				}
			})
		}
		analyzer, err := entry.New(analyzers.NewSettings(goldenConfiguration(entry.Name)))
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			t.Run(entry.Name+"/"+strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
				golden := analyzertest.Read(t, file)
				specs := analyzertest.Analyze(t, analyzer, golden.Now, golden.After, slices.Concat(golden.Objects, golden.Vault))
				if len(specs) == 0 {
					t.Fatal("nothing is found")
				}
				goldens.Add(1)
				for _, object := range objects(t, file) {
					cluster.createObject(t, object)
				}
				for _, spec := range specs {
					commands.Add(cluster.runAll(t, spec.Remediation))
				}
			})
		}
	}
	t.Logf("%d goldens that are found were applied, %d near misses could be, %d commands ran", goldens.Load(), misses.Load(), commands.Load())
}

// Silences are findings of what others found, so srenix itself says what is wrong with
// them and how to mend it.
func TestRemediationCommandsOfSilencesRun(t *testing.T) {
	cluster := newCluster(t)
	kubectl(t, "create", "namespace", "silent")
	t.Cleanup(func() { // before others count what is silenced
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "silences.ops.srenix.io", "--all", "-n", "silent")
	})
	later := time.Now().Add(time.Hour).UTC().Format(time.RFC3339)
	of := map[string]string{
		silences.Expired:   "expires: " + time.Now().Add(-time.Minute).UTC().Format(time.RFC3339) + "\n  match: {analyzers: [CrashLoop]}",
		silences.Invalid:   "expires: " + later + "\n  match: {selector: {matchExpressions: [{key: a, operator: In}]}}",
		silences.OverBroad: "expires: " + later + "\n  match: {}",
		silences.Inert:     "expires: " + later + "\n  match: {analyzers: [CrashLoop]}",
	}
	var commands int64
	for reason, spec := range of {
		name := strings.ToLower(reason)
		apply(t, "apiVersion: ops.srenix.io/v1alpha1\nkind: Silence\nmetadata: {name: "+name+", namespace: silent}\nspec:\n  owner: team\n  reason: a test\n  "+spec+"\n")
		found(t, "silent", reason, name)
		var remediation v1alpha1.Remediation
		text := kubectl(t, "get", "findings.srenix.io", "-n", "silent", "--field-selector", "spec.reason="+reason+",spec.subject.name="+name, "-o", "jsonpath={.items[0].spec.remediation}")
		if err := json.Unmarshal([]byte(text), &remediation); err != nil {
			t.Fatalf("%s: %v", text, err)
		}
		commands += cluster.runAll(t, remediation)
	}
	t.Logf("%d commands ran", commands)
}

// inline are the commands within the text of a remediation.
var inline = regexp.MustCompile("`([^`]*)`")

// runAll runs all commands of a remediation, those of its text included, and tells how
// many they were.
func (c *cluster) runAll(t *testing.T, remediation v1alpha1.Remediation) (ran int64) {
	t.Helper()
	commands := slices.Clone(remediation.Commands)
	for _, within := range inline.FindAllStringSubmatch(remediation.Text, -1) {
		commands = append(commands, within[1])
	}
	if rest := inline.ReplaceAllString(remediation.Text, ""); strings.Contains(rest, "kubectl ") {
		t.Errorf("a command of a text is not in backticks: %s", rest)
	}
	for _, command := range commands {
		if c.run(t, command) {
			ran++
		}
	}
	return ran
}

// goldenConfiguration is what the goldens of an analyzer are made with.
func goldenConfiguration(name string) config.AnalyzerConfiguration {
	of := analyzerConfiguration(name)
	if text, ok := configured[name]; ok {
		of.Options = &runtime.RawExtension{Raw: []byte(text)}
	}
	return of
}

func analyzerConfiguration(name string) config.AnalyzerConfiguration {
	of := config.AnalyzerConfiguration{}
	if text, ok := options[name]; ok {
		of.Options = &runtime.RawExtension{Raw: []byte(text)}
	}
	return of
}

// cluster is where goldens are applied and commands are run.
type cluster struct {
	client dynamic.Interface
	mapper meta.RESTMapper
	// path has kubectl and its plugins.
	path string
	seen map[string]bool
}

func newCluster(t *testing.T) *cluster {
	t.Helper()
	restConfig, err := srenix.Plane.Config()
	if err != nil {
		t.Fatal(err)
	}
	client, err := dynamic.NewForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	found, err := discovery.NewDiscoveryClientForConfig(restConfig)
	if err != nil {
		t.Fatal(err)
	}
	binary, err := plane.Binary("controlplane")
	if err != nil {
		t.Fatal(err)
	}
	path := t.TempDir()
	if err := os.Symlink(binary, filepath.Join(path, "kubectl")); err != nil {
		t.Fatal(err)
	}
	return &cluster{
		client: client, mapper: restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(found)),
		path: path + ":" + filepath.Dir(binary), seen: map[string]bool{},
	}
}

// malformed tells whether a golden says that no API server takes it.
func malformed(t *testing.T, file string) bool {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bytes.Contains(content, []byte("\n# malformed: "))
}

// objects reads a golden as it is written, unknown fields included.
func objects(t *testing.T, file string) []*unstructured.Unstructured {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []*unstructured.Unstructured
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return all
		}
		if err != nil {
			t.Fatal(err)
		}
		raw, err := utilyaml.ToJSON(document)
		if err != nil {
			t.Fatal(err)
		}
		object := &unstructured.Unstructured{}
		if err := json.Unmarshal(raw, &object.Object); err != nil {
			t.Fatal(err)
		}
		if len(object.Object) > 0 { // and not comments alone
			all = append(all, object)
		}
	}
}

// createObject creates an object of a golden, without what only a server writes,
// and removes it after the test.
func (c *cluster) createObject(t *testing.T, object *unstructured.Unstructured, dryRun ...string) {
	t.Helper()
	for _, field := range []string{
		"uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "managedFields",
		"ownerReferences", "finalizers", "generation",
	} {
		unstructured.RemoveNestedField(object.Object, "metadata", field)
	}
	unstructured.RemoveNestedField(object.Object, "status")
	if object.GetKind() == "Pod" {
		c.standalone(t, object, len(dryRun) > 0)
	}
	idle(object)
	disarm(object)
	if object.GetKind() == "Node" && len(dryRun) == 0 {
		c.node(t, object.GetName())
		return
	}
	kind := object.GroupVersionKind()
	mapping, err := c.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		t.Fatalf("%s: %v", kind, err)
	}
	resource := c.client.Resource(mapping.Resource)
	client := dynamic.ResourceInterface(resource)
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		if object.GetNamespace() == "" {
			t.Fatalf("%s %s names no namespace", object.GetKind(), object.GetName())
		}
		c.namespace(t, object.GetNamespace())
		client = resource.Namespace(object.GetNamespace())
	}
	eventually(t, "what is in the way to be gone", func(ctx context.Context) (bool, string) {
		_, err = client.Create(ctx, object, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict, DryRun: dryRun})
		return !apierrors.IsAlreadyExists(err) || c.mayExist(ctx, client, object), fmt.Sprint(err)
	})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("creating %s %s: %v", object.GetKind(), object.GetName(), err)
	}
	if len(dryRun) > 0 {
		return
	}
	if object.GetKind() == "Namespace" {
		return // others have objects in it
	}
	t.Cleanup(func() {
		ctx := context.Background()
		err := client.Delete(ctx, object.GetName(), metav1.DeleteOptions{GracePeriodSeconds: ptr.To(int64(0)), PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)})
		if err != nil && !apierrors.IsNotFound(err) {
			t.Errorf("removing %s %s: %v", object.GetKind(), object.GetName(), err)
		}
	})
}

// idle keeps a workload from making pods: the golden has those that matter.
func idle(object *unstructured.Unstructured) {
	set := func(value any, path ...string) {
		if err := unstructured.SetNestedField(object.Object, value, path...); err != nil {
			panic(err) // it has a spec
		}
	}
	switch object.GetKind() {
	case "Deployment", "StatefulSet", "ReplicaSet":
		set(int64(0), "spec", "replicas")
	case "DaemonSet":
		set(map[string]any{"srenix.io/never": "matches"}, "spec", "template", "spec", "nodeSelector")
	case "Job", "CronJob":
		set(true, "spec", "suspend")
	}
}

// standalone lets a pod be created without what else it needs in a cluster: its
// priority, its account where nothing is stored, and its node, which is made if a
// command may be about it. Without labels no controller adopts it, and nobody
// schedules it: of several of one name, the node's end of the one could take the next.
func (c *cluster) standalone(t *testing.T, pod *unstructured.Unstructured, dryRun bool) {
	t.Helper()
	node, _, _ := unstructured.NestedString(pod.Object, "spec", "nodeName")
	if node != "" && !dryRun {
		c.node(t, node)
	}
	pod.SetLabels(nil)
	fields := []string{"nodeName", "priority", "priorityClassName"}
	if dryRun {
		fields = append(fields, "serviceAccountName", "serviceAccount")
	}
	for _, field := range fields {
		unstructured.RemoveNestedField(pod.Object, "spec", field)
	}
	if err := unstructured.SetNestedField(pod.Object, "nobody", "spec", "schedulerName"); err != nil {
		t.Fatal(err)
	}
}

// node makes a node, and waits until it reports.
func (c *cluster) node(t *testing.T, name string) {
	t.Helper()
	if c.seen["node/"+name] {
		return
	}
	c.seen["node/"+name] = true
	apply(t, "apiVersion: v1\nkind: Node\nmetadata: {name: "+name+"}\n")
	eventually(t, "node "+name+" to report", func(ctx context.Context) (bool, string) {
		_, stderr, err := srenix.Plane.Kubectl(ctx, "get", "lease", name, "-n", "kube-node-lease")
		return err == nil, stderr
	})
}

// mayExist tells whether an object that exists already is no leftover: a controller
// has made it, or the API server itself.
func (c *cluster) mayExist(ctx context.Context, client dynamic.ResourceInterface, object *unstructured.Unstructured) bool {
	switch object.GetKind() {
	case "Namespace", "ServiceAccount", "Node", "ClusterRole", "ClusterRoleBinding", "ConfigMap", "Role", "RoleBinding", "APIService":
		return true
	}
	existing, err := client.Get(ctx, object.GetName(), metav1.GetOptions{})
	return err == nil && existing.GetDeletionTimestamp() == nil && metav1.GetControllerOf(existing) != nil
}

// disarm keeps what a golden has about the API server itself from taking effect.
func disarm(object *unstructured.Unstructured) {
	webhooks, _, err := unstructured.NestedSlice(object.Object, "webhooks")
	if err != nil {
		return
	}
	for _, webhook := range webhooks {
		if fields, ok := webhook.(map[string]any); ok {
			fields["objectSelector"] = map[string]any{"matchLabels": map[string]any{"srenix.io/never": "matches"}}
		}
	}
	if len(webhooks) > 0 {
		_ = unstructured.SetNestedSlice(object.Object, webhooks, "webhooks")
	}
}

// namespace makes a namespace that pods can be created in.
func (c *cluster) namespace(t *testing.T, name string) {
	t.Helper()
	if c.seen[name] {
		return
	}
	c.seen[name] = true
	_, stderr, err := srenix.Plane.Kubectl(t.Context(), "create", "namespace", name)
	if err != nil && !strings.Contains(stderr, "AlreadyExists") {
		t.Fatal(err)
	}
	eventually(t, "the default service account of "+name, func(ctx context.Context) (bool, string) {
		_, stderr, err := srenix.Plane.Kubectl(ctx, "get", "serviceaccount", "default", "-n", name)
		return err == nil, stderr
	})
}

// changes are what kubectl takes --dry-run=server for.
var changes = []string{"annotate", "apply", "autoscale", "cordon", "create", "delete", "drain", "expose", "label", "patch", "replace", "run", "scale", "set", "taint", "uncordon", "undo"}

// unreachable is what kubectl says where a kubelet would have to answer: there is
// none behind these nodes.
var unreachable = regexp.MustCompile(`dial tcp|proxy error|i/o timeout|Timeout|timed out|deadline exceeded|context canceled|does not have a host assigned|is waiting to start|no such host|unable to retrieve container logs|no pods|could not find the requested|connection refused|ContainerCreating|previous terminated container|not found in pod|timed out waiting`)

// run runs a command of a remediation if it is one of kubectl's.
func (c *cluster) run(t *testing.T, command string) bool {
	t.Helper()
	words := strings.Fields(command)
	if words[0] != "kubectl" {
		if !slices.Contains([]string{"argocd", "flux", "vault", "cmctl", "helm"}, words[0]) {
			t.Errorf("nobody knows the program of %q", command)
		}
		return false
	}
	verb := verbOf(words)
	if verb == "undo" {
		c.anotherRevision(t, words[3:])
	}
	stages := strings.Split(command, " | ")
	for i, stage := range stages {
		stages[i] = harmless(stage)
	}
	shell := exec.CommandContext(t.Context(), "bash", "-o", "pipefail", "-c", strings.Join(stages, " | "))
	editor, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	shell.Env = append(os.Environ(), "KUBECONFIG="+srenix.Plane.Kubeconfig(), "PATH="+c.path+":"+os.Getenv("PATH"), "KUBE_EDITOR="+editor, editing+"=1")
	output, err := shell.CombinedOutput()
	away := slices.Contains([]string{"logs", "exec", "wait"}, verb) && unreachable.Match(output)
	if err != nil && !away {
		t.Errorf("%s: %v: %s", command, err, fmt.Sprintf("%.500s", output))
	}
	if verb == "edit" && err == nil && !bytes.Contains(output, []byte(" edited")) {
		t.Errorf("%s changes nothing: %s", command, fmt.Sprintf("%.500s", output))
	}
	return true
}

// verbOf is what kubectl is told to do.
func verbOf(words []string) string {
	if words[1] == "rollout" {
		return words[2]
	}
	return words[1]
}

// harmless is one command of a pipe as it may be run here: a change as a dry run, a
// wait of a second at most. That a search finds nothing is an answer.
func harmless(stage string) string {
	words := strings.Fields(stage)
	if words[0] == "grep" {
		return "{ " + stage + " || [ $? -eq 1 ]; }"
	}
	i := slices.Index(words, "kubectl")
	if i < 0 {
		return stage
	}
	switch verb := verbOf(words[i:]); {
	case slices.Contains(changes, verb) && !strings.Contains(stage, "--dry-run"):
		return stage + " --dry-run=server"
	case verb == "status":
		return stage + " --watch=false"
	case verb == "logs", verb == "exec":
		return stage + " --request-timeout=2s"
	case verb == "wait":
		return stage + " --timeout=1s"
	}
	return stage
}

// anotherRevision lets a workload have a revision to go back to.
func (c *cluster) anotherRevision(t *testing.T, workload []string) {
	t.Helper()
	kubectl(t, append([]string{"rollout", "status", "--timeout=30s"}, workload...)...)
	kubectl(t, append([]string{"rollout", "restart"}, workload...)...)
	kubectl(t, append([]string{"rollout", "status", "--timeout=30s"}, workload...)...)
}
