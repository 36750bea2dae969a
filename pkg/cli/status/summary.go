// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
)

// maximumWorst is how many findings are named.
const maximumWorst = 5

// severities, the worst first.
var severities = []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityWarning, v1alpha1.SeverityInfo}

// summary is what stands, as it is printed.
type summary struct {
	// Namespace is empty for all.
	Namespace string `json:"namespace,omitempty"`
	// Findings are counted by severity, those of clusterfindings too, without those
	// that are silenced.
	Findings map[v1alpha1.Severity]int `json:"findings"`
	Silenced int                       `json:"silenced"`
	// Worst are the first of Findings, by severity and age.
	Worst []trouble `json:"worst,omitempty"`
	// Blind are the messages of analyzers that cannot see all that they need.
	Blind []string `json:"blind,omitempty"`
	// Proposals are counted by phase.
	Proposals map[v1alpha1.ProposalPhase]int `json:"proposals,omitempty"`
	// UnderWay are the approvals that have not come to their end.
	UnderWay []underWay `json:"underWay,omitempty"`
	// Checkpoint is the newest signed one of the audit chain.
	Checkpoint *checkpoint `json:"checkpoint,omitempty"`
	// Unread are the errors of what could not be read, by resource.
	Unread map[string]string `json:"unread,omitempty"`
}

type trouble struct {
	Namespace string            `json:"namespace,omitempty"`
	Name      string            `json:"name"`
	Severity  v1alpha1.Severity `json:"severity"`
	Reason    string            `json:"reason"`
	Message   string            `json:"message"`
	Since     metav1.Time       `json:"since"`
	Proposals []string          `json:"proposals,omitempty"`
}

type underWay struct {
	Namespace string                    `json:"namespace"`
	Name      string                    `json:"name"`
	Proposal  string                    `json:"proposal"`
	Phase     opsv1alpha1.ApprovalPhase `json:"phase"`
	Message   string                    `json:"message,omitempty"`
}

type checkpoint struct {
	Events int64            `json:"events"`
	Time   metav1.MicroTime `json:"time"`
}

// read asks for everything of a namespace, or of all if that is empty. Findings have to
// be readable; what else is not is named.
func read(ctx context.Context, client versioned.Interface, namespace string) (*summary, error) {
	s := &summary{Namespace: namespace, Findings: map[v1alpha1.Severity]int{}, Unread: map[string]string{}}
	srenix, ops := client.SrenixV1alpha1(), client.OpsV1alpha1()
	var all []trouble
	add := func(object metav1.Object, spec *v1alpha1.FindingSpec, status *v1alpha1.FindingStatus) {
		switch {
		case status.SilencedBy != "":
			s.Silenced++
		case spec.Reason == v1alpha1.ReasonAnalyzerDegraded:
			s.Blind = append(s.Blind, spec.Message)
		default:
			s.Findings[spec.Severity]++
			all = append(all, trouble{object.GetNamespace(), object.GetName(), spec.Severity, spec.Reason, spec.Message, spec.Since, status.Proposals})
		}
	}
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return srenix.Findings(namespace).List(ctx, options)
	}, func(finding *v1alpha1.Finding) { add(finding, &finding.Spec, &finding.Status) })
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	if namespace == "" {
		err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return srenix.ClusterFindings().List(ctx, options)
		}, func(finding *v1alpha1.ClusterFinding) { add(finding, &finding.Spec, &finding.Status) })
		s.unread("clusterfindings", err)
	}
	slices.SortFunc(all, func(a, b trouble) int {
		return cmp.Or(slices.Index(severities, a.Severity)-slices.Index(severities, b.Severity), a.Since.Compare(b.Since.Time),
			cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	s.Worst = all[:min(len(all), maximumWorst)]

	s.Proposals = map[v1alpha1.ProposalPhase]int{}
	s.unread("proposals", cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return srenix.Proposals(namespace).List(ctx, options)
	}, func(proposal *v1alpha1.Proposal) { s.Proposals[proposal.Status.Phase]++ }))
	s.unread("approvals", cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return ops.Approvals(namespace).List(ctx, options)
	}, func(approval *opsv1alpha1.Approval) {
		if status := &approval.Status; !status.Phase.Finished() {
			s.UnderWay = append(s.UnderWay, underWay{approval.Namespace, approval.Name, approval.Spec.Proposal.Name, status.Phase, status.Message})
		}
	}))
	if namespace == "" {
		latest, err := ops.AuditCheckpoints().Get(ctx, opsv1alpha1.LatestAuditCheckpoint, metav1.GetOptions{})
		switch {
		case err == nil:
			s.Checkpoint = &checkpoint{latest.Spec.Size, latest.Spec.Time}
		case !apierrors.IsNotFound(err):
			s.unread("auditcheckpoints", err)
		}
	}
	return s, nil
}

func (s *summary) unread(resource string, err error) {
	if err != nil {
		s.Unread[resource] = err.Error()
	}
}

// text is the summary for people.
func (s *summary) text() string {
	var out strings.Builder
	line := func(format string, arguments ...any) {
		out.WriteString(strings.TrimRight(cli.Plain(fmt.Sprintf(format, arguments...)), " ") + "\n")
	}
	silenced := ""
	if s.Silenced > 0 {
		silenced = fmt.Sprintf("; %d more are silenced", s.Silenced)
	}
	line("Findings    %s%s", counts(s.Findings, severities), silenced)
	for _, worst := range s.Worst {
		line("  %-8s  %s %s, since %s", worst.Severity, strings.TrimPrefix(worst.Namespace+"/"+worst.Name, "/"), worst.Reason, worst.Since.UTC().Format(time.RFC3339))
		line("            %s", worst.Message)
		for _, proposal := range worst.Proposals {
			line("            kubectl create approval --proposal %s -n %s", proposal, worst.Namespace)
		}
	}
	has := func(resource string) bool { return s.Unread[resource] == "" }
	if s.Namespace == "" && has("clusterfindings") {
		line("Blind spots %s", cmp.Or(strings.TrimPrefix(fmt.Sprint(len(s.Blind)), "0"), "none"))
		for _, message := range s.Blind {
			line("  %s", message)
		}
	}
	if has("proposals") {
		line("Proposals   %s", counts(s.Proposals, slices.Sorted(maps.Keys(s.Proposals))))
	}
	if has("approvals") {
		line("Approvals   %d under way", len(s.UnderWay))
	}
	for _, approval := range s.UnderWay {
		line("  %s/%s of %s: %s %s", approval.Namespace, approval.Name, approval.Proposal, cmp.Or(string(approval.Phase), "not yet picked up"), approval.Message)
	}
	if s.Checkpoint != nil {
		line("Audit       checkpoint of %d events, signed %s", s.Checkpoint.Events, s.Checkpoint.Time.UTC().Format(time.RFC3339))
	}
	for _, resource := range slices.Sorted(maps.Keys(s.Unread)) {
		line("Not read    %s: %s", resource, s.Unread[resource])
	}
	return out.String()
}

// counts writes how many there are of each, in an order.
func counts[K ~string](of map[K]int, order []K) string {
	var parts []string
	for _, key := range order {
		if n := of[key]; n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, key))
		}
	}
	if len(parts) == 0 {
		return "none"
	}
	return strings.Join(parts, ", ")
}
