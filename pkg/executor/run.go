// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/audit/auditconfig"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy/policymetrics"
	"github.com/srenix/srenix/pkg/token"
)

const (
	// controllerName is also that of the Lease, and of the reporter of Kubernetes events.
	controllerName = "srenix-executor"
	// workers is how many approvals are worked on at a time, each for another target.
	workers = 4
	// startDeadline is how long a starting executor waits for kube-apiserver, so
	// that a restart by the kubelet picks up whatever changed.
	startDeadline = 2 * time.Minute
	// Bounds of how soon an approval is tried again after an error: soon after the
	// aggregated API is back.
	minimumBackoff = 200 * time.Millisecond
	maximumBackoff = 10 * time.Second
)

// newScheme returns the types that the executor reads and writes.
func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, srenix.AddToScheme, opsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering types: %w", err)
		}
	}
	return scheme, nil
}

// Run runs the executor until ctx ends. An action that is under way then is
// finished first.
func (c *Config) Run(ctx context.Context) error {
	mgr, err := c.newManager(ctx)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Starting the executor", "identity", c.Identity, "namespace", c.Namespace, "leaderElection", c.LeaderElect)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the executor: %w", err)
	}
	return nil
}

func (c *Config) newManager(ctx context.Context) (manager.Manager, error) {
	scheme, err := newScheme()
	if err != nil {
		return nil, err
	}
	mgr, err := ctrl.NewManager(c.Client, manager.Options{
		Scheme:                  scheme,
		Logger:                  klog.FromContext(ctx),
		LeaderElection:          c.LeaderElect,
		LeaderElectionID:        controllerName,
		LeaderElectionNamespace: c.LeaderElectionNamespace,
		// The process ends when Run returns.
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: c.MetricsBindAddress},
		HealthProbeBindAddress:        c.HealthProbeBindAddress,
		GracefulShutdownTimeout:       ptr.To(finishTimeout + 5*time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("setting the executor up: %w", err)
	}
	// Nothing but the controller's own watch of approvals goes through the
	// manager's cache, so that the executor needs to list and watch nothing else.
	direct, err := client.New(c.Client, client.Options{Scheme: scheme, Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("making a client of kube-apiserver: %w", err)
	}
	reconciler, err := c.newReconciler(ctx, mgr, direct)
	if err != nil {
		return nil, err
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named(controllerName).
		For(&opsv1alpha1.Approval{}).
		WithOptions(controller.Options{
			MaxConcurrentReconciles: workers,
			EnableWarmup:            ptr.To(true),
			RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](minimumBackoff, maximumBackoff),
		}).
		Complete(reconciler)
	if err != nil {
		return nil, fmt.Errorf("setting the controller of approvals up: %w", err)
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("approvals", approvalsSynced(mgr))); err != nil {
		return nil, fmt.Errorf("setting health probes up: %w", err)
	}
	return mgr, nil
}

func (c *Config) newReconciler(ctx context.Context, mgr manager.Manager, direct client.Client) (*reconciler, error) {
	cluster, err := clusterID(ctx, direct)
	if err != nil {
		return nil, err
	}
	metrics, err := newMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, err
	}
	second, err := c.requireLeash(ctx, direct, metrics, leashDeadline)
	if err != nil {
		return nil, err
	}
	if err := mgr.Add(second); err != nil {
		return nil, fmt.Errorf("setting the look at the second leash up: %w", err)
	}
	index := audit.NewIndex(direct)
	if err := mgr.Add(everywhere(index.Run)); err != nil {
		return nil, fmt.Errorf("setting the index of the audit chain up: %w", err)
	}
	indexed := audit.Indexed(direct, index)
	keys := token.NewJWKSSource(ctx, direct, c.Namespace, c.Clock)
	verifier := token.NewVerifier(keys, cluster, c.Clock)
	chain := audit.NewChain(direct, component+"/"+c.Pod, c.Clock, c.AuditLog)
	verdicts := policymetrics.NewVerdicts()
	if err := errors.Join(ctrlmetrics.Registry.Register(chain), ctrlmetrics.Registry.Register(verdicts)); err != nil {
		return nil, fmt.Errorf("registering the metrics of the audit chain and the policy: %w", err)
	}
	record := &auditconfig.Record{
		Chain: chain, Reader: direct, Configuration: c.Configuration,
		Flags: map[string]bool{flagWithoutSecondLeash: c.AllowWithoutSecondLeash},
	}
	// By who leads, for nobody else's configuration is in effect.
	if err := mgr.Add(manager.RunnableFunc(record.Run)); err != nil {
		return nil, fmt.Errorf("setting the record of the configuration up: %w", err)
	}
	return &reconciler{
		client: indexed, cached: mgr.GetCache(),
		chain: chain, verifier: verifier, keys: keys,
		evidence: evidence.New(evidence.Options{
			Reader: indexed, Access: direct, Chain: chain, Verifier: verifier,
			Config: &c.Configuration.Policy, OwnNamespace: c.Namespace, Clock: c.Clock,
		}),
		evaluate:   verdicts.Evaluate,
		actions:    newActions(),
		configured: record.Ensure,
		leash:      second,
		config:     c.Configuration.Executor, identity: c.Identity, clock: c.Clock,
		recorder: mgr.GetEventRecorder(controllerName), metrics: metrics, tracer: c.Tracer,
	}, nil
}

// everywhere runs whether or not this process leads.
type everywhere func(context.Context) error

// Start implements manager.Runnable.
func (e everywhere) Start(ctx context.Context) error { return e(ctx) }

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (everywhere) NeedLeaderElection() bool { return false }

// clusterID is the UID of the namespace kube-system, which tokens are minted for.
// It waits for kube-apiserver.
func clusterID(ctx context.Context, reader client.Reader) (string, error) {
	var last error
	namespace := &corev1.Namespace{}
	err := wait.PollUntilContextTimeout(ctx, time.Second, startDeadline, true, func(ctx context.Context) (bool, error) {
		if last = reader.Get(ctx, client.ObjectKey{Name: metav1.NamespaceSystem}, namespace); last != nil {
			klog.FromContext(ctx).Info("Waiting for kube-apiserver", "reason", last.Error())
		}
		return last == nil, nil
	})
	if err != nil {
		return "", fmt.Errorf("reading the cluster's ID (the UID of namespace %s): %w", metav1.NamespaceSystem, errors.Join(err, last))
	}
	return string(namespace.UID), nil
}

// approvalsSynced is ready once the approvals were listed, on a standby too.
func approvalsSynced(mgr manager.Manager) healthz.Checker {
	return func(request *http.Request) error {
		informer, err := mgr.GetCache().GetInformer(request.Context(), &opsv1alpha1.Approval{}, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching approvals: %w", err)
		}
		if !informer.HasSynced() {
			return errors.New("the approvals have not been listed yet")
		}
		return nil
	}
}
