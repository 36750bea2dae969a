// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

func verified(events []opsv1alpha1.AuditEventSpec) string {
	first, last := events[0], events[len(events)-1]
	return fmt.Sprintf("verified %d events, index %d to %d, head %s\n", len(events), first.Index, last.Index, last.Hash)
}

// ends is the warning about the end of a file, held against a checkpoint of so
// many events, or none.
func ends(events []opsv1alpha1.AuditEventSpec, size int) string {
	text := fmt.Sprintf("Warning: the events end with index %d, of 2026-02-03T04:05:06Z: whether others came after it cannot be told from a file.", events[len(events)-1].Index)
	if size == 0 {
		return text + " A checkpoint that you kept tells whether it was cut before that: --checkpoint FILE.\n"
	}
	return fmt.Sprintf("%s The newest checkpoint covers those up to index %d.\n", text, size-1)
}

// fits is the line about the checkpoint of a cluster.
func fits(size int) string {
	return fmt.Sprintf("fits the checkpoint of %d events, signed by the keys that the cluster publishes\n", size)
}

func TestVerifyCluster(t *testing.T) {
	const n = 2*pageSize + 1
	events := chain(t, n)
	latest := "GET /apis/ops.srenix.io/v1alpha1/auditcheckpoints/latest"
	keys := "GET /api/v1/namespaces/srenix-system/configmaps/srenix-audit-vkey"
	list := "GET /apis/ops.srenix.io/v1alpha1/auditevents?"
	for name, test := range map[string]struct {
		arrange  func(*server)
		code     int
		stdout   string
		stderr   string
		requests []string
	}{
		"every page of a chain that is right": {
			stdout:   verified(events) + fits(n),
			requests: []string{latest, keys, list + "limit=500", list + "continue=500&limit=500", list + "continue=1000&limit=500"},
		},
		"a list that took longer than the server remembers": {
			arrange: func(s *server) { s.expireAt = 500 },
			stdout:  verified(events) + fits(n),
			requests: []string{latest, keys, list + "limit=500", list + "continue=500&limit=500", list + "continue=500-inconsistent&limit=500",
				list + "continue=1000&limit=500"},
		},
		"an edit": {
			arrange: func(s *server) { s.objects[700].Spec.Actor = "mallory" }, code: 1,
			stderr: "error: the chain is broken at audit event 700: its content does not have the hash that it names: it was edited; 700 events before it verified, index 0 to 699\n",
		},
		"a drop": {
			arrange: func(s *server) { s.objects = append(s.objects[:3:3], s.objects[4:]...) }, code: 1,
			stderr: "error: the chain is broken at audit event 3: event 4 stands in its place: it was dropped or moved; 3 events before it verified, index 0 to 2\n",
		},
		"an event ahead of the chain's end": {
			arrange: func(s *server) {
				ahead := s.objects[n-1]
				ahead.Spec.Index += 7
				ahead.Name = audit.EventName(ahead.Spec.Index)
				s.objects = append(s.objects, ahead)
			}, code: 1,
			stderr: "error: the chain is broken at audit event 1001: event 1007 stands in its place: it was dropped or moved; 1001 events before it verified, index 0 to 1000\n" +
				"No checkpoint covers event 1001, so it need not have been there: event 1007 may have been created ahead of the chain's end. " +
				"Every decision is a denial once the chain gets there; docs/security.md says how to take it away\n",
		},
		"a beginning that was cut off": {
			arrange: func(s *server) { s.objects = s.objects[2:] }, code: 1,
			stderr: "error: the chain is broken at audit event 0: it is missing: the cluster's chain begins with event 2; no event before it verified\n",
		},
		"an object under another name": {
			arrange: func(s *server) { s.objects[5].Name = "00000000000000000005a" }, code: 1,
			stderr: `error: the chain is broken at audit event 5: the object that holds it is named "00000000000000000005a", and not "00000000000000000005": it was moved; 5 events before it verified, index 0 to 4` + "\n",
		},
		"two that changed places": {
			arrange: func(s *server) { s.objects[8].Spec, s.objects[9].Spec = s.objects[9].Spec, s.objects[8].Spec }, code: 1,
			stderr: `error: the chain is broken at audit event 9: the object that holds it is named "00000000000000000008", and not "00000000000000000009": it was moved; 8 events before it verified, index 0 to 7` + "\n",
		},
		"an event that no query finds": {
			arrange: func(s *server) { s.objects[7].Labels = nil }, code: 1,
			stderr: `error: the chain is broken at audit event 7: its label ops.srenix.io/type is "", and has to be "TokenMinted" by its content: whoever looks for it by this label does not find it; 7 events before it verified, index 0 to 6` + "\n",
		},
		"nothing at all": {
			arrange: func(s *server) { s.objects = nil }, code: 1,
			stderr: "error: the chain is broken at audit event 0: it is missing, and the checkpoint of 1001 events covers it: the chain was cut at its end, or this is a copy of before that checkpoint; no event before it verified\n",
		},
		"nothing at all, and no checkpoint": {
			arrange: func(s *server) { s.objects, s.latest = nil, nil }, code: 1,
			stderr: "Warning: the cluster has no checkpoint: a chain that was cut at its end would not be noticed.\n" +
				"error: there are no audit events, so nothing was verified: a chain has at least its first event\n",
		},
		"a tail that was cut off": {
			arrange: func(s *server) { s.objects = s.objects[:900] }, code: 1,
			stderr: "error: the chain is broken at audit event 900: it is missing, and the checkpoint of 1001 events covers it: the chain was cut at its end, or this is a copy of before that checkpoint; 900 events before it verified, index 0 to 899\n",
		},
		"events that no checkpoint covers yet": {
			arrange: func(s *server) { s.latest = s.keys.latest(s.t, events, 900, 0) },
			stdout:  verified(events) + fits(900),
		},
		"a chain whose beginning was pruned": {
			arrange: func(s *server) { s.latest, s.objects = s.keys.latest(s.t, events, n, 600), s.objects[600:] },
			stdout:  verified(events[600:]) + fits(n),
		},
		"a chain that is being pruned": {
			arrange: func(s *server) { s.latest, s.objects = s.keys.latest(s.t, events, n, 600), s.objects[400:] },
			stdout:  verified(events[400:]) + fits(n),
		},
		"a chain that is pruned while it is read": {
			arrange: func(s *server) {
				first := s.latest
				s.objects = s.objects[600:]
				s.listed = func() { s.latest = s.keys.latest(s.t, events, n, 600) }
				s.latest = first
			},
			stdout: verified(events[600:]) + fits(n),
		},
		"more deleted than was pruned": {
			arrange: func(s *server) { s.latest, s.objects = s.keys.latest(s.t, events, n, 600), s.objects[700:] }, code: 1,
			stderr: "error: the chain is broken at audit event 600: it is missing: the cluster's chain begins with event 700; no event before it verified\n",
		},
		"a note by another key": {
			arrange: func(s *server) { s.latest = newAuthority(s.t).latest(s.t, events, n, 0) }, code: 1,
			stderr: "error: verifying the newest checkpoint: the checkpoint is not in order: AuditCheckpoint latest is damaged: reading a checkpoint: it is signed by a key that is not among those given\n",
		},
		"a note of other events": {
			arrange: func(s *server) {
				other := chain(s.t, n)
				other[n-1].Message = "something else"
				other[n-1].Hash = "sha256:" + strings.Repeat("ab", 32)
				s.latest = s.keys.latest(s.t, other, n, 0)
			}, code: 1,
			stderr: "error: the chain is broken at audit event 0: from it to event 1000, the events are not those that the checkpoint of 1001 events covers: they were rewritten and linked anew; all 1001 events are linked, index 0 to 1000\n",
		},
		"no checkpoint yet": {
			arrange: func(s *server) { s.latest = nil },
			stdout:  verified(events),
			stderr:  "Warning: the cluster has no checkpoint: a chain that was cut at its end would not be noticed.\n",
		},
		"no right to read the keys": {
			arrange: func(s *server) { s.vkeys = "" }, code: 1,
			stderr: "Error from server (Forbidden): reading the published verifier keys: configmaps \"srenix-audit-vkey\" is forbidden: no\n" +
				"Give your own copy of them with --key FILE, or with -n the namespace that srenix runs in.\n",
		},
		"no right to read it": {
			arrange: func(s *server) {
				s.fail = apierrors.NewForbidden(schema.GroupResource{Group: "ops.srenix.io", Resource: "auditevents"}, "", fmt.Errorf("no"))
			}, code: 1,
			stderr: "Error from server (Forbidden): reading the newest audit checkpoint: auditevents.ops.srenix.io is forbidden: no\n" +
				"ClusterRole srenix-auditor gives the right to read the chain, where somebody binds it to you for the whole cluster.\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, events)
			if test.arrange != nil {
				test.arrange(s)
			}
			have := run(t, s, "", "verify")
			if diff := cmp.Diff(result{test.code, test.stdout, test.stderr}, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
			if test.requests != nil {
				if diff := cmp.Diff(test.requests, s.requests); diff != "" {
					t.Errorf("requests (-want +have)\n%s", diff)
				}
			}
		})
	}
}

