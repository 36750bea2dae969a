// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/uuid"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/test/harness"
)

// chainWriters is how many requests store events at the same time.
const chainWriters = 8

// growChain makes the audit chain as long as it would be after years of decisions,
// with copies of those that were made here, each of another token and proposal. The
// server must not run: an event of its own would be in the way.
func (b *bench) growChain(ctx context.Context, length int64) error {
	scheme := runtime.NewScheme()
	if err := opsv1alpha1.AddToScheme(scheme); err != nil {
		return fmt.Errorf("making a scheme: %w", err)
	}
	// Only the programs themselves may append.
	config := rest.CopyConfig(b.admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: "system:serviceaccount:" + harness.Namespace + ":srenix-apiserver"}
	store, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client of audit events: %w", err)
	}
	existing := &opsv1alpha1.AuditEventList{}
	if err := store.List(ctx, existing); err != nil {
		return fmt.Errorf("reading the audit chain: %w", err)
	}
	var copied []opsv1alpha1.AuditEventSpec
	for i := range existing.Items {
		if spec := existing.Items[i].Spec; spec.References.JTI != "" {
			copied = append(copied, spec)
		}
	}
	if len(copied) == 0 {
		return fmt.Errorf("the audit chain has %d events and none of a token to copy", len(existing.Items))
	}
	last := &existing.Items[len(existing.Items)-1].Spec
	writers, ctx := errgroup.WithContext(ctx)
	writers.SetLimit(chainWriters)
	for last.Index+1 < length && ctx.Err() == nil {
		next := copied[int(last.Index)%len(copied)]
		next.References.JTI = strings.ReplaceAll(string(uuid.NewUUID()), "-", "")
		next.References.Approval = "approval-" + next.References.JTI
		next.References.ProposalUID = uuid.NewUUID()
		next.References.Approver = "approver-" + next.References.JTI[:8]
		if next.References.ApprovalUID != "" {
			next.References.ApprovalUID = uuid.NewUUID()
		}
		next.Actor = next.References.Approver
		sealed, err := audit.Seal(last, next)
		if err != nil {
			return fmt.Errorf("making event %d of the audit chain: %w", last.Index+1, err)
		}
		last = &sealed
		writers.Go(func() error {
			event := &opsv1alpha1.AuditEvent{
				ObjectMeta: metav1.ObjectMeta{Name: audit.EventName(sealed.Index), Labels: audit.LabelsOf(&sealed)},
				Spec:       sealed,
			}
			if err := store.Create(ctx, event); err != nil {
				return fmt.Errorf("storing event %d of the audit chain: %w", sealed.Index, err)
			}
			return nil
		})
		if sealed.Index%10_000 == 0 {
			b.progress.say("the audit chain has %d events", sealed.Index)
		}
	}
	return writers.Wait()
}
