// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
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
		InEffect:  inEffect{engine: engine, reader: kube, clock: extra.clock()}.oldest,
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
