// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"container/heap"
	"context"
	"sync"
	"time"

	"k8s.io/utils/clock"
)

// timers queues subjects when their time has come. A subject has at most one.
type timers struct {
	clock clock.WithTicker
	fire  func(task)
	// look is shown the clock each time that the timers look at it.
	look func(now time.Time)
	wake chan struct{}

	mu     sync.Mutex
	heap   alarmHeap
	byTask map[task]*alarm
}

type alarm struct {
	at       time.Time
	task     task
	position int
}

func newTimers(c clock.WithTicker, fire func(task), look func(time.Time)) *timers {
	return &timers{clock: c, fire: fire, look: look, wake: make(chan struct{}, 1), byTask: map[task]*alarm{}}
}

// set makes at the time of the task, instead of what it was.
func (t *timers) set(tk task, at time.Time) {
	t.mu.Lock()
	defer t.mu.Unlock()
	a := t.byTask[tk]
	if a == nil {
		a = &alarm{at: at, task: tk}
		t.byTask[tk] = a
		heap.Push(&t.heap, a)
	} else {
		a.at = at
		heap.Fix(&t.heap, a.position)
	}
	if t.heap[0] == a {
		select {
		case t.wake <- struct{}{}:
		default:
		}
	}
}

func (t *timers) cancel(tk task) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if a := t.byTask[tk]; a != nil {
		heap.Remove(&t.heap, a.position)
		delete(t.byTask, tk)
	}
}

// fireDue queues what is due and returns when the next one is, zero if there is none.
func (t *timers) fireDue() time.Time {
	t.mu.Lock()
	defer t.mu.Unlock()
	now := t.clock.Now()
	for len(t.heap) > 0 && !t.heap[0].at.After(now) {
		a := heap.Pop(&t.heap).(*alarm)
		delete(t.byTask, a.task)
		t.fire(a.task)
	}
	if len(t.heap) == 0 {
		return time.Time{}
	}
	return t.heap[0].at
}

// idle tells whether nothing is due; then, with the timers held so that none can
// fall between, whether rest holds too.
func (t *timers) idle(rest func() bool) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.heap) > 0 && !t.heap[0].at.After(t.clock.Now()) {
		return false
	}
	return rest()
}

// longestWait bounds how long a clock that was set goes unnoticed: timers run by
// elapsed time, alarms by the time of day.
const longestWait = 10 * time.Second

// clockSlack is how far the clock may move between reading it and starting a
// timer before the timer is started anew: a stepped clock must not make it late.
const clockSlack = time.Millisecond

func (t *timers) run(ctx context.Context) {
	for ctx.Err() == nil {
		next := t.fireDue()
		now := t.clock.Now()
		t.look(now)
		pause := longestWait
		if !next.IsZero() {
			pause = min(pause, next.Sub(now))
		}
		if pause <= 0 {
			continue
		}
		timer := t.clock.NewTimer(pause)
		if t.clock.Since(now) < clockSlack {
			select {
			case <-ctx.Done():
			case <-t.wake:
			case <-timer.C():
			}
		}
		timer.Stop()
	}
}

// alarmHeap orders by time; positions let one be moved or removed.
type alarmHeap []*alarm

func (h alarmHeap) Len() int           { return len(h) }
func (h alarmHeap) Less(i, j int) bool { return h[i].at.Before(h[j].at) }

func (h alarmHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].position, h[j].position = i, j
}

func (h *alarmHeap) Push(x any) {
	a := x.(*alarm)
	a.position = len(*h)
	*h = append(*h, a)
}

func (h *alarmHeap) Pop() any {
	old := *h
	last := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	return last
}
