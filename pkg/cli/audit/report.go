// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// report is what -o json prints.
type report struct {
	Valid bool `json:"valid"`
	// Count, First, Last and Head are of the events that verified.
	Count int64 `json:"count"`
	First int64 `json:"first"`
	Last  int64 `json:"last"`
	// LastTime is when the last of them was appended.
	LastTime *metav1.MicroTime `json:"lastTime,omitempty"`
	Head     string            `json:"head"`
	// Checkpoints is how many checkpoints the events fit, and CheckpointSize how many
	// events the newest of them covers.
	Checkpoints    int64 `json:"checkpoints"`
	CheckpointSize int64 `json:"checkpointSize"`
	// Signed tells whether the signatures of the checkpoints were checked.
	Signed bool `json:"signed"`
	// Bad is the first event that did not verify.
	Bad *badEvent `json:"bad,omitempty"`
}

type badEvent struct {
	Index   int64  `json:"index"`
	Problem string `json:"problem"`
}

// tell prints the result, and returns what is wrong with the chain.
func (o *VerifyOptions) tell(result audit.Checked, err error) error {
	var bad *audit.BadLink
	var damaged *audit.DamagedCheckpoint
	var early *unread
	broken := errors.As(err, &bad)
	switch {
	case errors.As(err, &early):
		return early.error
	case broken:
		// Only what is wrong, and not who was reading when it showed.
		err = fmt.Errorf("the chain is broken at %w; %s", bad, before(result, bad.Index))
		switch skipped := o.seen.skipped(bad.Index); {
		case skipped && o.client == nil:
			err = cli.WithHint(err, o.seen.otherLogs())
		case skipped && bad.Index >= o.covered:
			err = cli.WithHint(err, o.seen.ahead(bad.Index))
		}
	case errors.As(err, &damaged), errors.Is(err, audit.ErrCheckpoint):
		err = fmt.Errorf("verifying the newest checkpoint: %w", err)
	case err != nil:
		return fmt.Errorf("verifying the chain: %w; %s", err, before(result, result.Last+1))
	case result.Count == 0:
		err = errors.New("there are no audit events, so nothing was verified: a chain has at least its first event")
	}
	if o.Output == outputJSON {
		summary := report{
			Valid: err == nil, Count: result.Count, First: result.First, Last: result.Last, LastTime: o.seen.timeOf(result.Last), Head: result.Head,
			Checkpoints: result.Checkpoints, CheckpointSize: result.Size, Signed: o.keys != nil && result.Checkpoints > 0,
		}
		if broken {
			summary.Bad = &badEvent{Index: bad.Index, Problem: bad.Problem}
		}
		encoder := json.NewEncoder(o.Out)
		encoder.SetIndent("", "  ")
		return errors.Join(encoder.Encode(summary), err)
	}
	if err != nil {
		return err
	}
	o.warn(result)
	if _, err = fmt.Fprintf(o.Out, "verified %d events, index %d to %d, head %s\n", result.Count, result.First, result.Last, result.Head); err != nil {
		return err
	}
	if result.Checkpoints == 0 {
		return nil
	}
	by := "signatures not checked"
	switch {
	case o.Key != "":
		by = "signed by your keys"
	case o.keys != nil:
		by = "signed by the keys that the cluster publishes"
	}
	fitted := fmt.Sprintf("the checkpoint of %d events", result.Size)
	if result.Checkpoints > 1 {
		fitted = fmt.Sprintf("%d checkpoints, of which the newest covers %d events", result.Checkpoints, result.Size)
	}
	_, err = fmt.Fprintf(o.Out, "fits %s, %s\n", fitted, by)
	return err
}

// warn tells what was not verified.
func (o *VerifyOptions) warn(result audit.Checked) {
	if o.client == nil && result.First > 0 {
		fmt.Fprintf(o.ErrOut, "Warning: the file begins with event %d: what came before was not verified.\n", result.First)
	}
	if result.Unanchored > 0 {
		fmt.Fprintf(o.ErrOut, "Warning: %d checkpoints cover events from before the first one read, and could not be held against them.\n", result.Unanchored)
	}
	if o.keys == nil && result.Checkpoints > 0 {
		fmt.Fprintln(o.ErrOut, "Warning: the signatures of the checkpoints were not checked: give the keys with --key FILE.")
	}
	if o.client == nil {
		fmt.Fprintln(o.ErrOut, o.end(result))
	}
}

// end tells what a file says of its own end: nothing. A cluster is read to where
// it ends now.
func (o *VerifyOptions) end(result audit.Checked) string {
	text := fmt.Sprintf("Warning: the events end with index %d, of %s: whether others came after it cannot be told from a file.",
		result.Last, o.seen.last.Time.UTC().Format(time.RFC3339))
	if result.Size == 0 {
		return text + " A checkpoint that you kept tells whether it was cut before that: --checkpoint FILE."
	}
	return fmt.Sprintf("%s The newest checkpoint covers those up to index %d.", text, result.Size-1)
}

// skipped tells whether the event with this index is missing where a later one was read.
func (s *seen) skipped(index int64) bool { return s.last.Index > index && s.before.Index == index-1 }

// otherLogs tells what to do about events that are missing in between: each
// component logs its own only.
func (s *seen) otherLogs() string {
	var names []string
	for _, name := range slices.Sorted(maps.Keys(s.components)) {
		names = append(names, cli.Plain(name))
	}
	return fmt.Sprintf("A component logs only the events that it has appended itself, and here are those of %s. Give the logs of all components and all their pods at once, each with -f, "+
		"or check the cluster's chain: kubectl srenix audit export | kubectl srenix audit verify -f -. If those are all that there are, somebody has taken events out", strings.Join(names, ", "))
}

// ahead tells what else than a deletion can leave a gap that no checkpoint covers.
func (s *seen) ahead(missing int64) string {
	return fmt.Sprintf("No checkpoint covers event %d, so it need not have been there: event %d may have been created ahead of the chain's end. "+
		"Every decision is a denial once the chain gets there; docs/security.md says how to take it away", missing, s.last.Index)
}

// timeOf is when an event was appended, if it is one of the two read last.
func (s *seen) timeOf(index int64) *metav1.MicroTime {
	for _, event := range []*opsv1alpha1.AuditEventSpec{&s.last, &s.before} {
		if event.Hash != "" && event.Index == index {
			return &event.Time
		}
	}
	return nil
}

// before tells what verified beside what is wrong. A chain that was rewritten is
// linked also from there on.
func before(result audit.Checked, bad int64) string {
	switch {
	case result.Count == 0:
		return "no event before it verified"
	case result.Last >= bad:
		return fmt.Sprintf("all %d events are linked, index %d to %d", result.Count, result.First, result.Last)
	case result.Count == 1:
		return fmt.Sprintf("one event before it verified, index %d", result.First)
	}
	return fmt.Sprintf("%d events before it verified, index %d to %d", result.Count, result.First, result.Last)
}
