// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
	"k8s.io/utils/lru"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
)

const (
	// callsRemembered is of how many calls a replica remembers that they are in the
	// chain. One that it forgets is looked for there.
	callsRemembered = 16384
	// callsTaken is how old a call may be that is appended. An Investigation may tell of
	// one for longer than the chain keeps its event.
	callsTaken = 24 * time.Hour
	// callsPerHour is how many calls a replica appends within an hour, and as many at
	// once: more than budgets of tokens allow, and few enough for the chain. What the
	// advisor notes beyond that waits, and beyond callsRemembered is left out.
	callsPerHour = 600
	// callRetry and longestCallRetry are how soon it is tried again to append one.
	callRetry        = time.Second
	longestCallRetry = time.Minute
)

// modelCalls has each call of a model that an Investigation tells of in the audit
// chain, once, whichever replica is the first. The advisor, which makes the calls, has
// no right to the chain: one that was taken over cannot break it.
type modelCalls struct {
	chain *audit.Chain
	// reader asks kube-apiserver.
	reader client.Reader
	clock  clock.PassiveClock
	queue  workqueue.TypedRateLimitingInterface[string]
	limit  *audit.Limiter

	mu sync.Mutex
	// waiting are entries by the ID of their call.
	waiting map[string]audit.Entry
	// recorded are IDs of calls that are in the chain.
	recorded *lru.Cache
}

func newModelCalls(chain *audit.Chain, reader client.Reader, clock clock.PassiveClock) *modelCalls {
	return &modelCalls{
		chain: chain, reader: reader, clock: clock, waiting: map[string]audit.Entry{}, recorded: lru.New(callsRemembered),
		limit: audit.NewLimiter(callsPerHour, clock),
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](callRetry, longestCallRetry)),
	}
}

// follow takes up the calls of all Investigations of a view that does not run yet.
func (m *modelCalls) follow(engine *live.Engine) error {
	err := live.Subscribe(engine, proposals.Investigations, func(before, after *opsv1alpha1.Investigation) {
		switch {
		case after != nil:
			m.take(after, false)
		case before != nil:
			m.take(before, true)
		}
	})
	if err != nil {
		return fmt.Errorf("following the calls of models: %w", err)
	}
	return nil
}

// take queues the calls of an Investigation that are over. If it is gone, nobody will
// tell how those ended that were under way.
func (m *modelCalls) take(investigation *opsv1alpha1.Investigation, gone bool) {
	for _, call := range investigation.Status.Calls {
		if call.Outcome == "" && !gone || m.clock.Since(call.At.Time) > callsTaken {
			continue
		}
		call.Outcome = cmp.Or(call.Outcome, opsv1alpha1.OutcomeInterrupted)
		if call.Attempts == 0 && call.Outcome != opsv1alpha1.OutcomeInterrupted {
			continue // It was not made.
		}
		m.mu.Lock()
		_, recorded := m.recorded.Get(call.ID)
		_, waits := m.waiting[call.ID]
		if !recorded && !waits && len(m.waiting) < callsRemembered {
			m.waiting[call.ID] = entryOf(investigation, call)
			m.queue.Add(call.ID)
		}
		m.mu.Unlock()
	}
}

// entryOf says of a call what the advisor says of it.
func entryOf(investigation *opsv1alpha1.Investigation, call opsv1alpha1.ModelCall) audit.Entry {
	entry := audit.Entry{
		Actor: "advisor", Type: opsv1alpha1.AuditModelCalled, ModelCall: call.DeepCopy(),
		References: opsv1alpha1.AuditReferences{Namespace: investigation.Namespace, DiagnosticClass: investigation.Labels[analyzers.AnalyzerLabel]},
		Message: fmt.Sprintf("the advisor asked the model %s about finding %s by prompt %s, for %s: %s; %d tokens",
			call.Model, investigation.Spec.Finding.Name, call.Prompt, call.By, call.Outcome, call.PromptTokens+call.AnswerTokens),
		Hashes: map[string]string{},
	}
	for of, hash := range map[string]string{"prompt": call.PromptHash, "answer": call.AnswerHash} {
		if hash != "" {
			entry.Hashes[of] = hash
		}
	}
	return entry
}

// run appends calls until ctx ends.
func (m *modelCalls) run(ctx context.Context) error {
	go func() {
		defer utilruntime.HandleCrashWithContext(ctx)
		<-ctx.Done()
		m.queue.ShutDown()
	}()
	for {
		id, ended := m.queue.Get()
		if ended {
			return nil
		}
		if wait := m.limit.Take("advisor"); wait > 0 {
			m.queue.AddAfter(id, wait)
		} else if err := m.record(ctx, id); err != nil {
			if ctx.Err() == nil {
				klog.FromContext(ctx).Error(err, "A call of a model is not in the audit chain yet", "call", id)
			}
			m.queue.AddRateLimited(id)
		} else {
			m.queue.Forget(id)
		}
		m.queue.Done(id)
	}
}

// record appends a call unless it is in the chain.
func (m *modelCalls) record(ctx context.Context, id string) error {
	m.mu.Lock()
	entry, waits := m.waiting[id]
	m.mu.Unlock()
	if !waits {
		return nil
	}
	_, err := m.chain.AppendIf(ctx, func(ctx context.Context) (*audit.Entry, error) {
		if event, err := audit.OfModelCall(ctx, m.reader, id); err != nil || event != nil {
			return nil, err
		}
		return &entry, nil
	})
	if err != nil {
		return fmt.Errorf("appending call %s of a model to the audit chain: %w", id, err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	delete(m.waiting, id)
	m.recorded.Add(id, nil)
	return nil
}
