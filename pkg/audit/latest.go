// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"fmt"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// DamagedCheckpoint is an AuditCheckpoint whose parts do not fit together.
type DamagedCheckpoint struct {
	// Problem tells what does not fit.
	Problem error
}

// Error implements error.
func (d *DamagedCheckpoint) Error() string {
	return fmt.Sprintf("AuditCheckpoint %s is damaged: %v", opsv1alpha1.LatestAuditCheckpoint, d.Problem)
}

// Unwrap returns what does not fit.
func (d *DamagedCheckpoint) Unwrap() error { return d.Problem }

// CheckLatest checks what an AuditCheckpoint says by itself: that its note is
// signed by one of the keys, and that size, frontier and what was pruned fit the
// note. The error is a *DamagedCheckpoint. What was pruned is proven only
// together with the events that are left: see VerifyAgainst.
func CheckLatest(spec *opsv1alpha1.AuditCheckpointSpec, keys VerifierKeys) (Checkpoint, error) {
	checkpoint, err := OpenCheckpoint(spec.Note, keys)
	if err == nil {
		err = fitsNote(spec, checkpoint)
	}
	if err != nil {
		return Checkpoint{}, &DamagedCheckpoint{Problem: err}
	}
	return checkpoint, nil
}

func fitsNote(spec *opsv1alpha1.AuditCheckpointSpec, checkpoint Checkpoint) error {
	if spec.Size != checkpoint.Size {
		return fmt.Errorf("it says that it covers %d events, and its note says %d", spec.Size, checkpoint.Size)
	}
	covered, err := rangeOf(spec.Size, spec.Frontier)
	if err != nil {
		return err
	}
	root, err := rootOf(covered)
	if err != nil {
		return err
	}
	if !bytes.Equal(root, checkpoint.Root) {
		return fmt.Errorf("its frontier does not have the root of its note")
	}
	if pruned := spec.Pruned; pruned != nil {
		if pruned.Before < 1 || pruned.Before > spec.Size {
			return fmt.Errorf("it says that %d events were pruned, and covers %d", pruned.Before, spec.Size)
		}
		if pruned.BeforeName != EventName(pruned.Before) {
			return fmt.Errorf("it says that events before %d were pruned, and allows to delete those before %q", pruned.Before, pruned.BeforeName)
		}
		if _, err := rangeOf(pruned.Before, pruned.Frontier); err != nil {
			return err
		}
	}
	return nil
}
