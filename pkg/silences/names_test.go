// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"strings"
	"testing"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

func TestOneMistypedNameBesideOthersIsTold(t *testing.T) {
	a := analyzer{known: map[string][]analyzers.Reason{"SecretKeyMissing": {{Name: "KeyMissing"}}, "ConfigDrift": {{Name: "ReferencedKeyMissing"}}}}
	for name, test := range map[string]struct {
		analyzers, reasons []string
		want               string
	}{
		"none":        {},
		"all exist":   {[]string{"ConfigDrift"}, []string{"KeyMissing", "ReferencedKeyMissing"}, ""},
		"a reason":    {nil, []string{"KeyMissing", "MissingReferencedKey"}, `no analyzer reports "MissingReferencedKey". Alike are ReferencedKeyMissing. docs/analyzers/README.md lists them all.`},
		"an analyzer": {[]string{"ConfigDrift", "Quux"}, nil, `there is no analyzer "Quux". docs/analyzers/README.md lists them all.`},
	} {
		t.Run(name, func(t *testing.T) {
			if have := a.mistyped(&opsv1alpha1.SilenceMatch{Analyzers: test.analyzers, Reasons: test.reasons}); have != test.want {
				t.Errorf("%q, want %q", have, test.want)
			}
			if have := (analyzer{}).mistyped(&opsv1alpha1.SilenceMatch{Analyzers: test.analyzers, Reasons: test.reasons}); have != "" {
				t.Errorf("though nobody said what exists: %q", have)
			}
		})
	}
}

func TestNamesThatDoNotExist(t *testing.T) {
	reasons := func(names ...string) (all []analyzers.Reason) {
		for _, name := range names {
			all = append(all, analyzers.Reason{Name: name})
		}
		return all
	}
	a := analyzer{known: map[string][]analyzers.Reason{
		"WorkloadStateDrift": reasons("OrdinalZeroNotReady", "OrdinalZeroMissing"),
		"SecretKeyMissing":   reasons("KeyMissing"),
		"ConfigDrift":        reasons("ReferencedKeyMissing"),
	}}
	for name, test := range map[string]struct {
		analyzers, reasons []string
		want               string
	}{
		"none is asked for":               {nil, nil, ""},
		"an analyzer":                     {[]string{"ConfigDrift"}, nil, ""},
		"a reason":                        {nil, []string{"KeyMissing"}, ""},
		"a reason of the analyzer":        {[]string{"WorkloadStateDrift"}, []string{"OrdinalZeroMissing"}, ""},
		"one that exists among others":    {[]string{"Nonsense", "ConfigDrift"}, []string{"Nonsense", "ReferencedKeyMissing"}, ""},
		"an analyzer that does not exist": {[]string{"ConfigDrft"}, nil, `there is no analyzer "ConfigDrft". There are ConfigDrift, SecretKeyMissing, WorkloadStateDrift.`},
		"another spelling":                {[]string{"configdrift"}, []string{"KeyMissing"}, `there is no analyzer "configdrift". There are `},
		"a reason of another analyzer":    {[]string{"WorkloadStateDrift"}, []string{"KeyMissing"}, `WorkloadStateDrift reports no "KeyMissing". It reports OrdinalZeroNotReady, OrdinalZeroMissing.`},
		"of an analyzer beside nonsense":  {[]string{"Nonsense", "ConfigDrift"}, []string{"KeyMissing"}, `ConfigDrift reports no "KeyMissing". It reports ReferencedKeyMissing.`},
		"a reason that does not exist":    {nil, []string{"MissingKey"}, `no analyzer reports "MissingKey". Alike are KeyMissing, ReferencedKeyMissing. docs/analyzers/README.md lists them all.`},
		"the nearest":                     {nil, []string{"OrdinalZeroReady"}, `no analyzer reports "OrdinalZeroReady". Alike are OrdinalZeroNotReady. docs`},
		"nonsense":                        {nil, []string{"Quux"}, `no analyzer reports "Quux". docs/analyzers/README.md lists them all.`},
		"a lot of nonsense":               {nil, []string{"A", "B", "C", "D"}, `no analyzer reports "A", "B", "C", and others. docs`},
	} {
		t.Run(name, func(t *testing.T) {
			have := a.unknown(&opsv1alpha1.SilenceMatch{Analyzers: test.analyzers, Reasons: test.reasons})
			if !strings.HasPrefix(have, test.want) || (have == "") != (test.want == "") {
				t.Errorf("%q, want %q", have, test.want)
			}
			if nobodySaid := (analyzer{}).unknown(&opsv1alpha1.SilenceMatch{Analyzers: test.analyzers, Reasons: test.reasons}); nobodySaid != "" {
				t.Errorf("though nobody said what exists: %q", nobodySaid)
			}
		})
	}
}
