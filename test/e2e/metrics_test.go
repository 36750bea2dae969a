// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// TestMetricsAreThoseOfTheirDocument compares what the programs serve with
// docs/metrics.md, both ways: names, types and labels.
func TestMetricsAreThoseOfTheirDocument(t *testing.T) {
	documented := documentedMetrics(t)

	ns := namespace(t)
	grace := approver(t, ns, "grace") // of a budget of her own
	proposal := stuckStatefulSet(t, ns, "db")
	if _, err := post(t, grace, proposal, "approve", approvalRequest(proposal.Spec.Digest, "no.token.atall")); err == nil {
		t.Fatal("a token that is none was accepted")
	}
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+approve(t, grace, proposal), "-n", ns, "--timeout=90s")

	served := map[string]map[string]metric{
		"srenix-apiserver": parsed(t, scrapeAPIServer(t)),
		"srenix-executor":  parsed(t, scrapeExecutor(t)),
	}
	for program, metrics := range documented {
		for name, want := range metrics {
			if got, ok := served[program][name]; !ok {
				t.Errorf("%s is said to serve %s, and does not", program, name)
			} else if got.kind != want.kind || !slices.Equal(got.labels, want.labels) {
				t.Errorf("%s serves %s as %+v, and is said to as %+v", program, name, got, want)
			}
		}
		for name := range served[program] {
			if _, ok := metrics[name]; !ok {
				t.Errorf("docs/metrics.md lacks %s of %s", name, program)
			}
		}
	}
	for _, file := range []string{"alerts.yaml", "dashboard.yaml"} {
		shown := regexp.MustCompile(`\b(?:srenix|live)_[a-z_]+`).FindAllString(readFile(t, "artifacts/charts/srenix/"+file), -1)
		if len(shown) == 0 {
			t.Errorf("%s has nothing about srenix", file)
		}
		for _, name := range shown {
			name = strings.TrimSuffix(name, "_bucket") // of a histogram
			if served["srenix-apiserver"][name].kind == "" && served["srenix-executor"][name].kind == "" {
				t.Errorf("%s is about %s, which nobody serves", file, name)
			}
		}
	}
}

// metric is what a metric is like.
type metric struct {
	kind   string
	labels []string
}

// ours matches the names of the metrics that are srenix's own.
var ours = regexp.MustCompile(`^(srenix|live)_`)

// parsed reads an exposition and holds the metrics that are srenix's own to the
// conventions of Prometheus.
func parsed(t *testing.T, exposition []byte) map[string]metric {
	t.Helper()
	problems, err := promlint.New(bytes.NewReader(exposition)).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, problem := range problems {
		if ours.MatchString(problem.Metric) {
			t.Errorf("%s: %s", problem.Metric, problem.Text)
		}
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(exposition))
	if err != nil {
		t.Fatal(err)
	}
	metrics := map[string]metric{}
	for name, family := range families {
		if ours.MatchString(name) {
			metrics[name] = metric{strings.ToLower(family.GetType().String()), labelsOf(family)}
		}
	}
	return metrics
}

func labelsOf(family *dto.MetricFamily) []string {
	var labels []string
	for _, pair := range family.GetMetric()[0].GetLabel() {
		labels = append(labels, pair.GetName())
	}
	slices.Sort(labels)
	return labels
}

// documentedMetrics reads docs/metrics.md: the metrics of each program.
func documentedMetrics(t *testing.T) map[string]map[string]metric {
	t.Helper()
	documented := map[string]map[string]metric{"srenix-apiserver": {}, "srenix-executor": {}}
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\| (gauge|counter|histogram) \\| ([^|]*)\\|")
	word := regexp.MustCompile("`([a-z_]+)`")
	section := ""
	for line := range strings.Lines(readFile(t, "docs/metrics.md")) {
		if title, ok := strings.CutPrefix(line, "## "); ok {
			section = strings.TrimSpace(title)
		}
		found := row.FindStringSubmatch(line)
		if found == nil {
			continue
		}
		is := metric{kind: found[2]}
		for _, label := range word.FindAllStringSubmatch(found[3], -1) {
			is.labels = append(is.labels, label[1])
		}
		slices.Sort(is.labels)
		for program, metrics := range documented {
			if strings.Contains(section, program) {
				metrics[found[1]] = is
			}
		}
	}
	if len(documented["srenix-apiserver"]) == 0 || len(documented["srenix-executor"]) == 0 {
		t.Fatal("docs/metrics.md has no tables that can be read")
	}
	return documented
}

// readFile reads a file of the repository.
func readFile(t *testing.T, path string) string {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(root, filepath.FromSlash(path)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func scrapeAPIServer(t *testing.T) []byte {
	t.Helper()
	secret, err := kubeClient(t).CoreV1().Secrets(harness.Namespace).Get(t.Context(), "srenix-serving-certs", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(adminConfig(t))
	config.Host, config.CAData = fmt.Sprintf("https://localhost:%d", srenix.APIPort()), secret.Data["ca.crt"]
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	body, err := client.RESTClient().Get().AbsPath("/metrics").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return body
}

func scrapeExecutor(t *testing.T) []byte {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+srenix.Executor.Metrics+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s: %v", response.Status, err)
	}
	return body
}
