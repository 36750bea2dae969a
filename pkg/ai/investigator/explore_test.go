// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// offered are the targets of an exploration with their tools, in its order.
func offered(e *Exploration) []string {
	var all []string
	for _, target := range e.Targets() {
		all = append(all, strings.TrimSuffix(name(target.Object)+" "+target.Container, " ")+": "+strings.Join(target.Tools, " "))
	}
	return all
}

// index of the target that an exploration offers so.
func index(t *testing.T, e *Exploration, is string) int {
	t.Helper()
	at := slices.IndexFunc(offered(e), func(target string) bool { return strings.HasPrefix(target, is+":") })
	if at < 0 {
		t.Fatalf("%s is not offered: %v", is, offered(e))
	}
	return at
}

func TestAnExplorationLeadsFromWhatTheFindingNames(t *testing.T) {
	g := read(t, "testdata/crash-service-missing.yaml")
	e := g.investigator(t).Explore(g.finding, nil)
	want := []string{"Deployment/web: read-events read-state", "Pod/web-2-a: read-events read-state"}
	if diff := cmp.Diff(want, offered(e)); diff != "" {
		t.Fatalf("at first (-want +have):\n%s", diff)
	}
	read := func(tool, of string) opsv1alpha1.Evidence { return e.Read(t.Context(), tool, index(t, e, of)) }
	if said := read(ReadState, "Pod/web-2-a"); said.Tool != opsv1alpha1.ToolObject || said.Source != "Pod/web-2-a" || !strings.Contains(said.Said, "CrashLoopBackOff") {
		t.Errorf("of the pod it says %+v", said)
	}
	log := read(ReadPreviousLog, "Pod/web-2-a app")
	if log.Tool != opsv1alpha1.ToolLog || !strings.Contains(log.Said, "ENOTFOUND db") {
		t.Errorf("of the log it says %+v", log)
	}
	service := read(ReadState, "Service/db")
	if service.Said != "does not exist" {
		t.Errorf("of the Service that the log names it says %+v", service)
	}
	for what, said := range map[string]opsv1alpha1.Evidence{
		"a log of a Service":     read(ReadLog, "Service/db"),
		"a tool that is none":    read("delete-pod", "Pod/web-2-a"),
		"a target before all":    e.Read(t.Context(), ReadState, -1),
		"a target after the end": e.Read(t.Context(), ReadState, len(e.Targets())),
	} {
		if said.Said != "nothing could be read" {
			t.Errorf("%s gives %+v", what, said)
		}
	}
}

func TestAnExplorationWalksFromACertificateToItsChallenge(t *testing.T) {
	g := read(t, "testdata/certificate-challenge.yaml")
	e := g.investigator(t).Explore(g.finding, nil)
	subject := name(g.finding.Spec.Subject)
	request := e.Read(t.Context(), ListControlled, index(t, e, subject)).Said
	order := e.Read(t.Context(), ListControlled, slices.IndexFunc(offered(e), func(s string) bool { return strings.HasPrefix(s, "CertificateRequest/") })).Said
	challenge := e.Read(t.Context(), ListControlled, slices.IndexFunc(offered(e), func(s string) bool { return strings.HasPrefix(s, "Order/") })).Said
	for said, part := range map[string]string{request: "CertificateRequest/", order: "Order/", challenge: "state "} {
		if !strings.Contains(said, part) {
			t.Errorf("%q is not in %q", part, said)
		}
	}
	// A host is offered only where somebody wants hosts to be looked at.
	if len(g.hosts) == 0 && slices.ContainsFunc(offered(e), func(s string) bool { return strings.HasPrefix(s, "Host/") }) {
		t.Errorf("hosts are offered: %v", offered(e))
	}
}

