// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"
)

// startWork starts everything but the reflectors.
func (e *Engine) startWork(ctx context.Context, running *sync.WaitGroup) {
	for _, r := range e.rules {
		for range e.options.Workers {
			running.Go(func() { e.work(r) })
		}
	}
	running.Go(func() { e.timers.run(ctx) })
	e.advance()
}

func (e *Engine) stopWork() {
	for _, r := range e.rules {
		r.queue.stop()
	}
}

// awaitWork waits for what startWork started, though not forever for rules that hang.
func (e *Engine) awaitWork(working *sync.WaitGroup) error {
	ended := make(chan struct{})
	go func() {
		working.Wait()
		close(ended)
	}()
	timer := time.NewTimer(e.options.ShutdownTimeout)
	defer timer.Stop()
	select {
	case <-ended:
		return nil
	case <-timer.C:
	}
	e.abandoned.Store(true)
	var hanging []string
	for _, r := range e.rules {
		for _, subject := range r.queue.evaluating() {
			e.options.Logger.Info("Evaluation does not end", "rule", r.Name, "subject", subject.String())
			hanging = append(hanging, fmt.Sprintf("of %s by rule %s", subjectName(subject), r.Name))
		}
	}
	if len(hanging) == 0 { // the last one has ended meanwhile
		<-ended
		return nil
	}
	return fmt.Errorf("evaluations did not end within %s: %s", e.options.ShutdownTimeout, strings.Join(hanging, ", "))
}
