// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"sync"

	"k8s.io/apimachinery/pkg/labels"
)

// dep is one recorded read. a and b are namespace and name for byKey, index and
// value for byIndex, namespace and selector for bySelector.
type dep struct {
	collection *collection
	by         lookup
	a, b       string
}

type lookup uint8

const (
	byKey lookup = iota
	byIndex
	bySelector
)

// depSet is a set of reads in the order they were made. Most evaluations make a
// few, for which looking through them is faster and smaller than a map.
type depSet struct {
	list []dep
	set  map[dep]struct{}
}

const smallDepSet = 12

func (s *depSet) has(d dep) bool {
	if s.set != nil {
		_, ok := s.set[d]
		return ok
	}
	for i := range s.list {
		if s.list[i] == d {
			return true
		}
	}
	return false
}

func (s *depSet) add(d dep) {
	s.list = append(s.list, d)
	if s.set != nil {
		s.set[d] = struct{}{}
		return
	}
	if len(s.list) > smallDepSet {
		s.set = make(map[dep]struct{}, 2*len(s.list))
		for _, known := range s.list {
			s.set[known] = struct{}{}
		}
	}
}

// nodeSet is a set of nodes; one member, the usual case, costs no map.
type nodeSet struct {
	one  *node
	many map[*node]struct{}
}

func (s *nodeSet) add(n *node) {
	switch {
	case s.many != nil:
		s.many[n] = struct{}{}
	case s.one == nil || s.one == n:
		s.one = n
	default:
		s.many = map[*node]struct{}{s.one: {}, n: {}}
		s.one = nil
	}
}

// remove tells whether the set is empty afterwards.
func (s *nodeSet) remove(n *node) bool {
	if s.many != nil {
		delete(s.many, n)
		return len(s.many) == 0
	}
	if s.one == n {
		s.one = nil
	}
	return s.one == nil
}

func (s *nodeSet) each(fn func(*node)) {
	if s.one != nil {
		fn(s.one)
	}
	for n := range s.many {
		fn(n)
	}
}

type indexValue struct{ index, value string }

// selectorDependents are the subjects that listed with one selector. A nil
// selector matches everything.
type selectorDependents struct {
	selector labels.Selector
	nodes    nodeSet
}

// dependents answers which subjects read what has changed, at a cost that depends
// on how many read it and not on how many there are; but each distinct selector
// that was read in the object's namespace, or in all, is matched.
type dependents struct {
	mu         sync.RWMutex
	byKey      map[Key]*nodeSet
	byIndex    map[indexValue]*nodeSet
	bySelector map[string]map[string]*selectorDependents // by namespace ("" is all), then selector
}

func (d *dependents) add(read dep, n *node, selector labels.Selector) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch read.by {
	case byKey:
		addTo(&d.byKey, Key{Namespace: read.a, Name: read.b}, n)
	case byIndex:
		addTo(&d.byIndex, indexValue{read.a, read.b}, n)
	case bySelector:
		if d.bySelector == nil {
			d.bySelector = map[string]map[string]*selectorDependents{}
		}
		selectors := d.bySelector[read.a]
		if selectors == nil {
			selectors = map[string]*selectorDependents{}
			d.bySelector[read.a] = selectors
		}
		entry := selectors[read.b]
		if entry == nil {
			entry = &selectorDependents{selector: selector}
			selectors[read.b] = entry
		}
		entry.nodes.add(n)
	}
}

func addTo[K comparable](sets *map[K]*nodeSet, key K, n *node) {
	if *sets == nil {
		*sets = map[K]*nodeSet{}
	}
	set := (*sets)[key]
	if set == nil {
		set = &nodeSet{}
		(*sets)[key] = set
	}
	set.add(n)
}

func (d *dependents) remove(read dep, n *node) {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch read.by {
	case byKey:
		removeFrom(d.byKey, Key{Namespace: read.a, Name: read.b}, n)
	case byIndex:
		removeFrom(d.byIndex, indexValue{read.a, read.b}, n)
	case bySelector:
		selectors := d.bySelector[read.a]
		if entry := selectors[read.b]; entry != nil && entry.nodes.remove(n) {
			delete(selectors, read.b)
			if len(selectors) == 0 {
				delete(d.bySelector, read.a)
			}
		}
	}
}

func removeFrom[K comparable](sets map[K]*nodeSet, key K, n *node) {
	if set := sets[key]; set != nil && set.remove(n) {
		delete(sets, key)
	}
}

// each calls fn for every subject that a change concerns; for some more than
// once. fn must not call back into the dependents.
func (d *dependents) each(ch change, indexes []index, fn func(*node)) {
	d.mu.RLock()
	defer d.mu.RUnlock()
	if set := d.byKey[ch.key]; set != nil {
		set.each(fn)
	}
	if len(d.byIndex) > 0 {
		for i := range indexes {
			for _, object := range [2]Object{ch.old, ch.new} {
				if object == nil {
					continue
				}
				for _, value := range indexes[i].values(object) {
					if set := d.byIndex[indexValue{indexes[i].name, value}]; set != nil {
						set.each(fn)
					}
				}
			}
		}
	}
	if len(d.bySelector) > 0 {
		ch.eachSelector(d.bySelector[""], fn)
		if ch.key.Namespace != "" {
			ch.eachSelector(d.bySelector[ch.key.Namespace], fn)
		}
	}
}

func (ch change) eachSelector(selectors map[string]*selectorDependents, fn func(*node)) {
	if len(selectors) == 0 {
		return
	}
	var before, after labels.Set
	if ch.old != nil {
		before = ch.old.GetLabels()
	}
	if ch.new != nil {
		after = ch.new.GetLabels()
	}
	for _, entry := range selectors {
		if entry.selector == nil ||
			ch.old != nil && entry.selector.Matches(before) ||
			ch.new != nil && entry.selector.Matches(after) {
			entry.nodes.each(fn)
		}
	}
}
