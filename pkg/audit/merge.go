// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"iter"
	"reflect"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// Merge puts the logs of several components together into the order of the chain.
// Each must have its own events in that order, as a component writes them; an
// event that is in several, exactly the same, is taken once. An error of any ends
// the sequence.
func Merge(logs ...iter.Seq2[opsv1alpha1.AuditEventSpec, error]) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		type head struct {
			event opsv1alpha1.AuditEventSpec
			err   error
			next  func() (opsv1alpha1.AuditEventSpec, error, bool)
		}
		var heads []*head
		advance := func(h *head) (more bool) {
			h.event, h.err, more = h.next()
			return more
		}
		for _, log := range logs {
			next, stop := iter.Pull2(log)
			defer stop()
			if h := (&head{next: next}); advance(h) {
				heads = append(heads, h)
			}
		}
		var last *opsv1alpha1.AuditEventSpec
		for len(heads) > 0 {
			first := 0
			for i, h := range heads {
				if h.err != nil {
					yield(opsv1alpha1.AuditEventSpec{}, h.err)
					return
				}
				if h.event.Index < heads[first].event.Index {
					first = i
				}
			}
			event := heads[first].event
			if !advance(heads[first]) {
				heads = append(heads[:first], heads[first+1:]...)
			}
			if last != nil && reflect.DeepEqual(*last, event) {
				continue
			}
			if !yield(event, nil) {
				return
			}
			last = &event
		}
	}
}