func TestVerifyFile(t *testing.T) {
	events := chain(t, 12)
	text := jsonl(t, events)
	lines := strings.SplitAfter(text, "\n")
	for name, test := range map[string]struct {
		content string
		code    int
		stdout  string
		stderr  string
	}{
		"a chain that is right":   {content: text, stdout: verified(events), stderr: ends(events, 0)},
		"a tail that was cut":     {content: strings.Join(lines[:9], ""), stdout: verified(events[:9]), stderr: ends(events[:9], 0)},
		"a flipped byte in text":  {content: strings.Replace(text, "event \\u003c7", "event \\u003c6", 1), code: 1, stderr: "broken at audit event 7: its content does not have the hash"},
		"a flipped byte in JSON":  {content: strings.Replace(text, `{"index":7`, `["index":7`, 1), code: 1, stderr: "reading the event after index 6: line 8: "},
		"a dropped line":          {content: strings.Join(append(lines[:4:4], lines[5:]...), ""), code: 1, stderr: "broken at audit event 4: event 5 stands in its place"},
		"lines that were swapped": {content: lines[0] + lines[2] + lines[1], code: 1, stderr: "broken at audit event 1: event 2 stands in its place"},
		"a field too many":        {content: strings.Replace(text, `{"index":3`, `{"extra":1,"index":3`, 1), code: 1, stderr: "line 4: "},
		"the end of a chain":      {content: strings.Join(lines[4:], ""), stdout: verified(events[4:]), stderr: "Warning: the file begins with event 4: what came before was not verified.\n" + ends(events, 0)},
		"nothing":                 {content: "", code: 1, stderr: "there are no audit events"},
	} {
		t.Run(name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "audit.jsonl")
			if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
				t.Fatal(err)
			}
			for from, have := range map[string]result{
				"file":           run(t, nil, "", "verify", "-f", file),
				"standard input": run(t, nil, test.content, "verify", "-f", "-"),
			} {
				if have.Code != test.code || have.Stdout != test.stdout || !strings.Contains(have.Stderr, test.stderr) || (test.stderr == "") != (have.Stderr == "") {
					t.Errorf("from %s: exit code %d, output %q, errors %q; want %d, %q, %q", from, have.Code, have.Stdout, have.Stderr, test.code, test.stdout, test.stderr)
				}
			}
		})
	}
}

