// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"
)

// task is one subject of one rule, to be evaluated.
type task struct {
	rule    *rule
	subject Key
}

type taskState uint8

const (
	queued taskState = iota + 1
	running
	runningDirty // to be queued again when done
)

// queue hands out the subjects of one rule: each at most once at a time, one that
// is added while it is evaluated once more afterwards, one that is added many
// times once. Each rule has its own, and its own workers, so that a slow rule
// holds up nobody else. Unlike client-go's workqueue, which has the same rules,
// queues know when nothing is left, in one and in all.
type queue struct {
	// outstanding counts what is queued or being evaluated in all queues of an
	// engine. A subject stops counting only after all that its evaluation caused
	// counts, so zero means that nothing is left.
	outstanding *atomic.Int64

	mu      sync.Mutex
	filled  sync.Cond
	fifo    []Key
	head    int
	states  map[Key]taskState
	started map[Key]time.Time // of those being evaluated
	peak    int
	stopped bool
}

func newQueue(outstanding *atomic.Int64) *queue {
	q := &queue{outstanding: outstanding, states: map[Key]taskState{}, started: map[Key]time.Time{}}
	q.filled.L = &q.mu
	return q
}

func (q *queue) add(subject Key) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch q.states[subject] {
	case queued, runningDirty:
	case running:
		q.states[subject] = runningDirty
	default:
		q.outstanding.Add(1)
		q.push(subject)
		q.peak = max(q.peak, len(q.states))
	}
}

func (q *queue) push(subject Key) {
	q.states[subject] = queued
	q.fifo = append(q.fifo, subject)
	q.filled.Signal()
}

// next waits for a subject; it returns false once the queue is stopped.
func (q *queue) next(now func() time.Time) (Key, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.fifo) && !q.stopped {
		q.filled.Wait()
	}
	if q.stopped {
		return Key{}, false
	}
	subject := q.fifo[q.head]
	q.fifo[q.head] = Key{}
	q.head++
	if q.head == len(q.fifo) {
		q.fifo, q.head = q.fifo[:0], 0
	} else if q.head >= 1024 && q.head > len(q.fifo)/2 {
		q.fifo = append(q.fifo[:0], q.fifo[q.head:]...)
		q.head = 0
	}
	q.states[subject] = running
	q.started[subject] = now()
	return subject, true
}

// done ends what next began and tells whether nothing is left in the queue.
func (q *queue) done(subject Key) (drained bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.started, subject)
	if q.states[subject] == runningDirty {
		q.push(subject)
		return false
	}
	delete(q.states, subject)
	q.outstanding.Add(-1)
	if len(q.states) == 0 && q.peak > 4096 {
		// Maps and slices do not shrink; the first sync leaves large ones.
		q.states, q.fifo, q.head, q.peak = map[Key]taskState{}, nil, 0, 0
	}
	return len(q.states) == 0
}

// idle tells whether nothing waits and nothing is being evaluated.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.states) == 0
}

// len is the number of subjects waiting, those being evaluated not counted.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fifo) - q.head
}

// since returns the subjects whose evaluation began before a time.
func (q *queue) since(before time.Time) []Key {
	q.mu.Lock()
	defer q.mu.Unlock()
	var found []Key
	for subject, started := range q.started {
		if started.Before(before) {
			found = append(found, subject)
		}
	}
	return found
}

// evaluating returns the subjects that are being evaluated, in order.
func (q *queue) evaluating() []Key {
	q.mu.Lock()
	defer q.mu.Unlock()
	return slices.SortedFunc(maps.Keys(q.started), func(a, b Key) int { return cmp.Compare(a.String(), b.String()) })
}

func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.filled.Broadcast()
}
