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
	// awaited are subjects that were queued at the last mark, and not evaluated since:
	// true once an evaluation has begun. What changes them later does not count.
	awaited map[Key]bool
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
	if _, awaited := q.awaited[subject]; awaited {
		q.awaited[subject] = true
	}
	return subject, true
}

// done ends what next began and tells whether nothing of the last mark is left.
func (q *queue) done(subject Key) (caughtUp bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	delete(q.started, subject)
	dirty := q.states[subject] == runningDirty
	// Whatever was being evaluated at the mark may not have seen what came just before.
	if q.awaited[subject] || !dirty {
		if delete(q.awaited, subject); len(q.awaited) == 0 {
			q.awaited = nil // it may have been large
		}
	}
	if dirty {
		q.push(subject)
		return len(q.awaited) == 0
	}
	delete(q.states, subject)
	q.outstanding.Add(-1)
	if len(q.states) == 0 && q.peak > 4096 {
		// Maps and slices do not shrink; the first sync leaves large ones.
		q.states, q.fifo, q.head, q.peak = map[Key]taskState{}, nil, 0, 0
	}
	return len(q.awaited) == 0
}

// mark has what waits or is being evaluated now awaited.
func (q *queue) mark() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.awaited = make(map[Key]bool, len(q.states))
	for subject := range q.states {
		q.awaited[subject] = false
	}
}

// caughtUp tells whether all that was awaited has been evaluated.
func (q *queue) caughtUp() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.awaited) == 0
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
