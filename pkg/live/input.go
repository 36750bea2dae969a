// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/resourceversion"
	"k8s.io/client-go/util/flowcontrol"
)

// input follows one resource of the API server: it receives what the reflector
// reads, and learns how the reading goes from the observed ListerWatcher.
type input struct {
	c *collection
	// again has one element if what is being asked is to be given up for a new start.
	again chan struct{}
	// look has one element if the resource may have been installed, removed, or served
	// in another version. looking bounds how often that makes for a new start.
	look    chan struct{}
	looking flowcontrol.RateLimiter
	// answered is closed once the first sync need not wait for the input.
	answered chan struct{}
	// definitions tell whether the resource is installed; nil if nothing does.
	definitions *collection
	// version is the index of the one of kind.versions that was read last.
	version atomic.Int32
	// looks is how many times to look for a preferred version.
	looks atomic.Int32

	// turn serializes changes of state together with all that follows from them.
	turn sync.Mutex

	mu          sync.Mutex
	condition   condition
	list, watch fault
	lapse       lapse
	hearing     hearing
	// mustList tells that watching was lost for so long that only a list tells
	// what was missed: an API server opens a watch that it then refuses to serve.
	mustList  bool
	streaming bool // the last answer was a watch that sends the initial objects
	// seen is the version of the newest list, event or bookmark; empty before the first list.
	seen string
	// listed is closed once the list ends that is under way; nil if none is.
	listed chan struct{}
	// unfit are the objects that cannot be stored, and why; unfitListed those of
	// the list that is being read.
	unfit, unfitListed map[Key]error
}

func newInput(c *collection) *input {
	return &input{
		c: c, again: make(chan struct{}, 1), look: make(chan struct{}, 1), answered: make(chan struct{}),
		looking:   flowcontrol.NewTokenBucketRateLimiter(float32(1/c.engine.retryPause().Seconds()), promptLooks),
		condition: condition{state: stateSyncing, since: c.engine.now(), awaited: true},
	}
}

func (in *input) current() condition {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.condition
}

// asks notes that a request begins. A watch that sends the initial objects is a
// list too.
func (in *input) asks(list bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.lapse.begin(in.c.engine.options.Clock.Now())
	in.lapse.listing, in.lapse.asked = list, time.Now()
	if list && in.listed == nil {
		in.listed = make(chan struct{})
	}
}

func (in *input) listFailed(err error) {
	in.transition(func() {
		in.listEnded()
		if notServed(err) {
			err = in.judge(err)
		}
		in.lapse.begin(in.c.engine.options.Clock.Now())
		in.lapse.answered(err)
		in.lapse.listing = true
		if relist(err) {
			if in.list.state == stateFailing {
				in.list.err = in.lapse.failure()
			}
			return
		}
		in.list.add(err)
		if notServed(err) && in.c.kind.optional {
			in.lapse, in.mustList, in.list.failures = lapse{}, false, 0 // that is an answer
		}
	})
	if in.absent() {
		in.startAnew() // with a rest
	}
}

// listEnded notes that no list is under way. The caller holds mu.
func (in *input) listEnded() {
	if in.listed != nil {
		close(in.listed)
		in.listed = nil
	}
}

func (in *input) listGivenUp() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.listEnded()
}

func (in *input) listSucceeded() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.streaming = false // replace follows
}

// watchFailed notes that a watch did not start. initial tells that it was to send
// the initial objects: the reflector then falls back to listing, which has the
// last word on whether the resource is there and may be read.
func (in *input) watchFailed(err error, initial bool) {
	if initial && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err)) {
		return
	}
	in.transition(func() {
		in.lapse.answered(err)
		if relist(err) || apierrors.IsNotFound(err) {
			return
		}
		in.watch.add(err)
		in.mustList = in.mustList || in.watch.state != ""
	})
}

// watchStarted notes that a watch was answered. It returns false if it is of no
// use, since it may begin after what was missed: there has to be a list first.
func (in *input) watchStarted(initial bool) bool {
	if initial {
		in.listBegins()
		in.mu.Lock()
		defer in.mu.Unlock()
		in.streaming = true // replace follows
		return true
	}
	in.mu.Lock()
	useless := in.mustList || in.hearing.stale(in.c.engine.options.Clock.Now())
	in.mu.Unlock()
	if useless {
		return false
	}
	in.transition(func() {
		in.watch, in.lapse = fault{}, lapse{}
		in.hearing.begin(in.c.engine.options.Clock.Now())
	})
	return true
}

func (in *input) watchEnded() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.hearing.end()
	in.lapse.begin(in.c.engine.options.Clock.Now())
}

// awaitNoLonger lets the first sync go on without an input that cannot be read yet.
// One that has not answered at all is declared failing.
func (in *input) awaitNoLonger(after time.Duration) {
	in.transition(func() {
		in.condition.awaited = false
		if in.condition.state == stateSyncing {
			in.list.state, in.list.err = stateFailing, fmt.Errorf("no answer within %s", after)
		}
	})
}

// sees notes the version that the API server has got to.
func (in *input) sees(version string) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.seen = version
}

func (in *input) lastSeen() string {
	in.mu.Lock()
	defer in.mu.Unlock()
	return in.seen
}

// hears notes that an event or a bookmark came on the watch.
func (in *input) hears(bookmark bool) {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.hearing.add(bookmark, in.c.engine.options.Clock.Now())
}

