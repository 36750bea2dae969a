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
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/metadata"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
)

const (
	// maximumWorst is how many findings are named, how many proposals beside theirs, and
	// how many ends of approvals that did not help.
	maximumWorst = 5
	// lately is for how long an approval is told of that did not help.
	lately = 24 * time.Hour
)

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
	// Blind are the messages of analyzers that cannot see all that they need, anywhere
	// in the cluster, or are switched off.
	Blind []string `json:"blind,omitempty"`
	// Proposals are counted by phase.
	Proposals map[v1alpha1.ProposalPhase]int `json:"proposals,omitempty"`
	// Open are the first of those that can be approved, without those of Worst.
	Open []offer `json:"open,omitempty"`
	// UnderWay are the approvals that have not come to their end.
	UnderWay []alike `json:"underWay,omitempty"`
	// Verifying are the approvals that were carried out, and of which it is not certain
	// yet that they helped.
	Verifying []alike `json:"verifying,omitempty"`
	// Unhelpful are the approvals that in the last day were refused, failed, or were
	// carried out and did not help, newest first, without those of a proposal of which
	// a later one did help.
	Unhelpful []alike `json:"unhelpful,omitempty"`
	// Breakers are those that are open, by as many failures as open one by default. Where
	// fewer do, the approvals that wait say so. That of the cluster shows in all
	// namespaces together.
	Breakers []openBreaker `json:"breakers,omitempty"`
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
	Proposals []offer           `json:"proposals,omitempty"`
}

// offer is a proposal. The phase is empty if it could not be read.
type offer struct {
	Namespace string                 `json:"namespace"`
	Name      string                 `json:"name"`
	Phase     v1alpha1.ProposalPhase `json:"phase,omitempty"`
	// Why it is in this phase.
	Why string `json:"why,omitempty"`
}

type checkpoint struct {
	Events int64            `json:"events"`
	Time   metav1.MicroTime `json:"time"`
}

// reader asks for what is summed up.
type reader struct {
	client     versioned.Interface
	namespaces metadata.Getter
	now        time.Time
}

// read asks for everything of a namespace, or of all if that is empty. Findings have to
// be readable; what else is not is named.
func (r *reader) read(ctx context.Context, namespace string) (*summary, error) {
	s := &summary{Namespace: namespace, Findings: map[v1alpha1.Severity]int{}, Unread: map[string]string{}}
	var all []trouble
	add := func(object metav1.Object, spec *v1alpha1.FindingSpec, status *v1alpha1.FindingStatus) {
		if status.SilencedBy != "" {
			s.Silenced++
			return
		}
		s.Findings[spec.Severity]++
		found := trouble{object.GetNamespace(), object.GetName(), spec.Severity, spec.Reason, spec.Message, spec.Since, nil}
		for _, name := range status.Proposals {
			found.Proposals = append(found.Proposals, offer{Namespace: found.Namespace, Name: name})
		}
		all = append(all, found)
	}
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.client.SrenixV1alpha1().Findings(namespace).List(ctx, options)
	}, func(finding *v1alpha1.Finding) { add(finding, &finding.Spec, &finding.Status) })
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	s.unread("clusterfindings", cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.client.SrenixV1alpha1().ClusterFindings().List(ctx, options)
	}, func(finding *v1alpha1.ClusterFinding) {
		switch {
		case finding.Spec.Reason == v1alpha1.ReasonAnalyzerDegraded, finding.Spec.Reason == v1alpha1.ReasonAnalyzerOff:
			s.Blind = append(s.Blind, finding.Spec.Message)
		case namespace == "":
			add(finding, &finding.Spec, &finding.Status)
		}
	}))
	slices.SortFunc(all, func(a, b trouble) int {
		return cmp.Or(slices.Index(severities, a.Severity)-slices.Index(severities, b.Severity), a.Since.Compare(b.Since.Time),
			cmp.Compare(a.Namespace+"/"+a.Name, b.Namespace+"/"+b.Name))
	})
	s.Worst = all[:min(len(all), maximumWorst)]
	r.readProposals(ctx, s)
	r.readApprovals(ctx, s)
	if namespace == "" {
		latest, err := r.client.OpsV1alpha1().AuditCheckpoints().Get(ctx, opsv1alpha1.LatestAuditCheckpoint, metav1.GetOptions{})
		switch {
		case err == nil:
			s.Checkpoint = &checkpoint{latest.Spec.Size, latest.Spec.Time}
		case !apierrors.IsNotFound(err):
			s.unread("auditcheckpoints", err)
		}
	}
	return s, nil
}

