// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package finding serves findings and their cluster-scoped twin, clusterfindings.
package finding

import (
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix"
	"github.com/srenix/srenix/pkg/registry/virtual"
)

// NewREST returns the storage of findings.
func NewREST(options virtual.Options) (*virtual.REST, error) {
	return virtual.NewREST(virtual.Resource{
		Plural: "findings", Singular: "finding", ShortNames: []string{"fnd"}, Namespaced: true,
		NewFunc:     func() runtime.Object { return &srenix.Finding{} },
		NewListFunc: func() runtime.Object { return &srenix.FindingList{} },
		Attrs: func(object runtime.Object) (labels.Set, fields.Set, error) {
			finding, ok := object.(*srenix.Finding)
			if !ok {
				return nil, nil, fmt.Errorf("selecting among findings: have %T", object)
			}
			return finding.Labels, selectable(finding.Namespace, finding.Name, &finding.Spec), nil
		},
		Table: table(options.Clock, func(finding *srenix.Finding) *srenix.FindingSpec { return &finding.Spec },
			func(finding *srenix.Finding) string { return finding.Name },
			func(finding *srenix.Finding) *srenix.FindingStatus { return &finding.Status }),
	}, options)
}

// NewClusterREST returns the storage of clusterfindings.
func NewClusterREST(options virtual.Options) (*virtual.REST, error) {
	return virtual.NewREST(virtual.Resource{
		Plural: "clusterfindings", Singular: "clusterfinding", ShortNames: []string{"cfnd"},
		NewFunc:     func() runtime.Object { return &srenix.ClusterFinding{} },
		NewListFunc: func() runtime.Object { return &srenix.ClusterFindingList{} },
		Attrs: func(object runtime.Object) (labels.Set, fields.Set, error) {
			finding, ok := object.(*srenix.ClusterFinding)
			if !ok {
				return nil, nil, fmt.Errorf("selecting among clusterfindings: have %T", object)
			}
			set := selectable("", finding.Name, &finding.Spec)
			delete(set, "metadata.namespace")
			return finding.Labels, set, nil
		},
		Table: table(options.Clock, func(finding *srenix.ClusterFinding) *srenix.FindingSpec { return &finding.Spec },
			func(finding *srenix.ClusterFinding) string { return finding.Name },
			func(finding *srenix.ClusterFinding) *srenix.FindingStatus { return &finding.Status }),
	}, options)
}

// SelectableFields are the fields that a field selector may name, beside the
// metadata ones. The scheme refuses every other with 400.
func SelectableFields() []string {
	return []string{"spec.analyzer", "spec.reason", "spec.severity", "spec.subject.kind", "spec.subject.name"}
}

func selectable(namespace, name string, spec *srenix.FindingSpec) fields.Set {
	return fields.Set{
		"metadata.name":      name,
		"metadata.namespace": namespace,
		"spec.analyzer":      spec.Analyzer,
		"spec.reason":        spec.Reason,
		"spec.severity":      string(spec.Severity),
		"spec.subject.kind":  spec.Subject.Kind,
		"spec.subject.name":  spec.Subject.Name,
	}
}

func table[T any](c clock.PassiveClock, spec func(T) *srenix.FindingSpec, name func(T) string, status func(T) *srenix.FindingStatus) virtual.Table[T] {
	return virtual.Table[T]{Clock: c, Columns: []virtual.Column[T]{
		{Name: "Name", Type: "string", Format: "name", Description: "Name of the finding.",
			Cell: func(t T, _ time.Time) any { return name(t) }},
		{Name: "Severity", Type: "string", Description: "Critical, Warning or Info.",
			Cell: func(t T, _ time.Time) any { return string(spec(t).Severity) }},
		{Name: "Reason", Type: "string", Description: "What is wrong, in a word.",
			Cell: func(t T, _ time.Time) any { return spec(t).Reason }},
		{Name: "Subject", Type: "string", Description: "The object to mend.",
			Cell: func(t T, _ time.Time) any { return spec(t).Subject.Kind + "/" + spec(t).Subject.Name }},
		{Name: "Since", Type: "string", Description: "How long ago the trouble began.",
			Cell: func(t T, now time.Time) any { return virtual.Age(spec(t).Since, now) }},
		{Name: "Silenced", Type: "string", Wide: true, Description: "The silence that it is under.",
			Cell: func(t T, _ time.Time) any { return orNone(status(t).SilencedBy) }},
		{Name: "Proposals", Type: "string", Wide: true, Description: "Proposals that would mend it.",
			Cell: func(t T, _ time.Time) any { return orNone(strings.Join(status(t).Proposals, ",")) }},
		{Name: "Analyzer", Type: "string", Wide: true, Description: "The analyzer that found it.",
			Cell: func(t T, _ time.Time) any { return spec(t).Analyzer }},
		{Name: "Message", Type: "string", Wide: true, Description: "What is wrong, in a sentence.",
			Cell: func(t T, _ time.Time) any { return spec(t).Message }},
	}}
}

func orNone(s string) string {
	if s == "" {
		return "<none>"
	}
	return s
}
