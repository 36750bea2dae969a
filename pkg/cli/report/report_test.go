// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"bytes"
	"encoding/xml"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/jstemmer/go-junit-report/v2/junit"
	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/component-base/version"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned/fake"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned/scheme"
)

// findings are those of testdata/findings.yaml.
func findings(t *testing.T) []runtime.Object {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "findings.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var objects []runtime.Object
	for document := range strings.SplitSeq(string(data), "\n---\n") {
		object, _, err := scheme.Codecs.UniversalDeserializer().Decode([]byte(document), nil, nil)
		if err != nil {
			t.Fatalf("%v in %s", err, document)
		}
		objects = append(objects, object)
	}
	return objects
}

// call is one call of the command.
type call struct {
	objects []runtime.Object
	// refused are the errors of resources that cannot be listed.
	refused                   map[string]error
	namespace, output, failOn string
}

func (c *call) run(t *testing.T) (stdout, stderr string, err error) {
	t.Helper()
	client := fake.NewSimpleClientset(c.objects...)
	namespaces := kubefake.NewClientset(
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}}, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "quiet"}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: &metav1.Time{}, Finalizers: []string{"x"}}},
	)
	for resource, err := range c.refused {
		refuse := func(clienttesting.Action) (bool, runtime.Object, error) { return true, nil, err }
		client.PrependReactor("list", resource, refuse)
		namespaces.PrependReactor("list", resource, refuse)
	}
	streams, _, out, errOut := genericiooptions.NewTestIOStreams()
	flags := genericclioptions.NewConfigFlags(true)
	*flags.Namespace = c.namespace
	o := &Options{ConfigFlags: flags, IOStreams: streams, Output: c.output, FailOn: c.failOn, from: listsOf(client, namespaces.CoreV1())}
	err = o.Run(t.Context())
	return out.String(), errOut.String(), err
}

func forbidden(resource string) error {
	return apierrors.NewForbidden(schema.GroupResource{Resource: resource}, "", errors.New("no"))
}

// wellFormed checks an output by the libraries of those who read it.
var wellFormed = map[string]func(t *testing.T, output string){
	outputOpenReports: func(t *testing.T, output string) {
		var list struct {
			metav1.TypeMeta `json:",inline"`
			Metadata        metav1.ListMeta      `json:"metadata"`
			Items           []openreports.Report `json:"items"`
		}
		if err := yaml.UnmarshalStrict([]byte(output), &list); err != nil {
			t.Error(err)
		}
		for _, report := range list.Items {
			s := report.Summary
			if n := s.Pass + s.Fail + s.Warn + s.Error + s.Skip; n != len(report.Results) {
				t.Errorf("%s %s counts %d results and has %d", report.Kind, report.Namespace, n, len(report.Results))
			}
		}
	},
	outputSARIF: func(t *testing.T, output string) {
		report, err := sarif.FromString(output, sarif.WithStrictValidation())
		if err != nil {
			t.Fatal(err)
		}
		if err := report.Validate(); err != nil {
			t.Error(err)
		}
		for _, result := range report.Runs[0].Results {
			if rule := report.Runs[0].Tool.Driver.Rules[result.RuleIndex]; *rule.ID != *result.RuleID {
				t.Errorf("a result of %s points to rule %s", *result.RuleID, *rule.ID)
			}
		}
	},
	outputJUnit: func(t *testing.T, output string) {
		var suites junit.Testsuites
		if err := xml.Unmarshal([]byte(output), &suites); err != nil {
			t.Fatal(err)
		}
		for _, suite := range suites.Suites {
			if suite.Tests != len(suite.Testcases) {
				t.Errorf("suite %s counts %d tests and has %d", suite.Name, suite.Tests, len(suite.Testcases))
			}
		}
	},
}

