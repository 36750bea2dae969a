// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/json"
	"encoding/xml"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/jstemmer/go-junit-report/v2/junit"
	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// installOpenReports applies the CustomResourceDefinitions of OpenReports, which go
// away with the test.
func installOpenReports(t *testing.T) {
	t.Helper()
	files, err := harness.OpenReports.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		kubectl(t, "apply", "--server-side", "-f", file)
		t.Cleanup(func() {
			if _, _, err := srenix.Plane.Kubectl(context.Background(), "delete", "-f", file, "--timeout=60s"); err != nil {
				t.Error(err)
			}
		})
	}
	kubectl(t, "wait", "--for=condition=Established", "--timeout=60s", "crd/reports.openreports.io", "crd/clusterreports.openreports.io")
}

// reports is what kubectl srenix report prints, without the kind of each.
type reports struct {
	metav1.TypeMeta `json:",inline"`
	Metadata        metav1.ListMeta      `json:"metadata"`
	Items           []openreports.Report `json:"items"`
}

// applied stores a report and returns that of the namespace, as it is stored.
func applied(t *testing.T, namespace, report string) *openreports.Report {
	t.Helper()
	command := srenix.Plane.KubectlCommand(t.Context(), srenix.Plane.Kubeconfig(), "apply", "--server-side", "-f", "-")
	command.Stdin = strings.NewReader(report)
	if _, _, err := plane.RunCommand(command); err != nil {
		t.Fatalf("%v\n%s", err, report)
	}
	stored := &openreports.Report{}
	if err := json.Unmarshal([]byte(kubectl(t, "get", "reports.openreports.io", "srenix", "-n", namespace, "-o", "json")), stored); err != nil {
		t.Fatal(err)
	}
	return stored
}

