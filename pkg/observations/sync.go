// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"context"
	"fmt"
	"maps"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
)

const (
	// gathering is how long changes are gathered into one write. What begins and
	// ends within it, as in any rollout, is never written.
	gathering = 5 * time.Second
	// A write that fails is tried again after a second, doubling up to a minute.
	firstRetry = time.Second
	lastRetry  = time.Minute
	// farewell is how long the last write at the end of the process may take.
	farewell = 2 * time.Second
	// looking is how long a clock that was set, and entries that nobody observes, go
	// unnoticed while nothing else happens.
	looking = 10 * time.Second
)

// Load reads the ConfigMap, so that a starting engine recalls what was observed
// before. One that does not exist yet is empty.
func (s *Store) Load(ctx context.Context, client corev1client.ConfigMapInterface) error {
	stored, err := client.Get(ctx, Name, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		stored = &corev1.ConfigMap{}
	case err != nil:
		return fmt.Errorf("reading first-observed times from ConfigMap %s: %w", Name, err)
	}
	s.learn(state{data: stored.Data, version: stored.ResourceVersion})
	return nil
}

// Run keeps store and ConfigMap the same until ctx ends. Subjects of which another
// replica has observed something earlier are given to reconsider.
func (s *Store) Run(ctx context.Context, client corev1client.ConfigMapInterface, reconsider func(rule string, subject live.Key)) error {
	learn := func(now state) {
		for _, o := range s.learn(now) {
			reconsider(o.Rule, o.Subject)
		}
	}
	learnFrom := func(object any) {
		if stored, ok := object.(*corev1.ConfigMap); ok {
			learn(state{data: stored.Data, version: stored.ResourceVersion, watched: true})
		}
	}
	named := fields.OneTermEqualSelector(metav1.ObjectNameField, Name).String()
	_, informer := cache.NewInformerWithOptions(cache.InformerOptions{
		ListerWatcher: &cache.ListWatch{
			ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
				options.FieldSelector = named
				return client.List(ctx, options)
			},
			WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
				options.FieldSelector = named
				return client.Watch(ctx, options)
			},
		},
		ObjectType: &corev1.ConfigMap{},
		Handler: cache.ResourceEventHandlerFuncs{
			AddFunc:    learnFrom,
			UpdateFunc: func(_, object any) { learnFrom(object) },
			DeleteFunc: func(object any) {
				now := state{watched: true}
				if stored, ok := object.(*corev1.ConfigMap); ok {
					now.version = stored.ResourceVersion // of the deletion
				}
				learn(now)
			},
		},
	})
	done := make(chan struct{})
	go func() {
		defer close(done)
		informer.RunWithContext(ctx)
	}()
	s.write(ctx, client, learn)
	<-done
	return nil
}

// write writes until ctx ends, whenever there is something to write.
func (s *Store) write(ctx context.Context, client corev1client.ConfigMapInterface, learn func(state)) {
	logger := klog.FromContext(ctx).WithName("observations")
	forsaken := s.clock.NewTicker(orphaned / 4)
	defer forsaken.Stop()
	look := s.clock.NewTicker(looking)
	defer look.Stop()
	retry := firstRetry
	for {
		select {
		case <-ctx.Done():
		case <-s.dirty:
			sleep(ctx, s.clock, gathering)
		case <-forsaken.C():
		case <-look.C():
			s.look()
			continue
		}
		if ctx.Err() != nil {
			s.last(ctx, client, learn, logger)
			return
		}
		err := s.flush(ctx, client, learn, logger)
		if err == nil {
			retry = firstRetry
			continue
		}
		if ctx.Err() != nil {
			continue
		}
		if apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) {
			s.wrote(writeConflict)
		} else {
			s.wrote(writeFailed)
			logger.Error(err, "First-observed times are not stored; a restart now would lose them", "retryAfter", retry)
		}
		sleep(ctx, s.clock, retry)
		retry = min(2*retry, lastRetry)
		s.markDirty()
	}
}

// last writes what began or ended right before the end.
func (s *Store) last(ctx context.Context, client corev1client.ConfigMapInterface, learn func(state), logger klog.Logger) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), farewell)
	defer cancel()
	if err := s.flush(ctx, client, learn, logger); err != nil {
		s.wrote(writeFailed)
		logger.Error(err, "The last first-observed times are not stored")
	}
}

// flush brings the ConfigMap up to date, if it is not.
func (s *Store) flush(ctx context.Context, client corev1client.ConfigMapInterface, learn func(state), logger klog.Logger) error {
	stored, err := client.Get(ctx, Name, metav1.GetOptions{})
	absent := apierrors.IsNotFound(err)
	if err != nil && !absent {
		return fmt.Errorf("reading ConfigMap %s: %w", Name, err)
	}
	if absent {
		stored = &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: Name}}
	}
	learn(state{data: stored.Data, version: stored.ResourceVersion})
	merged, left := s.merge(stored.Data)
	if left > 0 {
		logger.Info("Too many conditions hold at once; some start times would not survive a restart", "stored", len(merged.data), "notStored", left)
	}
	if !maps.Equal(merged.data, stored.Data) {
		stored.Data = merged.data
		if absent {
			stored, err = client.Create(ctx, stored, metav1.CreateOptions{})
		} else {
			stored, err = client.Update(ctx, stored, metav1.UpdateOptions{})
		}
		if err != nil {
			return fmt.Errorf("writing ConfigMap %s: %w", Name, err)
		}
		s.wrote(writeSucceeded)
	}
	merged.data, merged.version = stored.Data, stored.ResourceVersion
	learn(merged)
	return nil
}

func sleep(ctx context.Context, c clock.Clock, d time.Duration) {
	timer := c.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C():
	}
}
