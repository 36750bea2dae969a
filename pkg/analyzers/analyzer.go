// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package analyzers is the contract of an analyzer and the frame that turns what
// analyzers say into findings. An analyzer reads through a view and returns what
// is wrong with one subject; it knows no client, no clock and no other analyzer.
// The catalog of all analyzers is package catalog.
package analyzers

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/policy"
)

// Analyzer detects one family of trouble.
type Analyzer struct {
	// Name is CamelCase and unique, as "WorkloadStateDrift".
	Name string
	// Reasons are all that it can report.
	Reasons []Reason
	// Rules has one rule for each kind of subject.
	Rules []Rule
	// Derivations compute derived kinds of the analyzer's own, which its Rules read:
	// where what is wrong is found in many subjects and told of what they have in
	// common, so that a change costs what it touches. Name and Group are filled in by
	// the frame; no other rule may have the subject.
	Derivations []live.Rule
}

// Reason is one thing that an analyzer can report.
type Reason struct {
	Name       string
	Severities []v1alpha1.Severity
	// Summary says in a line what it means.
	Summary string
}

// Rule looks at the subjects of one kind.
type Rule struct {
	// Subject is the kind whose every object is looked at.
	Subject live.KindRef
	// Reads are the other kinds that are read.
	Reads []live.KindRef
	// Analyze returns what is wrong with one subject. Analyzer is filled in by the frame.
	Analyze func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error)
}

// Settings are what an analyzer is made with.
type Settings struct {
	config    config.AnalyzerConfiguration
	protected func(*corev1.Namespace) bool
	policy    *config.PolicyConfiguration
	known     map[string][]Reason
}

// NewSettings returns the settings of an analyzer's configuration.
func NewSettings(configuration config.AnalyzerConfiguration) Settings {
	return Settings{config: configuration}
}

// Protecting returns the settings with what tells which namespaces the policy
// protects, so that there is one list of them.
func (s Settings) Protecting(protected func(*corev1.Namespace) bool) Settings {
	s.protected = protected
	return s
}

// Protected tells whether nothing is ever done in a namespace, because what runs
// there matters to the whole cluster.
func (s Settings) Protected(namespace *corev1.Namespace) bool {
	return s.protected != nil && s.protected(namespace)
}

// Under returns the settings with the configuration of the policy, so that an analyzer
// takes for managed what the policy does.
func (s Settings) Under(policy *config.PolicyConfiguration) Settings {
	s.policy = policy
	return s
}

// ManagedBy is policy.ManagedBy of an object, with the markers of the policy's configuration.
func (s Settings) ManagedBy(object metav1.Object) string {
	return policy.ManagedBy(object.GetLabels(), object.GetAnnotations(), s.policy)
}

// Knowing returns the settings with every analyzer that there is, by name, on or
// off, and what it can report.
func (s Settings) Knowing(known map[string][]Reason) Settings {
	s.known = known
	return s
}

// Known returns the analyzers that there are with what they can report; nil where
// nobody has said.
func (s Settings) Known() map[string][]Reason { return s.known }

// Grace returns the configured grace, or the analyzer's own.
func (s Settings) Grace(standard time.Duration) time.Duration {
	if s.config.Grace != nil {
		return s.config.Grace.Duration
	}
	return standard
}

// Options decodes the analyzer's own options into a pointer to a struct. An
// unknown field, or a value that is not of its type, is an error that names the field.
func (s Settings) Options(into any) error {
	if s.config.Options == nil || len(s.config.Options.Raw) == 0 {
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(s.config.Options.Raw))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		if errs := config.Misfits(field.NewPath("options"), into, s.config.Options.Raw); len(errs) > 0 {
			return errs.ToAggregate()
		}
		return fmt.Errorf("options: %w", err)
	}
	if err := decoder.Decode(&struct{}{}); !errors.Is(err, io.EOF) {
		return errors.New("options: more than one value")
	}
	return nil
}

// Factory makes an analyzer, or tells what is wrong with its settings.
type Factory func(Settings) (Analyzer, error)