// TestReportsAreForEveryProgramAndPerson is by rita, who may view one namespace.
func TestReportsAreForEveryProgramAndPerson(t *testing.T) {
	installOpenReports(t)
	ns := namespace(t)
	proposal := stuckStatefulSet(t, ns, "orders-db")
	finding := proposal.Spec.Finding.Name
	kubectl(t, "create", "rolebinding", "rita-views", "-n", ns, "--clusterrole=view", "--user=rita")
	rita := userKubeconfig(t, "rita")
	as := func(arguments ...string) (stdout, stderr string, err error) {
		return srenix.Plane.KubectlAs(t.Context(), rita, append([]string{"srenix"}, arguments...)...)
	}
	must := func(arguments ...string) string {
		t.Helper()
		stdout, stderr, err := as(arguments...)
		if err != nil {
			t.Fatalf("%v\n%s%s", err, stdout, stderr)
		}
		return stdout
	}
	eventually(t, "rita to see the finding", func(context.Context) (bool, string) {
		stdout, stderr, err := as("report", "-n", ns)
		return err == nil && strings.Contains(stdout, finding) && strings.Contains(stderr, "not read: clusterfindings"), stdout + stderr
	})

	// OpenReports, twice, and once more when the trouble is over.
	printed := must("report", "-n", ns)
	var list reports
	if err := yaml.UnmarshalStrict([]byte(printed), &list); err != nil {
		t.Fatal(err)
	}
	if len(list.Items) != 1 || list.Items[0].Kind != "Report" || len(list.Items[0].Results) != 1 {
		t.Fatalf("want one Report with one result:\n%s", printed)
	}
	report := list.Items[0]
	if result := report.Results[0]; result.Result != "fail" || result.Rule != "OrdinalZeroNotReady" || result.Properties["proposals"] != proposal.Name || result.Subjects[0].UID == "" {
		t.Errorf("%+v", result)
	}
	stored := applied(t, ns, printed)
	if diff := cmp.Diff(report.Results, stored.Results); diff != "" || report.Summary != stored.Summary {
		t.Errorf("it is stored as something else (-printed +stored)\n%s", diff)
	}
	if again := applied(t, ns, must("report", "-n", ns)); again.ResourceVersion != stored.ResourceVersion {
		t.Errorf("the same findings changed the Report:\n%s", cmp.Diff(stored, again))
	}

	// SARIF and JUnit, as the libraries of their readers have them.
	ofSARIF, err := sarif.FromString(must("report", "-n", ns, "-o", "sarif"), sarif.WithStrictValidation())
	if err != nil {
		t.Fatal(err)
	}
	if err := ofSARIF.Validate(); err != nil {
		t.Error(err)
	}
	if results := ofSARIF.Runs[0].Results; len(results) != 1 || *results[0].Locations[0].LogicalLocations[0].FullyQualifiedName != ns+"/StatefulSet/orders-db" {
		t.Errorf("%+v", results)
	}
	var suites junit.Testsuites
	if err := xml.Unmarshal([]byte(must("report", "-n", ns, "-o", "junit")), &suites); err != nil {
		t.Fatal(err)
	}
	if suites.Failures != 1 || suites.Suites[0].Name != ns || suites.Suites[0].Testcases[0].Name != finding {
		t.Errorf("%+v", suites)
	}
	must("report", "-n", ns, "-o", "junit", "--fail-on", "Critical")
	if stdout, stderr, err := as("report", "-n", ns, "-o", "junit", "--fail-on", "Warning"); err == nil || !strings.Contains(stdout, finding) || !strings.Contains(stderr, "Warning or worse that are not silenced: 1") {
		t.Errorf("--fail-on Warning: %v\n%s%s", err, stdout, stderr)
	}
	if stdout, stderr, err := as("report"); err == nil || stdout != "" || !strings.Contains(stderr, "kubectl srenix report -n NAMESPACE") {
		t.Errorf("a report of what she may not view: %v\n%s%s", err, stdout, stderr)
	}

	// Why.
	note := must("why", finding, "-n", ns)
	for _, want := range []string{
		"OrdinalZeroNotReady of StatefulSet " + ns + "/orders-db, since ", "By hand ", "SuccessfulCreate", "kubectl create approval --proposal " + proposal.Name + " -n " + ns,
	} {
		if !strings.Contains(note, want) {
			t.Errorf("the note lacks %q:\n%s", want, note)
		}
	}
	if lines := strings.Count(note, "\n"); lines > 40 {
		t.Errorf("%d lines are more than a screen:\n%s", lines, note)
	}
	if ofProposal := must("why", "proposal.srenix.io/"+proposal.Name, "-n", ns); !strings.Contains(ofProposal, finding) {
		t.Errorf("of its proposal:\n%s", ofProposal)
	}
	if objects := must("why", finding, "-n", ns, "-o", "json"); !json.Valid([]byte(objects)) || !strings.Contains(objects, string(proposal.UID)) {
		t.Errorf("as JSON:\n%s", objects)
	}
	if _, stderr, err := as("why", finding+"x", "-n", ns); err == nil || !strings.Contains(stderr, "The nearest:\n  "+finding) {
		t.Errorf("of a wrong name: %v", err)
	}
	if completed := must("__complete", "why", "-n", ns, ""); !strings.HasPrefix(completed, finding+"\tWarning OrdinalZeroNotReady of StatefulSet/orders-db\n") {
		t.Errorf("completed: %s", completed)
	}

	kubectl(t, "create", "clusterrole", "e2e-reported", "--verb=*", "--resource=pods")
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "clusterrole", "e2e-reported", "--ignore-not-found")
	})
	var clusterFinding string
	eventually(t, "a clusterfinding", func(context.Context) (bool, string) {
		clusterFinding = strings.TrimSpace(kubectl(t, "get", "cfnd", "--field-selector=spec.subject.name=e2e-reported,spec.reason=WildcardVerbs", "-o", "name"))
		return clusterFinding != "", ""
	})
	if note := kubectl(t, "srenix", "why", clusterFinding); !strings.Contains(note, "WildcardVerbs of ClusterRole e2e-reported") {
		t.Errorf("of a clusterfinding:\n%s", note)
	}

	followReports(t, ns)
	kubectl(t, "annotate", "pod", "orders-db-0", "-n", ns, "controlplane.srenix.io/ready-")
	kubectl(t, "wait", "--for=delete", "finding.srenix.io/"+finding, "-n", ns, "--timeout=30s")
	eventually(t, "the Reports of the whole cluster to be stored, with nothing for a namespace that is well", func(ctx context.Context) (bool, string) {
		all, stderr, err := srenix.Plane.Kubectl(ctx, "srenix", "report")
		if err != nil {
			return false, stderr
		}
		command := srenix.Plane.KubectlCommand(ctx, srenix.Plane.Kubeconfig(), "apply", "--server-side", "-f", "-")
		command.Stdin = strings.NewReader(all)
		// Namespaces of other tests may be going away, and take nothing then.
		if _, stderr, err = plane.RunCommand(command); err != nil {
			return false, stderr
		}
		summary := kubectl(t, "get", "reports.openreports.io", "srenix", "-n", ns, "-o", "jsonpath={.summary.fail} {.results}")
		rules := kubectl(t, "get", "clusterreports.openreports.io", "srenix", "-o", "jsonpath={.results[*].resources[*].name}")
		return strings.TrimSpace(summary) == "0" && strings.Contains(rules, "e2e-reported"), summary + rules
	})
}

