// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"cmp"
	"context"
	"fmt"
	"regexp"
	"strings"

	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/ai/tiers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// toldCase is what a model is told of a finding.
type toldCase struct {
	tiers.Case
	// all are the finding and others beside it, for questions about several.
	all []srenix.Finding
}

// labels say what evidence is, in the word that a prompt has for it.
var labels = map[opsv1alpha1.InvestigationTool]string{
	opsv1alpha1.ToolObject: "object", opsv1alpha1.ToolEvents: "events", opsv1alpha1.ToolLog: "log", opsv1alpha1.ToolHost: "host",
}

// rulesLabel is that of what rules made of a finding.
const rulesLabel = "rules"

// textOf is what a model is told of a piece of evidence.
func textOf(evidence *opsv1alpha1.Evidence) tiers.Text {
	return tiers.Text{Label: cmp.Or(labels[evidence.Tool], "other"), Content: evidence.Source + ": " + evidence.Said}
}

// namesIn are the names that a text has, by their form.
func namesIn(text string) []redaction.Name { return append(objectsIn(text), redaction.Spot(text)...) }

// caseOf is what a model is told: the finding, what rules made of it, and what they read.
func (n *narrator) caseOf(ctx context.Context, of *opsv1alpha1.Investigation, finding *srenix.Finding) (tiers.Case, error) {
	about := tiers.Case{Finding: finding.Spec}
	left := n.texts - len(finding.Spec.Message)
	add := func(label, content string) {
		if left -= len(content); left >= 0 {
			about.Texts = append(about.Texts, tiers.Text{Label: label, Content: content})
		}
	}
	add(rulesLabel, of.Status.RootCause)
	for i := range of.Status.Evidence {
		text := textOf(&of.Status.Evidence[i])
		add(text.Label, text.Content)
	}
	names, err := n.namesAround(ctx, finding.Namespace)
	if err != nil {
		return tiers.Case{}, err
	}
	for _, text := range append([]tiers.Text{{Content: finding.Spec.Message}}, about.Texts...) {
		names = append(names, namesIn(text.Content)...)
	}
	about.Names = names
	return about, nil
}

// namesAround are the namespaces of all findings, the objects of those in one, and those
// of clusterfindings, which are of the whole cluster.
func (n *narrator) namesAround(ctx context.Context, namespace string) ([]redaction.Name, error) {
	all := &srenix.FindingList{}
	if err := n.cached.List(ctx, all, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing findings for the names that they know: %w", err)
	}
	var names []redaction.Name
	add := func(object srenix.ObjectReference) {
		names = append(names, redaction.Name{Kind: object.Kind, Text: object.Name}, redaction.Name{Kind: "Namespace", Text: object.Namespace})
	}
	for i := range all.Items {
		names = append(names, redaction.Name{Kind: "Namespace", Text: all.Items[i].Namespace})
		if all.Items[i].Namespace != namespace {
			continue
		}
		add(all.Items[i].Spec.Subject)
		for _, related := range all.Items[i].Spec.Related {
			add(related.ObjectReference)
		}
	}
	whole := &srenix.ClusterFindingList{}
	if err := n.cached.List(ctx, whole, client.UnsafeDisableDeepCopy); err != nil {
		return nil, fmt.Errorf("listing clusterfindings for the names that they know: %w", err)
	}
	for i := range whole.Items {
		add(whole.Items[i].Spec.Subject)
		for _, related := range whole.Items[i].Spec.Related {
			add(related.ObjectReference)
		}
	}
	return names, nil
}

// named is how evidence and rules name an object: as KIND/NAME, or KIND NAME.
var named = regexp.MustCompile(`\b([A-Z][A-Za-z]+|[Nn]amespace|[Nn]ode)[/ ]([a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)\b`)

// notNames are words that follow the name of a kind in sentences.
var notNames = regexp.MustCompile(`^(?:is|are|was|were|has|have|had|in|of|on|by|to|for|from|with|and|or|that|which|not|does|can|cannot|may|must|will|could|would|the|a|an|at|as|it|its|no|be|before|after)$`)

// objectsIn are the objects that a text names.
func objectsIn(text string) []redaction.Name {
	var names []redaction.Name
	for _, match := range named.FindAllStringSubmatch(text, -1) {
		if !notNames.MatchString(match[2]) && kinds.Has(strings.ToLower(match[1])) {
			names = append(names, redaction.Name{Kind: match[1], Text: match[2]})
		}
	}
	return names
}

// kinds are what investigations read and findings are about, in lower case.
var kinds = sets.New(
	"certificate", "certificaterequest", "challenge", "clusterissuer", "clustersecretstore", "configmap", "cronjob", "daemonset", "deployment",
	"externalsecret", "ingress", "issuer", "job", "namespace", "node", "order", "persistentvolume", "persistentvolumeclaim", "pod", "pushsecret",
	"replicaset", "secret", "secretstore", "service", "serviceaccount", "statefulset", "storageclass",
)
