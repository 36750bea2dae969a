// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"strings"
	"testing"
	"time"
)

func TestFlagsWithoutAMeaningAreRefusedBeforeAnyRequest(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		stderr    string
	}{
		"no proposal":                    {[]string{"--yes"}, "name a proposal with --proposal NAME"},
		"two proposals":                  {[]string{pod, "other"}, "one proposal at a time"},
		"a proposal twice":               {[]string{pod, "--proposal", pod}, "name the proposal once"},
		"another resource":               {[]string{"pod/" + pod}, "is not a proposal"},
		"a flag in place of a name":      {[]string{"--proposal", "-n", "shop"}, "--proposal needs a name, and -n follows it"},
		"an empty name":                  {[]string{"proposal/"}, "name a proposal"},
		"a name with a path in it":       {[]string{"--proposal", "proposal/../../secrets"}, "is not the name of a proposal"},
		"an unknown output":              {[]string{pod, "-o", "wide"}, `unknown output format "wide": it must be one of yaml, json, name`},
		"an unknown dry run":             {[]string{pod, "--dry-run=maybe"}, "must be one of none, client, server"},
		"an empty dry run":               {[]string{pod, "--dry-run="}, "must be one of"},
		"a name that nobody has":         {[]string{pod, "--dry-run=client", "-o", "name"}, "would print the name of an approval that nobody has"},
		"a denial that is no truth":      {[]string{pod, "--deny=perhaps"}, `invalid argument "perhaps" for "--deny"`},
		"a denial of another thing":      {[]string{"--deny", pod, "because"}, "one proposal at a time"},
		"a long reason":                  {[]string{pod, "--reason", strings.Repeat("ä", 1025)}, "has 1025 characters"},
		"a reason that is not text":      {[]string{pod, "--reason", "\xff"}, "not valid UTF-8"},
		"a token for a moment":           {[]string{pod, "--token-lifetime", "30s"}, "from 1m to 24h"},
		"a token for ever":               {[]string{pod, "--token-lifetime", "25h"}, "from 1m to 24h"},
		"a token with parts of a second": {[]string{pod, "--token-lifetime", "90.5s"}, "whole seconds"},
		"a link in the clear":            {[]string{pod, "--link", "http://srenix.example.com"}, "want the address of srenix's approval page"},
		"a link to nowhere":              {[]string{pod, "--link", "https:///approve"}, "want the address of srenix's approval page"},
		"a link with a query":            {[]string{pod, "--link", "https://srenix.example.com/approve?a=b"}, "want the address of srenix's approval page"},
		"a link with a password":         {[]string{pod, "--link", "https://a:b@srenix.example.com"}, "want the address of srenix's approval page"},
		"a link and a dry run":           {[]string{pod, "--link", "https://srenix.example.com", "--dry-run=server"}, "leave out --dry-run and -o"},
		"a link and an output":           {[]string{pod, "--link", "https://srenix.example.com", "-o", "name"}, "leave out --dry-run and -o"},
		"an unknown flag":                {[]string{pod, "--force"}, "unknown flag: --force"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, pod)
			have := run(t, s, nil, test.arguments...)
			if have.Code != 1 || have.Stdout != "" || len(s.requests) != 0 {
				t.Errorf("exit code %d, output %q, requests %v: want 1, nothing, none", have.Code, have.Stdout, s.requests)
			}
			contains(t, "standard error", have.Stderr, "error: ", test.stderr, "See 'kubectl create approval --help'")
		})
	}
}

func TestReasonOfGreatestLengthIsTaken(t *testing.T) {
	s := newServer(t, pod)
	if have := run(t, s, nil, pod, "--yes", "--reason", strings.Repeat("ä", 1024)); have.Code != 0 {
		t.Errorf("exit code %d: %s", have.Code, have.Stderr)
	}
}

func TestHelpNamesEveryFlag(t *testing.T) {
	have := run(t, newServer(t), nil, "--help")
	if have.Code != 0 {
		t.Errorf("exit code %d", have.Code)
	}
	contains(t, "help", have.Stdout, "kubectl create approval (--proposal NAME", "--reason", "--deny", "--dry-run", "--output", "--yes", "--token-lifetime", "--link", "--kubeconfig", "--context")
}

// TestHelpWaitsForEveryEnd: the condition Verified never comes to what is refused or fails.
func TestHelpWaitsForEveryEnd(t *testing.T) {
	have := run(t, newServer(t), nil, "--help")
	contains(t, "help", have.Stdout, "kubectl wait --for=jsonpath='{.status.completedAt}' -n shop --timeout="+short(over(defaultLifetime))+" ",
		"kubectl wait --for=condition=Verified -n shop --timeout=0 ")
}

func TestShort(t *testing.T) {
	for want, d := range map[string]time.Duration{"24h": 24 * time.Hour, "15m": 15 * time.Minute, "1h30m": 90 * time.Minute, "90ms": 90 * time.Millisecond, "10s": 10 * time.Second, "1m10s": 70 * time.Second} {
		if have := short(d); have != want {
			t.Errorf("short(%v) is %s, want %s", d, have, want)
		}
	}
}
