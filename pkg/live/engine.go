// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"
)

// Options configure an Engine. The zero value is usable.
type Options struct {
	// Clock drives View.Now, timers and retries of failed evaluations; the real
	// one if nil. Retries against the API server always follow the real clock.
	Clock clock.WithTicker
	// Workers is how many subjects of a rule are evaluated at a time; one per core
	// if zero.
	Workers int
	// Logger receives changes of state of inputs, and panics with their stack.
	Logger klog.Logger
	// Registerer gets the engine's metrics while it runs; nil means none.
	Registerer prometheus.Registerer
	// SyncTimeout is how long WaitForSync waits for an input that has not answered, or
	// that is failing; a minute if zero. What has not answered by then is failing.
	SyncTimeout time.Duration
	// RetryBackoff spaces out attempts to list and watch an input that fails, is
	// forbidden or not installed; 0.8 s to 10 s if nil. What is known to be absent is
	// looked for every two minutes. Shutting down may have to wait for one.
	RetryBackoff *wait.Backoff
	// ShutdownTimeout is how long, of real time, Run waits for evaluations that do
	// not end when it is to; 5 s if zero.
	ShutdownTimeout time.Duration
	// Memory keeps the times of View.FirstObserved; if nil, they end with the engine.
	Memory Memory
}

// Engine keeps derived collections up to date with their inputs. Its methods may
// be called from any goroutine.
type Engine struct {
	options  Options
	timers   *timers
	metrics  *metrics
	statuses *collection

	// latest is the latest time seen, in nanoseconds since 1970.
	latest atomic.Int64

	// outstanding counts the subjects that wait or are being evaluated.
	outstanding atomic.Int64

	changing changing

	// abandoned is set once Run no longer waits for evaluations that hang: nothing
	// comes of them any more.
	abandoned atomic.Bool

	mu          sync.RWMutex
	started     bool // rules and collections are fixed from then on
	rules       []*rule
	collections map[*kind]*collection

	// progress guards what leads to the first sync; see advance.
	progress sync.Mutex
	synced   chan struct{}
}

// New returns an engine without rules.
func New(options Options) *Engine {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	if options.Workers <= 0 {
		options.Workers = runtime.GOMAXPROCS(0)
	}
	if options.SyncTimeout <= 0 {
		options.SyncTimeout = time.Minute
	}
	if options.ShutdownTimeout <= 0 {
		options.ShutdownTimeout = 5 * time.Second
	}
	if options.RetryBackoff == nil {
		options.RetryBackoff = &wait.Backoff{Duration: 800 * time.Millisecond, Cap: 10 * time.Second, Steps: 10, Factor: 2, Jitter: 1}
	}
	if options.Memory == nil {
		options.Memory = &forgetful{}
	}
	e := &Engine{
		options:     options,
		collections: map[*kind]*collection{},
		synced:      make(chan struct{}),
	}
	e.timers = newTimers(options.Clock, e.enqueue, e.watch)
	e.metrics = newMetrics(e)
	e.statuses = e.ensure(statuses.kind)
	return e
}

