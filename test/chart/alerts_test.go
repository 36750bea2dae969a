// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/test/plane"
)

// foreign are metrics that others register: kube-apiserver, k8s.io/apiserver in
// srenix-apiserver, and the client of Prometheus in every program.
var foreign = []string{
	"aggregator_unavailable_apiservice",
	"apiserver_request_duration_seconds_bucket", "apiserver_request_total", "apiserver_longrunning_requests",
	"process_resident_memory_bytes", "process_cpu_seconds_total",
}

var (
	metricPattern = regexp.MustCompile(`\b[a-z]+(?:_[a-z]+)+\b`)
	// labelPattern finds labels where alerts are grouped by and matched on.
	labelPattern  = regexp.MustCompile(`by \(([a-z_, ]+)\)|[{,]([a-z_]+)!?=`)
	headerPattern = regexp.MustCompile(`(?m)^## (\w+)$`)
)

// sources returns the text of every Go file of the product that is no test.
func sources(t *testing.T, root string) map[string]string {
	t.Helper()
	found := map[string]string{}
	err := filepath.WalkDir(filepath.Join(root, "pkg"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(path)
		found[path] = string(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// rules returns the alerts as they are installed.
func rules(t *testing.T) []monitoringv1.Rule {
	t.Helper()
	rendered, err := Render(Namespace, "metrics: {prometheusRule: {enabled: true}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range rendered.Objects {
		if object.GetKind() != "PrometheusRule" {
			continue
		}
		rule := &monitoringv1.PrometheusRule{}
		if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, rule, true); err != nil {
			t.Fatal(err)
		}
		return rule.Spec.Groups[0].Rules
	}
	t.Fatal("there is no PrometheusRule")
	return nil
}

// labelsOf returns the labels that an expression groups by and matches on.
func labelsOf(expression string) []string {
	var labels []string
	for _, match := range labelPattern.FindAllStringSubmatch(expression, -1) {
		labels = append(labels, strings.FieldsFunc(match[1]+match[2], func(r rune) bool { return r == ',' || r == ' ' })...)
	}
	return labels
}

// metricsOf returns the metrics that an expression is on, and reports those, and
// labels of them, that nothing registers. Every metric and label is a literal of the
// file that registers it.
func metricsOf(t *testing.T, where, expression string, files map[string]string) []string {
	t.Helper()
	labels := labelsOf(expression)
	var metrics []string
	for _, at := range metricPattern.FindAllStringIndex(expression, -1) {
		metric := expression[at[0]:at[1]]
		if slices.Contains(labels, metric) || strings.HasPrefix(expression[at[1]:], "(") { // as histogram_quantile(
			continue
		}
		metrics = append(metrics, metric)
		if slices.Contains(foreign, metric) {
			continue
		}
		name, histogram := strings.CutSuffix(metric, "_bucket")
		registered := ""
		for _, content := range files {
			if strings.Contains(content, `"`+name+`"`) {
				registered = content
			}
		}
		if registered == "" {
			t.Errorf("%s: nothing registers %s", where, metric)
			continue
		}
		for _, label := range labels {
			if known := strings.Contains(registered, `"`+label+`"`) || histogram && label == "le"; !known {
				t.Errorf("%s: %s has no label %s", where, metric, label)
			}
		}
	}
	return metrics
}

func TestAlertsAreOnMetricsThatExist(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	files := sources(t, root)
	for _, rule := range rules(t) {
		expression := rule.Expr.String()
		if metrics := metricsOf(t, rule.Alert, expression, files); len(metrics) != 1 {
			t.Errorf("%s is on %d metrics: %s", rule.Alert, len(metrics), expression)
		}
	}
}

func TestEachAlertHasItsRunbook(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "alerts.md"))
	if err != nil {
		t.Fatal(err)
	}
	var described, shipped []string
	for _, match := range headerPattern.FindAllStringSubmatch(string(page), -1) {
		described = append(described, match[1])
	}
	for _, rule := range rules(t) {
		shipped = append(shipped, rule.Alert)
		if link := rule.Annotations["runbook_url"]; !strings.HasSuffix(link, "/docs/alerts.md#"+strings.ToLower(rule.Alert)) {
			t.Errorf("%s links to %q", rule.Alert, link)
		}
		if rule.Labels["severity"] == "" || rule.Annotations["summary"] == "" {
			t.Errorf("%s has no severity, or no summary", rule.Alert)
		}
	}
	if !slices.Equal(described, shipped) {
		t.Errorf("docs/alerts.md describes\n%v, and shipped are\n%v", described, shipped)
	}
}