// What rules have read is where an exploration may go on, and nothing beyond the
// namespace of the finding.
func TestAnExplorationStaysInTheNamespace(t *testing.T) {
	g := read(t, "testdata/crash-service-missing.yaml")
	g.finding.Spec.Related = append(g.finding.Spec.Related, v1alpha1.RelatedObject{ObjectReference: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "bank", Name: "vault"}})
	sources := []string{"Pod/other container app before its last restart", "Secret/db", "Host/example.com", "Node/worker-1", "EndpointSlices of Service/db", "", "Service/cache"}
	e := g.investigator(t).Explore(g.finding, sources)
	for _, target := range e.Targets() {
		if target.Object.Namespace != "shop" && target.Object.Namespace != "" {
			t.Errorf("it leads to %+v", target)
		}
	}
	want := []string{"Pod/other: read-events read-state", "Pod/other app: read-log read-previous-log read-rollout", "Node/worker-1: read-events read-state", "Service/cache: read-events read-state"}
	if diff := cmp.Diff(want, offered(e)[2:]); diff != "" {
		t.Errorf("sources lead to (-want +have):\n%s", diff)
	}
	for range 2 * mostTargets {
		sources = append(sources, "Service/"+strings.Repeat("x", len(sources)))
	}
	if n := len(g.investigator(t).Explore(g.finding, sources).Targets()); n != mostTargets {
		t.Errorf("%d targets", n)
	}
}

// granted are the verbs that the advisor has, by resource.
func granted(t *testing.T) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("../../../artifacts/kustomize/advisor/rbac.yaml")
	if err != nil {
		t.Fatal(err)
	}
	verbs := map[string][]string{}
	documents := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(content), 4096)
	for {
		role := &rbacv1.ClusterRole{}
		if err := documents.Decode(role); errors.Is(err, io.EOF) {
			return verbs
		} else if err != nil {
			t.Fatal(err)
		}
		if role.Kind != "ClusterRole" { // of its own namespace
			continue
		}
		for _, rule := range role.Rules {
			for _, group := range rule.APIGroups {
				for _, resource := range rule.Resources {
					verbs[strings.TrimSuffix(resource+"."+group, ".")] = rule.Verbs
				}
			}
		}
	}
}

// Neither rules nor any choice of tools read what the advisor has no right to, and all
// that a tool returns is within bounds.
func TestWhateverIsChosenIsReadWithTheRightsOfTheAdvisor(t *testing.T) {
	verbs := granted(t)
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(err)
	}
	reads, used := map[string]bool{}, map[string]bool{}
	for _, file := range files {
		g := read(t, file)
		scheme := newScheme(t)
		may := func(verb string, object client.Object, list client.ObjectList) {
			gvk, err := apiutil.GVKForObject(object, scheme)
			if list != nil {
				gvk, err = apiutil.GVKForObject(list, scheme)
				gvk.Kind = strings.TrimSuffix(gvk.Kind, "List")
			}
			if err != nil {
				t.Fatal(err)
			}
			plural, _ := meta.UnsafeGuessKindToResource(gvk)
			reads[verb+" "+plural.GroupResource().String()] = true
			if !slices.Contains(verbs[plural.GroupResource().String()], verb) {
				t.Errorf("%s: it would %s %s", file, verb, plural.GroupResource())
			}
		}
		options := g.investigator(t).options
		options.Reader = interceptor.NewClient(g.reader(t).(client.WithWatch), interceptor.Funcs{
			Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
				may("get", into, nil)
				return c.Get(ctx, key, into, options...)
			},
			List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
				may("list", nil, list)
				return c.List(ctx, list, options...)
			},
		})
		i := New(options)
		result := i.Investigate(t.Context(), g.finding)
		var sources []string
		for _, evidence := range result.Evidence {
			sources = append(sources, evidence.Source)
		}
		e := i.Explore(g.finding, sources)
		for at := 0; at < len(e.Targets()); at++ {
			for _, tool := range e.Targets()[at].Tools {
				e.q.reads = 0 // of one investigation only some are chosen
				said := e.Read(t.Context(), tool, at)
				used[tool] = true
				if said.Source == "" || len(said.Source) > 600 || said.Said == "" || len(said.Said) > opsv1alpha1.MaximumEvidenceText || said.Tool == "" {
					t.Errorf("%s: %s of %s gives %+v", file, tool, offered(e)[at], said)
				}
				for _, never := range g.lack {
					if strings.Contains(said.Said, never) {
						t.Errorf("%s: %s says %q", file, tool, said.Said)
					}
				}
			}
		}
	}
	for _, tool := range Tools() {
		if !used[tool.Name] {
			t.Errorf("no golden has use for %s", tool.Name)
		}
	}
	for what := range verbs {
		if what == "secrets" {
			t.Errorf("the advisor reads %s", what)
		}
	}
	t.Logf("%d kinds of reads: %v", len(reads), reads)
}
