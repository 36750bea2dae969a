// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitopsdrift

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
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
		reads = append(reads, inputs.Kustomizations.Ref(), inputs.HelmReleases.Ref())
		return analyzers.Rule{Subject: kind.Ref(), Reads: reads, Analyze: flux(kind, a.source)}
	}
	charts := inputs.HelmCharts.Ref()
	return []analyzers.Rule{
		rule(inputs.GitRepositories, charts), rule(inputs.OCIRepositories, charts), rule(inputs.Buckets, charts), rule(inputs.HelmRepositories, charts),
		rule(inputs.HelmCharts, inputs.GitRepositories.Ref(), inputs.Buckets.Ref(), inputs.HelmRepositories.Ref()),
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
	for i := range found {
		switch {
		case found[i].Reason == Suspended:
		case fetched(object.Unstructured):
			found[i].Message += " What applies it goes on with what was fetched last."
		case absent(object.Unstructured):
			found[i] = withWaiting(view, object.Unstructured, found[i])
		}
	}
	return found
}

// fetched tells whether there is something of a source to apply.
func fetched(source *unstructured.Unstructured) bool {
	_, has, err := unstructured.NestedMap(source.Object, "status", "artifact")
	return has && err == nil
}

// absent tells whether Flux tries to have a source and has nothing of it: what is to apply
// it can only wait, and that is told of the source.
func absent(source *unstructured.Unstructured) bool {
	ready, _ := inputs.ConditionOf(source, "Ready")
	return source.GetDeletionTimestamp() == nil && !suspended(source) && ready.Status != "" && ready.Status != "True" && !fetched(source)
}

// withWaiting names in the finding about a source what waits for it. It is as bad as what
// would be said of that.
func withWaiting(view *live.View, source *unstructured.Unstructured, spec v1alpha1.FindingSpec) v1alpha1.FindingSpec {
	var waiting []*unstructured.Unstructured
	view.Try(func() {
		named := strings.Join([]string{source.GetKind(), source.GetNamespace(), source.GetName()}, "/")
		all := slices.Concat(inputs.Kustomizations.ByIndex(view, inputs.BySource, named), inputs.HelmReleases.ByIndex(view, inputs.BySource, named))
		for _, chart := range inputs.HelmCharts.ByIndex(view, inputs.BySource, named) {
			all = append(all, inputs.HelmReleases.ByIndex(view, inputs.ByChart, chart.GetNamespace()+"/"+chart.GetName())...)
		}
		for _, object := range all {
			ready, _ := inputs.ConditionOf(object, "Ready")
			if broken(object) && !suspended(object) && !tried(ready) {
				waiting = append(waiting, object)
			}
		}
	})
	slices.SortFunc(waiting, func(x, y *unstructured.Unstructured) int {
		return cmp.Or(strings.Compare(x.GetNamespace(), y.GetNamespace()), strings.Compare(x.GetKind(), y.GetKind()), strings.Compare(x.GetName(), y.GetName()))
	})
	var names []string
	for _, object := range waiting {
		if ready, _ := inputs.ConditionOf(object, "Ready"); ready.Reason == artifactFailed {
			spec.Severity = v1alpha1.SeverityCritical
		}
		names = append(names, fmt.Sprintf("%s %s", object.GetKind(), within(source, object)))
		spec.Related = append(spec.Related, v1alpha1.RelatedObject{Relation: "waits for it", ObjectReference: reference(object)})
	}
	if len(names) > 0 {
		spec.Message += fmt.Sprintf(" Not Ready for want of it: %s.", workloads.Names(names))
	}
	return spec
}

// tried tells whether a condition is about an attempt that had something to apply, and
// failed.
func tried(condition inputs.Condition) bool {
	return strings.HasSuffix(condition.Reason, "Failed") && condition.Reason != artifactFailed
}

// within names an object, with its namespace if that is not another's.
func within(of, object *unstructured.Unstructured) string {
	if of.GetNamespace() == object.GetNamespace() {
		return object.GetName()
	}
	return object.GetName() + " in namespace " + object.GetNamespace()
}

// toldOfSource tells whether what Flux applies is not Ready because there is nothing of its
// source at all, which is found as that source's trouble.
func toldOfSource(view *live.View, object reconciled) bool {
	told := false
	view.Try(func() {
		source := directSource(view, object.Unstructured)
		if object.fetched || source == nil || tried(object.cause) {
			return
		}
		told = absent(source)
		if source.GetKind() == helmChart {
			of := sourceNamed(view, source, "spec", "sourceRef")
			told = of != nil && absent(of) || told && !toldElsewhere(view, source)
		}
	})
	return told
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

// broken tells whether Flux says that it cannot have an object as it is asked for.
func broken(object *unstructured.Unstructured) bool {
	ready, _ := inputs.ConditionOf(object, "Ready")
	return object.GetDeletionTimestamp() == nil && ready.Status == "False"
}

// withSourceOf adds to a finding what is wrong with the source of what it is about, if
// that is not Ready either.
func withSourceOf(view *live.View, object reconciled, spec v1alpha1.FindingSpec) v1alpha1.FindingSpec {
	var source *unstructured.Unstructured
	if object.fetched || !view.Try(func() { source = sourceOf(view, object.Unstructured) }) || source == nil {
		return spec
	}
	ready, _ := inputs.ConditionOf(source, "Ready")
	name := source.GetKind() + " " + within(object.Unstructured, source)
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
	source := directSource(view, object)
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

// directSource returns what Flux applies an object from: of a HelmRelease its chart; nil if
// that is not there.
func directSource(view *live.View, object *unstructured.Unstructured) *unstructured.Unstructured {
	source := sourceNamed(view, object, "spec", "sourceRef")
	if source == nil {
		source = sourceNamed(view, object, "spec", "chartRef")
	}
	if namespace, name, made := strings.Cut(inputs.TextAt(object, "status", "helmChart"), "/"); source == nil && made {
		source, _ = inputs.HelmCharts.Get(view, live.Key{Namespace: namespace, Name: name})
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
