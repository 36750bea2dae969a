// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"strings"

	openreports "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// reportName is the name of every Report, and the source that each names.
const reportName = "srenix"

// writeOpenReports writes a List of a Report for each namespace, and a ClusterReport for
// what is in none, as YAML.
func writeOpenReports(w io.Writer, c *contents) error {
	list := metav1.List{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "List"}, Items: []runtime.RawExtension{}}
	for _, section := range c.sections {
		results, summary := openReportsResults(section.entries)
		about := metav1.ObjectMeta{
			Name: reportName, Namespace: section.namespace, Labels: map[string]string{"app.kubernetes.io/managed-by": reportName},
		}
		kind := func(kind string) metav1.TypeMeta {
			return metav1.TypeMeta{APIVersion: openreports.SchemeGroupVersion.String(), Kind: kind}
		}
		var object runtime.Object
		if section.namespace == "" {
			object = &openreports.ClusterReport{TypeMeta: kind("ClusterReport"), ObjectMeta: about, Source: reportName, Summary: summary, Results: results}
		} else {
			object = &openreports.Report{
				TypeMeta: kind("Report"), ObjectMeta: about, Source: reportName, Summary: summary, Results: results,
				Scope: &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: section.namespace},
			}
		}
		list.Items = append(list.Items, runtime.RawExtension{Object: object})
	}
	data, err := yaml.Marshal(list)
	if err != nil {
		return fmt.Errorf("encoding: %w", err)
	}
	_, err = w.Write(data)
	return err
}

// openReportsSeverities are how soon to look, in the words of OpenReports.
var openReportsSeverities = map[v1alpha1.Severity]openreports.ResultSeverity{
	v1alpha1.SeverityCritical: "critical", v1alpha1.SeverityWarning: "medium", v1alpha1.SeverityInfo: "info",
}

func openReportsResults(entries []entry) ([]openreports.ReportResult, openreports.ReportSummary) {
	var results []openreports.ReportResult
	var summary openreports.ReportSummary
	for _, e := range entries {
		properties := map[string]string{"finding": e.name}
		if e.status.SilencedBy != "" {
			properties["silence"] = e.status.SilencedBy
		}
		if len(e.status.Proposals) > 0 {
			properties["proposals"] = strings.Join(e.status.Proposals, ",")
		}
		if commands := e.spec.Remediation.Commands; len(commands) > 0 {
			properties["command"] = commands[0]
		}
		result := openreports.ReportResult{
			Source: reportName, Policy: e.spec.Analyzer, Rule: e.spec.Reason, Description: e.spec.Message, Properties: properties,
			Severity: openReportsSeverities[e.spec.Severity],
			// What is to be mended counts in a score, what is only worth knowing does not.
			Scored:    e.outcome() == failed,
			Timestamp: metav1.Timestamp{Seconds: e.spec.Since.Unix()},
			Subjects: []corev1.ObjectReference{{
				APIVersion: e.spec.Subject.APIVersion, Kind: e.spec.Subject.Kind,
				Namespace: e.spec.Subject.Namespace, Name: e.spec.Subject.Name, UID: e.spec.Subject.UID,
			}},
		}
		switch e.outcome() {
		case failed:
			result.Result = "fail"
			summary.Fail++
		case noted:
			result.Result = "warn"
			summary.Warn++
		case skipped:
			result.Result = "skip"
			summary.Skip++
		case blind:
			result.Result = "error"
			summary.Error++
		}
		results = append(results, result)
	}
	return results, summary
}
