// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// lookTimeout bounds how long it is looked what became of a request, also where the
// time of whoever appended is over.
const lookTimeout = 2 * time.Second

// undecided tells whether an error of a creation leaves open whether the object was
// stored by this very request: its answer was lost, or says that the server does not
// know; or the object exists, which a client also hears that tried again by itself.
func undecided(err error) bool {
	var status apierrors.APIStatus
	switch {
	case err == nil:
		return false
	case !errors.As(err, &status):
		return true
	}
	return apierrors.IsAlreadyExists(err) || status.Status().Code >= http.StatusInternalServerError
}

// resolve finds out what became of an event whose creation ended in an error that
// leaves that open. It returns nil if the event is in the chain and can be found, and
// the error if it is not there now. Only time can tell then whether it still comes, unless
// another event has its place.
func (c *Chain) resolve(ctx context.Context, spec *opsv1alpha1.AuditEventSpec, err error) error {
	c.unsure = append(c.unsure, spec)
	looking, cancel := context.WithTimeout(context.WithoutCancel(ctx), lookTimeout)
	defer cancel()
	stored, lookErr := c.settle(looking)
	if lookErr != nil {
		return errors.Join(err, lookErr)
	}
	if c.head == spec {
		return findable(stored, spec)
	}
	return err
}

// settle logs the event of which it was not known whether it was stored, if it was,
// and returns the one that has its place. What is not there stays unsure, and the
// next event of this process is made for its place: one of them gets it.
func (c *Chain) settle(ctx context.Context) (*opsv1alpha1.AuditEvent, error) {
	if len(c.unsure) == 0 {
		return nil, nil
	}
	index := c.unsure[0].Index
	stored, err := c.read(ctx, index)
	if err != nil {
		return nil, err
	}
	if stored == nil {
		if c.head != nil && c.head.Index >= index {
			c.unsure = nil // it was pruned long since, whosever it was
		}
		return nil, nil
	}
	unsure := c.unsure
	c.unsure = nil
	for _, spec := range unsure {
		if spec.Hash == stored.Spec.Hash {
			c.appended(ctx, spec)
		}
	}
	return stored, nil
}
