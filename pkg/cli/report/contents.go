// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// contents are what a report has, whatever its format.
type contents struct {
	// sections are sorted by namespace, with that of the cluster first.
	sections []section
	// unread is what could not be read, by resource.
	unread map[string]unread
}

// section is what was found in one namespace, or of the cluster if that is empty.
type section struct {
	namespace string
	entries   []entry
}

// entry is a finding or a clusterfinding.
type entry struct {
	// namespace is empty for a clusterfinding. The subject of a finding may be its
	// namespace, which is in none.
	namespace, name string
	spec            v1alpha1.FindingSpec
	status          v1alpha1.FindingStatus
}

// newEntry makes every text plain: some of it was copied from what anybody wrote, and
// neither YAML nor XML has all the characters that there are.
func newEntry(namespace, name string, spec v1alpha1.FindingSpec, status v1alpha1.FindingStatus) entry {
	spec.Message, spec.Remediation.Text = cli.Plain(spec.Message), cli.Plain(spec.Remediation.Text)
	spec.Related = slices.Clone(spec.Related)
	for i := range spec.Related {
		spec.Related[i].Relation = cli.Plain(spec.Related[i].Relation)
	}
	spec.Remediation.Commands = slices.Clone(spec.Remediation.Commands)
	for i, command := range spec.Remediation.Commands {
		spec.Remediation.Commands[i] = cli.PlainLines(command)
	}
	return entry{namespace, name, spec, status}
}

type unread struct {
	err error
	// allowed tells that a report is whole without it.
	allowed bool
}

// outcome is what an entry means for who reads the report.
type outcome int

const (
	// failed is trouble that somebody should mend.
	failed outcome = iota
	// noted is worth knowing.
	noted
	// skipped is known and left for now.
	skipped
	// blind is an analyzer that cannot see what it needs.
	blind
)

func (e *entry) outcome() outcome {
	switch {
	case e.status.SilencedBy != "":
		return skipped
	case e.spec.Reason == v1alpha1.ReasonAnalyzerDegraded:
		return blind
	case e.spec.Severity == v1alpha1.SeverityInfo:
		return noted
	}
	return failed
}

// read asks for the findings of a namespace, or of all. Findings have to be readable.
//
// Of clusterfindings, a report of one namespace has only which analyzers are blind, in
// the section of the namespace. The rest is not about it, and a ClusterReport of a part
// would replace that of the whole.
func (o *Options) read(ctx context.Context) (*contents, error) {
	namespace := *o.Namespace
	sections := map[string][]entry{}
	if namespace != "" {
		sections[namespace] = nil
	}
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		return o.from.findings(ctx, namespace, options)
	}, func(f *v1alpha1.Finding) {
		sections[f.Namespace] = append(sections[f.Namespace], newEntry(f.Namespace, f.Name, f.Spec, f.Status))
	})
	if err != nil {
		return nil, fmt.Errorf("listing findings: %w", err)
	}
	found := &contents{unread: map[string]unread{}}
	var ofCluster []entry
	err = cli.Each(ctx, o.from.clusterFindings, func(f *v1alpha1.ClusterFinding) {
		e := newEntry("", f.Name, f.Spec, f.Status)
		if namespace == "" || e.outcome() == blind {
			ofCluster = append(ofCluster, e)
		}
	})
	switch {
	case err != nil:
		found.unread["clusterfindings"] = unread{err, namespace != "" && apierrors.IsForbidden(err)}
	case namespace == "":
		sections[""] = ofCluster
	default:
		sections[namespace] = append(sections[namespace], ofCluster...)
	}
	if namespace == "" && o.Output == outputOpenReports {
		// A Report that says that there is nothing takes the place of one that said more.
		// A namespace that is going away takes none.
		err := cli.Each(ctx, o.from.namespaces, func(namespace *corev1.Namespace) {
			if _, has := sections[namespace.Name]; !has && namespace.DeletionTimestamp == nil {
				sections[namespace.Name] = nil
			}
		})
		if err != nil {
			found.unread["namespaces"] = unread{err: err}
		}
	}
	for _, namespace := range slices.Sorted(maps.Keys(sections)) {
		entries := sections[namespace]
		slices.SortFunc(entries, func(a, b entry) int {
			return cmp.Or(slices.Index(severities, a.spec.Severity)-slices.Index(severities, b.spec.Severity), cmp.Compare(a.name, b.name))
		})
		found.sections = append(found.sections, section{namespace, entries})
	}
	return found, nil
}

// atLeast counts the entries that are not silenced and of a severity or a worse one.
func (c *contents) atLeast(severity v1alpha1.Severity) int {
	n, limit := 0, slices.Index(severities, severity)
	for _, section := range c.sections {
		for _, e := range section.entries {
			if e.outcome() != skipped && slices.Index(severities, e.spec.Severity) <= limit {
				n++
			}
		}
	}
	return n
}

// subject is an object as "Kind/name".
func subject(of *v1alpha1.ObjectReference) string { return of.Kind + "/" + of.Name }

// qualified is an object as "namespace/Kind/name", or "Kind/name" without a namespace.
func qualified(of *v1alpha1.ObjectReference) string {
	return strings.TrimPrefix(of.Namespace+"/"+subject(of), "/")
}
