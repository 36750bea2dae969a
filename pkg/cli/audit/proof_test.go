// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/yaml"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
)

func TestVerifyFileAgainstCheckpoints(t *testing.T) {
	events := chain(t, 12)
	keys, others := newAuthority(t), newAuthority(t)
	object, err := yaml.Marshal(keys.latest(t, events, 12, 4))
	if err != nil {
		t.Fatal(err)
	}
	whole, rest := file(t, jsonl(t, events)), file(t, jsonl(t, events[4:]))
	note, latest := file(t, keys.note(t, events, 12)), file(t, string(object))
	key, otherKey := file(t, keys.vkey+"\n"), file(t, others.vkey)
	both := file(t, others.vkey+"\n"+keys.vkey)
	signed := "fits the checkpoint of 12 events, signed by your keys\n"
	begins := "Warning: the file begins with event 4: what came before was not verified.\n"
	for name, test := range map[string]struct {
		arguments []string
		want      result
	}{
		"all of it":           {[]string{"-f", whole, "--checkpoint", note, "--key", key}, result{Stdout: verified(events) + signed, Stderr: ends(events, 12)}},
		"with several keys":   {[]string{"-f", whole, "--checkpoint", note, "--key", both}, result{Stdout: verified(events) + signed, Stderr: ends(events, 12)}},
		"without a key":       {[]string{"-f", whole, "--checkpoint", note}, result{Stdout: verified(events) + strings.Replace(signed, "signed by your keys", "signatures not checked", 1), Stderr: "Warning: the signatures of the checkpoints were not checked: give the keys with --key FILE.\n" + ends(events, 12)}},
		"the rest of a chain": {[]string{"-f", rest, "--checkpoint", latest, "--key", key}, result{Stdout: verified(events[4:]) + signed, Stderr: begins + ends(events, 12)}},
		"the rest, and nothing of what came before": {[]string{"-f", rest, "--checkpoint", note, "--key", key}, result{
			Stdout: verified(events[4:]), Stderr: begins + "Warning: 1 checkpoints cover events from before the first one read, and could not be held against them.\n" + ends(events, 0),
		}},
		"another key": {[]string{"-f", whole, "--checkpoint", note, "--key", otherKey}, result{
			Code: 1, Stderr: "error: verifying the newest checkpoint: the checkpoint is not in order: reading a checkpoint: it is signed by a key that is not among those given\n",
		}},
		"a tail that was cut": {[]string{"-f", file(t, jsonl(t, events[:9])), "--checkpoint", note, "--key", key}, result{
			Code: 1, Stderr: "error: the chain is broken at audit event 9: it is missing, and the checkpoint of 12 events covers it: the chain was cut at its end, or this is a copy of before that checkpoint; 9 events before it verified, index 0 to 8\n",
		}},
		"a checkpoint that is none": {[]string{"-f", whole, "--checkpoint", whole}, result{
			Code: 1, Stderr: "error: file " + whole + " is neither a signed checkpoint nor an AuditCheckpoint: make one with \"kubectl srenix audit checkpoint\"\nSee 'audit verify --help' for help and examples.\n",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			have := run(t, nil, "", append([]string{"verify"}, test.arguments...)...)
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// What an auditor kept counts, and not what the cluster says of itself now.
func TestVerifyClusterWithWhatAnAuditorKept(t *testing.T) {
	events := chain(t, 20)
	before := newAuthority(t)
	note, key := file(t, before.note(t, events, 10)), file(t, before.vkey)
	rewritten := chain(t, 20)
	for i := 5; i < 20; i++ {
		next := rewritten[i]
		if i == 5 {
			next.Actor = "mallory"
		}
		sealed, err := audit.Seal(&rewritten[i-1], next)
		if err != nil {
			t.Fatal(err)
		}
		rewritten[i] = sealed
	}
	// Who rules the cluster has made a key of their own, and signed what they wrote.
	s := newServer(t, rewritten)
	if have := run(t, s, "", "verify"); have.Code != 0 {
		t.Fatalf("the forgery is not even consistent: %+v", have)
	}
	if have := run(t, s, "", "verify", "--key", key); have.Code != 1 || !strings.Contains(have.Stderr, "not among those given") {
		t.Errorf("with the key: %+v", have)
	}
	both := file(t, before.vkey+"\n"+s.vkeys)
	if have := run(t, s, "", "verify", "--key", both, "--checkpoint", note); have.Code != 1 || !strings.Contains(have.Stderr, "broken at audit event 0: from it to event 9") {
		t.Errorf("with the checkpoint: %+v", have)
	}
	s = newServer(t, events)
	s.keys = before
	s.latest, s.vkeys = before.latest(t, events, 20, 0), ""
	want := result{Stdout: verified(events) + "fits 2 checkpoints, of which the newest covers 20 events, signed by your keys\n"}
	if diff := cmp.Diff(want, run(t, s, "", "verify", "--key", key, "--checkpoint", note)); diff != "" {
		t.Errorf("as it was, and with no right to read the published keys (-want +have)\n%s", diff)
	}
}

func TestCheckpointPrintsWhatVerifyReads(t *testing.T) {
	events := chain(t, 12)
	s := newServer(t, events[4:])
	s.latest = s.keys.latest(t, events, 12, 4)
	s.latest.ResourceVersion = "7"
	export := run(t, s, "", "export")
	if export.Code != 0 {
		t.Fatal(export.Stderr)
	}
	log, key := file(t, export.Stdout), file(t, s.vkeys)
	have := run(t, s, "", "checkpoint")
	if diff := cmp.Diff(result{Stdout: s.latest.Spec.Note}, have); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
	for output, want := range map[string]string{"note": "could not be held", "yaml": ""} {
		have := run(t, s, "", "checkpoint", "-o", output)
		again := run(t, nil, have.Stdout, "verify", "-f", log, "--checkpoint", "-", "--key", key)
		if again.Code != 0 || !strings.Contains(again.Stderr, want) || strings.Contains(again.Stdout, "fits the checkpoint") != (output == "yaml") {
			t.Errorf("verifying against the checkpoint as %s: %+v", output, again)
		}
	}
	s.latest = nil
	want := result{Code: 1, Stderr: "error: the cluster has no audit checkpoint\n" +
		"The first is made when srenix has appended its first events, within a minute. Is it running? See: kubectl get auditevents\n"}
	for _, arguments := range [][]string{{"checkpoint"}, {"prove", "3"}} {
		if diff := cmp.Diff(want, run(t, s, "", arguments...)); diff != "" {
			t.Errorf("%v without one (-want +have)\n%s", arguments, diff)
		}
	}
}

func TestProofOfTheClusterIsCheckedWithoutIt(t *testing.T) {
	events := chain(t, pageSize+20)
	s := newServer(t, events)
	key := file(t, s.vkeys)
	for pruned := range 3 {
		pruned *= 100
		s.latest = s.keys.latest(t, events, pageSize+10, pruned)
		s.objects = newServer(t, events).objects[max(0, pruned-5):]
		for _, index := range []int{pruned, pruned + 77, pageSize, pageSize + 9} {
			proven := run(t, s, "", "prove", fmt.Sprint(index))
			if proven.Code != 0 || proven.Stderr != "" {
				t.Fatalf("event %d, %d pruned: %+v", index, pruned, proven)
			}
			want := fmt.Sprintf("proven: event %d, %s by alice at 2026-02-03T04:05:06Z, is in the chain of srenix.io/audit/c1, which had %d events when it was signed\n",
				index, events[index].Type, pageSize+10)
			if diff := cmp.Diff(result{Stdout: want}, run(t, nil, "", "check-proof", file(t, proven.Stdout), "--key", key)); diff != "" {
				t.Errorf("event %d, %d pruned (-want +have)\n%s", index, pruned, diff)
			}
			if diff := cmp.Diff(result{Stdout: want}, run(t, nil, proven.Stdout, "check-proof", "-", "--key", key)); diff != "" {
				t.Errorf("from standard input (-want +have)\n%s", diff)
			}
		}
	}
}

func TestProveTellsWhyThereIsNoProof(t *testing.T) {
	events := chain(t, 20)
	signed := func(ago time.Duration) func(*server) {
		return func(s *server) {
			s.latest = s.keys.latest(t, events, 18, 0)
			s.latest.Spec.Time = metav1.NewMicroTime(time.Now().Add(-ago))
		}
	}
	for name, test := range map[string]struct {
		index   string
		arrange func(*server)
		stderr  string
	}{
		"not covered yet": {"18", signed(4 * time.Minute), ", covers the events up to index 17, and not yet audit event 18\n" +
			"The next one is due in about 6 minutes. Then try again: kubectl srenix audit prove 18\n"},
		"covered at once": {"18", signed(time.Hour), "and not yet audit event 18\nThe next one is due within a minute. Then try again: kubectl srenix audit prove 18\n"},
		"a checkpoint itself": {"18", func(s *server) {
			signed(time.Hour)(s)
			s.objects[18].Spec.Type = opsv1alpha1.AuditCheckpointSigned
		}, "\nThe next one is due within a minute, if anything but checkpoints was recorded by then. Then try again: kubectl srenix audit prove 18\n"},
		"when it was":       {"18", func(s *server) { s.latest = s.keys.latest(t, events, 18, 0) }, "error: the newest checkpoint, of 2026-02-03T04:05:06Z, covers"},
		"no such event":     {"20", signed(4 * time.Minute), "error: there is no audit event 20: the newest checkpoint, of "},
		"no such event yet": {"20", nil, ", covers those up to index 19\nSee which there are: kubectl get auditevents\n"},
		"pruned":            {"3", func(s *server) { s.latest = s.keys.latest(t, events, 18, 4) }, "error: proving audit event 3: it was pruned: the chain begins with event 4\n"},
		"one is missing":    {"3", func(s *server) { s.objects = append(s.objects[:9:9], s.objects[10:]...) }, "error: proving audit event 3: audit event 9 is missing: see \"kubectl srenix audit verify\"\n"},
		"the end is gone":   {"3", func(s *server) { s.objects = s.objects[:9] }, "error: proving audit event 3: the chain ends before its checkpoint does: see"},
		"it was edited":     {"3", func(s *server) { s.objects[3].Spec.Actor = "mallory" }, "error: proving audit event 3: audit event 3: its content does not have the hash"},
		"another was replaced": {"3", func(s *server) {
			s.objects[5].Spec.Hash = "sha256:" + strings.Repeat("ab", 32)
		}, "error: proving audit event 3: audit event 3 is not in the chain that the checkpoint of 20 events covers"},
		"no index": {"three", nil, `"three" is not the index of an audit event: it must be a number, 0 or more`},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, events)
			if test.arrange != nil {
				test.arrange(s)
			}
			have := run(t, s, "", "prove", test.index)
			if have.Code != 1 || have.Stdout != "" || !strings.Contains(have.Stderr, test.stderr) {
				t.Errorf("%+v, want %q", have, test.stderr)
			}
		})
	}
}

func TestCheckProofTellsWhatDoesNotHold(t *testing.T) {
	events := chain(t, 5)
	s := newServer(t, events)
	good := run(t, s, "", "prove", "3").Stdout
	key, other := file(t, s.vkeys), file(t, newAuthority(t).vkey)
	hint := "Nothing that the file says can be relied on.\n"
	for name, test := range map[string]struct {
		proof, key string
		stderr     string
	}{
		"another key":     {good, other, "error: the proof does not hold: reading a checkpoint: it is signed by a key that is not among those given\n" + hint},
		"an edited event": {strings.Replace(good, `"actor": "alice"`, `"actor": "mallory"`, 1), key, "error: the proof does not hold: audit event 3: its content does not have the hash that it names: it was edited\n" + hint},
		"no proof":        {"{}", key, "error: reading a proof: "},
		"not JSON":        {"proof", key, "error: reading a proof: "},
	} {
		t.Run(name, func(t *testing.T) {
			have := run(t, nil, "", "check-proof", file(t, test.proof), "--key", test.key)
			if have.Code != 1 || have.Stdout != "" || !strings.HasPrefix(have.Stderr, test.stderr) {
				t.Errorf("%+v, want %q", have, test.stderr)
			}
		})
	}
	for name, test := range map[string]struct {
		arguments []string
		stderr    string
	}{
		"no key":                 {[]string{"check-proof", file(t, good)}, "error: --key FILE is needed"},
		"a file that is no key":  {[]string{"check-proof", file(t, good), "--key", file(t, good)}, "reading verifier key 1"},
		"no proof":               {[]string{"check-proof", "--key", key}, "name the file of the proof"},
		"an output of its own":   {[]string{"checkpoint", "-o", "json"}, `unknown output format "json": it must be one of note, yaml`},
		"two standard inputs":    {[]string{"verify", "-f", "-", "--checkpoint", "-"}, "cannot both be standard input"},
		"a checkpoint not there": {[]string{"verify", "-f", "-", "--checkpoint", "/nonexistent"}, "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			if have := run(t, nil, "", test.arguments...); have.Code != 1 || have.Stdout != "" || !strings.Contains(have.Stderr, test.stderr) {
				t.Errorf("%+v, want %q", have, test.stderr)
			}
		})
	}
}

func TestProofIsOfTheEventAsItIs(t *testing.T) {
	events := chain(t, 5)
	proven, err := audit.ReadProof([]byte(run(t, newServer(t, events), "", "prove", "3").Stdout))
	if err != nil {
		t.Fatal(err)
	}
	same := cmp.Comparer(func(a, b opsv1alpha1.AuditEventSpec) bool { return a.Hash == b.Hash && a.Message == b.Message })
	if diff := cmp.Diff(events[3], proven.Event, same); diff != "" {
		t.Errorf("(-want +have)\n%s", diff)
	}
}
