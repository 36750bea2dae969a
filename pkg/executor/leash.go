// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

const (
	// leashName is the ValidatingAdmissionPolicy of artifacts/ on the executor's identity.
	leashName = "srenix-executor-leash"
	// leashDeadline is how long a starting executor waits for it: kube-apiserver
	// enforces a policy some moments after it was applied.
	leashDeadline = 30 * time.Second
)

// errNoLeash means that kube-apiserver does not hold this executor to the five actions.
var errNoLeash = errors.New("the second leash does not hold this executor")

// requireLeash makes sure that kube-apiserver enforces the second leash on this
// identity. A leash that matches nobody would be noticed by nobody.
func (c *Config) requireLeash(ctx context.Context, api client.Client, metrics *metrics, deadline time.Duration) error {
	err := checkLeash(ctx, api, c.Namespace, deadline)
	metrics.setLeash(err == nil)
	if err == nil {
		return nil
	}
	if c.AllowWithoutSecondLeash {
		klog.FromContext(ctx).Error(err, "Going on all the same, as --allow-without-second-leash says: nothing but this program's own code keeps it to what was approved")
		return nil
	}
	return fmt.Errorf("%w; apply ValidatingAdmissionPolicy %s and its binding of artifacts/, and run as a service account named %s; "+
		"or go on without it by --allow-without-second-leash", err, leashName, controllerName)
}

// checkLeash asks, on dry run, for what the executor's roles allow and only the
// leash forbids: a Lease of another name in its own namespace.
func checkLeash(ctx context.Context, api client.Client, namespace string, deadline time.Duration) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, deadline, true, func(ctx context.Context) (bool, error) {
		forbidden := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: controllerName + "-leash-check"}}
		last = api.Create(ctx, forbidden, client.DryRunAll)
		return apierrors.IsForbidden(last) && strings.Contains(last.Error(), leashName), nil
	})
	switch {
	case err == nil:
		return nil
	case last == nil:
		return fmt.Errorf("%w: kube-apiserver would let it create a Lease that is not its own", errNoLeash)
	}
	return fmt.Errorf("%w, as far as can be told: asked for what only the leash forbids, kube-apiserver said: %w", errNoLeash, last)
}
