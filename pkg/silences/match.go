// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Silences are all that there are. While they cannot be read, those that were
// read last hold until they expire, and findings are served all the same.
var Silences = live.NewInput(opsv1alpha1.SchemeGroupVersion.WithResource("silences"), live.InputOptions[*opsv1alpha1.Silence]{
	Optional: true, Advisory: true,
	Trim: func(in *opsv1alpha1.Silence) *opsv1alpha1.Silence {
		in.ManagedFields = nil
		in.Annotations = nil
		return in
	},
	Indexes: map[string]func(*opsv1alpha1.Silence) []string{byNarrowest: narrowest},
})

// byNarrowest is the index of silences by their namespace and the narrowest thing that
// they name: subjects, else analyzers, else nothing. A finding is held against those
// alone that name its own, and not against all of its namespace.
const byNarrowest = "narrowest"

func narrowest(silence *opsv1alpha1.Silence) (values []string) {
	match := &silence.Spec.Match
	for _, subject := range match.Subjects {
		values = append(values, naming(silence.Namespace, "subject", subject.Kind, subject.Name))
	}
	if len(values) > 0 {
		return values
	}
	for _, analyzer := range match.Analyzers {
		values = append(values, naming(silence.Namespace, "analyzer", analyzer))
	}
	if len(values) > 0 {
		return values
	}
	return []string{naming(silence.Namespace)}
}

// named are the values of byNarrowest under which a finding's silences are: each is
// under one of them.
func named(finding *v1alpha1.Finding) []string {
	spec := &finding.Spec
	return []string{
		naming(finding.Namespace),
		naming(finding.Namespace, "analyzer", spec.Analyzer),
		naming(finding.Namespace, "subject", spec.Subject.Kind, spec.Subject.Name),
	}
}

func naming(namespace string, what ...string) string {
	return strings.Join(append([]string{namespace}, what...), "/")
}

// matchingSilences returns the silences that match a finding, be they over or not.
func matchingSilences(view *live.View, finding *v1alpha1.Finding) (found []*opsv1alpha1.Silence) {
	for _, value := range named(finding) {
		for _, silence := range Silences.ByIndex(view, byNarrowest, value) {
			if Matches(&silence.Spec.Match, finding) {
				found = append(found, silence)
			}
		}
	}
	return found
}

// match tells that a silence, be it over or not, matches a finding.
type match struct {
	metav1.TypeMeta
	metav1.ObjectMeta

	// Silence is its name.
	Silence string
}

// DeepCopyObject implements runtime.Object.
func (m *match) DeepCopyObject() runtime.Object {
	out := *m
	out.ObjectMeta = *m.ObjectMeta.DeepCopy()
	return &out
}

// bySilence is the index of matches by namespace and name of the silence.
const bySilence = "silence"

var matches = live.NewDerived[*match]("silencematches", map[string]func(*match) []string{
	bySilence: func(m *match) []string { return []string{live.Key{Namespace: m.Namespace, Name: m.Silence}.String()} },
})

// matching computes the matches of one finding, so that a silence counts its own without
// looking at all findings whenever one changes.
var matching = live.Rule{
	Subject: analyzers.DetectedFindings.Ref(), Reads: []live.KindRef{Silences.Ref()}, Outputs: []live.KindRef{matches.Ref()},
	Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
		finding, exists := analyzers.DetectedFindings.Get(view, subject)
		if !exists {
			return nil, nil
		}
		var outputs []live.Output
		for _, silence := range matchingSilences(view, finding) {
			outputs = append(outputs, live.Emit(matches, &match{
				// No name has a slash, so that no two are alike.
				ObjectMeta: metav1.ObjectMeta{Namespace: subject.Namespace, Name: subject.Name + "/" + silence.Name},
				Silence:    silence.Name,
			}))
		}
		return outputs, nil
	},
}

// By returns the name of the silence that a finding is under, the first by name,
// or nothing. It asks the view to look again when that can change by itself.
func By(view *live.View, finding *v1alpha1.Finding) string {
	var found string
	for _, silence := range matchingSilences(view, finding) {
		if silence.DeletionTimestamp != nil || !active(silence, view.Now()) {
			continue
		}
		view.RecheckAt(silence.Spec.Expires.Time)
		if found == "" || silence.Name < found {
			found = silence.Name
		}
	}
	return found
}

// active tells whether a silence holds at a time: until it expires.
func active(silence *opsv1alpha1.Silence, now time.Time) bool {
	return now.Before(silence.Spec.Expires.Time)
}

// Matches tells whether a finding is of those that are silenced. A selector that
// cannot be read matches nothing.
func Matches(match *opsv1alpha1.SilenceMatch, finding *v1alpha1.Finding) bool {
	spec := &finding.Spec
	anyOf := func(given bool, matches bool) bool { return !given || matches }
	if !anyOf(len(match.Analyzers) > 0, slices.Contains(match.Analyzers, spec.Analyzer)) ||
		!anyOf(len(match.Reasons) > 0, slices.Contains(match.Reasons, spec.Reason)) ||
		!anyOf(len(match.Severities) > 0, slices.Contains(match.Severities, spec.Severity)) ||
		!anyOf(len(match.Subjects) > 0, slices.ContainsFunc(match.Subjects, func(s opsv1alpha1.SilencedSubject) bool {
			return s.Kind == spec.Subject.Kind && s.Name == spec.Subject.Name
		})) {
		return false
	}
	if match.Selector == nil {
		return true
	}
	selector, err := metav1.LabelSelectorAsSelector(match.Selector)
	return err == nil && selector.Matches(labels.Set(finding.Labels))
}

// overBroad tells what a match hides that nobody can have meant, or nothing. A
// finding that no silence can name stands for all that nobody has seen yet, so
// that it does not matter in which words a match says "whatever it is"; to name each
// of several known analyzers says that too.
func overBroad(match *opsv1alpha1.SilenceMatch, known []string) string {
	hides := func(severity v1alpha1.Severity) bool {
		unseen := func(analyzer string) bool {
			return Matches(match, analyzers.NewFinding(analyzer, v1alpha1.FindingSpec{Reason: "?", Severity: severity}))
		}
		return unseen("?") || len(known) > 1 && !slices.ContainsFunc(known, func(name string) bool { return !unseen(name) })
	}
	switch {
	case !hides(v1alpha1.SeverityCritical):
		return ""
	case hides(v1alpha1.SeverityWarning) && hides(v1alpha1.SeverityInfo):
		return "whatever is found in its namespace, also what nobody has seen yet"
	}
	return "whatever is critical in its namespace, also what nobody has seen yet"
}

// invalid tells why a silence silences nothing, or nothing.
func invalid(match *opsv1alpha1.SilenceMatch) string {
	if match.Selector == nil {
		return ""
	}
	if _, err := metav1.LabelSelectorAsSelector(match.Selector); err != nil {
		return strings.ReplaceAll(err.Error(), "\n", " ")
	}
	return ""
}
