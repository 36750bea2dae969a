// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package catalog lists all analyzers and makes the live view's rules of those
// that are on. A new analyzer is one line here.
package catalog

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/endpoints"
	"github.com/srenix/srenix/pkg/analyzers/failedmounts"
	"github.com/srenix/srenix/pkg/analyzers/failedpods"
	"github.com/srenix/srenix/pkg/analyzers/failingexternalsecrets"
	"github.com/srenix/srenix/pkg/analyzers/gitopsdrift"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/nodes"
	"github.com/srenix/srenix/pkg/analyzers/oomkill"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	"github.com/srenix/srenix/pkg/analyzers/proactivesecretkeycheck"
	"github.com/srenix/srenix/pkg/analyzers/rbacdrift"
	"github.com/srenix/srenix/pkg/analyzers/secretkeymissing"
	"github.com/srenix/srenix/pkg/analyzers/stuckjobs"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/analyzers/stuckterminating"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/silences"
)

// serviceAccount is as whom artifacts/ run the server that reads the cluster.
const serviceAccount = "srenix-apiserver"

// Entry is one analyzer that there is.
type Entry struct {
	Name string
	New  analyzers.Factory
}

// All returns every analyzer, by name.
func All() []Entry {
	return []Entry{
		{certexpiry.Name, certexpiry.New},
		{configdrift.Name, configdrift.New},
		{crashloop.Name, crashloop.New},
		{endpoints.Name, endpoints.New},
		{failedmounts.Name, failedmounts.New},
		{failedpods.Name, failedpods.New},
		{failingexternalsecrets.Name, failingexternalsecrets.New},
		{gitopsdrift.Name, gitopsdrift.New},
		{imagepull.Name, imagepull.New},
		{nodes.Name, nodes.New},
		{oomkill.Name, oomkill.New},
		{pendingpods.Name, pendingpods.New},
		{proactivesecretkeycheck.Name, proactivesecretkeycheck.New},
		{rbacdrift.Name, rbacdrift.New},
		{secretkeymissing.Name, secretkeymissing.New},
		{silences.Name, silences.New},
		{stuckjobs.Name, stuckjobs.New},
		{stuckrollout.Name, stuckrollout.New},
		{stuckterminating.Name, stuckterminating.New},
		{tlssecretmismatch.Name, tlssecretmismatch.New},
		{vaultpathmissing.Name, vaultpathmissing.New},
		{workloadstatedrift.Name, workloadstatedrift.New},
	}
}

// Variable is the environment variable that switches an analyzer on or off:
// SRENIX_ANALYZER_GITOPS_DRIFT for GitOpsDrift.
func Variable(name string) string { return "SRENIX_ANALYZER_" + analyzers.UpperSnake(name) }

// CheckVariables reports the variables of an environment, as os.Environ has it, that
// look like those of analyzers and are of none.
func CheckVariables(environment []string) error {
	var errs []error
	for _, entry := range environment {
		variable, _, _ := strings.Cut(entry, "=")
		if strings.HasPrefix(variable, Variable("")) && !slices.ContainsFunc(All(), func(e Entry) bool { return Variable(e.Name) == variable }) {
			errs = append(errs, fmt.Errorf("environment variable %s is of no analyzer; these exist: %s", variable, names(All())))
		}
	}
	return errors.Join(errs...)
}

// Build returns the rules of every analyzer that is on, and those that report
// degraded analyzers, with how to grant its namespace's service account what is
// missing, and those that are off. The environment wins over the configuration.
func Build(configuration *config.SrenixConfiguration, namespace string, getenv func(string) string) ([]live.Rule, error) {
	entries := All()
	var errs []error
	for name := range configuration.Analyzers {
		if !slices.ContainsFunc(entries, func(e Entry) bool { return e.Name == name }) {
			errs = append(errs, fmt.Errorf("analyzers: there is no %q; these exist: %s", name, names(entries)))
		}
	}
	protected := func(in *corev1.Namespace) bool {
		so, _ := policy.IsProtected(in, namespace, &configuration.Policy)
		return so
	}
	rules := []live.Rule{analyzers.DegradedRule(namespace + ":" + serviceAccount)}
	known, off := map[string][]analyzers.Reason{}, map[string]string{}
	// What reads what others found comes last: it is told what they can report.
	slices.SortStableFunc(entries, func(a, b Entry) int {
		switch {
		case readsOthers(a.Name) == readsOthers(b.Name):
			return 0
		case readsOthers(a.Name):
			return 1
		}
		return -1
	})
	for _, entry := range entries {
		own := configuration.Analyzers[entry.Name]
		on, by := own.Enabled == nil || *own.Enabled, "the configuration"
		switch value := getenv(Variable(entry.Name)); value {
		case "":
		case "on", "off":
			on, by = value == "on", "the environment variable "+Variable(entry.Name)
		default:
			errs = append(errs, fmt.Errorf("environment variable %s is %q: must be on or off", Variable(entry.Name), value))
		}
		analyzer, err := entry.New(analyzers.NewSettings(own).Protecting(protected).Under(&configuration.Policy).Knowing(known))
		if err != nil {
			errs = append(errs, fmt.Errorf("analyzers[%s]: %w", entry.Name, err))
			continue
		}
		known[analyzer.Name] = analyzer.Reasons
		if on {
			rules = append(rules, liveRules(analyzer)...)
		} else {
			off[entry.Name] = by
		}
	}
	if len(off) > 0 {
		rules = append(rules, analyzers.OffRule(off))
	}
	if len(errs) > 0 {
		return nil, errors.Join(errs...)
	}
	return rules, nil
}

// readsOthers tells whether an analyzer reads what others found.
func readsOthers(name string) bool { return name == silences.Name }

// liveRules are the frame's, except where an analyzer reads what others found.
func liveRules(analyzer analyzers.Analyzer) []live.Rule {
	if readsOthers(analyzer.Name) {
		return silences.LiveRules(analyzer)
	}
	return analyzers.LiveRules(analyzer)
}

func names(entries []Entry) string {
	var all []string
	for _, entry := range entries {
		all = append(all, entry.Name)
	}
	return strings.Join(all, ", ")
}

// ReaderRules are the rights that reading for the given rules takes: list and
// watch on every input, and on what tells that an optional one is installed. The
// ClusterRole in artifacts/ is generated from them.
func ReaderRules(rules []live.Rule) []rbacv1.PolicyRule {
	byGroup := map[string][]string{}
	for _, rule := range rules {
		for _, kind := range append([]live.KindRef{rule.Subject}, rule.Reads...) {
			if resource := kind.Resource(); resource.Resource != "" {
				byGroup[resource.Group] = append(byGroup[resource.Group], resource.Resource)
			}
			if kind.Optional() {
				resource := live.InstallationResource()
				byGroup[resource.Group] = append(byGroup[resource.Group], resource.Resource)
			}
		}
	}
	var all []rbacv1.PolicyRule
	for group, resources := range byGroup {
		slices.Sort(resources)
		all = append(all, rbacv1.PolicyRule{APIGroups: []string{group}, Resources: slices.Compact(resources), Verbs: []string{"list", "watch"}})
	}
	slices.SortFunc(all, func(a, b rbacv1.PolicyRule) int { return strings.Compare(a.APIGroups[0], b.APIGroups[0]) })
	return all
}
