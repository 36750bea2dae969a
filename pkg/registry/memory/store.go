// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package memory is a storage.Interface over objects that are computed and
// never written by clients. It keeps the current objects of one resource, gives
// each change a resourceVersion and feeds the changes to watches. The cacher of
// k8s.io/apiserver sits in front of it (see NewDecorator), so that clients get
// the list and watch semantics of kube-apiserver itself.
//
// It knows nothing of what the objects mean.
package memory

import (
	"context"
	"fmt"
	"math/rand/v2"
	"reflect"
	"sort"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/utils/clock"
)

// epoch is where the milliseconds in a resourceVersion count from.
var epoch = time.Date(2020, 1, 1, 0, 0, 0, 0, time.UTC)

// InitialVersion returns the resourceVersion that a process started at the given
// time begins with: milliseconds since 2020 in the upper bits, and in the lower 20
// a random number, so that replicas which start in the same millisecond share no
// versions, save by a rare chance. A client that moves between them is told to
// list again. A clock before 2020 counts as 2020.
func InitialVersion(start time.Time) uint64 {
	return uint64(max(0, start.Sub(epoch).Milliseconds()))<<20 | rand.Uint64N(1<<20)
}

// Store holds the objects of one resource. Objects that were put are shared with
// readers and must not be changed afterwards.
type Store struct {
	resource  schema.GroupResource
	keyFunc   func(runtime.Object) (string, error)
	newFunc   func() runtime.Object
	versioner storage.Versioner

	initial uint64 // version

	mu       sync.RWMutex
	version  uint64
	objects  map[string]runtime.Object
	hashes   map[string]content // of objects
	contents contents
	feeds    map[*feed]struct{}
}

var _ storage.Interface = &Store{}

// NewStore returns an empty store whose versions begin at the clock's now.
func NewStore(resource schema.GroupResource, keyFunc func(runtime.Object) (string, error), newFunc func() runtime.Object, c clock.PassiveClock) *Store {
	initial := InitialVersion(c.Now())
	s := &Store{
		resource: resource, keyFunc: keyFunc, newFunc: newFunc,
		versioner: storage.APIObjectVersioner{},
		initial:   initial, version: initial,
		objects: map[string]runtime.Object{}, hashes: map[string]content{},
		feeds: map[*feed]struct{}{},
	}
	s.contents.add(initial, content{})
	return s
}

