// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package memory

import (
	"context"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/apiserver/pkg/features"
	"k8s.io/apiserver/pkg/registry/generic"
	"k8s.io/apiserver/pkg/storage"
	"k8s.io/apiserver/pkg/storage/cacher"
	"k8s.io/apiserver/pkg/storage/feature"
	"k8s.io/apiserver/pkg/storage/storagebackend"
	"k8s.io/apiserver/pkg/storage/storagebackend/factory"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"
)

// progressSupported tells the cacher that its storage answers
// RequestWatchProgress, without which it refuses watches that ask for initial
// events. The library's own checker asks an etcd, and there is none here.
type progressSupported struct {
	feature.FeatureSupportChecker
}

func (progressSupported) Supports(f storage.Feature) bool {
	return f == storage.RequestWatchProgress
}

// ConfigureCachers fits this process's cachers to stores that are not etcd: they
// accept watches with initial events, and do not compare themselves every five
// minutes with an older state of the store, which it does not keep. Call it once,
// before the first decorator is used.
func ConfigureCachers() error {
	feature.DefaultFeatureSupportChecker = progressSupported{feature.NewDefaultFeatureSupportChecker()}
	off := map[string]bool{string(features.DetectCacheInconsistency): false}
	if err := utilfeature.DefaultMutableFeatureGate.SetFromMap(off); err != nil {
		return fmt.Errorf("switching the comparison of caches with etcd off: %w", err)
	}
	return nil
}

// NewRESTOptions returns the options with which a genericregistry.Store comes to
// stand on a Store behind the library's cacher. The Store is handed to created,
// for whoever computes the objects.
func NewRESTOptions(resource string, config *storagebackend.ConfigForResource, c clock.WithTicker, created func(*Store)) generic.RESTOptions {
	return generic.RESTOptions{
		StorageConfig:  config,
		ResourcePrefix: config.GroupResource.Group + "/" + resource,
		Decorator: func(config *storagebackend.ConfigForResource, prefix string, keyFunc func(runtime.Object) (string, error), newFunc, newListFunc func() runtime.Object, attrs storage.AttrFunc, triggers storage.IndexerFuncs, indexers *cache.Indexers) (storage.Interface, factory.DestroyFunc, error) {
			store := NewStore(config.GroupResource, keyFunc, newFunc, c)
			watchCache, err := cacher.NewCacherFromConfig(cacher.Config{
				Storage: store, Versioner: store.Versioner(), GroupResource: config.GroupResource,
				EventsHistoryWindow: storagebackend.DefaultEventsHistoryWindow, ResourcePrefix: prefix,
				KeyFunc: keyFunc, GetAttrsFunc: attrs, IndexerFuncs: triggers, Indexers: indexers,
				NewFunc: newFunc, NewListFunc: newListFunc, Codec: config.Codec, Clock: c,
			})
			if err != nil {
				return nil, nil, fmt.Errorf("starting the watch cache of %s: %w", config.GroupResource, err)
			}
			delegator := cacher.NewCacheDelegator(watchCache, store)
			created(store)
			destroy := sync.OnceFunc(func() {
				delegator.Stop()
				watchCache.Stop()
			})
			return &ownVersions{CacheDelegator: delegator, store: store}, destroy, nil
		},
	}
}

// ownVersions keeps resourceVersions that this process has not given out away
// from the cacher, which would wait for them in silence: they come from another
// replica. A watch answers 410 Gone, a read that the version is too large, and
// clients list again. The next page of a list can be had from another replica than the
// one before, if that has had all that was listed as it was.
type ownVersions struct {
	*cacher.CacheDelegator
	store *Store
}

// Watch implements storage.Interface.
func (o *ownVersions) Watch(ctx context.Context, key string, options storage.ListOptions) (watch.Interface, error) {
	version, err := o.store.versioner.ParseResourceVersion(options.ResourceVersion)
	if err != nil {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("invalid resourceVersion: %v", err))
	}
	current, err := o.store.GetCurrentResourceVersion(ctx)
	if err != nil {
		return nil, err
	}
	if version > current {
		return expiredWatch(fmt.Sprintf("too old resource version: %d is not from this server", version)), nil
	}
	return o.CacheDelegator.Watch(ctx, key, options)
}

// Get implements storage.Interface.
func (o *ownVersions) Get(ctx context.Context, key string, options storage.GetOptions, into runtime.Object) error {
	if err := o.checkMinimum(ctx, options.ResourceVersion); err != nil {
		return err
	}
	return o.CacheDelegator.Get(ctx, key, options, into)
}

// GetList implements storage.Interface.
func (o *ownVersions) GetList(ctx context.Context, key string, options storage.ListOptions, list runtime.Object) error {
	if err := o.checkMinimum(ctx, options.ResourceVersion); err != nil {
		return err
	}
	if token := options.Predicate.Continue; token != "" && options.Recursive {
		own, err := o.store.adopt(directory(key), token)
		if err != nil {
			return err
		}
		options.Predicate.Continue = own
	}
	if err := o.CacheDelegator.GetList(ctx, key, options, list); err != nil {
		return err
	}
	return o.store.share(list)
}

func (o *ownVersions) checkMinimum(ctx context.Context, minimum string) error {
	current, err := o.store.GetCurrentResourceVersion(ctx)
	if err != nil {
		return err
	}
	return o.store.validateMinimumVersion(minimum, current)
}

// finished is a watch that delivers one event and ends, as the cacher's own
// refusals do: after the headers are sent an error is an event.
type finished struct{ events chan watch.Event }

func expiredWatch(message string) watch.Interface {
	status := apierrors.NewResourceExpired(message).Status()
	w := finished{events: make(chan watch.Event, 1)}
	w.events <- watch.Event{Type: watch.Error, Object: &metav1.Status{
		Status: status.Status, Message: status.Message, Reason: status.Reason, Code: status.Code,
	}}
	close(w.events)
	return w
}

// Stop implements watch.Interface.
func (finished) Stop() {}

// ResultChan implements watch.Interface.
func (f finished) ResultChan() <-chan watch.Event { return f.events }
