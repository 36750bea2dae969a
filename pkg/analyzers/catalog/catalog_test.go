// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/pkg/silences"
)

func decode(t *testing.T, text string) *config.SrenixConfiguration {
	t.Helper()
	configuration, err := config.Decode([]byte("apiVersion: config.srenix.io/v1alpha1\nkind: SrenixConfiguration\n" + text))
	if err != nil {
		t.Fatal(err)
	}
	config.Default(configuration)
	return configuration
}

func groups(rules []live.Rule) []string {
	var names []string
	for _, rule := range rules {
		names = append(names, rule.Group)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// offUntilConfigured are those that ask something else than the cluster.
var offUntilConfigured = []string{vaultpathmissing.Name}

func TestAnalyzersAreSwitchedOff(t *testing.T) {
	for name, test := range map[string]struct {
		configuration string
		environment   map[string]string
		off           string
	}{
		"nothing":                     {},
		"by configuration":            {configuration: "analyzers: {RBACDrift: {enabled: false}}", off: "RBACDrift"},
		"by environment":              {environment: map[string]string{"SRENIX_ANALYZER_RBAC_DRIFT": "off"}, off: "RBACDrift"},
		"by environment, CamelCase":   {environment: map[string]string{"SRENIX_ANALYZER_WORKLOAD_STATE_DRIFT": "off"}, off: "WorkloadStateDrift"},
		"on by environment after all": {configuration: "analyzers: {RBACDrift: {enabled: false}}", environment: map[string]string{"SRENIX_ANALYZER_RBAC_DRIFT": "on"}},
	} {
		t.Run(name, func(t *testing.T) {
			rules, err := Build(decode(t, test.configuration), "srenix-system", func(key string) string { return test.environment[key] })
			if err != nil {
				t.Fatal(err)
			}
			for _, entry := range All() {
				off := entry.Name == test.off || slices.Contains(offUntilConfigured, entry.Name)
				if on := slices.Contains(groups(rules), entry.Name); on == off {
					t.Errorf("%s is on: %t", entry.Name, on)
				}
			}
		})
	}
}

// What is not looked for is not taken for healthy.
func TestAnalyzersThatAreOffAreReported(t *testing.T) {
	rules, err := Build(decode(t, "analyzers: {WorkloadStateDrift: {enabled: false}, ConfigDrift: {enabled: false}}"), "srenix-system", func(variable string) string {
		return map[string]string{"SRENIX_ANALYZER_RBAC_DRIFT": "off", "SRENIX_ANALYZER_CONFIG_DRIFT": "on"}[variable]
	})
	if err != nil {
		t.Fatal(err)
	}
	engine, cluster := live.New(live.Options{}), &livetest.Cluster{}
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	have := map[string]string{}
	for _, report := range live.List(engine, analyzers.DetectedClusterFindings) {
		if report.Spec.Reason == v1alpha1.ReasonAnalyzerOff && report.Spec.Severity == v1alpha1.SeverityInfo && !report.Spec.Since.IsZero() {
			have[report.Spec.Subject.Name] = report.Spec.Message
		}
	}
	want := map[string]string{
		"RBACDrift":          "RBACDrift is switched off, by the environment variable SRENIX_ANALYZER_RBAC_DRIFT. What it would find is not looked for.",
		"WorkloadStateDrift": "WorkloadStateDrift is switched off, by the configuration. What it would find is not looked for.",
	}
	if !maps.Equal(want, have) {
		t.Errorf("reported are %v, want %v", have, want)
	}
}

func TestVariablesOfNoAnalyzerAreNamed(t *testing.T) {
	fine := []string{"HOME=/", "SRENIX_ANALYZER_RBAC_DRIFT=off", "SRENIX_ANALYZER_OOM_KILL=on"}
	if err := CheckVariables(fine); err != nil {
		t.Error(err)
	}
	err := CheckVariables(append(fine, "SRENIX_ANALYZER_RBAC_DRFT=off", "SRENIX_ANALYZER_BOGUS="))
	for _, word := range []string{"SRENIX_ANALYZER_RBAC_DRFT", "SRENIX_ANALYZER_BOGUS", "RBACDrift"} {
		if err == nil || !strings.Contains(err.Error(), word) {
			t.Errorf("the error does not name %s: %v", word, err)
		}
	}
}

func TestWrongSettingsAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		configuration string
		environment   map[string]string
		words         []string
	}{
		"unknown analyzer":             {configuration: "analyzers: {RbacDrift: {}}", words: []string{"RbacDrift", "RBACDrift"}},
		"unknown option":               {configuration: "analyzers: {RBACDrift: {options: {allowed: [x]}}}", words: []string{"RBACDrift", "allowed"}},
		"option of a wrong type":       {configuration: "analyzers: {OOMKill: {options: {window: an hour}}}", words: []string{"OOMKill", "options.window: Invalid value: \"an hour\""}},
		"option with a glob":           {configuration: "analyzers: {RBACDrift: {options: {allowedRoles: [\"vault*\"]}}}", words: []string{"vault*"}},
		"options of one that has none": {configuration: "analyzers: {ConfigDrift: {options: {a: b}}}", words: []string{"ConfigDrift", "\"a\""}},
		"Vault without a token":        {configuration: "analyzers: {VaultPathMissing: {options: {address: \"https://v\"}}}", words: []string{"VaultPathMissing", "tokenFile"}},
		"neither on nor off":           {environment: map[string]string{"SRENIX_ANALYZER_RBAC_DRIFT": "0"}, words: []string{"SRENIX_ANALYZER_RBAC_DRIFT", "on or off"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Build(decode(t, test.configuration), "srenix-system", func(key string) string { return test.environment[key] })
			if err == nil {
				t.Fatal("no error")
			}
			for _, word := range test.words {
				if !strings.Contains(err.Error(), word) {
					t.Errorf("the error does not name %q: %v", word, err)
				}
			}
		})
	}
}

