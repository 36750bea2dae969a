// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/docs"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

const (
	deadline      = 2 * time.Minute
	configuration = `
apiVersion: config.srenix.io/v1alpha1
kind: SrenixConfiguration
analyzers: {WorkloadStateDrift: {grace: 1s}}
executor: {settleTime: 2s, verifyDeadline: 60s}
`
)

// cluster has srenix, the definitions of Argo CD and Flux, and trouble in namespace shop.
type cluster struct {
	*testing.T
	plane  *plane.Plane
	srenix *harness.Srenix
}

func newCluster(t *testing.T) *cluster {
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
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	arguments := []string{"apply", "--server-side", "-f", filepath.Join(root, "test", "catalog", "testdata", "crds", "flux.yaml")}
	for _, project := range []harness.CRDs{harness.ArgoCD, harness.Flux} {
		files, err := project.Files()
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			arguments = append(arguments, "-f", file)
		}
	}
	c := &cluster{T: t, plane: p}
	c.kubectl(arguments...)
	// One that has no condition yet is an error to kubectl wait.
	c.eventually("the definitions to be established", func() (bool, string) {
		_, stderr, err := p.Kubectl(t.Context(), "wait", "--for=condition=Established", "--timeout=10s", "crd", "--all")
		return err == nil, stderr
	})
	for _, namespace := range []string{"argocd", "flux-system", "shop"} {
		c.kubectl("create", "namespace", namespace)
	}
	if c.srenix, err = harness.Install(t.Context(), p, harness.Options{Configuration: configuration}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.srenix.Close(); err != nil {
			t.Error(err)
		}
	})
	c.apply(`
apiVersion: apps/v1
kind: StatefulSet
metadata: {name: db, namespace: shop}
spec:
  serviceName: db
  replicas: 2
  podManagementPolicy: Parallel
  selector: {matchLabels: {app: db}}
  template:
    metadata: {labels: {app: db}}
    spec: {containers: [{name: c, image: "example/db:1"}]}
`)
	c.kubectl("rollout", "status", "statefulset/db", "-n", "shop", "--timeout=60s")
	c.kubectl("annotate", "pod", "db-0", "-n", "shop", "controlplane.srenix.io/ready=false")
	c.eventually("a proposal", func() (bool, string) {
		have := c.kubectl("get", "proposals", "-n", "shop", "-o", "name")
		return have != "", have
	})
	return c
}

func (c *cluster) kubectl(arguments ...string) string {
	c.Helper()
	stdout, _, err := c.plane.Kubectl(c.Context(), arguments...)
	if err != nil {
		c.Fatal(err)
	}
	return stdout
}

func (c *cluster) apply(manifest string) {
	c.Helper()
	command := c.plane.KubectlCommand(c.Context(), c.plane.Kubeconfig(), "apply", "-f", "-")
	command.Stdin = strings.NewReader(manifest)
	if output, err := command.CombinedOutput(); err != nil {
		c.Fatalf("applying: %v: %s\n%s", err, output, manifest)
	}
}

func (c *cluster) eventually(what string, condition func() (ok bool, detail string)) {
	c.Helper()
	var detail string
	err := wait.PollUntilContextTimeout(c.Context(), 200*time.Millisecond, deadline, true, func(context.Context) (bool, error) {
		var ok bool
		ok, detail = condition()
		return ok, nil
	})
	if err != nil {
		c.Fatalf("waiting for %s: %v; last seen: %s", what, err, detail)
	}
}

// ready waits for what Flux says of a Kustomization.
func (c *cluster) ready(namespace, name, status, message string) {
	c.Helper()
	c.eventually(fmt.Sprintf("Kustomization %s to be Ready=%s", name, status), func() (bool, string) {
		have := c.kubectl("get", "kustomizations.kustomize.toolkit.fluxcd.io", name, "-n", namespace, "-o", `jsonpath={.status.conditions[?(@.type=="Ready")]}`)
		return strings.Contains(have, `"status":"`+status+`"`) && strings.Contains(have, message), have
	})
}

