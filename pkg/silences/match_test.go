// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"slices"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func finding() *v1alpha1.Finding {
	return &v1alpha1.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "f", Labels: map[string]string{"srenix.io/severity": "Warning"}},
		Spec: v1alpha1.FindingSpec{
			Analyzer: "WorkloadStateDrift", Reason: "OrdinalZeroNotReady", Severity: v1alpha1.SeverityWarning,
			Subject: v1alpha1.ObjectReference{APIVersion: "apps/v1", Kind: "StatefulSet", Namespace: "shop", Name: "dätenbank"},
		},
	}
}

func labeled(key string, operator metav1.LabelSelectorOperator, values ...string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: key, Operator: operator, Values: values}}}
}

func TestMatches(t *testing.T) {
	for name, test := range map[string]struct {
		match opsv1alpha1.SilenceMatch
		want  bool
	}{
		"everything":                 {opsv1alpha1.SilenceMatch{}, true},
		"the analyzer":               {opsv1alpha1.SilenceMatch{Analyzers: []string{"RBACDrift", "WorkloadStateDrift"}}, true},
		"another analyzer":           {opsv1alpha1.SilenceMatch{Analyzers: []string{"RBACDrift"}}, false},
		"the beginning of its name":  {opsv1alpha1.SilenceMatch{Analyzers: []string{"Workload"}}, false},
		"the reason":                 {opsv1alpha1.SilenceMatch{Reasons: []string{"OrdinalZeroNotReady"}}, true},
		"another reason":             {opsv1alpha1.SilenceMatch{Reasons: []string{"OrdinalZeroMissing"}}, false},
		"the severity":               {opsv1alpha1.SilenceMatch{Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}}, true},
		"another severity":           {opsv1alpha1.SilenceMatch{Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo, "Odd"}}, false},
		"the subject":                {opsv1alpha1.SilenceMatch{Subjects: []opsv1alpha1.SilencedSubject{{Kind: "Pod", Name: "x"}, {Kind: "StatefulSet", Name: "dätenbank"}}}, true},
		"another kind of its name":   {opsv1alpha1.SilenceMatch{Subjects: []opsv1alpha1.SilencedSubject{{Kind: "Pod", Name: "dätenbank"}}}, false},
		"another subject":            {opsv1alpha1.SilenceMatch{Subjects: []opsv1alpha1.SilencedSubject{{Kind: "StatefulSet", Name: "datenbank"}}}, false},
		"its label":                  {opsv1alpha1.SilenceMatch{Selector: labeled("srenix.io/severity", metav1.LabelSelectorOpIn, "Warning")}, true},
		"another label":              {opsv1alpha1.SilenceMatch{Selector: labeled("srenix.io/severity", metav1.LabelSelectorOpNotIn, "Warning")}, false},
		"an empty selector":          {opsv1alpha1.SilenceMatch{Selector: &metav1.LabelSelector{}}, true},
		"a selector without sense":   {opsv1alpha1.SilenceMatch{Selector: labeled("srenix.io/severity", "Nonsense")}, false},
		"a label key without sense":  {opsv1alpha1.SilenceMatch{Selector: labeled("not a key", metav1.LabelSelectorOpExists)}, false},
		"all of several":             {opsv1alpha1.SilenceMatch{Analyzers: []string{"WorkloadStateDrift"}, Reasons: []string{"OrdinalZeroNotReady"}}, true},
		"the analyzer's subject":     {opsv1alpha1.SilenceMatch{Analyzers: []string{"WorkloadStateDrift"}, Subjects: []opsv1alpha1.SilencedSubject{{Kind: "StatefulSet", Name: "dätenbank"}}}, true},
		"an analyzer like a subject": {opsv1alpha1.SilenceMatch{Analyzers: []string{"WorkloadStateDrift", "StatefulSet/dätenbank"}}, true},
		"one of several":             {opsv1alpha1.SilenceMatch{Analyzers: []string{"WorkloadStateDrift"}, Reasons: []string{"OrdinalZeroMissing"}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if have := Matches(&test.match, finding()); have != test.want {
				t.Errorf("matches: %t", have)
			}
			silence := &opsv1alpha1.Silence{ObjectMeta: metav1.ObjectMeta{Namespace: "shop"}, Spec: opsv1alpha1.SilenceSpec{Match: test.match}}
			found := 0
			for _, value := range narrowest(silence) {
				if slices.Contains(named(finding()), value) {
					found++
				}
			}
			if test.want && found != 1 {
				t.Errorf("the finding's silence is found %d times", found)
			}
		})
	}
}

