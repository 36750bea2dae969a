// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"iter"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/cli"
)

// pageSize is how many events are asked for at a time.
const pageSize = 500

// clusterEvents reads every event of a cluster, a page at a time, in the order
// of their names, which is that of the chain.
func clusterEvents(ctx context.Context, client *cli.Client) iter.Seq2[*opsv1alpha1.AuditEvent, error] {
	return func(yield func(*opsv1alpha1.AuditEvent, error) bool) {
		for next := ""; ; {
			page := &opsv1alpha1.AuditEventList{}
			err := client.Get().Resource("auditevents").
				VersionedParams(&metav1.ListOptions{Limit: pageSize, Continue: next}, client.Parameters).
				Do(ctx).Into(page)
			if restart := continueAfterExpiry(err); restart != "" && restart != next {
				next = restart
				continue
			}
			if err != nil {
				yield(nil, explain(fmt.Errorf("listing the audit events: %w", err)))
				return
			}
			for i := range page.Items {
				if !yield(&page.Items[i], nil) {
					return
				}
			}
			if next = page.Continue; next == "" {
				return
			}
		}
	}
}

// continueAfterExpiry returns the token that the API server hands out when a
// list took longer than its history reaches back (5 minutes by default). The
// list goes on where it was, at a newer version: fine for a chain, which only grows.
func continueAfterExpiry(err error) string {
	var status apierrors.APIStatus
	if !apierrors.IsResourceExpired(err) || !errors.As(err, &status) {
		return ""
	}
	return status.Status().Continue
}

// links hands on the specs, and finds events that are not in the object of their
// index, or cannot be found by their labels.
func links(events iter.Seq2[*opsv1alpha1.AuditEvent, error]) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for event, err := range events {
			if err == nil {
				err = checkPlace(event)
			}
			if err != nil {
				yield(opsv1alpha1.AuditEventSpec{}, err)
				return
			}
			if !yield(event.Spec, nil) {
				return
			}
		}
	}
}

func checkPlace(event *opsv1alpha1.AuditEvent) error {
	if index := event.Spec.Index; event.Name != audit.EventName(index) {
		return &audit.BadLink{Index: index, Problem: fmt.Sprintf("the object that holds it is named %q, and not %q: it was moved", event.Name, audit.EventName(index))}
	}
	return audit.CheckLabels(event)
}

// explain adds to a server's error what to do next.
func explain(err error) error {
	switch {
	case apierrors.IsForbidden(err):
		return cli.WithHint(err, "ClusterRole srenix-auditor gives the right to read the chain, where somebody binds it to you for the whole cluster.")
	case apierrors.IsNotFound(err):
		return cli.WithHint(err, "Is srenix installed in this cluster? See: kubectl get crd auditevents.ops.srenix.io")
	}
	return err
}
