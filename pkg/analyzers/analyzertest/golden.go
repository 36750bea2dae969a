// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package analyzertest runs an analyzer over golden objects. A golden is a YAML
// file that a person can apply; comments at its top say at what time it is looked
// at and which findings there must be:
//
//	# now: 2026-01-02T12:00:00Z
//	# after: 10m
//	# want: OrdinalZeroNotReady Warning StatefulSet/web since 2026-01-02T11:00:00Z
//	# says: the first of StatefulSet web, is not Ready
//
// "says" is a part of the message of one of the findings, and "advises" of a remediation;
// "withholds" is what no remediation may say.
// A line that begins with
// "malformed: " says why a near miss, and only that, may be what no API server takes;
// test/catalog applies all others.
// With "after" the objects are looked at again that much later, which is how a
// time that no object carries is tested.
// A near miss has no "want" line: nothing must be found. "near" names the reasons that
// it comes near to, where the analyzer has several.
package analyzertest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/kubernetes/scheme"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/vault"
)

// Run checks every golden in testdata, and that they cover the reasons of the analyzer.
func Run(t *testing.T, analyzer analyzers.Analyzer) {
	t.Helper()
	files, err := filepath.Glob("testdata/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("finding goldens: %v", err)
	}
	var goldens []Golden
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".yaml"), func(t *testing.T) {
			golden := Read(t, file)
			goldens = append(goldens, golden)
			want, have, messages, advice := golden.Want, []string{}, "", ""
			for _, spec := range Analyze(t, analyzer, golden.Now, golden.After, slices.Concat(golden.Objects, golden.Vault)) {
				line := fmt.Sprintf("%s %s %s/%s since %s", spec.Reason, spec.Severity, spec.Subject.Kind, spec.Subject.Name, spec.Since.UTC().Format(time.RFC3339))
				have = append(have, line)
				messages += spec.Message + "\n"
				advice += spec.Remediation.Text + "\n" + strings.Join(spec.Remediation.Commands, "\n") + "\n"
				check(t, spec)
			}
			slices.Sort(have)
			slices.Sort(want)
			if diff := cmp.Diff(want, have); diff != "" {
				t.Errorf("findings (-want +have):\n%s", diff)
			}
			for _, part := range golden.Says {
				if !strings.Contains(messages, part) {
					t.Errorf("no message says %q:\n%s", part, messages)
				}
			}
			for _, part := range golden.Advises {
				if !strings.Contains(advice, part) {
					t.Errorf("no remediation says %q:\n%s", part, advice)
				}
			}
			for _, part := range golden.Withholds {
				if strings.Contains(advice, part) {
					t.Errorf("a remediation says %q:\n%s", part, advice)
				}
			}
		})
	}
	Cover(t, analyzer, goldens)
}

// Cover checks that each reason of an analyzer is found in one of its goldens, and that
// another comes near to it.
func Cover(t *testing.T, analyzer analyzers.Analyzer, goldens []Golden) {
	t.Helper()
	found, near := map[string]bool{}, map[string]bool{}
	for _, golden := range goldens {
		for _, line := range golden.Want {
			found[strings.Fields(line)[0]] = true
		}
		if len(golden.Want) == 0 && len(analyzer.Reasons) == 1 {
			near[analyzer.Reasons[0].Name] = true
		}
		for _, reason := range golden.Near {
			near[reason] = true
			if len(golden.Want) > 0 {
				t.Errorf("a golden that finds something is said to be near to %s", reason)
			}
			if !slices.ContainsFunc(analyzer.Reasons, func(known analyzers.Reason) bool { return known.Name == reason }) {
				t.Errorf("a golden is near to %s, which is no reason of %s", reason, analyzer.Name)
			}
		}
	}
	for _, reason := range analyzer.Reasons {
		if !found[reason.Name] {
			t.Errorf("no golden has reason %s", reason.Name)
		}
		if !near[reason.Name] {
			t.Errorf("no near miss comes near to %s: say \"# near: %s\" in one", reason.Name, reason.Name)
		}
	}
}

// check holds a finding to what every finding must have.
func check(t *testing.T, spec v1alpha1.FindingSpec) {
	t.Helper()
	absent := spec.Subject.Kind == "Secret" || spec.Subject.Kind == "ConfigMap" // may be what is missing
	if spec.Subject.UID == "" && !absent {
		t.Errorf("a finding's subject has no UID: %+v", spec)
	}
	if spec.Message == "" || spec.Remediation.Text == "" || len(spec.Remediation.Commands) == 0 || spec.Since.IsZero() {
		t.Errorf("a finding lacks message, remediation or since: %+v", spec)
	}
	for _, command := range spec.Remediation.Commands {
		if strings.ContainsAny(command, "<>") || !strings.Contains(command, " ") {
			t.Errorf("a command is not complete: %q", command)
		}
	}
}

// Analyze runs the analyzer on a live view of the objects, at a time and again
// some time after, and returns the findings that there are then.
func Analyze(t *testing.T, analyzer analyzers.Analyzer, now time.Time, after time.Duration, objects []live.Object) []v1alpha1.FindingSpec {
	t.Helper()
	play := NewPlay(t, analyzer, now, objects...)
	if after > 0 {
		play.Step(after)
	}
	return play.Found()
}

// Cluster returns a cluster of the objects.
func Cluster(t *testing.T, objects []live.Object) *livetest.Cluster {
	t.Helper()
	cluster := &livetest.Cluster{}
	Store(t, cluster, objects)
	return cluster
}