func TestOverBroad(t *testing.T) {
	all := []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityInfo, v1alpha1.SeverityWarning}
	for name, test := range map[string]struct {
		match opsv1alpha1.SilenceMatch
		want  bool
	}{
		"empty":                            {opsv1alpha1.SilenceMatch{}, true},
		"all severities":                   {opsv1alpha1.SilenceMatch{Severities: all}, true},
		"whatever is critical":             {opsv1alpha1.SilenceMatch{Severities: all[:1]}, true},
		"whatever is only informative":     {opsv1alpha1.SilenceMatch{Severities: all[1:2]}, false},
		"an empty selector":                {opsv1alpha1.SilenceMatch{Selector: &metav1.LabelSelector{}}, true},
		"a severity by its label":          {opsv1alpha1.SilenceMatch{Selector: labeled(analyzers.SeverityLabel, metav1.LabelSelectorOpIn, "Critical")}, true},
		"a milder severity by its label":   {opsv1alpha1.SilenceMatch{Selector: labeled(analyzers.SeverityLabel, metav1.LabelSelectorOpNotIn, "Critical")}, false},
		"a label that every finding has":   {opsv1alpha1.SilenceMatch{Selector: labeled(analyzers.AnalyzerLabel, metav1.LabelSelectorOpExists)}, true},
		"a label that no finding has":      {opsv1alpha1.SilenceMatch{Selector: labeled("a", metav1.LabelSelectorOpDoesNotExist)}, true},
		"all analyzers but one":            {opsv1alpha1.SilenceMatch{Selector: labeled(analyzers.AnalyzerLabel, metav1.LabelSelectorOpNotIn, "RBACDrift")}, true},
		"a reason by its label":            {opsv1alpha1.SilenceMatch{Selector: labeled(analyzers.ReasonLabel, metav1.LabelSelectorOpIn, "a")}, false},
		"a selector without sense":         {opsv1alpha1.SilenceMatch{Selector: labeled("a", "Nonsense")}, false},
		"a severity that does not exist":   {opsv1alpha1.SilenceMatch{Severities: []v1alpha1.Severity{"Odd"}}, false},
		"a selector":                       {opsv1alpha1.SilenceMatch{Selector: labeled("a", metav1.LabelSelectorOpExists)}, false},
		"an analyzer":                      {opsv1alpha1.SilenceMatch{Analyzers: []string{"a"}, Severities: all}, false},
		"each analyzer by its name":        {opsv1alpha1.SilenceMatch{Analyzers: []string{"b", "a", "c"}}, true},
		"each analyzer, for a reason":      {opsv1alpha1.SilenceMatch{Analyzers: []string{"b", "a"}, Reasons: []string{"r"}}, false},
		"a reason, however severe it gets": {opsv1alpha1.SilenceMatch{Reasons: []string{"a"}, Severities: all[:1]}, false},
		"a subject":                        {opsv1alpha1.SilenceMatch{Subjects: []opsv1alpha1.SilencedSubject{{Kind: "Pod", Name: "a"}}}, false},
	} {
		t.Run(name, func(t *testing.T) {
			if have := overBroad(&test.match, []string{"a", "b"}); (have != "") != test.want {
				t.Errorf("over-broad: %q", have)
			}
		})
	}
}