// source has a GitRepository offer files as source-controller would, which is in reach
// of no module proxy.
func (c *cluster) source(namespace, name string, files map[string]string) {
	c.Helper()
	var archive bytes.Buffer
	zipped := gzip.NewWriter(&archive)
	packed := tar.NewWriter(zipped)
	for file, content := range files {
		if err := packed.WriteHeader(&tar.Header{Name: file, Mode: 0o644, Size: int64(len(content)), Typeflag: tar.TypeReg}); err != nil {
			c.Fatal(err)
		}
		if _, err := packed.Write([]byte(content)); err != nil {
			c.Fatal(err)
		}
	}
	if err := packed.Close(); err != nil {
		c.Fatal(err)
	}
	if err := zipped.Close(); err != nil {
		c.Fatal(err)
	}
	content := archive.Bytes()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(content) }))
	c.Cleanup(server.Close)
	digest := fmt.Sprintf("%x", sha256.Sum256(content))
	status, err := json.Marshal(map[string]any{"status": map[string]any{
		"artifact": map[string]any{
			"url": server.URL + "/artifact.tar.gz", "path": "artifact.tar.gz", "revision": "main@sha1:" + digest[:40], "digest": "sha256:" + digest,
			"lastUpdateTime": time.Now().UTC().Format(time.RFC3339),
		},
		"conditions": []any{map[string]any{
			"type": "Ready", "status": "True", "reason": "Succeeded", "message": "stored artifact", "lastTransitionTime": time.Now().UTC().Format(time.RFC3339),
		}},
	}})
	if err != nil {
		c.Fatal(err)
	}
	c.kubectl("patch", "gitrepositories.source.toolkit.fluxcd.io", name, "-n", namespace, "--subresource=status", "--type=merge", "-p", string(status))
}

func (c *cluster) authority() string {
	c.Helper()
	return c.kubectl("get", "apiservice", "v1alpha1.srenix.io", "-o", "jsonpath={.spec.caBundle}")
}