// Silences are told what all the others report, also those that come after them
// in the list and those that are off.
func TestSilencesKnowWhatAllOthersReport(t *testing.T) {
	rules, err := Build(decode(t, "analyzers: {WorkloadStateDrift: {enabled: false}}"), "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	engine, cluster := live.New(live.Options{}), &livetest.Cluster{}
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	for name, match := range map[string]opsv1alpha1.SilenceMatch{
		"known": {Analyzers: []string{workloadstatedrift.Name}}, "unknown": {Analyzers: []string{"WorkloadDrift"}},
	} {
		cluster.Set(silences.Silences.Ref().Resource(), &opsv1alpha1.Silence{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.Now()},
			Spec:       opsv1alpha1.SilenceSpec{Owner: "team", Reason: "known", Expires: metav1.NewTime(time.Now().Add(time.Hour)), Match: match},
		})
	}
	livetest.Run(t, engine, cluster)
	livetest.Settle(t, engine, cluster, silences.Silences)
	reports := live.List(engine, silences.Reports)
	if len(reports) != 1 || reports[0].Spec.Subject.Name != "unknown" || !strings.Contains(reports[0].Spec.Message, "WorkloadStateDrift") {
		t.Errorf("reported are %v, want the unknown name, with those that are known", reports)
	}
}

func TestVariables(t *testing.T) {
	for name, want := range map[string]string{
		"GitOpsDrift": "SRENIX_ANALYZER_GITOPS_DRIFT", "RBACDrift": "SRENIX_ANALYZER_RBAC_DRIFT",
		"WorkloadStateDrift": "SRENIX_ANALYZER_WORKLOAD_STATE_DRIFT", "OOMKill": "SRENIX_ANALYZER_OOM_KILL",
		"TLSSecretMismatch": "SRENIX_ANALYZER_TLS_SECRET_MISMATCH",
	} {
		if have := Variable(name); have != want {
			t.Errorf("%s: have %s, want %s", name, have, want)
		}
	}
}

// What the site's markers show to be managed from a source elsewhere, no analyzer tells to
// edit in the cluster: the policy would refuse that too.
func TestAnalyzersKnowTheMarkersOfTheSite(t *testing.T) {
	configuration := decode(t, "policy: {gitOpsMarkers: {labels: [example.com/source]}}")
	rules, err := Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	engine := live.New(live.Options{})
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	cluster := &livetest.Cluster{}
	for name, labels := range map[string]map[string]string{"marked": {"example.com/source": "fleet"}, "own": nil} {
		cluster.Set(inputs.ClusterRoles.Ref().Resource(), &rbacv1.ClusterRole{
			ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Labels: labels},
			Rules:      []rbacv1.PolicyRule{{APIGroups: []string{"apps"}, Resources: []string{"deployments"}, Verbs: []string{"*"}}},
		})
	}
	livetest.Run(t, engine, cluster)
	livetest.Settle(t, engine, cluster, inputs.ClusterRoles)
	have := map[string]v1alpha1.Remediation{}
	for _, finding := range live.List(engine, analyzers.DetectedClusterFindings) {
		if finding.Spec.Subject.Kind == "ClusterRole" {
			have[finding.Spec.Subject.Name] = finding.Spec.Remediation
		}
	}
	if !slices.Contains(have["own"].Commands, "kubectl edit clusterrole/own") {
		t.Errorf("of a role that is nobody's the remediation is %+v", have["own"])
	}
	if marked := have["marked"]; !strings.Contains(marked.Text, "managed from a source elsewhere (label example.com/source=fleet)") || slices.Contains(marked.Commands, "kubectl edit clusterrole/marked") {
		t.Errorf("of a role with the site's marker the remediation is %+v", marked)
	}
}
