// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"fmt"
	"maps"
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "Silences"
	// Expired means that a silence is over and still there.
	Expired = "SilenceExpired"
	// OverBroad means that a silence hides what nobody can have meant by it.
	OverBroad = "SilenceOverBroad"
	// Inert means that a silence has matched nothing for a day, or names something
	// that does not exist.
	Inert = "SilenceInert"
	// Invalid means that a silence cannot be read, so that it silences nothing.
	Invalid = "SilenceInvalid"

	// inertAfter is how long a silence may match nothing: a night and a day.
	inertAfter = 24 * time.Hour
	// longest is how long a silence may hold and be taken for meant.
	longest = 366 * 24 * time.Hour
	// crowd is how many findings a person can have meant by one silence.
	crowd = 20
)

// Reports are the findings about silences. They are none of the detected ones:
// the analyzer reads those, and nothing may be computed from itself; and what is
// not among them is matched by no silence, so that nobody silences these.
var Reports = live.NewDerived[*v1alpha1.Finding]("silencereports", nil)

// Options of the analyzer.
type Options struct {
	// MostFindings is how many findings one silence may hide before it is called
	// over-broad; 20 by default, and at least 1.
	MostFindings int `json:"mostFindings"`
}

type analyzer struct {
	inertAfter time.Duration
	most       int
	known      map[string][]analyzers.Reason
}

// New makes the analyzer. Its grace is how long a silence may match nothing. Its
// rules are made live by LiveRules of this package.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options := Options{MostFindings: crowd}
	if err := settings.Options(&options); err != nil {
		return analyzers.Analyzer{}, err
	}
	if options.MostFindings < 1 {
		return analyzers.Analyzer{}, fmt.Errorf("options: mostFindings: %d: want 1 or more", options.MostFindings)
	}
	a := analyzer{inertAfter: settings.Grace(inertAfter), most: options.MostFindings, known: settings.Known()}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: Expired, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "A silence is over and still there."},
			{Name: OverBroad, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A silence hides what nobody can have meant by it."},
			{Name: Inert, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "A silence, or a name in it, matches no finding."},
			{Name: Invalid, Severities: []v1alpha1.Severity{v1alpha1.SeverityWarning}, Summary: "A silence cannot be read, so it silences nothing."},
		},
		Derivations: []live.Rule{matching},
		Rules:       []analyzers.Rule{{Subject: Silences.Ref(), Reads: []live.KindRef{matches.Ref(), live.Statuses().Ref()}, Analyze: a.silence}},
	}, nil
}

// LiveRules turns the analyzer into rules of the live view, which write Reports.
func LiveRules(made analyzers.Analyzer) []live.Rule {
	rules := analyzers.LiveRules(made)
	for i := range rules {
		if !slices.Contains(rules[i].Outputs, analyzers.DetectedFindings.Ref()) {
			continue // it derives
		}
		evaluate := rules[i].Evaluate
		rules[i].Outputs = []live.KindRef{Reports.Ref()}
		rules[i].Evaluate = func(view *live.View, subject live.Key) ([]live.Output, error) {
			outputs, err := evaluate(view, subject)
			for i := range outputs {
				outputs[i].Kind = Reports.Ref()
			}
			return outputs, err
		}
	}
	return rules
}

func (a analyzer) silence(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	silence, exists := Silences.Get(view, subject)
	if !exists || silence.DeletionTimestamp != nil {
		return nil, nil
	}
	if spec, found := a.report(view, silence); found {
		return []v1alpha1.FindingSpec{spec}, nil
	}
	return nil, nil
}

