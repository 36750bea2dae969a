// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import "sync"

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

// queue hands out tasks: each at most once at a time, one that is added while it
// runs once more afterwards, one that is added many times once. Unlike client-go's
// workqueue, which has the same rules, it knows when there is nothing left, per
// rule and at all.
type queue struct {
	mu      sync.Mutex
	filled  sync.Cond
	fifo    []task
	head    int
	states  map[task]taskState
	peak    int
	stopped bool
}

func newQueue() *queue {
	q := &queue{states: map[task]taskState{}}
	q.filled.L = &q.mu
	return q
}

func (q *queue) add(t task) {
	q.mu.Lock()
	defer q.mu.Unlock()
	switch q.states[t] {
	case queued, runningDirty:
	case running:
		q.states[t] = runningDirty
	default:
		t.rule.pending++
		q.push(t)
		q.peak = max(q.peak, len(q.states))
	}
}

func (q *queue) push(t task) {
	q.states[t] = queued
	q.fifo = append(q.fifo, t)
	q.filled.Signal()
}

// next waits for a task; it returns false once the queue is stopped.
func (q *queue) next() (task, bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.head == len(q.fifo) && !q.stopped {
		q.filled.Wait()
	}
	if q.stopped {
		return task{}, false
	}
	t := q.fifo[q.head]
	q.fifo[q.head] = task{}
	q.head++
	if q.head == len(q.fifo) {
		q.fifo, q.head = q.fifo[:0], 0
	} else if q.head >= 1024 && q.head > len(q.fifo)/2 {
		q.fifo = append(q.fifo[:0], q.fifo[q.head:]...)
		q.head = 0
	}
	q.states[t] = running
	return t, true
}

// done ends what next began and tells whether nothing of the task's rule is left.
func (q *queue) done(t task) (drained bool) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.states[t] == runningDirty {
		q.push(t)
		return false
	}
	delete(q.states, t)
	t.rule.pending--
	if len(q.states) == 0 && q.peak > 4096 {
		// Maps and slices do not shrink; the first sync leaves large ones.
		q.states, q.fifo, q.head, q.peak = map[task]taskState{}, nil, 0, 0
	}
	return t.rule.pending == 0
}

func (q *queue) pending(r *rule) int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return r.pending
}

// len is the number of tasks waiting, those being evaluated not counted.
func (q *queue) len() int {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.fifo) - q.head
}

// idle tells whether nothing waits and nothing is being evaluated.
func (q *queue) idle() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return len(q.states) == 0
}

func (q *queue) stop() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.stopped = true
	q.filled.Broadcast()
}