// A component logs what it has appended itself, which is not a chain.
func TestVerifyLogOfOneComponentOfSeveral(t *testing.T) {
	var events []opsv1alpha1.AuditEventSpec
	logs := map[string][]opsv1alpha1.AuditEventSpec{}
	for i, event := range chain(t, 12) {
		if i%3 == 2 {
			event.Component = "executor/executor-0"
		}
		var prev *opsv1alpha1.AuditEventSpec
		if i > 0 {
			prev = &events[i-1]
		}
		sealed, err := audit.Seal(prev, event)
		if err != nil {
			t.Fatal(err)
		}
		events = append(events, sealed)
		logs[event.Component] = append(logs[event.Component], sealed)
	}
	one, other := file(t, jsonl(t, logs["apiserver"])), file(t, jsonl(t, logs["executor/executor-0"]))
	hint := "and here are those of apiserver. Give the logs of all components and all their pods at once, each with -f, " +
		"or check the cluster's chain: kubectl srenix audit export | kubectl srenix audit verify -f -. If those are all that there are, somebody has taken events out\n"
	have := run(t, nil, "", "verify", "-f", one)
	if have.Code != 1 || !strings.Contains(have.Stderr, "broken at audit event 2: event 3 stands in its place") || !strings.HasSuffix(have.Stderr, hint) {
		t.Errorf("one: %+v", have)
	}
	if diff := cmp.Diff(result{Stdout: verified(events), Stderr: ends(events, 0)}, run(t, nil, "", "verify", "-f", one, "-f", other)); diff != "" {
		t.Errorf("both (-want +have)\n%s", diff)
	}
	// An edit is no event that another component has logged.
	edited := strings.Replace(jsonl(t, events), "event \\u003c7", "event \\u003c6", 1)
	if have := run(t, nil, edited, "verify", "-f", "-"); have.Code != 1 || strings.Contains(have.Stderr, "all components") {
		t.Errorf("an edit: %+v", have)
	}
	s := newServer(t, events)
	s.objects = append(s.objects[:3:3], s.objects[4:]...)
	if have := run(t, s, "", "verify"); have.Code != 1 || strings.Contains(have.Stderr, "all components") {
		t.Errorf("a cluster: %+v", have)
	}
}

// TestVerifyFindsEveryFlippedBit flips one bit of each byte of a file in turn,
// except the line break at its end, which is no part of an event.
func TestVerifyFindsEveryFlippedBit(t *testing.T) {
	content := []byte(jsonl(t, chain(t, 3)))
	for i := range len(content) - 1 {
		flipped := append([]byte(nil), content...)
		flipped[i] ^= 1
		if have := run(t, nil, string(flipped), "verify", "-f", "-"); have.Code != 1 {
			t.Errorf("byte %d flipped from %q to %q: exit code %d, %s", i, content[i], flipped[i], have.Code, have.Stdout)
		}
	}
}

