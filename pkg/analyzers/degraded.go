// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Proposing is the group of the rules that compute proposals. It is no analyzer, and
// cannot be switched off.
const Proposing = "proposals"

// syncingGrace is how long an input may be read for the first time without a report: of
// resources that have just been installed that takes a moment.
const syncingGrace = time.Minute

// DegradedRule makes a clusterfinding of every analyzer that is degraded, one for
// all of its rules that lack the same. reader is the service account as which the
// cluster is read, "NAMESPACE:NAME".
func DegradedRule(reader string) live.Rule {
	return live.Rule{
		Name: v1alpha1.ReasonAnalyzerDegraded, Group: "srenix", Subject: live.Statuses().Ref(),
		Outputs: []live.KindRef{DetectedClusterFindings.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			status, exists := live.Statuses().Get(view, subject)
			if !exists {
				return nil, nil
			}
			group := live.Statuses().ByIndex(view, live.StatusesByGroup, status.Group)
			if group[0].Name != status.Name {
				return nil, nil // the first tells of all, however it fares, so that no report changes hands
			}
			var outputs []live.Output
			told := map[string]bool{}
			for _, status := range group {
				if status.Reason == live.ReasonInputSyncing && !Past(view, status.Since.Add(syncingGrace)) {
					continue
				}
				if lacks := lacks(status); status.State == live.Degraded && !told[lacks] {
					told[lacks] = true
					outputs = append(outputs, report(view, status, lacks, reader))
				}
			}
			return outputs, nil
		},
	}
}

func report(view *live.View, status *live.Status, lacks, reader string) live.Output {
	return emit(v1alpha1.FindingSpec{
		Analyzer: status.Group, Reason: v1alpha1.ReasonAnalyzerDegraded, Severity: v1alpha1.SeverityWarning,
		Subject: v1alpha1.ObjectReference{
			APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Analyzer", Name: status.Group,
		},
		Discriminator: lacks,
		Message:       message(status),
		Remediation:   remedy(status, reader),
		// Not the status's own time, which each replica has its own of.
		Since: metav1.NewTime(view.FirstObserved(lacks)),
	})
}

func message(status *live.Status) string {
	said := fmt.Sprintf("%s cannot see all that it needs (%s): %s.", status.Group, status.Reason, status.Message)
	if status.Reason == live.ReasonInputNotRead {
		return said + " What it would find is not looked for."
	}
	return said + " What it found before stays as it was, for as long as this server runs."
}

// lacks tells what a rule lacks: the rights, or the resources, that are missing, or else
// itself.
func lacks(status *live.Status) string {
	var resources []string
	for _, resource := range status.Unread {
		resources = append(resources, resource.String())
	}
	if len(status.Missing) == 0 && len(resources) == 0 {
		return status.Rule
	}
	for _, rule := range status.Missing {
		resources = append(resources, schema.GroupResource{Group: rule.APIGroups[0], Resource: rule.Resources[0]}.String())
	}
	return strings.Join(resources, ",")
}

func remedy(status *live.Status, reader string) v1alpha1.Remediation {
	if len(status.Unread) > 0 {
		remedy := v1alpha1.Remediation{Text: "Add to the files what they lack."}
		for _, resource := range status.Unread {
			remedy.Commands = append(remedy.Commands, fmt.Sprintf("kubectl get %s -A -o yaml --show-managed-fields > %s.yaml", resource, resource))
		}
		return remedy
	}
	if len(status.Missing) == 0 {
		return v1alpha1.Remediation{
			Text:     "Mend what the message says; it heals by itself afterwards. This is what srenix may read:",
			Commands: []string{"kubectl get clusterrole srenix-apiserver-reader -o yaml"},
		}
	}
	remedy := v1alpha1.Remediation{Text: "Grant what is missing, or switch the analyzer off in the configuration. It heals by itself afterwards."}
	if status.Group == Proposing {
		remedy.Text = "Grant what is missing. This is no analyzer: it computes what is proposed. It heals by itself afterwards."
	}
	for _, rule := range status.Missing {
		resource := schema.GroupResource{Group: rule.APIGroups[0], Resource: rule.Resources[0]}.String()
		name := "srenix-reads-" + resource
		remedy.Commands = append(remedy.Commands,
			fmt.Sprintf("kubectl create clusterrole %s --verb=%s --resource=%s", name, strings.Join(rule.Verbs, ","), resource),
			fmt.Sprintf("kubectl create clusterrolebinding %s --clusterrole=%s --serviceaccount=%s", name, name, reader),
		)
	}
	return remedy
}

// BlindRule makes a clusterfinding of every analyzer of which the source of the cluster's
// objects knows that it cannot tell. Blind has by analyzer what it lacks, as a sentence,
// and advice what to do.
func BlindRule(blind map[string]string, advice v1alpha1.Remediation) live.Rule {
	const name = "blind"
	names := slices.Sorted(maps.Keys(blind))
	return live.Rule{
		Name: name, Group: "srenix", Subject: live.Statuses().Ref(),
		Outputs: []live.KindRef{DetectedClusterFindings.Ref()},
		Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
			// One status is enough to hang them on, and the own one is always there.
			if status, exists := live.Statuses().Get(view, subject); !exists || status.Rule != name {
				return nil, nil
			}
			var outputs []live.Output
			for _, analyzer := range names {
				outputs = append(outputs, emit(v1alpha1.FindingSpec{
					Analyzer: analyzer, Reason: v1alpha1.ReasonAnalyzerDegraded, Severity: v1alpha1.SeverityWarning,
					Subject:       v1alpha1.ObjectReference{APIVersion: v1alpha1.SchemeGroupVersion.String(), Kind: "Analyzer", Name: analyzer},
					Discriminator: name, Message: blind[analyzer], Remediation: advice,
					Since: metav1.NewTime(view.FirstObserved(analyzer)),
				}))
			}
			return outputs, nil
		},
	}
}
