// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// whereNamesAre is where people find every name.
const whereNamesAre = "docs/analyzers/README.md lists them all."

// unknown tells why a match can match no finding, because nothing that exists has
// the names that it asks for, and which names are there; or nothing. One name of
// a field that exists is enough for the field.
func (a analyzer) unknown(match *opsv1alpha1.SilenceMatch) string {
	if a.known == nil {
		return ""
	}
	names := slices.Sorted(maps.Keys(a.known))
	if missing(match.Analyzers, names) {
		return fmt.Sprintf("there is no analyzer %s. There are %s.", quoted(match.Analyzers), strings.Join(names, ", "))
	}
	asked := slices.DeleteFunc(slices.Clone(match.Analyzers), func(name string) bool { return !slices.Contains(names, name) })
	if len(asked) > 0 {
		names = asked
	}
	var reasons []string
	for _, name := range names {
		for _, reason := range a.known[name] {
			reasons = append(reasons, reason.Name)
		}
	}
	switch {
	case !missing(match.Reasons, reasons):
		return ""
	case len(asked) > 0:
		return fmt.Sprintf("%s reports no %s. It reports %s.", strings.Join(asked, ", "), quoted(match.Reasons), strings.Join(reasons, ", "))
	}
	near := ""
	if names := alike(match.Reasons, reasons); len(names) > 0 {
		near = "Alike are " + strings.Join(names, ", ") + ". "
	}
	return fmt.Sprintf("no analyzer reports %s. %s%s", quoted(match.Reasons), near, whereNamesAre)
}

// mistyped tells which names a match asks for in vain, beside others that exist; or
// nothing.
func (a analyzer) mistyped(match *opsv1alpha1.SilenceMatch) string {
	if a.known == nil {
		return ""
	}
	var reasons []string
	for _, of := range a.known {
		for _, reason := range of {
			reasons = append(reasons, reason.Name)
		}
	}
	var told []string
	for _, field := range []struct {
		what         string
		given, exist []string
	}{{"there is no analyzer", match.Analyzers, slices.Collect(maps.Keys(a.known))}, {"no analyzer reports", match.Reasons, reasons}} {
		var vain []string
		for _, name := range field.given {
			if !slices.Contains(field.exist, name) {
				vain = append(vain, name)
			}
		}
		if len(vain) == 0 {
			continue
		}
		near := ""
		if names := alike(vain, field.exist); len(names) > 0 {
			near = ". Alike are " + strings.Join(names, ", ")
		}
		told = append(told, fmt.Sprintf("%s %s%s. %s", field.what, quoted(vain), near, whereNamesAre))
	}
	return strings.Join(told, " And ")
}

// missing tells whether names are given and none of them exists.
func missing(given, exist []string) bool {
	return len(given) > 0 && !slices.ContainsFunc(given, func(name string) bool { return slices.Contains(exist, name) })
}

// mostQuoted is how many of somebody's names are repeated to them.
const mostQuoted = 3

func quoted(names []string) string {
	var all []string
	for _, name := range names[:min(len(names), mostQuoted)] {
		all = append(all, fmt.Sprintf("%q", name))
	}
	if len(names) > mostQuoted {
		all = append(all, "and others")
	}
	return strings.Join(all, ", ")
}

// alike returns the names that have the most words in common with one of those
// given, if any word: KeyMissing and ReferencedKeyMissing for MissingKey.
func alike(given, exist []string) []string {
	var best []string
	most := 1
	for _, name := range slices.Compact(slices.Sorted(slices.Values(exist))) {
		common := 0
		for _, other := range given {
			words := strings.Split(analyzers.Kebab(other), "-")
			in := 0
			for word := range strings.SplitSeq(analyzers.Kebab(name), "-") {
				if slices.Contains(words, word) {
					in++
				}
			}
			common = max(common, in)
		}
		if common > most {
			best, most = nil, common
		}
		if common == most {
			best = append(best, name)
		}
	}
	return best
}
