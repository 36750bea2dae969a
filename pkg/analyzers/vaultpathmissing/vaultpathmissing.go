// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vaultpathmissing finds what ExternalSecrets refer to and a Vault does not
// have. It goes by the names that package vault has asked for, and reads no values.
package vaultpathmissing

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/references"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

const (
	// Name of the analyzer.
	Name = "VaultPathMissing"
	// PathMissing means that an ExternalSecret refers to a path at which Vault has nothing.
	PathMissing = "VaultPathMissing"
	// PropertyMissing means that a secret of Vault lacks keys that an ExternalSecret refers to.
	PropertyMissing = "VaultPropertyMissing"
	// PathsHidden means that Vault does not tell srenix about paths that are referred to.
	PathsHidden = "VaultPathsHidden"

	standardGrace = 5 * time.Minute
)

type analyzer struct {
	options Options
	grace   time.Duration
}

// New makes the analyzer. Without the address of a Vault it has no rules.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	options, on, err := OptionsOf(settings)
	if err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{options: options, grace: settings.Grace(standardGrace)}
	warning := []v1alpha1.Severity{v1alpha1.SeverityWarning}
	made := analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: PathMissing, Severities: warning, Summary: "An ExternalSecret refers to a path at which Vault has nothing."},
			{Name: PropertyMissing, Severities: warning, Summary: "A secret of Vault lacks keys that an ExternalSecret refers to."},
			{Name: PathsHidden, Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}, Summary: "Vault does not tell srenix about paths that ExternalSecrets refer to."},
		},
	}
	if !on {
		return made, nil
	}
	// One rule, so that a Vault that is away degrades one, and is one finding.
	made.Rules = []analyzers.Rule{{
		Subject: inputs.ExternalSecrets.Ref(), Analyze: a.externalSecret,
		Reads: []live.KindRef{inputs.SecretStores.Ref(), inputs.ClusterSecretStores.Ref(), inputs.VaultPaths.Ref()},
	}}
	return made, nil
}

func (a analyzer) externalSecret(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	object, exists := inputs.ExternalSecrets.Get(view, subject)
	if !exists {
		return nil, nil
	}
	var findings []v1alpha1.FindingSpec
	var hidden []string
	add := func(spec v1alpha1.FindingSpec) {
		since, over := a.over(view, spec.Reason+" "+spec.Discriminator)
		if over {
			spec.Since = since
			findings = append(findings, spec)
		}
	}
	for _, wants := range perPath(a.options.wants(view, object)) {
		path := wants[0].path
		state, asked := inputs.VaultPaths.Get(view, live.Key{Name: vault.Name(path)})
		if !asked {
			continue // not yet
		}
		seen := vault.SeenOf(state)
		if seen.State == vault.Hidden || seen.Stale {
			hidden = append(hidden, path.String())
		}
		if spec, wrong := judge(object, wants, seen); wrong {
			add(spec)
		}
	}
	if len(hidden) > 0 {
		add(unseen(object, hidden))
	}
	return findings, nil
}

// over tells since when something is so, and whether the grace is over.
func (a analyzer) over(view *live.View, condition string) (metav1.Time, bool) {
	since := view.FirstObserved(condition)
	return metav1.NewTime(since), analyzers.Past(view, since.Add(a.grace))
}

// judge tells what is wrong with one path that an ExternalSecret refers to.
func judge(object *unstructured.Unstructured, wants []want, seen vault.Seen) (v1alpha1.FindingSpec, bool) {
	path := wants[0].path
	spec := v1alpha1.FindingSpec{
		Reason: PathMissing, Severity: v1alpha1.SeverityWarning, Discriminator: path.String(),
		Subject: reference(object),
		Remediation: v1alpha1.Remediation{
			Text:     "Write the secret to Vault, or correct the key in the ExternalSecret.",
			Commands: []string{kv("list", path, folder(path)), describe(object)},
		},
	}
	switch seen.State {
	case vault.Missing:
		spec.Message = fmt.Sprintf("Vault has no secret at %s, which ExternalSecret %s refers to.", path, object.GetName())
		return spec, true
	case vault.Deleted:
		if !slices.ContainsFunc(wants, func(w want) bool { return !w.versioned }) {
			return spec, false
		}
		spec.Message = fmt.Sprintf("The newest version of the secret at %s, which ExternalSecret %s refers to, is deleted.", path, object.GetName())
		spec.Remediation.Text = "Write a new version to Vault, or take back that this one was deleted."
		spec.Remediation.Commands[0] = kv("metadata get", path, path.Path)
		return spec, true
	case vault.Exists:
		return properties(spec, object.GetName(), wants, seen.Keys)
	}
	return spec, false
}

// properties tells which keys the secret lacks, if its keys are known.
func properties(spec v1alpha1.FindingSpec, name string, wants []want, keys map[string]any) (v1alpha1.FindingSpec, bool) {
	if keys == nil {
		return spec, false
	}
	var missing, near []string
	for _, w := range wants {
		if w.versioned || !lacks(keys, w.property) || slices.Contains(missing, w.property) {
			continue
		}
		missing = append(missing, w.property)
		if meant := references.NearMiss(slices.Sorted(maps.Keys(keys)), w.property); meant != "" {
			near = append(near, meant)
		}
	}
	if len(missing) == 0 {
		return spec, false
	}
	path := wants[0].path
	spec.Reason = PropertyMissing
	spec.Message = fmt.Sprintf("The secret at %s in Vault lacks properties that ExternalSecret %s refers to: %s.", path, name, workloads.Names(missing))
	if len(near) > 0 {
		spec.Message += fmt.Sprintf(" It has %s, which may be what was meant.", workloads.Names(near))
	}
	spec.Remediation.Text = "Correct the property in the ExternalSecret, or write a version of the secret that has it."
	spec.Remediation.Commands[0] = kv("metadata get", path, path.Path)
	return spec, true
}

// kv is a command that shows no value.
func kv(command string, path vault.Path, at string) string {
	text := "vault kv " + command
	if path.Namespace != "" {
		text += " -namespace=" + path.Namespace
	}
	return strings.TrimSpace(text + " -mount=" + path.Mount + " " + at)
}

func folder(path vault.Path) string {
	if i := strings.LastIndex(path.Path, "/"); i >= 0 {
		return path.Path[:i]
	}
	return ""
}

// unseen is about paths that Vault does not tell about, or fails at: of what is
// missing there only what was known before is.
func unseen(object *unstructured.Unstructured, paths []string) v1alpha1.FindingSpec {
	return v1alpha1.FindingSpec{
		Reason: PathsHidden, Severity: v1alpha1.SeverityInfo, Subject: reference(object),
		Message: fmt.Sprintf("Vault does not tell srenix about paths that ExternalSecret %s refers to, so whether they are there is not known: %s.",
			object.GetName(), workloads.Names(paths)),
		Remediation: v1alpha1.Remediation{
			Text:     "Give srenix's policy in Vault read on subkeys/ and metadata/ of the mount (list, with version 1), which shows no values, or see whether the store names a mount that there is, or what Vault's log says of them.",
			Commands: []string{describe(object), "vault secrets list"},
		},
	}
}

func reference(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: "ExternalSecret", Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

func describe(object *unstructured.Unstructured) string {
	return fmt.Sprintf("kubectl describe externalsecrets.%s %s -n %s", inputs.ExternalSecretsGroup, object.GetName(), object.GetNamespace())
}
