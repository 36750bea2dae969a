// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
)

// keyRetry is how often the key of checkpoints is asked for until there is one.
const keyRetry = 10 * time.Second

// auditing checkpoints the chain and prunes it, in every replica.
type auditing struct {
	keys         *audit.KeyStore
	checkpointer *audit.Checkpointer
}

func newAuditing(kube client.Client, chain *audit.Chain, engine *live.Engine, cluster string, extra *ExtraConfig) (*auditing, error) {
	keys := audit.NewKeyStore(kube, extra.Namespace, cluster)
	checkpointer, err := audit.NewCheckpointer(audit.CheckpointerOptions{
		Client: kube, Chain: chain, Keys: keys, Clock: extra.clock(),
		Retention: extra.Configuration.Audit.Retention.Duration,
		InEffect:  inEffect{engine: engine, reader: kube}.oldest,
	})
	if err != nil {
		return nil, fmt.Errorf("making what checkpoints the audit chain: %w", err)
	}
	return &auditing{keys: keys, checkpointer: checkpointer}, nil
}

// run ends with ctx.
func (a *auditing) run(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := a.work(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The audit chain is not checkpointed yet", "again", keyRetry)
		}
	}, keyRetry)
	return nil
}

// work begins once there is a key.
func (a *auditing) work(ctx context.Context) error {
	if err := a.keys.Ensure(ctx); err != nil {
		return err
	}
	return a.checkpointer.Run(ctx)
}

// inEffect finds the audit events that decisions still depend on: those about
// digests that can be approved now, or that an unfinished approval is for. A
// digest that is gone never comes back, and no token outlives the retention.
type inEffect struct {
	engine *live.Engine
	reader client.Reader
}

type decidable struct {
	proposal types.UID
	digest   string
}

func (i inEffect) oldest(ctx context.Context) (oldest int64, any bool, err error) {
	if !i.engine.Synced() {
		return 0, false, errors.New("the live view is not complete yet")
	}
	standing := map[decidable]bool{}
	for _, proposal := range live.List(i.engine, proposals.Proposals) {
		standing[decidable{proposal.UID, proposal.Spec.Digest}] = true
	}
	for _, approval := range live.List(i.engine, proposals.Approvals) {
		if !approval.Status.Phase.Finished() || approval.Status.CompletedAt == nil {
			standing[decidable{approval.Spec.Proposal.UID, approval.Spec.Proposal.Digest}] = true
		}
	}
	for one := range standing {
		events, err := audit.AboutDigest(ctx, i.reader, one.proposal, one.digest)
		if err != nil {
			return 0, false, err
		}
		if len(events) > 0 && (!any || events[0].Spec.Index < oldest) {
			oldest, any = events[0].Spec.Index, true
		}
	}
	return oldest, any, nil
}
