// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/srenix/srenix/pkg/ai/investigator"
	"github.com/srenix/srenix/pkg/ai/model"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// controllerName is also that of the Lease.
	controllerName = "srenix-advisor"
	// workers is how many findings are looked into at a time.
	workers = 4
	// byFinding finds Investigations by the name of their finding.
	byFinding = "spec.finding.name"
)

func newScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, srenix.AddToScheme, opsv1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("registering types: %w", err)
		}
	}
	return scheme, nil
}

// Run runs the advisor until ctx ends.
func (c *Config) Run(ctx context.Context) error {
	mgr, err := c.newManager(ctx)
	if err != nil {
		return err
	}
	klog.FromContext(ctx).Info("Starting the advisor", "automaticSeverity", c.AutomaticSeverity, "leaderElection", c.LeaderElect, "model", c.Model != nil)
	if err := mgr.Start(ctx); err != nil {
		return fmt.Errorf("running the advisor: %w", err)
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
		Cache:                   cache.Options{DefaultTransform: cache.TransformStripManagedFields()},
		LeaderElection:          c.LeaderElect,
		LeaderElectionID:        controllerName,
		LeaderElectionNamespace: c.LeaderElectionNamespace,
		// The process ends when Run returns.
		LeaderElectionReleaseOnCancel: true,
		Metrics:                       metricsserver.Options{BindAddress: c.MetricsBindAddress},
		HealthProbeBindAddress:        c.HealthProbeBindAddress,
		GracefulShutdownTimeout:       ptr.To(investigator.Timeout + 5*time.Second),
	})
	if err != nil {
		return nil, fmt.Errorf("setting the advisor up: %w", err)
	}
	err = mgr.GetFieldIndexer().IndexField(ctx, &opsv1alpha1.Investigation{}, byFinding, func(object client.Object) []string {
		return []string{indexed(&object.(*opsv1alpha1.Investigation).Spec.Finding)}
	})
	if err != nil {
		return nil, fmt.Errorf("indexing Investigations: %w", err)
	}
	// What investigations read is read afresh and not cached, so that no more of the
	// cluster is in memory than findings and Investigations.
	direct, err := c.directClient(mgr)
	if err != nil {
		return nil, err
	}
	rules, err := c.newInvestigator(mgr, direct)
	if err != nil {
		return nil, err
	}
	reconciler, err := c.newReconciler(mgr, direct, rules)
	if err != nil {
		return nil, err
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named(controllerName).
		For(&srenix.Finding{}).
		Watches(&srenix.ClusterFinding{}, &handler.EnqueueRequestForObject{}).
		Watches(&opsv1alpha1.Investigation{}, handler.EnqueueRequestsFromMapFunc(ofFinding(c.Namespace))).
		WithOptions(controller.Options{MaxConcurrentReconciles: workers, EnableWarmup: ptr.To(true)}).
		Complete(reconciler)
	if err != nil {
		return nil, fmt.Errorf("setting the controller of findings up: %w", err)
	}
	if c.Model != nil {
		if err := c.addNarrator(mgr, direct, rules, reconciler.metrics); err != nil {
			return nil, err
		}
	}
	if err := errors.Join(mgr.AddHealthzCheck("ping", healthz.Ping), mgr.AddReadyzCheck("findings", synced(mgr, &srenix.Finding{})),
		mgr.AddReadyzCheck("clusterfindings", synced(mgr, &srenix.ClusterFinding{}))); err != nil {
		return nil, fmt.Errorf("setting health probes up: %w", err)
	}
	return mgr, nil
}

// addNarrator adds the controller that has a model asked.
func (c *Config) addNarrator(mgr manager.Manager, direct client.Client, rules *investigator.Investigator, metrics *metrics) error {
	options := *c.Model
	options.Registerer = ctrlmetrics.Registry
	asked, err := model.New(options)
	if err != nil {
		return err
	}
	questions := []question{narration}
	if c.ModelInvestigates {
		questions = append(questions, inquiring(rules.Explore, options.Model))
	}
	if c.ModelChoosesFixes {
		questions = append(questions, choice)
	}
	if c.ModelMakesPlans {
		questions = append(questions, planning)
	}
	if c.ModelDraftsRunbooks {
		questions = append(questions, drafting)
	}
	err = ctrl.NewControllerManagedBy(mgr).
		Named("srenix-narrator").
		For(&opsv1alpha1.Investigation{}).
		WithOptions(controller.Options{MaxConcurrentReconciles: options.Concurrency, EnableWarmup: ptr.To(true)}).
		Complete(&narrator{
			cached: mgr.GetCache(), client: direct, model: asked, name: options.Model, key: c.PseudonymKey,
			questions: questions, texts: options.PromptTokens, own: c.Namespace, clock: c.Clock,
			buckets: newBuckets(direct, c.Clock, metrics),
		})
	if err != nil {
		return fmt.Errorf("setting the controller of narratives up: %w", err)
	}
	return nil
}

// directClient reads afresh and not from a cache.
func (c *Config) directClient(mgr manager.Manager) (client.Client, error) {
	direct, err := client.New(c.Client, client.Options{Scheme: mgr.GetScheme(), Mapper: mgr.GetRESTMapper(), HTTPClient: mgr.GetHTTPClient()})
	if err != nil {
		return nil, fmt.Errorf("making a client of kube-apiserver: %w", err)
	}
	return direct, nil
}

func (c *Config) newInvestigator(mgr manager.Manager, direct client.Client) (*investigator.Investigator, error) {
	kube, err := kubernetes.NewForConfigAndClient(c.Client, mgr.GetHTTPClient())
	if err != nil {
		return nil, fmt.Errorf("making a client of logs: %w", err)
	}
	options := investigator.Options{Reader: direct, Logs: investigator.KubernetesLogs{Client: kube}, Clock: c.Clock}
	if c.LookUpHosts {
		options.Hosts = investigator.NetworkHosts{Resolver: net.DefaultResolver, Dialer: &net.Dialer{}}
	}
	return investigator.New(options), nil
}

func (c *Config) newReconciler(mgr manager.Manager, direct client.Client, rules *investigator.Investigator) (*reconciler, error) {
	metrics, err := newMetrics(ctrlmetrics.Registry)
	if err != nil {
		return nil, err
	}
	return &reconciler{
		cached: mgr.GetCache(), client: direct, investigate: rules.Investigate, own: c.Namespace,
		automatic: ranks[c.AutomaticSeverity], maximum: c.MaximumInvestigations, clock: c.Clock, metrics: metrics,
	}, nil
}

// synced is ready once all objects of a kind were listed, on a standby too.
func synced(mgr manager.Manager, of client.Object) healthz.Checker {
	return func(request *http.Request) error {
		informer, err := mgr.GetCache().GetInformer(request.Context(), of, cache.BlockUntilSynced(false))
		if err != nil {
			return fmt.Errorf("watching %T: %w", of, err)
		}
		if !informer.HasSynced() {
			return fmt.Errorf("%T has not been listed yet", of)
		}
		return nil
	}
}