// AddRule adds a rule. It fails if the rule is incomplete, has the name of another
// one, would close a cycle, or if the engine runs already.
func (e *Engine) AddRule(declared Rule) error {
	if err := validateRule(declared); err != nil {
		return err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.started {
		return fmt.Errorf("rule %s comes too late: the engine runs already", declared.Name)
	}
	name := statusName(declared.Name)
	for _, other := range e.rules {
		if other.statusName == name {
			return fmt.Errorf("rules %s and %s share the name %s", other.Name, declared.Name, name)
		}
	}
	if cycle := e.closedBy(declared); cycle != nil {
		return fmt.Errorf("rule %s would close a cycle of kinds: %v", declared.Name, cycle)
	}
	r := &rule{
		Rule:       declared,
		statusName: name,
		engine:     e,
		subject:    e.ensure(declared.Subject.kind),
		reads:      map[*kind]*collection{},
		outputs:    map[*kind]*collection{},
		nodes:      map[Key]*node{},
		queue:      newQueue(&e.outstanding),
	}
	for _, ref := range append([]KindRef{declared.Subject}, declared.Reads...) {
		if _, again := r.reads[ref.kind]; again {
			continue
		}
		c := e.ensure(ref.kind)
		r.reads[ref.kind] = c
		if !ref.kind.derived {
			r.inputs = append(r.inputs, c)
		}
	}
	for _, ref := range declared.Outputs {
		r.outputs[ref.kind] = e.ensure(ref.kind)
	}
	e.rules = append(e.rules, r)
	r.subject.subjectOf = append(r.subject.subjectOf, r)
	for _, c := range r.reads {
		c.readBy = append(c.readBy, r)
	}
	for _, c := range r.outputs {
		c.producers = append(c.producers, r)
	}
	return nil
}

// closedBy returns the kinds of a cycle that one more rule would close, or nil.
// There is none before, so that only what is computed from its outputs matters.
func (e *Engine) closedBy(declared Rule) []KindRef {
	wanted := map[*kind]bool{declared.Subject.kind: true}
	for _, read := range declared.Reads {
		wanted[read.kind] = true
	}
	visited := map[*kind]bool{}
	var follow func(outputs []KindRef) []KindRef
	follow = func(outputs []KindRef) []KindRef {
		for _, output := range outputs {
			if wanted[output.kind] {
				return []KindRef{output}
			}
			c := e.collections[output.kind]
			if c == nil || visited[output.kind] {
				continue
			}
			visited[output.kind] = true
			for _, reader := range c.readBy {
				if path := follow(reader.Outputs); path != nil {
					return append([]KindRef{output}, path...)
				}
			}
		}
		return nil
	}
	return follow(declared.Outputs)
}

// ensure returns the collection of a kind, made if need be. The caller holds mu,
// or nobody else knows the engine yet.
func (e *Engine) ensure(k *kind) *collection {
	c := e.collections[k]
	if c == nil {
		c = newCollection(e, k)
		if !k.derived {
			c.input = newInput(c)
		}
		e.collections[k] = c
	}
	return c
}

func (e *Engine) lookup(k *kind) *collection {
	e.mu.RLock()
	defer e.mu.RUnlock()
	return e.collections[k]
}

// Subscribe has fn called after every change of a collection: with a zero old
// object for an addition, a zero new one for a deletion. Calls are made one at a
// time and in order of the changes, while the collection is held: fn must return
// quickly and may read the engine, but must not wait for it. Whoever subscribes
// before Run sees everything from the start; later, fn is first called with what
// there is. Subscribing to an input has it read even if no rule does; for that it
// has to be done before Run.
func Subscribe[T Object](e *Engine, k Kind[T], fn func(old, new T)) error {
	e.mu.Lock()
	c := e.collections[k.kind]
	if c == nil {
		if e.started {
			e.mu.Unlock()
			return fmt.Errorf("subscribing to %s: no rule of the running engine uses it", k.kind.name)
		}
		c = e.ensure(k.kind)
	}
	e.mu.Unlock()
	subscriber := func(old, new Object) {
		var before, after T
		if old != nil {
			before = old.(T)
		}
		if new != nil {
			after = new.(T)
		}
		fn(before, after)
	}
	c.writing.Lock()
	defer c.writing.Unlock()
	for _, object := range c.list("", nil) {
		c.call(subscriber, nil, object)
	}
	c.subscribers = append(c.subscribers, subscriber)
	return nil
}

// List returns all objects of a collection, sorted by namespace and name.
func List[T Object](e *Engine, k Kind[T]) []T {
	return k.List(e.Snapshot(), "", nil)
}

// Get returns one object of a collection, and whether it exists.
func Get[T Object](e *Engine, k Kind[T], key Key) (T, bool) {
	return k.Get(e.Snapshot(), key)
}

// Snapshot returns a view for reading from outside of rules. It records nothing,
// and each read sees the collection as it is at that moment. Ask View.Unknown
// before relying on what was read.
func (e *Engine) Snapshot() *View { return &View{engine: e, now: e.now()} }

// Settled tells whether nothing is left to evaluate: no subject waits or is being
// evaluated, and no timer is due. What the API server has not sent yet does not
// count.
func (e *Engine) Settled() bool {
	return e.changing.none(func() bool {
		return e.timers.idle(func() bool { return e.outstanding.Load() == 0 })
	})
}

// now is the time without its monotonic part, which would make equal times differ.
func (e *Engine) now() time.Time { return e.options.Clock.Now().Round(0) }

// watch is called every few seconds, and whenever an alarm goes off.
func (e *Engine) watch(now time.Time) {
	e.changing.begin()
	defer e.changing.end()
	e.watchClock(now)
	for _, r := range e.rules {
		r.watchDuration()
	}
	for _, c := range e.collections {
		if c.input != nil {
			c.input.overdue()
			c.input.hung()
			c.input.silent()
			c.input.lookLater()
		}
	}
}

// noticeable is how far back the clock has to be set to be noticed. Readings of
// different goroutines may cross, by much less.
const noticeable = time.Second

// watchClock has all that asked for the time, or failed, evaluated again once the clock
// is set back: their timers are of a time that comes later than they thought, and what
// they said may not be so yet.
func (e *Engine) watchClock(now time.Time) {
	for {
		latest, reading := e.latest.Load(), now.UnixNano()
		if reading < latest && latest-reading < int64(noticeable) {
			return
		}
		if !e.latest.CompareAndSwap(latest, reading) {
			continue
		}
		if reading < latest {
			e.reevaluateTimed()
		}
		return
	}
}

func (e *Engine) reevaluateTimed() {
	e.changing.begin()
	defer e.changing.end()
	for _, r := range e.rules {
		for _, subject := range r.timedSubjects() {
			e.enqueue(task{r, subject})
		}
	}
}

// enqueue has a subject evaluated. Before its rule is open there is no need: all
// subjects are when it opens.
func (e *Engine) enqueue(t task) {
	if t.rule.open.Load() {
		t.rule.queue.add(t.subject)
	}
}

// Run reads the inputs from source and evaluates rules until ctx ends. It returns
// after every goroutine it started has ended: nil, or why it could not start. If
// evaluations hang, it returns without them, and with an error that names them;
// what they say after that is discarded. An engine runs once.
func (e *Engine) Run(ctx context.Context, source Source) error {
	if err := e.watchInstallations(); err != nil {
		return err
	}
	if err := e.begin(); err != nil {
		return err
	}
	connected, err := e.connect(source)
	if err != nil {
		return err
	}
	if registerer := e.options.Registerer; registerer != nil {
		if err := e.metrics.register(registerer); err != nil {
			return err
		}
		defer e.metrics.unregister(registerer)
	}
	var working, reading sync.WaitGroup
	e.startWork(ctx, &working)
	for _, lw := range connected {
		reading.Go(func() { e.reflect(ctx, lw) })
	}
	reading.Go(func() { e.boundSync(ctx) })
	<-ctx.Done()
	e.stopWork()
	reading.Wait()
	return e.awaitWork(&working)
}

// begin freezes the rules and gives every rule a first status.
func (e *Engine) begin() error {
	e.mu.Lock()
	again := e.started
	e.started = true
	e.mu.Unlock()
	if again {
		return errors.New("the engine ran already")
	}
	e.orderSync()
	for _, r := range e.rules {
		r.refreshStatus()
	}
	return nil
}
