// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"errors"
	"fmt"
	"io"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

type hinted struct {
	error
	next string
}

// Unwrap returns the error that the hint is for.
func (h *hinted) Unwrap() error { return h.error }

// WithHint adds to an error what to do next, in whole sentences. Report prints
// them on lines of their own.
func WithHint(err error, next string) error { return &hinted{error: err, next: next} }

// Report tells an error as kubectl does: "Error from server (REASON): ..." if
// the API server answered it, else "error: ...", then what to do next.
func Report(w io.Writer, err error) {
	prefix := "error: "
	var status apierrors.APIStatus
	if errors.As(err, &status) {
		prefix = "Error from server: "
		if reason := status.Status().Reason; reason != metav1.StatusReasonUnknown {
			prefix = fmt.Sprintf("Error from server (%s): ", reason)
		}
	}
	fmt.Fprintln(w, PlainLines(prefix+err.Error()))
	var hint *hinted
	if errors.As(err, &hint) {
		fmt.Fprintln(w, PlainLines(hint.next))
	}
}
