// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package auditconfig tells the audit chain by which configuration a component works.
// The server and the executor judge each for itself, and by whatever they were started
// with. It does not know what a configuration means.
package auditconfig

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
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

// Record tells the audit chain by which configuration approvals are judged, actions
// verified and events kept, when a component starts with another one than the chain
// knows of from the same program.
type Record struct {
	// Chain is that of the component.
	Chain *audit.Chain
	// Reader must ask kube-apiserver and not a cache.
	Reader        client.Reader
	Configuration *configv1alpha1.SrenixConfiguration
	// Flags are those that bear on what is let pass, by name, and whether they are set.
	Flags map[string]bool

	done atomic.Bool
}

// Run tries until it is recorded, or ctx ends.
func (r *Record) Run(ctx context.Context) error {
	_ = wait.PollUntilContextCancel(ctx, recordRetry, true, func(ctx context.Context) (bool, error) {
		err := r.Ensure(ctx)
		if err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The configuration is not in the audit chain yet", "again", recordRetry)
		}
		return err == nil, nil
	})
	return nil
}

// Ensure returns nil once it is recorded. Until then it tries.
func (r *Record) Ensure(ctx context.Context) error {
	if r.done.Load() {
		return nil
	}
	if err := r.append(ctx); err != nil {
		return fmt.Errorf("recording the configuration: %w", err)
	}
	r.done.Store(true)
	return nil
}

// append appends an event if the program's last one of this kind is of another
// configuration. Of replicas that start at once, one does.
func (r *Record) append(ctx context.Context) error {
	hashes, err := r.hashes()
	if err != nil {
		return err
	}
	program, _, _ := strings.Cut(r.Chain.Component(), "/")
	_, err = r.Chain.AppendIf(ctx, func(ctx context.Context) (*audit.Entry, error) {
		last, err := audit.LastOfType(ctx, r.Reader, opsv1alpha1.AuditConfigurationChanged, program)
		if err != nil {
			return nil, err
		}
		entry := &audit.Entry{
			Actor: r.Chain.Component(), Type: opsv1alpha1.AuditConfigurationChanged, Hashes: hashes,
			Message: fmt.Sprintf("this configuration is in effect%s; no earlier one is known", r.with()),
		}
		if last == nil {
			return entry, nil
		}
		if last.Hashes[hashAfter] == hashes[hashAfter] {
			return nil, nil
		}
		entry.Hashes = maps.Clone(hashes)
		entry.Hashes[hashBefore] = last.Hashes[hashAfter]
		entry.Message = fmt.Sprintf("another configuration is in effect%s; changed: %s", r.with(), strings.Join(changedFields(last.Hashes, hashes), ", "))
		return entry, nil
	})
	return err
}

// with names the flags that are set. They say nothing that is to be kept secret.
func (r *Record) with() string {
	var set []string
	for _, name := range slices.Sorted(maps.Keys(r.Flags)) {
		if r.Flags[name] {
			set = append(set, "--"+name)
		}
	}
	if len(set) == 0 {
		return ""
	}
	return ", with " + strings.Join(set, ", ")
}

// hashes are those of what is recorded and of its fields, with the defaults filled in.
func (r *Record) hashes() (map[string]string, error) {
	hashes, recorded := map[string]string{}, map[string]any{}
	sections := map[string]any{"policy": r.Configuration.Policy, "executor": r.Configuration.Executor, "audit": r.Configuration.Audit}
	if len(r.Flags) > 0 {
		sections["flags"] = r.Flags
	}
	for section, content := range sections {
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
