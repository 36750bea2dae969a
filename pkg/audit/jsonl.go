// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"

	kjson "sigs.k8s.io/json"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// MaximumLine bounds a line of JSONL in bytes: more than any event can have.
const MaximumLine = 1 << 20

// ReadJSONL reads one event a line, as a chain writes them to its log. Decoding
// is strict: an unknown or repeated field, a second value on a line or a line of
// more than MaximumLine bytes ends the sequence with an error that names the
// line. Empty lines are skipped.
func ReadJSONL(r io.Reader) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		lines := bufio.NewScanner(r)
		lines.Buffer(make([]byte, 0, 64<<10), MaximumLine)
		number := 0
		for lines.Scan() {
			number++
			line := bytes.TrimSpace(lines.Bytes())
			if len(line) == 0 {
				continue
			}
			spec, err := decodeLine(line)
			if err != nil {
				yield(opsv1alpha1.AuditEventSpec{}, fmt.Errorf("line %d: %w", number, err))
				return
			}
			if !yield(spec, nil) {
				return
			}
		}
		if err := lines.Err(); err != nil {
			if errors.Is(err, bufio.ErrTooLong) {
				err = fmt.Errorf("it has more than %d bytes", MaximumLine)
			}
			yield(opsv1alpha1.AuditEventSpec{}, fmt.Errorf("line %d: %w", number+1, err))
		}
	}
}

func decodeLine(line []byte) (opsv1alpha1.AuditEventSpec, error) {
	var spec opsv1alpha1.AuditEventSpec
	strict, err := kjson.UnmarshalStrict(line, &spec)
	if err != nil {
		return spec, fmt.Errorf("it is no audit event as \"kubectl srenix audit export\" writes one a line: %w", err)
	}
	if len(strict) > 0 {
		return spec, fmt.Errorf("it is no audit event as \"kubectl srenix audit export\" writes one a line: %w", errors.Join(strict...))
	}
	return spec, nil
}

// writeLine writes an event as ReadJSONL reads it, in one Write.
func writeLine(w io.Writer, spec *opsv1alpha1.AuditEventSpec) error {
	line, err := json.Marshal(spec)
	if err != nil {
		return fmt.Errorf("encoding audit event %d for the log: %w", spec.Index, err)
	}
	if _, err := w.Write(append(line, '\n')); err != nil {
		return fmt.Errorf("writing audit event %d to the log: %w", spec.Index, err)
	}
	return nil
}
