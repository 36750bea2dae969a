// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"runtime/debug"
	"slices"
	"sync"
	"sync/atomic"

	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
)

// change is one object added (old nil), changed, or deleted (new nil).
type change struct {
	key      Key
	old, new Object
}

// collection is the content of one kind within an engine.
//
// Locks are taken in the order writing, mu, dependents.mu, queue.mu, and never
// held while a rule is evaluated.
type collection struct {
	kind   *kind
	engine *Engine

	subjectOf []*rule // fixed once the engine runs
	readBy    []*rule // fixed once the engine runs
	producers []*rule // fixed once the engine runs
	// first are the rules whose first evaluations make the first state of a derived kind;
	// fixed once the engine runs.
	first      []*rule
	dependents dependents
	input      *input // nil for a derived kind

	// reached tells the first sync that there is a first state: of an input what it is
	// while answered, of a derived kind the work of all of first done once.
	reached atomic.Bool
	// known tells whether a read says something about the cluster as it is.
	known   atomic.Bool
	waiting map[task]struct{} // read while unknown; guarded by dependents.mu

	// writing serializes changes and with them the calls of subscribers.
	writing     sync.Mutex
	subscribers []func(old, new Object)
	claims      claims

	mu      sync.RWMutex
	objects map[string]map[string]Object // by namespace, then name
	count   int
	indexed map[indexValue]map[Key]struct{}
}

func newCollection(e *Engine, k *kind) *collection {
	return &collection{
		kind:    k,
		engine:  e,
		objects: map[string]map[string]Object{},
		indexed: map[indexValue]map[Key]struct{}{},
	}
}

func (c *collection) get(key Key) (Object, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	object, ok := c.objects[key.Namespace][key.Name]
	return object, ok
}

func (c *collection) len() int {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.count
}

func (c *collection) list(namespace string, selector labels.Selector) []Object {
	c.mu.RLock()
	var result []Object
	collect := func(objects map[string]Object) {
		for _, object := range objects {
			if selector == nil || selector.Matches(labels.Set(object.GetLabels())) {
				result = append(result, object)
			}
		}
	}
	if namespace != "" {
		collect(c.objects[namespace])
	} else {
		if selector == nil {
			result = make([]Object, 0, c.count)
		}
		for _, objects := range c.objects {
			collect(objects)
		}
	}
	c.mu.RUnlock()
	sortObjects(result)
	return result
}

func (c *collection) byIndex(index, value string) []Object {
	c.mu.RLock()
	keys := c.indexed[indexValue{index, value}]
	result := make([]Object, 0, len(keys))
	for key := range keys {
		result = append(result, c.objects[key.Namespace][key.Name])
	}
	c.mu.RUnlock()
	sortObjects(result)
	return result
}

func (c *collection) keys() []Key {
	c.mu.RLock()
	defer c.mu.RUnlock()
	keys := make([]Key, 0, c.count)
	for namespace, objects := range c.objects {
		for name := range objects {
			keys = append(keys, Key{Namespace: namespace, Name: name})
		}
	}
	return keys
}

func sortObjects(objects []Object) {
	slices.SortFunc(objects, func(a, b Object) int {
		if order := cmp.Compare(a.GetNamespace(), b.GetNamespace()); order != 0 {
			return order
		}
		return cmp.Compare(a.GetName(), b.GetName())
	})
}

// write stores one object, or deletes it if object is nil, and tells those whom
// it concerns. An object equal to the stored one changes nothing. The caller
// holds writing.
func (c *collection) write(key Key, object Object) {
	if old, _ := c.get(key); !c.unchanged(old, object) {
		c.overwrite(key, old, object)
	}
}

// overwrite is write where the caller knows that the object differs from the old.
func (c *collection) overwrite(key Key, old, object Object) {
	changes := []change{{key: key, old: old, new: object}}
	c.commit(changes)
	c.announce(changes)
}

// replace makes objects the whole content and returns what that changed, stored
// but not yet announced. byValue tells that resourceVersions say nothing. The caller
// holds writing.
func (c *collection) replace(objects map[Key]Object, byValue bool) []change {
	var changes []change
	for _, key := range c.keys() {
		if _, stays := objects[key]; !stays {
			old, _ := c.get(key)
			changes = append(changes, change{key: key, old: old})
		}
	}
	for key, object := range objects {
		old, exists := c.get(key)
		if exists && byValue && apiequality.Semantic.DeepEqual(old, object) {
			continue
		}
		if !exists || byValue || !c.unchanged(old, object) {
			changes = append(changes, change{key: key, old: old, new: object})
		}
	}
	c.commit(changes)
	return changes
}