// report tells the first thing that is wrong with a silence.
func (a analyzer) report(view *live.View, silence *opsv1alpha1.Silence) (v1alpha1.FindingSpec, bool) {
	match := &silence.Spec.Match
	if !active(silence, view.Now()) {
		if silence.Spec.Expires.Before(&silence.CreationTimestamp) {
			return about(silence, Expired, v1alpha1.SeverityInfo, silence.Spec.Expires,
				"was over before it was made, so it never hid anything. Delete it, or say anew until when it should hold."), true
		}
		return about(silence, Expired, v1alpha1.SeverityInfo, silence.Spec.Expires,
			"is over, and what it hid shows again. Delete it, or say anew until when it should hold."), true
	}
	view.RecheckAt(silence.Spec.Expires.Time)
	if why := invalid(match); why != "" {
		return about(silence, Invalid, v1alpha1.SeverityWarning, silence.CreationTimestamp,
			fmt.Sprintf("silences nothing, because its selector cannot be read: %s.", shorten(why))), true
	}
	if why := a.unknown(match); why != "" {
		return about(silence, Inert, v1alpha1.SeverityInfo, silence.CreationTimestamp, "can match no finding: "+why), true
	}
	detecting := slices.DeleteFunc(slices.Sorted(maps.Keys(a.known)), func(name string) bool { return name == Name })
	if what := overBroad(match, detecting); what != "" {
		return about(silence, OverBroad, v1alpha1.SeverityWarning, silence.CreationTimestamp,
			fmt.Sprintf("hides %s. Name the analyzers, reasons or subjects that are meant.", what)), true
	}
	if silence.Spec.Expires.Sub(silence.CreationTimestamp.Time) > longest {
		return about(silence, OverBroad, v1alpha1.SeverityWarning, silence.CreationTimestamp,
			"holds for more than a year. Say until when somebody will have looked again."), true
	}
	matched := len(matches.ByIndex(view, bySilence, live.Key{Namespace: silence.Namespace, Name: silence.Name}.String()))
	switch {
	case matched > a.most:
		return about(silence, OverBroad, v1alpha1.SeverityWarning, metav1.NewTime(view.FirstObserved(OverBroad)),
			fmt.Sprintf("hides more than %d findings at once. Name the analyzers, reasons or subjects that are meant.", a.most)), true
	case a.mistyped(match) != "":
		return about(silence, Inert, v1alpha1.SeverityInfo, silence.CreationTimestamp, "names something in vain: "+a.mistyped(match)), true
	case matched > 0:
		return v1alpha1.FindingSpec{}, false
	}
	if a.blind(view, match) {
		// What it is for may be there, unseen: nothing counts, and what was said stays.
		if since, counted := view.Observed(Inert); !counted || view.Now().Before(since.Add(a.inertAfter)) {
			return v1alpha1.FindingSpec{}, false
		}
	}
	since := view.FirstObserved(Inert)
	if end := since.Add(a.inertAfter); view.Now().Before(end) {
		view.RecheckAt(end)
		return v1alpha1.FindingSpec{}, false
	}
	return about(silence, Inert, v1alpha1.SeverityInfo, metav1.NewTime(since),
		"matches no finding. Either what it was for is mended, and it would hide the next one, or it names something that does not exist."), true
}

// blind tells whether an analyzer is degraded whose findings a match may be of.
func (a analyzer) blind(view *live.View, match *opsv1alpha1.SilenceMatch) bool {
	for name, reasons := range a.known {
		if name == Name || len(match.Analyzers) > 0 && !slices.Contains(match.Analyzers, name) ||
			len(match.Reasons) > 0 && !slices.ContainsFunc(reasons, func(r analyzers.Reason) bool { return slices.Contains(match.Reasons, r.Name) }) {
			continue
		}
		if slices.ContainsFunc(live.Statuses().ByIndex(view, live.StatusesByGroup, name), func(s *live.Status) bool { return s.State == live.Degraded }) {
			return true
		}
	}
	return false
}

func about(silence *opsv1alpha1.Silence, reason string, severity v1alpha1.Severity, since metav1.Time, what string) v1alpha1.FindingSpec {
	return v1alpha1.FindingSpec{
		Reason: reason, Severity: severity, Since: since,
		Subject: v1alpha1.ObjectReference{
			APIVersion: opsv1alpha1.SchemeGroupVersion.String(), Kind: "Silence", Namespace: silence.Namespace, Name: silence.Name, UID: silence.UID,
		},
		Message: fmt.Sprintf("Silence %s of %s %s", silence.Name, shorten(silence.Spec.Owner), what),
		Remediation: v1alpha1.Remediation{
			Text: "See what it says, and talk to its owner before taking it away.",
			Commands: []string{
				fmt.Sprintf("kubectl describe silence %s -n %s", silence.Name, silence.Namespace),
				fmt.Sprintf("kubectl edit silence %s -n %s", silence.Name, silence.Namespace),
				fmt.Sprintf("kubectl delete silence %s -n %s", silence.Name, silence.Namespace),
			},
		},
	}
}

// shorten keeps text that somebody wrote to the length of a sentence.
func shorten(text string) string {
	const most = 200
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return text
}
