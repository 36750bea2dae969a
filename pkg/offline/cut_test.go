// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// TestAListThatWasCutOffIsNotTheWhole cuts a list at the end of each line, and in the
// middle of each. Another file has some of the kind, too, and so does not tell of the rest.
func TestAListThatWasCutOffIsNotTheWhole(t *testing.T) {
	bare := func(text string) map[string]any {
		of := object(t, text)
		delete(of, "apiVersion")
		delete(of, "kind")
		return of
	}
	listOf := func(kind string, items ...any) map[string]any {
		return map[string]any{"apiVersion": "v1", "kind": kind, "items": items, "metadata": map[string]any{"resourceVersion": ""}}
	}
	inYAML := func(of map[string]any) string {
		data, err := yaml.Marshal(of)
		if err != nil {
			t.Fatal(err)
		}
		return string(data)
	}
	inJSON := func(of map[string]any) string {
		data, err := json.MarshalIndent(of, "", "  ")
		if err != nil {
			t.Fatal(err)
		}
		return string(data) + "\n"
	}
	list, podList := listOf("List", object(t, wellPod), object(t, webPod)), listOf("PodList", bare(wellPod), bare(webPod))
	// As an API server writes it, with the kind first.
	raw := fmt.Sprintf("{\"kind\": \"PodList\",\n\"apiVersion\": \"v1\",\n\"metadata\": {},\n\"items\": [\n%s,\n%s\n]\n}\n", asJSON(t, bare(wellPod)), asJSON(t, bare(webPod)))
	all, podResource := rules(t), inputs.Pods.Ref().Resource()
	other := strings.NewReplacer("name: well", "name: other", "uid: well-uid", "uid: other-uid").Replace(wellPod)
	for name, test := range map[string]struct{ file, content string }{
		"a List in YAML":                  {"pods.yaml", inYAML(list)},
		"a PodList in YAML":               {"pods.yaml", inYAML(podList)},
		"a List in JSON":                  {"pods.json", inJSON(list)},
		"a PodList in JSON":               {"pods.json", inJSON(podList)},
		"a PodList whose kind is first":   {"x.json", raw},
		"a List in a file of any name":    {"x.yaml", inYAML(list)},
		"a List that another one follows": {"pods.yaml", inYAML(list)},
	} {
		t.Run(name, func(t *testing.T) {
			rest := ""
			if strings.Contains(name, "follows") {
				rest = "\n---\n" + emptyList
			}
			have := func(content string) (told bool, count int, unread error) {
				d := newDump(all, Limits{}, time.Now(), &Progress{})
				if err := d.read(t.Context(), files{test.file: content, "more.yaml": other}.folder(t)); err != nil {
					t.Fatalf("%v of\n%s", err, content)
				}
				return len(d.broken) > 0, len(d.objects[podResource]), d.unread(podResource)
			}
			if told, pods, unread := have(test.content + rest); told || unread != nil || pods != 3 {
				t.Fatalf("the whole: %d pods, %v", pods, unread)
			}
			tried := 0
			for at, letter := range test.content {
				if letter != '\n' {
					continue
				}
				for _, content := range []string{test.content[:at+1], test.content[:max(0, at-2)]} {
					told, pods, unread := have(content + rest)
					switch {
					case told && unread != nil:
						tried++
					case pods == 3 && !told && unread == nil: // all items are there
					case pods == 1 && told && (strings.HasPrefix(test.file, "x.") || strings.Count(content, "\n") < 2):
						// Nothing in it tells of what it is.
					case pods == 1 && !strings.Contains(content, "\n"): // nor that it is anything
					default:
						t.Errorf("told: %v, not read: %v, with %d pods of\n%s", told, unread, pods, content)
					}
				}
			}
			if tried < 4 {
				t.Errorf("it was seen to be cut %d times only", tried)
			}
		})
	}
}

// TestAPageIsNotTheWhole reads a list that goes on elsewhere.
func TestAPageIsNotTheWhole(t *testing.T) {
	page := strings.Replace(list(t, object(t, webPod)), `resourceVersion: ""`, `continue: "next"`, 1)
	for name, content := range map[string]string{
		"YAML":             page,
		"JSON":             asJSON(t, object(t, page)),
		"a page of no pod": "apiVersion: v1\nitems: []\nkind: PodList\nmetadata: {continue: next}\n",
	} {
		t.Run(name, func(t *testing.T) {
			cluster := read(t, shop(t).with(files{"pods.yaml": content}).folder(t))
			if have, want := broken(cluster), "pods.yaml: it is one page of more"; !strings.HasPrefix(have, want) {
				t.Errorf("%q, want %q", have, want)
			}
			spec := degraded(cluster)["CrashLoop"]
			if spec == nil || !strings.Contains(spec.Message, "pods.yaml does not have all: it is one page of more") {
				t.Fatalf("%+v", spec)
			}
			if !slices.ContainsFunc(spec.Remediation.Commands, func(command string) bool { return strings.HasPrefix(command, "kubectl get pods -A ") }) {
				t.Error(spec.Remediation.Commands)
			}
		})
	}
}

// TestDefinitionsThatWereCutOffDoNotTellWhatIsNotInstalled has what reads a custom
// resource not see.
func TestDefinitionsThatWereCutOffDoNotTellWhatIsNotInstalled(t *testing.T) {
	all := shop(t)
	for name := range all {
		if strings.Contains(name, "argoproj.io") {
			delete(all, name)
		}
	}
	name := definitions.String() + ".yaml"
	some := list(t, object(t, "{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: a.example.com, uid: x, resourceVersion: '1', creationTimestamp: '2026-03-01T00:00:00Z'}}"))
	if blind := degraded(read(t, all.with(files{name: some}).folder(t))); len(blind) > 0 {
		t.Fatalf("of all definitions: %v", blind)
	}
	head, _, _ := strings.Cut(some, "kind: List")
	if blind := degraded(read(t, all.with(files{name: head}).folder(t))); blind["GitOpsDrift"] == nil {
		t.Errorf("it takes Argo CD for not installed: %v", blind)
	}
}