// silent declares an input failing whose watch is open and brings nothing any more,
// though the API server sends bookmarks on it. It is read anew.
func (in *input) silent() {
	late := func() bool { return in.hearing.late(in.c.engine.options.Clock.Now()) }
	in.mu.Lock()
	none := !late()
	in.mu.Unlock()
	if none {
		return
	}
	in.transition(func() {
		if !late() {
			return
		}
		in.watch.state, in.watch.err = stateFailing, fmt.Errorf("its watch is open, and for more than %s brought neither an event nor a bookmark", longestSilence)
		in.mustList = true
		in.hearing.end()
		in.startAnew()
	})
}

// hung has an input asked for again of which a request is not answered. Like all
// retries, that goes by the real clock.
func (in *input) hung() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.lapse.giveUp(time.Now()) {
		in.startAnew()
	}
}

// startAnew has the reflector give up what it does, and start anew.
func (in *input) startAnew() { signal(in.again) }

func signal(to chan struct{}) {
	select {
	case to <- struct{}{}:
	default:
	}
}

// overdue declares an input failing of which nothing has been heard for too long,
// whatever the requests are doing.
func (in *input) overdue() {
	late := func() bool {
		return in.condition.sound(in.c.kind) && !in.lapse.since.IsZero() &&
			in.c.engine.options.Clock.Since(in.lapse.since) >= longestLapse
	}
	in.mu.Lock()
	none := !late()
	in.mu.Unlock()
	if none {
		return
	}
	in.transition(func() {
		if !late() {
			return
		}
		f := &in.watch
		if in.lapse.listing {
			f = &in.list
		}
		f.state, f.err = stateFailing, in.lapse.failure()
		in.mustList = true
	})
}

// transition applies what happened and does what follows from a new state.
func (in *input) transition(happened func()) {
	in.c.engine.changing.begin()
	defer in.c.engine.changing.end()
	in.turn.Lock()
	defer in.turn.Unlock()
	before, after := in.move(happened)
	if before.state != after.state {
		if after.state == stateNotInstalled && in.c.kind.optional {
			in.c.writing.Lock()
			gone := in.c.replace(nil, false)
			in.c.setKnown(true)
			in.c.announce(gone)
			in.c.writing.Unlock()
		} else {
			in.c.setKnown(after.known(in.c.kind))
		}
	}
	in.settle(before, after)
}

// replaced makes objects the content of the collection: the input is synced, but
// for what is unfit.
func (in *input) replaced(objects map[Key]Object, unfit map[Key]error, version string) {
	in.c.engine.changing.begin()
	defer in.c.engine.changing.end()
	in.turn.Lock()
	defer in.turn.Unlock()
	in.c.writing.Lock()
	// A list from before what was seen is one of restored storage, which gives the same
	// versions to other contents.
	order, err := resourceversion.CompareResourceVersion(version, in.lastSeen())
	changes := in.c.replace(objects, err == nil && order < 0)
	in.sees(version)
	before, after := in.move(func() {
		in.condition.synced = true
		in.listEnded()
		in.list, in.lapse, in.mustList = fault{}, lapse{}, false
		in.hearing.news = in.c.engine.options.Clock.Now()
		if in.streaming {
			in.watch = fault{}
			in.hearing.begin(in.c.engine.options.Clock.Now())
		}
		in.unfit = unfit
	})
	in.c.setKnown(after.known(in.c.kind))
	in.c.announce(changes)
	in.c.writing.Unlock()
	in.settle(before, after)
}

// move applies what happened and derives the state anew.
func (in *input) move(happened func()) (before, after condition) {
	in.mu.Lock()
	defer in.mu.Unlock()
	before = in.condition
	happened()
	if in.list.state == stateNotInstalled && in.c.kind.optional {
		in.condition.synced, in.unfit = false, nil // what there was goes
	}
	state, err := stateSynced, error(nil)
	switch {
	case in.list.state != "":
		state, err = in.list.state, in.list.err
	case in.watch.state != "":
		state, err = in.watch.state, in.watch.err
	case !in.condition.synced:
		state = stateSyncing
	case len(in.unfit) > 0:
		state, err = stateFailing, unfitness(in.unfit)
	}
	now := in.c.engine.now()
	switch {
	case state != before.state:
		in.condition.state, in.condition.since = state, now
		in.condition.quote(err, now)
	case before.outdated(err, now):
		in.condition.quote(err, now)
	}
	if !in.condition.answered() {
		in.c.reached.Store(false) // before anything is discarded for it
	}
	return before, in.condition
}

// settle tells the rules, and lets those start that waited for a first state.
func (in *input) settle(before, after condition) {
	defer in.reach(after)
	if before.state == after.state && before.quotes == after.quotes {
		return
	}
	if before.state != after.state {
		logger := in.c.engine.options.Logger.WithValues("input", in.c.kind.name, "state", after.state)
		if after.sound(in.c.kind) {
			logger.V(1).Info("Input is known")
		} else {
			logger.Info("Input is not known", "err", after.err)
		}
	}
	for _, r := range in.c.readBy {
		r.refreshStatus()
	}
}

// reach lets the first sync go on, once all that follows from a state is queued. The
// caller holds turn.
func (in *input) reach(now condition) {
	if now.answered() {
		select {
		case <-in.answered:
		default:
			close(in.answered)
		}
	}
	if !in.c.engine.Synced() && now.answered() && !in.c.reached.Load() {
		in.c.engine.reach(in.c)
	}
}