// readProposals counts the proposals, and tells how those of the worst findings stand.
func (r *reader) readProposals(ctx context.Context, s *summary) {
	s.Proposals = map[v1alpha1.ProposalPhase]int{}
	ofWorst := map[string]*offer{}
	for i := range s.Worst {
		for j := range s.Worst[i].Proposals {
			named := &s.Worst[i].Proposals[j]
			ofWorst[named.Namespace+"/"+named.Name] = named
		}
	}
	s.unread("proposals", cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return r.client.SrenixV1alpha1().Proposals(s.Namespace).List(ctx, options)
	}, func(proposal *v1alpha1.Proposal) {
		phase := proposal.Status.Phase
		s.Proposals[phase]++
		if named := ofWorst[proposal.Namespace+"/"+proposal.Name]; named != nil {
			named.Phase = phase
			if approvable := meta.FindStatusCondition(proposal.Status.Conditions, v1alpha1.ConditionApprovable); approvable != nil {
				named.Why = approvable.Message
			}
		} else if phase == v1alpha1.ProposalOpen && len(s.Open) < maximumWorst {
			s.Open = append(s.Open, offer{Namespace: proposal.Namespace, Name: proposal.Name, Phase: phase})
		}
	}))
}

// checkNamespace makes sure that a namespace exists in which nothing was found.
func (r *reader) checkNamespace(ctx context.Context, s *summary) error {
	if s.Namespace == "" || len(s.Findings)+s.Silenced+len(s.Proposals)+len(s.UnderWay)+len(s.Verifying)+len(s.Unhelpful) > 0 {
		return nil
	}
	_, err := r.namespaces.Get(ctx, s.Namespace, metav1.GetOptions{})
	if apierrors.IsNotFound(err) {
		return cli.WithHint(err, "See which there are: kubectl get namespaces")
	}
	s.unread("namespaces", err)
	return nil
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
			line("            %s", proposal.line())
		}
	}
	where, kinds := "-n "+s.Namespace, "findings"
	if s.Namespace == "" {
		where, kinds = "-A", "findings,clusterfindings"
	}
	if more := total(s.Findings) - len(s.Worst); more > 0 {
		line("  and %d more: kubectl get %s %s", more, kinds, where)
	}
	has := func(resource string) bool { return s.Unread[resource] == "" }
	if has("clusterfindings") {
		line("Blind spots %s", cmp.Or(strings.TrimPrefix(fmt.Sprint(len(s.Blind)), "0"), "none"))
		for _, message := range s.Blind {
			line("  %s", message)
		}
	} else {
		line("Blind spots not known: clusterfindings tell them")
	}
	if has("proposals") {
		line("Proposals   %s", counts(s.Proposals, slices.Sorted(maps.Keys(s.Proposals))))
		for _, proposal := range s.Open {
			line("  %s", proposal.line())
		}
		if more := s.Proposals[v1alpha1.ProposalOpen] - s.shownOpen(); more > 0 {
			line("  and %d more that can be approved: kubectl get proposals %s --field-selector status.phase=%s", more, where, v1alpha1.ProposalOpen)
		}
	}
	if has("approvals") {
		verifying, unhelpful := "", ""
		if n := approvals(s.Verifying); n > 0 {
			verifying = fmt.Sprintf(", %d being verified", n)
		}
		if n := approvals(s.Unhelpful); n > 0 {
			unhelpful = fmt.Sprintf(", %d did not help in the last day", n)
		}
		line("Approvals   %d under way%s%s", approvals(s.UnderWay), verifying, unhelpful)
	}
	for _, some := range slices.Concat(s.UnderWay, s.Verifying) {
		line("  %s", strings.TrimSuffix(fmt.Sprintf("%s: %s: %s", some, cmp.Or(some.State, "not yet picked up"), some.Message), ": "))
	}
	shown := s.Unhelpful[:min(len(s.Unhelpful), maximumWorst)]
	for _, some := range shown {
		line("  %s", strings.TrimSuffix(fmt.Sprintf("%s: %s at %s: %s", some, some.State, some.Time.UTC().Format(time.RFC3339), some.Message), ": "))
	}
	if more := approvals(s.Unhelpful) - approvals(shown); more > 0 {
		line("  and %d more that did not help: kubectl get approvals %s -o wide", more, where)
	}
	for _, open := range s.Breakers {
		line("Breaker     %s", open.Message)
	}
	if s.Checkpoint != nil {
		line("Audit       checkpoint of %d events, signed %s", s.Checkpoint.Events, s.Checkpoint.Time.UTC().Format(time.RFC3339))
	}
	for _, resource := range slices.Sorted(maps.Keys(s.Unread)) {
		line("Not read    %s: %s", resource, s.Unread[resource])
	}
	return out.String()
}

// line is the command that approves a proposal, or why there is none.
func (o offer) line() string {
	switch o.Phase {
	case v1alpha1.ProposalOpen:
		return fmt.Sprintf("kubectl create approval --proposal %s -n %s", o.Name, o.Namespace)
	case "":
		return fmt.Sprintf("how proposal %s stands is not known", o.Name)
	}
	return strings.TrimSuffix(fmt.Sprintf("proposal %s is %s: %s", o.Name, o.Phase, o.Why), ": ")
}

// shownOpen is how many proposals are named with the command that approves them.
func (s *summary) shownOpen() int {
	shown := len(s.Open)
	for _, worst := range s.Worst {
		for _, proposal := range worst.Proposals {
			if proposal.Phase == v1alpha1.ProposalOpen {
				shown++
			}
		}
	}
	return shown
}

func total[K comparable](of map[K]int) (n int) {
	for _, some := range of {
		n += some
	}
	return n
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