var script = regexp.MustCompile("(?ms)^```sh\n(.*?)^```$")

// followReports runs every script of docs/reports.md, about a namespace that has a
// StatefulSet orders-db with a finding, and compares what the files that they leave tell
// with what the cluster tells.
func followReports(t *testing.T, namespace string) {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "reports.md"))
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	controlplane := srenix.Plane.KubectlCommand(t.Context(), "").Path
	if err := os.WriteFile(filepath.Join(dir, "kubectl"), []byte(fmt.Sprintf("#!/bin/sh\nexec '%s' kubectl \"$@\"\n", controlplane)), 0o700); err != nil {
		t.Fatal(err)
	}
	scripts := script.FindAllStringSubmatch(string(page), -1)
	if len(scripts) == 0 {
		t.Fatal("the page has no scripts")
	}
	path := strings.Join([]string{dir, filepath.Dir(controlplane), os.Getenv("PATH")}, string(os.PathListSeparator))
	for _, text := range scripts {
		// What is about a namespace of another test that is going away cannot be stored.
		eventually(t, "this to succeed: "+text[1], func(ctx context.Context) (bool, string) {
			command := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.ReplaceAll(text[1], "-n shop", "-n "+namespace))
			command.Dir, command.Env = dir, append(os.Environ(), "KUBECONFIG="+srenix.Plane.Kubeconfig(), "PATH="+path)
			output, err := command.CombinedOutput()
			return err == nil, string(output)
		})
	}
	asOf := time.Now().UTC().Format(time.RFC3339)
	settings := filepath.Join(dir, "configuration.yaml")
	if err := os.WriteFile(settings, []byte(configuration), 0o600); err != nil {
		t.Fatal(err)
	}
	told := func(arguments ...string) []openreports.ReportResult {
		t.Helper()
		var list reports
		if err := yaml.UnmarshalStrict([]byte(kubectl(t, append([]string{"srenix", "report", "-n", namespace}, arguments...)...)), &list); err != nil {
			t.Fatal(err)
		}
		if len(list.Items) != 1 || len(list.Items[0].Results) == 0 {
			t.Fatalf("want one Report with results: %+v", list)
		}
		return list.Items[0].Results
	}
	if diff := cmp.Diff(told(), told("--from", filepath.Join(dir, "dump"), "--as-of", asOf, "--config", settings)); diff != "" {
		t.Errorf("files tell something else (-cluster +files)\n%s", diff)
	}
}
