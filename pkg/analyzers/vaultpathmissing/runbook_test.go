// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"regexp"
	"strings"
	"testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
)

func TestRunbooks(t *testing.T) {
	known := regexp.MustCompile(`^(printf %s "[$][{]VALUE_KEY[}]" \| vault kv patch|vault (status|kv (list|metadata get|patch|undelete|put))|kubectl (annotate|describe)) `)
	for golden, test := range map[string]struct {
		title string
		says  []string
		not   string
	}{
		"found-path": {
			"Write secret/shop/db", []string{"vault kv list -mount=secret shop\n", "vault kv put -mount=secret shop/db KEY=\"${VALUE_KEY}\"\n", "kubectl annotate externalsecrets.external-secrets.io db -n shop --overwrite"}, "undelete",
		},
		"found-newest-version-deleted": {
			"Bring back secret/shop/db", []string{"vault kv metadata get -mount=secret shop/db\n", "vault kv undelete -versions=${VALUE_VERSION} -mount=secret shop/db\n"}, "kv list",
		},
		"found-property":                     {"Add the missing keys to secret/shop/db", []string{"printf %s \"${VALUE_KEY}\" | vault kv patch -mount=secret shop/db KEY=-\n"}, "kv put"},
		"found-path-in-a-namespace-of-vault": {"Write team/secret/shop/db", []string{"vault kv put -namespace=team -mount=secret shop/db KEY=\"${VALUE_KEY}\"\n"}, "undelete"},
		"found-hidden":                       {},
	} {
		t.Run(golden, func(t *testing.T) {
			read := analyzertest.Read(t, "testdata/"+golden+".yaml")
			found := analyzertest.Analyze(t, configured(t), read.Now, read.After, append(read.Objects, read.Vault...))
			if len(found) != 1 {
				t.Fatalf("found %+v", found)
			}
			spec := found[0]
			spec.Analyzer = Name
			title, text, has := Runbook(&spec)
			if title != test.title || has != (test.title != "") {
				t.Fatalf("the title is %q (%t), want %q", title, has, test.title)
			}
			for _, part := range test.says {
				if !strings.Contains(text, part) {
					t.Errorf("it does not say %q:\n%s", part, text)
				}
			}
			if test.not != "" && strings.Contains(text, test.not) {
				t.Errorf("it says %q:\n%s", test.not, text)
			}
			for line := range strings.Lines(text) {
				if command, is := strings.CutPrefix(line, "    "); is && !known.MatchString(strings.TrimSuffix(command, "\n")+" ") {
					t.Errorf("a command that it should not have: %s", line)
				}
			}
			spec.Analyzer = "another"
			if _, _, has := Runbook(&spec); has {
				t.Error("a finding of another analyzer has it too")
			}
		})
	}
}
