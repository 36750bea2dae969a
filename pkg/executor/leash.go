// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/manager"

	"github.com/srenix/srenix/pkg/secondleash"
)

const (
	// leashName is the ValidatingAdmissionPolicy of artifacts/ on the executor's identity.
	leashName = secondleash.Name
	// leashDeadline is how long a starting executor waits for it: kube-apiserver
	// enforces a policy some moments after it was applied.
	leashDeadline = 30 * time.Second
	// leashPeriod is how often it is looked for again, and leashRetry how often
	// while it is not there.
	leashPeriod = 3 * time.Minute
	leashRetry  = 10 * time.Second
)

// errNoLeash means that kube-apiserver does not hold this executor to the five actions.
var errNoLeash = errors.New("the second leash does not hold this executor")

// requireLeash makes sure that kube-apiserver enforces the second leash on this
// identity. A leash that matches nobody would be noticed by nobody.
func (c *Config) requireLeash(ctx context.Context, api client.Client, metrics *metrics, deadline time.Duration) (*leash, error) {
	second := &leash{api: api, namespace: c.Namespace, optional: c.AllowWithoutSecondLeash, metrics: metrics}
	err := second.await(ctx, deadline)
	second.set(ctx, err)
	if second.Err() != nil {
		return nil, fmt.Errorf("%w; apply ValidatingAdmissionPolicy %s and its binding of this version's artifacts/, with whatever is to be refused besides in validations of its own, "+
			"and run as a service account named %s; or go on without it by --%s", err, leashName, controllerName, flagWithoutSecondLeash)
	}
	return second, nil
}

// leash looks for the second leash for as long as the executor runs, on a standby
// too: whoever may delete admission policies can take it away at any time.
type leash struct {
	api       client.Client
	namespace string
	// optional lets the executor act without it.
	optional bool
	metrics  *metrics

	mu    sync.Mutex
	asked bool
	err   error
}

var (
	_ manager.Runnable               = &leash{}
	_ manager.LeaderElectionRunnable = &leash{}
)

// Err is nil while the executor may act.
func (l *leash) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.optional {
		return nil
	}
	return l.err
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (l *leash) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (l *leash) Start(ctx context.Context) error {
	wait.UntilWithContext(ctx, l.look, leashPeriod)
	return nil
}

// look looks once, and while the leash is gone until it is back.
func (l *leash) look(ctx context.Context) {
	err := l.await(ctx, leashDeadline)
	if ctx.Err() != nil {
		return
	}
	if l.set(ctx, err); err == nil {
		return
	}
	// It ends without an error, or with ctx.
	_ = wait.PollUntilContextCancel(ctx, leashRetry, false, func(ctx context.Context) (bool, error) {
		err := l.ask(ctx)
		if err == nil {
			l.set(ctx, nil)
		}
		return err == nil, nil
	})
}

// set takes note of whether the leash holds, and says so where that has changed.
func (l *leash) set(ctx context.Context, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	changed := !l.asked || (l.err == nil) != (err == nil)
	l.asked, l.err = true, err
	l.metrics.setLeash(err == nil)
	switch {
	case !changed:
	case err == nil:
		klog.FromContext(ctx).Info("kube-apiserver holds this executor by the second leash", "policy", leashName)
	case l.optional:
		klog.FromContext(ctx).Error(err, "Going on all the same, as --allow-without-second-leash says: nothing but this program's own code keeps it to what was approved")
	default:
		klog.FromContext(ctx).Error(err, "Nothing is carried out until kube-apiserver holds this executor", "policy", leashName)
	}
}

// await gives the leash some time to be enforced.
func (l *leash) await(ctx context.Context, deadline time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, deadline, true, func(ctx context.Context) (bool, error) {
		last = l.ask(ctx)
		return last == nil, nil
	})
	if err == nil {
		return nil
	}
	return cmp.Or(last, err)
}

// ask asks, on dry run, for what the executor's roles allow and only the leash
// forbids: a Lease of another name in its own namespace. That shows that kube-apiserver
// enforces a policy of this name on this identity. Most of its parts are about objects
// that need to be there, so that what it forbids besides is read, and not asked for.
func (l *leash) ask(ctx context.Context) error {
	forbidden := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: controllerName + "-leash-check"}}
	err := l.api.Create(ctx, forbidden, client.DryRunAll)
	switch {
	case err == nil:
		return fmt.Errorf("%w: kube-apiserver would let it create a Lease that is not its own", errNoLeash)
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), leashName):
		if err := secondleash.Check(ctx, l.api); err != nil {
			return fmt.Errorf("%w, as far as can be told: %w", errNoLeash, err)
		}
		return nil
	}
	return fmt.Errorf("%w, as far as can be told: asked for what only the leash forbids, kube-apiserver said: %w", errNoLeash, err)
}