func TestVerifyAsJSON(t *testing.T) {
	events := chain(t, 3)
	head := events[1].Hash
	have := run(t, newServer(t, events[:2]), "", "verify", "-o", "json")
	want := result{Stdout: fmt.Sprintf("{\n  \"valid\": true,\n  \"count\": 2,\n  \"first\": 0,\n  \"last\": 1,\n  \"lastTime\": \"2026-02-03T04:05:06.000001Z\",\n  \"head\": %q,\n  \"checkpoints\": 1,\n  \"checkpointSize\": 2,\n  \"signed\": true\n}\n", head)}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("a right chain (-want +have)\n%s", diff)
	}
	events[2].PrevHash = events[0].Hash
	have = run(t, newServer(t, events), "", "verify", "-o", "json")
	if have.Code != 1 {
		t.Errorf("exit code %d, want 1", have.Code)
	}
	bad := fmt.Sprintf("{\n  \"valid\": false,\n  \"count\": 2,\n  \"first\": 0,\n  \"last\": 1,\n  \"lastTime\": \"2026-02-03T04:05:06.000001Z\",\n  \"head\": %q,\n  \"checkpoints\": 0,\n  \"checkpointSize\": 0,\n  \"signed\": false,\n  \"bad\": {\n    \"index\": 2,\n    \"problem\": \"its content does not have the hash that it names: it was edited\"\n  }\n}\n", head)
	if diff := cmp.Diff(bad, have.Stdout); diff != "" {
		t.Errorf("a broken chain (-want +have)\n%s", diff)
	}
}

func TestExportIsWhatVerifyReads(t *testing.T) {
	events := chain(t, pageSize+1)
	have := run(t, newServer(t, events), "", "export")
	if have.Code != 0 {
		t.Fatalf("exit code %d: %s", have.Code, have.Stderr)
	}
	if diff := cmp.Diff(jsonl(t, events), have.Stdout); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	if diff := cmp.Diff(result{Stdout: verified(events), Stderr: ends(events, 0)}, run(t, nil, have.Stdout, "verify", "-f", "-")); diff != "" {
		t.Errorf("verifying it (-want +have)\n%s", diff)
	}
}

func TestExportPrintsABrokenChainAsItIs(t *testing.T) {
	s := newServer(t, chain(t, 4))
	s.objects[2].Spec.Actor = "mallory"
	s.objects[3].Name = "elsewhere"
	have := run(t, s, "", "export")
	if have.Code != 0 || strings.Count(have.Stdout, "\n") != 4 {
		t.Errorf("exit code %d and %d lines, want 0 and 4", have.Code, strings.Count(have.Stdout, "\n"))
	}
	if again := run(t, nil, have.Stdout, "verify", "-f", "-"); again.Code != 1 || !strings.Contains(again.Stderr, "broken at audit event 2") {
		t.Errorf("verifying it: exit code %d: %s", again.Code, again.Stderr)
	}
}

func TestUsage(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		stderr    string
	}{
		"an unknown output of verify": {[]string{"verify", "-f", "-", "-o", "yaml"}, `unknown output format "yaml": it must be one of text, json`},
		"an unknown output of export": {[]string{"export", "-o", "json"}, `unknown output format "json": it must be jsonl`},
		"an argument":                 {[]string{"verify", "audit.jsonl"}, "A file of events is given with -f: audit verify -f audit.jsonl"},
		"an unknown command":          {[]string{"check"}, `unknown command "check"`},
		"a file that is not there":    {[]string{"verify", "-f", "/nonexistent/audit.jsonl"}, "opening the file of events: "},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, nil)
			have := run(t, s, "", test.arguments...)
			if have.Code != 1 || have.Stdout != "" || len(s.requests) != 0 {
				t.Errorf("exit code %d, output %q, requests %v: want 1, nothing, none", have.Code, have.Stdout, s.requests)
			}
			if !strings.Contains(have.Stderr, test.stderr) {
				t.Errorf("errors %q do not have %q", have.Stderr, test.stderr)
			}
		})
	}
}

func TestEventNamesAreCheckedAgainstTheIndex(t *testing.T) {
	event := &opsv1alpha1.AuditEvent{ObjectMeta: metav1.ObjectMeta{Name: audit.EventName(7)}, Spec: opsv1alpha1.AuditEventSpec{Index: 7}}
	if err := checkPlace(event); err != nil {
		t.Errorf("event 7 in its place: %v", err)
	}
	event.Name = "7"
	if err := checkPlace(event); err == nil {
		t.Error("event 7 in object 7 without zeros was taken")
	}
}
