// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"os"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/storage"
)

// mutation says which one thing a server with this file in it does wrong.
var mutation = os.Getenv("SRENIX_MUTATION")

// mutatedPut comes after a change, with the store locked.
func (s *Store) mutatedPut(key string, object runtime.Object) error {
	if mutation != "again" {
		return nil
	}
	again := object.DeepCopyObject()
	if err := s.versioner.UpdateObject(again, s.version+1); err != nil {
		return err
	}
	s.objects[key] = again
	s.advanceLocked(content{})
	s.sendLocked(watch.Event{Type: watch.Modified, Object: again})
	return nil
}

func (o *ownVersions) mutatedWatch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	asked := options
	if mutation == "transition" {
		options.Predicate = storage.Everything
		options.Predicate.AllowWatchBookmarks = asked.Predicate.AllowWatchBookmarks
	}
	watched, err := o.CacheDelegator.Watch(ctx, key, options)
	if err != nil {
		return nil, err
	}
	added := 0
	return watch.Filter(watched, func(event watch.Event) (watch.Event, bool) {
		if event.Type == watch.Added {
			added++
		}
		if event.Type == watch.Error {
			return event, true
		}
		object := event.Object
		if cacheable, ok := object.(runtime.CacheableObject); ok {
			object = cacheable.GetObject()
		}
		accessor, err := meta.Accessor(object)
		if err != nil {
			panic(err)
		}
		switch mutation {
		case "transition":
			selected, err := asked.Predicate.Matches(object)
			return event, err != nil || selected || event.Type != watch.Added && event.Type != watch.Deleted
		case "bookmark":
			if event.Type == watch.Bookmark {
				version, err := strconv.ParseUint(accessor.GetResourceVersion(), 10, 64)
				if err != nil {
					panic(err)
				}
				event.Object = object.DeepCopyObject()
				return event, o.store.versioner.UpdateObject(event.Object, version+1000) == nil
			}
		case "end":
			return event, added > 0 || event.Type != watch.Bookmark
		}
		return event, true
	}), nil
}
