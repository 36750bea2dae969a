// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/owenrumney/go-sarif/v3/pkg/report/v210/sarif"
	"k8s.io/component-base/version"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	homePage = "https://github.com/srenix/srenix"
	docs     = homePage + "/blob/main/docs/"
	// fingerprint is the key under which results of several runs are told to be of the
	// same finding.
	fingerprint = "srenixFinding/v1"
)

// sarifLevels are how soon to look, in the words of SARIF.
var sarifLevels = map[v1alpha1.Severity]string{
	v1alpha1.SeverityCritical: sarif.LevelError, v1alpha1.SeverityWarning: sarif.LevelWarning, v1alpha1.SeverityInfo: sarif.LevelNote,
}

// page is where an analyzer is explained. Silences is the only analyzer that is described
// with what it looks at.
func page(analyzer string) string {
	if analyzer == "Silences" {
		return docs + "silences.md"
	}
	return docs + "analyzers/" + strings.ToLower(analyzer) + ".md"
}

// writeSARIF writes one run of SARIF 2.1.0 (OASIS), with a rule for each reason.
func writeSARIF(w io.Writer, c *contents) error {
	run := sarif.NewRunWithInformationURI("srenix", homePage)
	run.Tool.Driver.WithVersion(version.Get().GitVersion)
	rules := map[string]*sarif.ReportingDescriptor{}
	invocation, whole := sarif.NewInvocation(), true
	for _, section := range c.sections {
		for _, e := range section.entries {
			if e.outcome() == blind {
				whole = false
				invocation.AddToolExecutionNotification(sarif.NewNotification().WithLevel(sarif.LevelError).
					WithMessage(sarif.NewTextMessage(e.spec.Message)).WithTimeUtc(e.spec.Since.UTC().Format(time.RFC3339)))
				continue
			}
			id := e.spec.Analyzer + "/" + e.spec.Reason
			rules[id] = sarif.NewReportingDescriptor().WithID(id).WithName(e.spec.Reason).WithHelpURI(page(e.spec.Analyzer))
			run.AddResult(sarifResult(id, &e))
		}
	}
	for _, resource := range slices.Sorted(maps.Keys(c.unread)) {
		level := sarif.LevelNote
		if !c.unread[resource].allowed {
			level, whole = sarif.LevelError, false
		}
		invocation.AddToolExecutionNotification(sarif.NewNotification().WithLevel(level).
			WithMessage(sarif.NewTextMessage(fmt.Sprintf("%s could not be read: %v", resource, c.unread[resource].err))))
	}
	run.AddInvocation(invocation.WithExecutionSuccessful(whole))
	ids := slices.Sorted(maps.Keys(rules))
	for _, id := range ids {
		run.Tool.Driver.AddRule(rules[id])
	}
	for _, result := range run.Results {
		result.WithRuleIndex(slices.Index(ids, *result.RuleID))
	}
	if err := sarif.NewReport().AddRun(run).PrettyWrite(w); err != nil {
		return err
	}
	_, err := fmt.Fprintln(w)
	return err
}

func sarifResult(rule string, e *entry) *sarif.Result {
	properties := sarif.NewPropertyBag().Add("since", e.spec.Since.UTC().Format(time.RFC3339))
	if commands := e.spec.Remediation.Commands; len(commands) > 0 {
		properties.Add("commands", commands)
	}
	if len(e.status.Proposals) > 0 {
		properties.Add("proposals", e.status.Proposals)
	}
	result := sarif.NewRuleResult(rule).WithLevel(sarifLevels[e.spec.Severity]).WithMessage(sarif.NewTextMessage(e.spec.Message)).
		AddLocation(sarifLocation(&e.spec.Subject)).WithProperties(properties).WithPartialFingerprints(map[string]string{fingerprint: e.name})
	for _, related := range e.spec.Related {
		result.AddRelatedLocation(sarifLocation(&related.ObjectReference).WithMessage(sarif.NewTextMessage(related.Relation)))
	}
	if e.status.SilencedBy != "" {
		result.AddSuppression(sarif.NewSuppression().WithKind("external").
			WithJustification(fmt.Sprintf("silence %s in namespace %s", e.status.SilencedBy, e.namespace)))
	}
	return result
}

func sarifLocation(of *v1alpha1.ObjectReference) *sarif.Location {
	return sarif.NewLocation().AddLogicalLocation(sarif.NewLogicalLocation().
		WithName(of.Name).WithFullyQualifiedName(qualified(of)).WithKind("resource"))
}