// TestFormats compares reports with testdata. UPDATE_GOLDENS=1 writes the files.
func TestFormats(t *testing.T) {
	for output, extension := range map[string]string{outputOpenReports: ".yaml", outputSARIF: ".sarif", outputJUnit: ".xml"} {
		for name, namespace := range map[string]string{"all": "", "shop": "shop", "quiet": "quiet"} {
			t.Run(output+" of "+name, func(t *testing.T) {
				objects := findings(t)
				have, stderr, err := (&call{objects: objects, namespace: namespace, output: output}).run(t)
				if err != nil || stderr != "" {
					t.Fatalf("%v\n%s", err, stderr)
				}
				wellFormed[output](t, have)
				slices.Reverse(objects)
				again, _, err := (&call{objects: objects, namespace: namespace, output: output}).run(t)
				if err != nil || again != have {
					t.Errorf("it depends on the order in which things are found: %v\n%s", err, cmp.Diff(have, again))
				}
				have = strings.ReplaceAll(have, version.Get().GitVersion, "VERSION")
				golden := filepath.Join("testdata", name+extension)
				if os.Getenv("UPDATE_GOLDENS") != "" {
					if err := os.WriteFile(golden, []byte(have), 0o644); err != nil {
						t.Fatal(err)
					}
				}
				want, err := os.ReadFile(golden)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(string(want), have); diff != "" {
					t.Errorf("(-want +have)\n%s", diff)
				}
			})
		}
	}
}

func TestFailOn(t *testing.T) {
	for name, test := range map[string]struct {
		failOn, namespace string
		// want is what the error says, if there is to be one.
		want string
	}{
		"nothing":                    {},
		"Critical":                   {failOn: "Critical", want: "findings of severity Critical or worse that are not silenced: 2"},
		"a warning, or a blind spot": {failOn: "Warning", want: "Warning or worse that are not silenced: 5"},
		"anything":                   {failOn: "Info", want: "Info or worse that are not silenced: 6"},
		"in a namespace without":     {failOn: "Critical", namespace: "bank"},
		"in a namespace with":        {failOn: "Critical", namespace: "shop", want: "not silenced: 1"},
	} {
		t.Run(name, func(t *testing.T) {
			stdout, stderr, err := (&call{objects: findings(t), output: outputJUnit, failOn: test.failOn, namespace: test.namespace}).run(t)
			if (err != nil) != (test.want != "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("have %v, want %q", err, test.want)
			}
			if stdout == "" || stderr != "" {
				t.Errorf("printed %q, and told %q", stdout, stderr)
			}
		})
	}
}

