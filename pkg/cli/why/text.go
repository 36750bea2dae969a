// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/duration"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// How many of each are told, so that all fits on a screen.
const (
	mostRelated   = 4
	mostEvidence  = 4
	mostProposals = 3
	mostCommands  = 8
)

// note collects lines with labels in front, every text from the server made plain.
type note struct{ strings.Builder }

// line writes one line, after its label if it is the first under it.
func (n *note) line(label, format string, arguments ...any) {
	n.WriteString(strings.TrimRight(fmt.Sprintf("%-9s %s", label, cli.Plain(fmt.Sprintf(format, arguments...))), " ") + "\n")
}

// lines writes at most a number of items under one label, and says how many are left out.
func lines[T any](n *note, label string, items []T, most int, write func(label string, item T)) {
	for i, item := range items[:min(len(items), most)] {
		if i > 0 {
			label = ""
		}
		write(label, item)
	}
	if left := len(items) - most; left > 0 {
		n.line("", "and %d more, which -o json shows", left)
	}
}

// text is what is known, for a person.
func (k *known) text(now time.Time) string {
	n := &note{}
	plain := func(label, text string) {
		if text != "" {
			n.line(label, "%s", text)
		}
	}
	if k.approval != nil {
		n.line("Approval", "%s", cli.BecameOf(k.approval))
	}
	if k.object == nil {
		n.line("", "its finding, %s in namespace %s, is gone: it has probably cleared", k.name, k.namespace)
		return n.String()
	}
	n.line(string(k.spec.Severity), "%s of %s, since %s", k.spec.Reason, object(&k.spec.Subject), when(k.spec.Since.Time, now))
	n.line("", "%s", k.spec.Message)
	place := "clusterfinding " + k.name
	if k.namespace != "" {
		place = fmt.Sprintf("finding %s in namespace %s", k.name, k.namespace)
	}
	n.line("", "%s, by %s", place, k.spec.Analyzer)
	lines(n, "Related", k.spec.Related, mostRelated, func(label string, related v1alpha1.RelatedObject) {
		n.line(label, "%s: %s", object(&related.ObjectReference), related.Relation)
	})
	plain("Story", k.status.Narrative)
	plain("Cause", k.status.RootCause)
	plain("By model", k.status.ModelRootCause)
	lines(n, "Evidence", k.status.Evidence, mostEvidence, plain)
	if by := k.status.SilencedBy; by != "" {
		silence := "silence " + by
		if k.silence != nil {
			silence += fmt.Sprintf(" of %s, until %s: %s", k.silence.Spec.Owner, k.silence.Spec.Expires.UTC().Format(time.RFC3339), k.silence.Spec.Reason)
		}
		n.line("Silenced", "%s", silence)
	}
	lines(n, "Proposal", k.proposals, mostProposals, func(label string, proposal *v1alpha1.Proposal) {
		n.line(label, "%s: %s %s, %s", proposal.Name, proposal.Spec.ActionKind, object(&proposal.Spec.Target), proposal.Status.Phase)
		for _, text := range awaited(proposal) {
			n.line("", "  %s", text)
		}
	})
	lines(n, "Earlier", k.earlier, cli.MostEarlier, func(label string, approval *opsv1alpha1.Approval) { n.line(label, "%s", cli.BecameOf(approval)) })
	remedy := &k.spec.Remediation
	plain("By hand", remedy.Text)
	label := "By hand"
	if remedy.Text != "" {
		label = ""
	}
	var commands []string
	for _, command := range remedy.Commands {
		commands = append(commands, strings.Split(cli.PlainLines(command), "\n")...)
	}
	lines(n, label, commands, mostCommands, func(label, command string) { n.line(label, "  %s", command) })
	lines(n, "Events", k.events, mostEvents, func(label string, event *corev1.Event) {
		times := ""
		if count := count(event); count > 1 {
			times = fmt.Sprintf(" (%d times)", count)
		}
		n.line(label, "%s %s %s%s: %s", lastSeen(event).UTC().Format(time.RFC3339), event.Type, event.Reason, times, event.Message)
	})
	for _, resource := range slices.Sorted(maps.Keys(k.unread)) {
		n.line("Not read", "%s: %s", resource, k.unread[resource])
	}
	return n.String()
}

// awaited tells what a proposal waits for, and what to type.
func awaited(proposal *v1alpha1.Proposal) []string {
	var all []string
	if approvable := meta.FindStatusCondition(proposal.Status.Conditions, v1alpha1.ConditionApprovable); approvable != nil {
		all = append(all, approvable.Message)
	}
	in := fmt.Sprintf("%s -n %s", proposal.Name, proposal.Namespace)
	switch proposal.Status.Phase {
	case v1alpha1.ProposalOpen, v1alpha1.ProposalAwaitingApproval:
		all = append(all, "kubectl create approval --proposal "+in)
	case v1alpha1.ProposalBlocked, v1alpha1.ProposalApproved, v1alpha1.ProposalDenied, v1alpha1.ProposalExecuted:
		all = append(all, "kubectl describe proposal.srenix.io "+in)
	}
	return all
}

// when is a time, and how long ago that is.
func when(t, now time.Time) string {
	return fmt.Sprintf("%s, %s ago", t.UTC().Format(time.RFC3339), duration.HumanDuration(now.Sub(t)))
}

// object is as people write it, as "StatefulSet shop/orders-db".
func object(of *v1alpha1.ObjectReference) string {
	return of.Kind + " " + strings.TrimPrefix(of.Namespace+"/"+of.Name, "/")
}

// count is how often an event happened.
func count(event *corev1.Event) int32 {
	if event.Series != nil {
		return event.Series.Count
	}
	return cmp.Or(event.Count, 1)
}