// Put stores object, which the store owns from now on, under the next version.
// An object of the same name with another UID is another object: watchers see
// the old one deleted and the new one added.
func (s *Store) Put(object runtime.Object) error {
	key, err := s.keyFunc(object)
	if err != nil {
		return fmt.Errorf("storing one of %s: %w", s.resource, err)
	}
	hash, err := contentOf(key, object)
	if err != nil {
		return fmt.Errorf("storing one of %s: %w", s.resource, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	old, exists := s.objects[key]
	if exists && uidOf(old) != uidOf(object) {
		if err := s.deleteLocked(key, old); err != nil {
			return err
		}
		exists = false
	}
	if err := s.versioner.UpdateObject(object, s.version+1); err != nil {
		return fmt.Errorf("setting the resourceVersion of %s %q: %w", s.resource, key, err)
	}
	s.objects[key] = object
	s.advanceLocked(s.hashes[key].with(hash))
	s.hashes[key] = hash
	eventType := watch.Added
	if exists {
		eventType = watch.Modified
	}
	s.sendLocked(watch.Event{Type: eventType, Object: object})
	return nil
}

// Remove deletes the object of the same key, if there is one.
func (s *Store) Remove(object runtime.Object) error {
	key, err := s.keyFunc(object)
	if err != nil {
		return fmt.Errorf("removing one of %s: %w", s.resource, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if old, exists := s.objects[key]; exists {
		return s.deleteLocked(key, old)
	}
	return nil
}

func (s *Store) deleteLocked(key string, old runtime.Object) error {
	// A deletion carries the version at which it happened, on a copy, because
	// readers may hold the stored object.
	last := old.DeepCopyObject()
	if err := s.versioner.UpdateObject(last, s.version+1); err != nil {
		return fmt.Errorf("setting the resourceVersion of deleted %s %q: %w", s.resource, key, err)
	}
	delete(s.objects, key)
	s.advanceLocked(s.hashes[key])
	delete(s.hashes, key)
	s.sendLocked(watch.Event{Type: watch.Deleted, Object: last})
	return nil
}

// advanceLocked goes on to the next version, at which the content differs by a hash.
func (s *Store) advanceLocked(difference content) {
	before, _ := s.contents.at(s.version)
	s.version++
	s.contents.add(s.version, before.with(difference))
}

func (s *Store) sendLocked(event watch.Event) {
	for f := range s.feeds {
		f.send(event)
	}
}

func uidOf(object runtime.Object) string {
	accessor, err := meta.Accessor(object)
	if err != nil {
		return ""
	}
	return string(accessor.GetUID())
}

// Versioner implements storage.Interface.
func (s *Store) Versioner() storage.Versioner { return s.versioner }

// Get implements storage.Interface.
func (s *Store) Get(_ context.Context, key string, options storage.GetOptions, into runtime.Object) error {
	s.mu.RLock()
	object, exists := s.objects[key]
	version := s.version
	s.mu.RUnlock()
	if err := s.validateMinimumVersion(options.ResourceVersion, version); err != nil {
		return err
	}
	if !exists {
		if options.IgnoreNotFound {
			return runtime.SetZeroValue(into)
		}
		return storage.NewKeyNotFoundError(key, int64(version))
	}
	target := reflect.ValueOf(into)
	source := reflect.ValueOf(object)
	if target.Type() != source.Type() {
		return fmt.Errorf("reading %s %q: stored as %T, asked for as %T", s.resource, key, object, into)
	}
	target.Elem().Set(source.Elem())
	return nil
}

// GetList implements storage.Interface. Only the cacher's reflector and reads
// before the cacher is ready come here.
func (s *Store) GetList(_ context.Context, key string, options storage.ListOptions, list runtime.Object) error {
	s.mu.RLock()
	keys := make([]string, 0, len(s.objects))
	for k := range s.objects {
		if k == key || (options.Recursive && strings.HasPrefix(k, directory(key))) {
			keys = append(keys, k)
		}
	}
	objects := make(map[string]runtime.Object, len(keys))
	for _, k := range keys {
		objects[k] = s.objects[k]
	}
	version := s.version
	s.mu.RUnlock()

	if err := s.validateMinimumVersion(options.ResourceVersion, version); err != nil {
		return err
	}
	exact, _, err := storage.ValidateListOptions(directory(key), s.versioner, options)
	if err != nil {
		return err
	}
	// No old versions are kept here; what the cacher's snapshots no longer have is expired.
	if exact != 0 && uint64(exact) != version && !options.Recursive && s.unchangedSince(objects[key], uint64(exact)) {
		version = uint64(exact)
	}
	if options.Predicate.Continue != "" || (exact != 0 && uint64(exact) != version) {
		return expiredList(directory(key), options.Predicate.Continue)
	}
	sort.Strings(keys)
	items, err := meta.GetItemsPtr(list)
	if err != nil {
		return fmt.Errorf("listing %s: %w", s.resource, err)
	}
	slice := reflect.ValueOf(items).Elem()
	slice.Set(reflect.MakeSlice(slice.Type(), 0, len(keys)))
	for _, k := range keys {
		matches, err := options.Predicate.Matches(objects[k])
		if err != nil {
			return fmt.Errorf("matching %s %q: %w", s.resource, k, err)
		}
		if matches {
			slice.Set(reflect.Append(slice, reflect.ValueOf(objects[k]).Elem()))
		}
	}
	return s.versioner.UpdateList(list, version, "", nil)
}

// unchangedSince tells whether the object, which may be nil, is at present what it
// was at a version. The cacher keeps no snapshots for lists of one name; without this
// each change of another object between two requests would expire such a list.
func (s *Store) unchangedSince(object runtime.Object, version uint64) bool {
	if object == nil {
		return false
	}
	last, err := s.versioner.ObjectResourceVersion(object)
	return err == nil && last <= version
}

// expiredList refuses a version that is no longer kept. A client that was at a
// later page is given a token to go on with at the present version.
func expiredList(prefix, token string) error {
	expired := apierrors.NewResourceExpired("the version asked for is no longer kept; list again without it")
	if key, _, err := storage.DecodeContinue(token, prefix); token != "" && err == nil {
		if fresh, err := storage.EncodeContinue(key, prefix, -1); err == nil {
			expired.ErrStatus.Continue = fresh
		}
	}
	return expired
}

// directory returns the key prefix under which a list's objects lie.
func directory(key string) string {
	if strings.HasSuffix(key, "/") {
		return key
	}
	return key + "/"
}

// validateMinimumVersion refuses a version that this process has not reached:
// it comes from another replica or from before a clock went back.
func (s *Store) validateMinimumVersion(minimum string, current uint64) error {
	if minimum == "" || minimum == "0" {
		return nil
	}
	version, err := s.versioner.ParseResourceVersion(minimum)
	if err != nil {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid resourceVersion: %v", err))
	}
	if version > current {
		return storage.NewTooLargeResourceVersionError(version, current, 1)
	}
	return nil
}

// GetCurrentResourceVersion implements storage.Interface.
func (s *Store) GetCurrentResourceVersion(context.Context) (uint64, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return s.version, nil
}

// Stats implements storage.Interface.
func (s *Store) Stats(context.Context) (storage.Stats, error) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	return storage.Stats{ObjectCount: int64(len(s.objects))}, nil
}

// ReadinessCheck implements storage.Interface; memory is always ready.
func (s *Store) ReadinessCheck() error { return nil }

// EnableResourceSizeEstimation implements storage.Interface; sizes are not estimated.
func (s *Store) EnableResourceSizeEstimation(storage.KeysFunc) error { return nil }

// CompactRevision implements storage.Interface; nothing is compacted.
func (s *Store) CompactRevision() int64 { return 0 }

// Create implements storage.Interface and refuses.
func (s *Store) Create(context.Context, string, runtime.Object, runtime.Object, uint64) error {
	return s.readOnly("create")
}

// Delete implements storage.Interface and refuses.
func (s *Store) Delete(context.Context, string, runtime.Object, *storage.Preconditions, storage.ValidateObjectFunc, runtime.Object, storage.DeleteOptions) error {
	return s.readOnly("delete")
}

// GuaranteedUpdate implements storage.Interface and refuses.
func (s *Store) GuaranteedUpdate(context.Context, string, runtime.Object, bool, *storage.Preconditions, storage.UpdateFunc, runtime.Object) error {
	return s.readOnly("update")
}

func (s *Store) readOnly(verb string) error {
	return apierrors.NewMethodNotSupported(s.resource, verb)
}