// unchanged compares by value. For what comes from the API server, a
// resourceVersion settles it, where both have one.
func (c *collection) unchanged(old, new Object) bool {
	if old == nil || new == nil {
		return old == nil && new == nil
	}
	if !c.kind.derived {
		if before, after := old.GetResourceVersion(), new.GetResourceVersion(); before != "" && after != "" {
			// The same object in another version of its API differs too.
			return before == after && old.GetUID() == new.GetUID() &&
				old.GetObjectKind().GroupVersionKind() == new.GetObjectKind().GroupVersionKind()
		}
	}
	return apiequality.Semantic.DeepEqual(old, new)
}

func (c *collection) commit(changes []change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, ch := range changes {
		c.reindex(ch)
		objects := c.objects[ch.key.Namespace]
		if ch.new == nil {
			delete(objects, ch.key.Name)
			if len(objects) == 0 {
				delete(c.objects, ch.key.Namespace)
			}
			c.count--
			continue
		}
		if objects == nil {
			objects = map[string]Object{}
			c.objects[ch.key.Namespace] = objects
		}
		if ch.old == nil {
			c.count++
		}
		objects[ch.key.Name] = ch.new
	}
}

func (c *collection) reindex(ch change) {
	for i := range c.kind.indexes {
		ix := &c.kind.indexes[i]
		var before, after []string
		if ch.old != nil {
			before = ix.values(ch.old)
		}
		if ch.new != nil {
			after = ix.values(ch.new)
		}
		if slices.Equal(before, after) {
			continue
		}
		for _, value := range before {
			at := indexValue{ix.name, value}
			delete(c.indexed[at], ch.key)
			if len(c.indexed[at]) == 0 {
				delete(c.indexed, at)
			}
		}
		for _, value := range after {
			at := indexValue{ix.name, value}
			if c.indexed[at] == nil {
				c.indexed[at] = map[Key]struct{}{}
			}
			c.indexed[at][ch.key] = struct{}{}
		}
	}
}

// announce queues the subjects that committed changes concern and calls the
// subscribers. The caller holds writing.
func (c *collection) announce(changes []change) {
	for _, ch := range changes {
		for _, r := range c.subjectOf {
			c.engine.enqueue(task{r, ch.key})
		}
		c.dependents.each(ch, c.kind.indexes, func(n *node) { c.engine.enqueue(n.task) })
		for _, subscriber := range c.subscribers {
			c.call(subscriber, ch.old, ch.new)
		}
	}
}

// call keeps a panic in a subscriber from taking the process down.
func (c *collection) call(subscriber func(old, new Object), old, new Object) {
	defer func() {
		if p := recover(); p != nil {
			c.engine.options.Logger.Error(nil, "Subscriber panicked", "kind", c.kind.name, "panic", p, "stack", string(debug.Stack()))
		}
	}()
	subscriber(old, new)
}

// await notes that a subject read the collection while it was unknown. It returns
// true, and notes nothing, if the collection has become known in the meantime.
func (c *collection) await(t task) bool {
	c.dependents.mu.Lock()
	defer c.dependents.mu.Unlock()
	if c.known.Load() {
		return true
	}
	if c.waiting == nil {
		c.waiting = map[task]struct{}{}
	}
	c.waiting[t] = struct{}{}
	return false
}

// forsake takes a subject that is gone off those that wait.
func (c *collection) forsake(t task) {
	c.dependents.mu.Lock()
	defer c.dependents.mu.Unlock()
	delete(c.waiting, t)
}

// setKnown queues all that waited once the collection becomes known.
func (c *collection) setKnown(known bool) {
	c.dependents.mu.Lock()
	c.known.Store(known)
	var waiting map[task]struct{}
	if known {
		waiting, c.waiting = c.waiting, nil
	}
	c.dependents.mu.Unlock()
	for t := range waiting {
		c.engine.enqueue(t)
	}
}

func (c *collection) unknown() *UnknownError {
	if c.input != nil {
		condition := c.input.current()
		return &UnknownError{Kind: KindRef{c.kind}, Reason: condition.state.reason(), Cause: condition.err}
	}
	return &UnknownError{Kind: KindRef{c.kind}, Reason: ReasonInputSyncing}
}