// TestThePage makes an Approval as the page says, applies what it has, and has Flux's
// kustomize-controller do the rest.
func TestThePage(t *testing.T) {
	c := newCluster(t)
	reader, err := docs.NewReader(c.plane, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, block := range blocks(t) {
		if err := reader.Do(t.Context(), block); err != nil {
			t.Error(err)
		}
	}
	written, err := os.ReadFile(filepath.Join(reader.Dir(), "approval.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	c.onlyWhatIsComputedIsExcluded()

	harness.Controller(t, c.plane, t.TempDir(), []string{"RUNTIME_NAMESPACE=flux-system"}, "kustomize-controller", "--watch-all-namespaces",
		"--enable-leader-election=false", "--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0")
	c.apply(`
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: shop, namespace: shop}
spec: {interval: 10m, url: "https://git.example.com/shop"}
`)
	c.source("shop", "shop", map[string]string{"approvals/approval.yaml": string(written)})
	c.ready("shop", "approvals", "True", "")
	var approval unstructured.Unstructured
	if err := yaml.Unmarshal(written, &approval.Object); err != nil {
		t.Fatal(err)
	}
	stored := &unstructured.Unstructured{}
	if err := json.Unmarshal([]byte(c.kubectl("get", "approval", approval.GetName(), "-n", "shop", "-o", "json")), &stored.Object); err != nil {
		t.Fatal(err)
	}
	// What Flux takes for ready, Argo CD would take for healthy, and the finding is gone.
	if health, message, err := runHealth(argoHealth(t), stored.Object); err != nil || health != healthy {
		t.Errorf("Argo CD says %s %q (%v) of %v", health, message, err, stored.Object["status"])
	}
	if have := c.kubectl("get", "findings.srenix.io", "-n", "shop", "-o", "name"); have != "" {
		t.Errorf("the Kustomization is ready, and there is %s", have)
	}

	// Deleted by hand, it is applied again, and its token is worth nothing any more.
	c.kubectl("delete", "approval", approval.GetName(), "-n", "shop")
	c.kubectl("annotate", "kustomizations.kustomize.toolkit.fluxcd.io", "approvals", "-n", "shop", "reconcile.fluxcd.io/requestedAt=now")
	told := "SignedToken: the token was used already, by Approval"
	c.ready("shop", "approvals", "False", told)
	if !slices.ContainsFunc(blocks(t), func(block docs.Block) bool { return strings.HasPrefix(block.Text, told) }) {
		t.Errorf("the page does not say: %s", told)
	}

	// srenix itself: what the server has filled in survives.
	before := c.authority()
	if before == "" {
		t.Fatal("the server has published no authority")
	}
	rendered := c.kubectl("kustomize", c.srenix.OverlayDir())
	var registration []string
	for _, text := range strings.Split(rendered, "\n---\n") {
		if strings.Contains(text, "\nkind: APIService\n") {
			registration = append(registration, text)
		}
	}
	if len(registration) != 1 || strings.Contains(registration[0], "caBundle") {
		t.Fatalf("the manifests have these registrations: %v", registration)
	}
	where, _, _ := unstructured.NestedString(the(t, "Kustomization", "srenix").Object, "spec", "path")
	c.source("flux-system", "srenix", map[string]string{path.Join(where, "apiservice.yaml"): registration[0]})
	c.ready("flux-system", "srenix", "True", "")
	if owner := c.kubectl("get", "apiservice", "v1alpha1.srenix.io", "-o", "jsonpath={.metadata.labels.kustomize\\.toolkit\\.fluxcd\\.io/name}"); owner != "srenix" {
		t.Errorf("the APIService is applied by %q, want srenix", owner)
	}
	if after := c.authority(); after != before {
		t.Errorf("the authority was %q and is %q", before, after)
	}
}

// exclusion is one of Argo CD's resource.exclusions.
type exclusion struct {
	APIGroups []string `json:"apiGroups"`
	Kinds     []string `json:"kinds"`
	Clusters  []string `json:"clusters"`
}

func (e exclusion) matches(group, kind string) bool {
	return slices.ContainsFunc(e.APIGroups, func(glob string) bool { ok, _ := path.Match(glob, group); return ok }) &&
		slices.ContainsFunc(e.Kinds, func(name string) bool { return name == "*" || name == kind })
}

// onlyWhatIsComputedIsExcluded appends the page's exclusion to those that Argo CD ships
// with, and looks at what the cluster has.
func (c *cluster) onlyWhatIsComputedIsExcluded() {
	c.Helper()
	var all []exclusion
	for _, block := range blocks(c.T) {
		if block.Language == "yaml" && strings.HasPrefix(block.Text, "- apiGroups:") {
			if err := yaml.UnmarshalStrict([]byte(shippedExclusions(c.T)+block.Text), &all); err != nil {
				c.Fatalf("%s: %v", block, err)
			}
		}
	}
	if len(all) < 2 {
		c.Fatalf("with the page's there are %d exclusions, want it behind those of Argo CD", len(all))
	}
	seen := map[string]bool{}
	for _, group := range []string{"srenix.io", "ops.srenix.io"} {
		for _, line := range strings.Split(strings.TrimSpace(c.kubectl("api-resources", "--api-group="+group, "--no-headers")), "\n") {
			kind := line[strings.LastIndex(strings.TrimSpace(line), " ")+1:]
			seen[strings.TrimSpace(kind)] = true
			excluded := slices.ContainsFunc(all, func(e exclusion) bool { return e.matches(group, strings.TrimSpace(kind)) })
			if want := group == "srenix.io"; excluded != want {
				c.Errorf("%s of %s is excluded: %t, want %t", kind, group, excluded, want)
			}
		}
	}
	for _, kind := range []string{"Finding", "ClusterFinding", "Proposal", "Approval"} {
		if !seen[kind] {
			c.Errorf("%s was not looked at, only %v", kind, seen)
		}
	}
}

// shippedExclusions is the list that Argo CD's own manifests have.
func shippedExclusions(t *testing.T) string {
	t.Helper()
	files, err := harness.ArgoCDInstall.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		if filepath.Base(file) != "install.yaml" {
			continue
		}
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, text := range strings.Split(string(content), "\n---\n") {
			var object unstructured.Unstructured
			if !strings.Contains(text, "\n  resource.exclusions: ") || yaml.Unmarshal([]byte(text), &object.Object) != nil {
				continue
			}
			list, _, _ := unstructured.NestedString(object.Object, "data", "resource.exclusions")
			return list + "\n"
		}
	}
	t.Fatal("Argo CD's install.yaml has no resource.exclusions")
	return ""
}
