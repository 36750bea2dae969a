// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"

	"k8s.io/client-go/tools/cache"
)

// Add, Update, Delete, Bookmark, Replace, Resync and Transformer make the input the
// store of a client-go Reflector, which calls them from one goroutine.
var (
	_ cache.TransformingStore      = &input{}
	_ cache.ReflectorBookmarkStore = &input{}
)

// Add stores an object that a watch sent, trimmed. One that is unfit is noted:
// what the Reflector does with an error is to log it.
func (in *input) Add(obj any) error {
	in.hears(false)
	object, err := in.accept(obj)
	if err != nil {
		return err
	}
	key := keyOf(object)
	in.sees(object.GetResourceVersion())
	fitted, err := in.fit(object)
	if err != nil {
		in.transition(func() {
			if in.unfit == nil {
				in.unfit = map[Key]error{}
			}
			in.unfit[key] = err
		})
		return nil //nolint:nilerr // it is reported
	}
	in.write(key, fitted)
	in.forgive(key)
	return nil
}

// Update is Add.
func (in *input) Update(obj any) error { return in.Add(obj) }

// Delete removes an object.
func (in *input) Delete(obj any) error {
	in.hears(false)
	object, err := in.accept(obj)
	if err != nil {
		return err
	}
	in.sees(object.GetResourceVersion())
	in.write(keyOf(object), nil)
	in.forgive(keyOf(object))
	return nil
}

// Bookmark notes that the API server has nothing to tell. What ends the initial
// objects of a streamed list is none: the Reflector keeps that to itself.
func (in *input) Bookmark(version string) error {
	in.sees(version)
	in.hears(true)
	return nil
}

// forgive ends what an object that is fit now, or gone, was the cause of.
func (in *input) forgive(key Key) {
	in.mu.Lock()
	_, unfit := in.unfit[key]
	in.mu.Unlock()
	if unfit {
		in.transition(func() { delete(in.unfit, key) })
	}
}

// Replace takes a whole list, whose items went through fitListed already: by the
// observed ListerWatcher, or by the Reflector, which asks for the Transformer. Of
// an object that is there but unfit, what is stored stays.
func (in *input) Replace(items []any, version string) error {
	in.mu.Lock()
	listed := in.unfitListed
	in.unfitListed = nil
	in.mu.Unlock()
	objects := make(map[Key]Object, len(items))
	var unfit map[Key]error
	for _, item := range items {
		object, err := in.accept(item)
		if err != nil {
			return err
		}
		key := keyOf(object)
		if err := listed[key]; err != nil {
			if unfit == nil {
				unfit = map[Key]error{}
			}
			unfit[key] = err
			stored, ok := in.c.get(key)
			if !ok {
				continue
			}
			object = stored
		}
		objects[key] = object
	}
	in.replaced(objects, unfit, version)
	return nil
}

// Resync has nothing to do: nothing here is ever behind the store.
func (in *input) Resync() error { return nil }

// Transformer lets the Reflector trim what a streamed list brings, as it comes.
func (in *input) Transformer() cache.TransformFunc {
	if !in.c.kind.fits() {
		return nil
	}
	return func(obj any) (any, error) {
		object, err := in.accept(obj)
		if err != nil {
			return obj, nil //nolint:nilerr // for example DeletedFinalStateUnknown
		}
		return in.fitListed(object), nil
	}
}

func (in *input) write(key Key, object Object) {
	in.c.engine.changing.begin()
	defer in.c.engine.changing.end()
	in.c.writing.Lock()
	defer in.c.writing.Unlock()
	in.c.write(key, object)
}

func (in *input) accept(obj any) (Object, error) {
	object, ok := obj.(Object)
	if !ok || !in.c.kind.holds(object) {
		return nil, fmt.Errorf("%s holds %T, not %T", in.c.kind.name, in.c.kind.example(), obj)
	}
	return object, nil
}

// fit makes of an object what is stored. If Trim panics, nothing is, since what
// Trim was to remove may be secret; nor if an index function does, since the
// object could not be found.
func (in *input) fit(object Object) (fitted Object, err error) {
	k, key := in.c.kind, keyOf(object)
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("trimming %s %s panicked: %v", k.name, key, p)
			in.c.engine.options.Logger.Error(err, "Trim panicked", "stack", string(debug.Stack()))
		}
	}()
	if k.trim != nil {
		if object = k.trim(object); !k.holds(object) {
			return nil, fmt.Errorf("trimming %s %s left nothing", k.name, key)
		}
	}
	if err := k.indexable(object); err != nil {
		in.c.engine.options.Logger.Error(err, "Index function panicked")
		return nil, err
	}
	return object, nil
}

// listBegins forgets what an earlier list, which may not have come to its end,
// held that was unfit.
func (in *input) listBegins() {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.unfitListed = nil
}

// fitListed is fit for the items of a list. In place of one that is unfit it
// returns one that has nothing but the name.
func (in *input) fitListed(object Object) Object {
	key := keyOf(object)
	fitted, err := in.fit(object)
	in.mu.Lock()
	defer in.mu.Unlock()
	if err == nil {
		delete(in.unfitListed, key)
		return fitted
	}
	if in.unfitListed == nil {
		in.unfitListed = map[Key]error{}
	}
	in.unfitListed[key] = err
	blank := in.c.kind.example()
	blank.SetNamespace(key.Namespace)
	blank.SetName(key.Name)
	return blank
}

// unfitError tells of objects that cannot be stored, by the first of them.
type unfitError struct {
	first error
	more  int
}

func unfitness(unfit map[Key]error) error {
	first := slices.MinFunc(slices.Collect(maps.Keys(unfit)), func(a, b Key) int { return cmp.Compare(a.String(), b.String()) })
	return &unfitError{first: unfit[first], more: len(unfit) - 1}
}

func (e *unfitError) Error() string {
	if e.more > 0 {
		return fmt.Sprintf("%v (and %d more)", e.first, e.more)
	}
	return e.first.Error()
}

func (e *unfitError) Unwrap() error { return e.first }