// Store creates or updates objects in a cluster.
func Store(t *testing.T, cluster *livetest.Cluster, objects []live.Object) {
	t.Helper()
	for _, object := range objects {
		cluster.Set(resourceOf(t, object), asStored(object))
	}
}

// Remove deletes an object from a cluster.
func Remove(t *testing.T, cluster *livetest.Cluster, object live.Object) {
	t.Helper()
	cluster.Delete(resourceOf(t, object), live.Key{Namespace: object.GetNamespace(), Name: object.GetName()})
}

// asStored is an object as the API server would give it: of ConfigMaps and Secrets
// the managedFields tell which keys there are.
func asStored(object live.Object) live.Object {
	var keys []string
	switch typed := object.(type) {
	case *corev1.ConfigMap:
		keys = slices.AppendSeq(slices.Collect(maps.Keys(typed.Data)), maps.Keys(typed.BinaryData))
	case *corev1.Secret:
		keys = slices.AppendSeq(slices.Collect(maps.Keys(typed.Data)), maps.Keys(typed.StringData))
	default:
		return object
	}
	if len(object.GetManagedFields()) > 0 {
		return object
	}
	created := object.GetCreationTimestamp()
	stored := object.DeepCopyObject().(live.Object)
	stored.SetManagedFields([]metav1.ManagedFieldsEntry{{
		Manager: "kubectl-create", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
		Time: &created, FieldsType: "FieldsV1", FieldsV1: inputs.KeyFields(keys),
	}})
	return stored
}

// resourceOf names the resource of a kind.
func resourceOf(t *testing.T, object live.Object) schema.GroupVersionResource {
	t.Helper()
	kind := object.GetObjectKind().GroupVersionKind()
	if _, custom := object.(*unstructured.Unstructured); !custom {
		gvks, _, err := scheme.Scheme.ObjectKinds(object)
		if err != nil {
			t.Fatal(err)
		}
		kind = gvks[0]
	}
	if name, ok := irregular[kind.Kind]; ok {
		return kind.GroupVersion().WithResource(name)
	}
	plural, _ := meta.UnsafeGuessKindToResource(kind)
	return plural
}

// irregular are the resources of kinds whose plural is guessed wrong.
var irregular = map[string]string{"Gateway": "gateways"}

func asJSON(t *testing.T, document []byte) []byte {
	t.Helper()
	converted, err := utilyaml.ToJSON(document)
	if err != nil {
		t.Fatal(err)
	}
	return converted
}

// Golden is what a file says.
type Golden struct {
	// Now is when the objects are looked at, and After how long after that again.
	Now   time.Time
	After time.Duration
	// Want, Says, Advises and Withholds are the lines of these names.
	Want, Says, Advises, Withholds []string
	// Near are the reasons that a near miss comes near to.
	Near    []string
	Objects []live.Object
	// Vault is what the lines "vault: MOUNT PATH STATE [KEYS or NAMESPACE]" say: what a
	// person applies has no part in what a Vault holds.
	Vault []live.Object
}

func inVault(t *testing.T, line string) live.Object {
	t.Helper()
	words := append(strings.SplitN(line, " ", 4), "")
	path, seen := vault.Path{Mount: words[0], Path: words[1]}, vault.Seen{State: vault.State(words[2])}
	if strings.HasPrefix(words[3], "{") {
		if err := json.Unmarshal([]byte(words[3]), &seen.Keys); err != nil {
			t.Fatal(err)
		}
	} else {
		path.Namespace = words[3]
	}
	return vault.Object(path, seen)
}

// Read reads a golden.
func Read(t *testing.T, file string) Golden {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	g := Golden{Want: []string{}}
	for line := range strings.Lines(string(content)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "# now: "); ok {
			if g.Now, err = time.Parse(time.RFC3339, text); err != nil {
				t.Fatal(err)
			}
		}
		if text, ok := strings.CutPrefix(line, "# after: "); ok {
			if g.After, err = time.ParseDuration(text); err != nil {
				t.Fatal(err)
			}
		}
		if text, ok := strings.CutPrefix(line, "# want: "); ok {
			g.Want = append(g.Want, text)
		}
		if text, ok := strings.CutPrefix(line, "# near: "); ok {
			g.Near = append(g.Near, strings.Fields(text)...)
		}
		if text, ok := strings.CutPrefix(line, "# says: "); ok {
			g.Says = append(g.Says, text)
		}
		if text, ok := strings.CutPrefix(line, "# advises: "); ok {
			g.Advises = append(g.Advises, text)
		}
		if text, ok := strings.CutPrefix(line, "# withholds: "); ok {
			g.Withholds = append(g.Withholds, text)
		}
		if text, ok := strings.CutPrefix(line, "# vault: "); ok {
			g.Vault = append(g.Vault, inVault(t, text))
		}
	}
	if g.Now.IsZero() {
		t.Fatalf("%s does not say at what time it is looked at", file)
	}
	documents := utilyaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(content)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return g
		}
		if err != nil {
			t.Fatal(err)
		}
		decoded, _, err := scheme.Codecs.UniversalDeserializer().Decode(document, nil, nil)
		if runtime.IsNotRegisteredError(err) { // a custom resource
			decoded, _, err = unstructured.UnstructuredJSONScheme.Decode(asJSON(t, document), nil, nil)
		}
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		g.Objects = append(g.Objects, decoded.(live.Object))
	}
}