func TestWhatCannotBeRead(t *testing.T) {
	down := apierrors.NewServiceUnavailable("down")
	for name, test := range map[string]struct {
		namespace string
		refused   map[string]error
		// failOn is "Critical" where two reasons are to be told together.
		failOn, stderr, err, sarif string
		whole                      bool
	}{
		"clusterfindings of a cluster": {
			refused: map[string]error{"clusterfindings": forbidden("clusterfindings")}, stderr: "not read: clusterfindings: clusterfindings is forbidden: no\n",
			err: "the report is incomplete, for lack of clusterfindings", sarif: "clusterfindings could not be read",
		},
		"clusterfindings, forbidden to who asks for a namespace": {
			namespace: "shop", refused: map[string]error{"clusterfindings": forbidden("clusterfindings")}, whole: true,
			stderr: "not read: clusterfindings: clusterfindings is forbidden: no\n", sarif: "clusterfindings could not be read",
		},
		"clusterfindings, for another reason": {
			namespace: "shop", refused: map[string]error{"clusterfindings": down},
			stderr: "not read: clusterfindings: down\n", err: "for lack of clusterfindings", sarif: "clusterfindings could not be read: down",
		},
		"clusterfindings, while there is something Critical": {
			failOn: "Critical", refused: map[string]error{"clusterfindings": down}, stderr: "not read: clusterfindings: down\n",
			err: "the report is incomplete, for lack of clusterfindings; findings of severity Critical or worse that are not silenced: 1", sarif: "down",
		},
	} {
		t.Run(name, func(t *testing.T) {
			// Without the analyzer that is degraded anyway.
			objects := findings(t)[:6]
			stdout, stderr, err := (&call{objects: objects, namespace: test.namespace, refused: test.refused, output: outputSARIF, failOn: test.failOn}).run(t)
			if have := errorText(err); stderr != test.stderr || (have == "") != (test.err == "") || !strings.Contains(have, test.err) {
				t.Errorf("error %q, told %q", have, stderr)
			}
			report, err := sarif.FromString(stdout)
			if err != nil {
				t.Fatal(err)
			}
			if err := report.Validate(); err != nil {
				t.Error(err)
			}
			if invocation := report.Runs[0].Invocations[0]; *invocation.ExecutionSuccessful != test.whole || len(invocation.ToolExecutionNotifications) != 1 ||
				!strings.Contains(*invocation.ToolExecutionNotifications[0].Message.Text, test.sarif) {
				t.Errorf("SARIF does not tell: %s", stdout)
			}
			stdout, _, _ = (&call{objects: objects, namespace: test.namespace, refused: test.refused, output: outputOpenReports}).run(t)
			if !strings.Contains(stdout, "kind: Report\n") || strings.Contains(stdout, "kind: ClusterReport") {
				t.Errorf("a ClusterReport that says nothing would take the place of one that did:\n%s", stdout)
			}
		})
	}

	t.Run("namespaces", func(t *testing.T) {
		test := call{objects: findings(t), refused: map[string]error{"namespaces": forbidden("namespaces")}, output: outputOpenReports}
		stdout, stderr, err := test.run(t)
		wellFormed[outputOpenReports](t, stdout)
		if !strings.Contains(errorText(err), "for lack of namespaces") || !strings.Contains(stderr, "not read: namespaces: ") || !strings.Contains(stdout, "namespace: shop") {
			t.Errorf("%v\n%s%s", err, stderr, stdout)
		}
		test.output = outputSARIF
		if _, stderr, err := test.run(t); err != nil || stderr != "" {
			t.Errorf("SARIF needs no namespaces: %v, %s", err, stderr)
		}
	})

	for namespace, hint := range map[string]string{"": "kubectl srenix report -n NAMESPACE", "shop": "srenix-viewer"} {
		t.Run("findings of namespace "+namespace, func(t *testing.T) {
			stdout, _, err := (&call{objects: findings(t), namespace: namespace, refused: map[string]error{"findings": forbidden("findings")}, output: outputJUnit}).run(t)
			if have := errorText(err); stdout != "" || !strings.Contains(have, "listing findings") || !strings.Contains(have, hint) {
				t.Errorf("printed %q, error %q", stdout, have)
			}
		})
	}
}

// errorText is how the error is told, or empty without one.
func errorText(err error) string {
	if err == nil {
		return ""
	}
	var out bytes.Buffer
	cli.Report(&out, err)
	return out.String()
}

func TestEveryAnalyzerHasTheDocPageThatRulesPointTo(t *testing.T) {
	for _, entry := range catalog.All() {
		file := strings.TrimPrefix(page(entry.Name), docs)
		if _, err := os.Stat(filepath.Join("..", "..", "..", "docs", file)); err != nil {
			t.Errorf("%s: %v", entry.Name, err)
		}
	}
}

func TestFlagsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"a format":   {[]string{"-o", "xml"}, `unknown output format "xml": it must be one of openreports, sarif, junit`},
		"a severity": {[]string{"--fail-on", "critical"}, `--fail-on is "critical": it must be one of Critical, Warning, Info`},
		"arguments":  {[]string{"shop"}, "takes no arguments"},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
			code := cli.Run(NewCommand(streams), streams, append([]string{"kubectl-srenix"}, test.arguments...))
			if code != 1 || stdout.String() != "" || !strings.Contains(stderr.String(), test.want) || !strings.Contains(stderr.String(), "--help") {
				t.Errorf("exit code %d, output %q, errors %q", code, stdout, stderr)
			}
		})
	}
}
