// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
)

const (
	// hashBefore and hashAfter are of all that is recorded; beside them stands a hash
	// for each field, "policy.NAME", by which the next event tells what has changed.
	hashBefore, hashAfter = "before", "after"
	// recordRetry is how often it is tried to record the configuration.
	recordRetry = 10 * time.Second
)

// configurationRecord tells the audit chain by which configuration approvals are
// judged, actions verified and events kept, when the server starts with another one
// than the chain knows of. The executor reads the same file.
type configurationRecord struct {
	chain         *audit.Chain
	reader        client.Reader
	configuration *configv1alpha1.SrenixConfiguration
}

// run tries until it is recorded, or ctx ends.
func (c configurationRecord) run(ctx context.Context) error {
	_ = wait.PollUntilContextCancel(ctx, recordRetry, true, func(ctx context.Context) (bool, error) {
		err := c.record(ctx)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The configuration is not in the audit chain yet", "again", recordRetry)
		}
		return err == nil, nil
	})
	return nil
}

// record appends an event if the chain's last one of this kind is of another configuration.
// Of replicas that start at once, one does.
func (c configurationRecord) record(ctx context.Context) error {
	hashes, err := hashesOf(c.configuration)
	if err != nil {
		return err
	}
	_, err = c.chain.AppendIf(ctx, func(ctx context.Context) (*audit.Entry, error) {
		last, err := audit.LastOfType(ctx, c.reader, opsv1alpha1.AuditConfigurationChanged)
		if err != nil {
			return nil, err
		}
		entry := &audit.Entry{
			Actor: c.chain.Component(), Type: opsv1alpha1.AuditConfigurationChanged, Hashes: hashes,
			Message: "this configuration is in effect; no earlier one is known",
		}
		if last == nil {
			return entry, nil
		}
		if last.Hashes[hashAfter] == hashes[hashAfter] {
			return nil, nil
		}
		entry.Hashes = maps.Clone(hashes)
		entry.Hashes[hashBefore] = last.Hashes[hashAfter]
		entry.Message = "another configuration is in effect; changed: " + strings.Join(changedFields(last.Hashes, hashes), ", ")
		return entry, nil
	})
	if err != nil {
		return fmt.Errorf("recording the configuration: %w", err)
	}
	return nil
}

// hashesOf are those of what is recorded and of its fields, with the defaults filled in.
func hashesOf(configuration *configv1alpha1.SrenixConfiguration) (map[string]string, error) {
	hashes, recorded := map[string]string{}, map[string]any{}
	for section, content := range map[string]any{
		"policy": configuration.Policy, "executor": configuration.Executor, "audit": configuration.Audit,
	} {
		data, err := json.Marshal(content)
		if err != nil {
			return nil, fmt.Errorf("encoding the %s configuration: %w", section, err)
		}
		fields := map[string]any{}
		if err := json.Unmarshal(data, &fields); err != nil {
			return nil, fmt.Errorf("reading the %s configuration: %w", section, err)
		}
		recorded[section] = fields
		for name, value := range fields {
			if hashes[section+"."+name], err = digest.Of(value); err != nil {
				return nil, fmt.Errorf("hashing %s.%s: %w", section, name, err)
			}
		}
	}
	var err error
	if hashes[hashAfter], err = digest.Of(recorded); err != nil {
		return nil, fmt.Errorf("hashing the configuration: %w", err)
	}
	return hashes, nil
}

// changedFields are the fields that were added, removed or changed, as "policy.NAME".
func changedFields(before, after map[string]string) []string {
	changed := map[string]bool{}
	for _, hashes := range []map[string]string{before, after} {
		for name := range hashes {
			if strings.Contains(name, ".") && before[name] != after[name] {
				changed[name] = true
			}
		}
	}
	return slices.Sorted(maps.Keys(changed))
}
