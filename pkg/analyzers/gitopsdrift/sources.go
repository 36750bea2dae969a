// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitopsdrift

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// fetchTimeout is how long an attempt to fetch a source may take where it does not say
// (source-controller's API).
const fetchTimeout = time.Minute

// sourceKinds are the kinds of what Flux fetches, with how flux calls them.
var sourceKinds = map[string]struct {
	kind    live.Kind[*unstructured.Unstructured]
	command string
}{
	"GitRepository":  {inputs.GitRepositories, "source git"},
	"OCIRepository":  {inputs.OCIRepositories, "source oci"},
	"Bucket":         {inputs.Buckets, "source bucket"},
	"HelmRepository": {inputs.HelmRepositories, "source helm"},
	helmChart:        {inputs.HelmCharts, "source chart"},
}

// helmChart is a source that is made of another one.
const helmChart = "HelmChart"

func sourceReads() []live.KindRef {
	return []live.KindRef{
		inputs.GitRepositories.Ref(), inputs.OCIRepositories.Ref(), inputs.Buckets.Ref(), inputs.HelmRepositories.Ref(), inputs.HelmCharts.Ref(),
	}
}

func (a analyzer) sourceRules() []analyzers.Rule {
	rule := func(kind live.Kind[*unstructured.Unstructured], reads ...live.KindRef) analyzers.Rule {
		return analyzers.Rule{Subject: kind.Ref(), Reads: reads, Analyze: flux(kind, a.source)}
	}
	return []analyzers.Rule{
		rule(inputs.GitRepositories), rule(inputs.OCIRepositories), rule(inputs.Buckets), rule(inputs.HelmRepositories),
		rule(inputs.HelmCharts, inputs.GitRepositories.Ref(), inputs.Buckets.Ref(), inputs.HelmRepositories.Ref(), inputs.HelmReleases.Ref()),
	}
}

// source judges what Flux fetches. Who applies it stays Ready with what was fetched
// last (kustomize-controller), so nobody else may tell that no more comes.
func (a analyzer) source(view *live.View, object reconciled) []v1alpha1.FindingSpec {
	of, known := sourceKinds[object.GetKind()]
	if !known || object.GetKind() == helmChart && toldElsewhere(view, object.Unstructured) {
		return nil
	}
	object.command, object.fetched = of.command, true
	object.patience = object.duration("spec", "timeout")
	if object.patience == 0 {
		object.patience = fetchTimeout
	}
	found := a.reconciled(view, object)
	_, has, err := unstructured.NestedMap(object.Object, "status", "artifact")
	for i := range found {
		if has && err == nil && found[i].Reason != Suspended {
			found[i].Message += " What applies it goes on with what was fetched last."
		}
	}
	return found
}

// toldElsewhere tells whether a HelmChart was made for a HelmRelease, whose condition
// repeats what the chart's says (helm-controller), or waits for a source that is the
// trouble itself.
func toldElsewhere(view *live.View, chart *unstructured.Unstructured) bool {
	if len(inputs.HelmReleases.ByIndex(view, inputs.ByChart, chart.GetNamespace()+"/"+chart.GetName())) > 0 {
		return true
	}
	source := sourceNamed(view, chart, "spec", "sourceRef")
	return source != nil && !suspended(source) && broken(source)
}

// broken tells whether Flux says that it cannot have a source as it is asked for.
func broken(source *unstructured.Unstructured) bool {
	ready, _ := inputs.ConditionOf(source, "Ready")
	return source.GetDeletionTimestamp() == nil && ready.Status == "False"
}

// withSourceOf adds to a finding what is wrong with the source of what it is about, if
// that is not Ready either.
func withSourceOf(view *live.View, object reconciled, spec v1alpha1.FindingSpec) v1alpha1.FindingSpec {
	var source *unstructured.Unstructured
	if object.fetched || !view.Try(func() { source = sourceOf(view, object.Unstructured) }) || source == nil {
		return spec
	}
	ready, _ := inputs.ConditionOf(source, "Ready")
	name := source.GetKind() + " " + source.GetName()
	if source.GetNamespace() != object.GetNamespace() {
		name += " in namespace " + source.GetNamespace()
	}
	if words := said(ready.Message); !strings.Contains(spec.Message, words) {
		spec.Message += fmt.Sprintf(" Its source, %s, is not Ready (%s): %s.", name, ready.Reason, words)
	}
	spec.Related = append(spec.Related, v1alpha1.RelatedObject{Relation: "its source", ObjectReference: reference(source)})
	spec.Remediation.Commands = append(spec.Remediation.Commands, describe(source))
	return spec
}

// sourceOf returns the source of what Flux applies, if that is broken: of a chart, what
// the chart is made of, if that is.
func sourceOf(view *live.View, object *unstructured.Unstructured) *unstructured.Unstructured {
	source := sourceNamed(view, object, "spec", "sourceRef")
	if source == nil {
		source = sourceNamed(view, object, "spec", "chartRef")
	}
	if namespace, name, made := strings.Cut(inputs.TextAt(object, "status", "helmChart"), "/"); source == nil && made {
		source, _ = inputs.HelmCharts.Get(view, live.Key{Namespace: namespace, Name: name})
	}
	if source == nil {
		return nil
	}
	if source.GetKind() == helmChart {
		if of := sourceNamed(view, source, "spec", "sourceRef"); of != nil && broken(of) {
			return of
		}
	}
	if !broken(source) {
		return nil
	}
	return source
}

// sourceNamed returns the source that a field of an object refers to; nil if that is
// not there.
func sourceNamed(view *live.View, object *unstructured.Unstructured, path ...string) *unstructured.Unstructured {
	of, known := sourceKinds[inputs.TextAt(object, append(path, "kind")...)]
	if !known {
		return nil
	}
	key := live.Key{Namespace: inputs.TextAt(object, append(path, "namespace")...), Name: inputs.TextAt(object, append(path, "name")...)}
	if key.Namespace == "" {
		key.Namespace = object.GetNamespace()
	}
	source, exists := of.kind.Get(view, key)
	if !exists {
		return nil
	}
	return source
}
