// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"os"
	"slices"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apiserver/pkg/registry/rest"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/healthz"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/component-base/metrics/legacyregistry"
	"k8s.io/klog/v2"
	aggregator "k8s.io/kube-aggregator/pkg/client/clientset_generated/clientset/typed/apiregistration/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	ctrlwebhook "sigs.k8s.io/controller-runtime/pkg/webhook"

	"github.com/srenix/srenix/pkg/analyzers/catalog"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/approvalpage"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/audit/auditconfig"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/observations"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/registry/finding"
	"github.com/srenix/srenix/pkg/registry/memory"
	"github.com/srenix/srenix/pkg/registry/proposal"
	"github.com/srenix/srenix/pkg/registry/virtual"
	"github.com/srenix/srenix/pkg/token"
	"github.com/srenix/srenix/pkg/webhook"
)

// Server is the aggregated API server with its live view and its webhook.
type Server struct {
	generic *genericapiserver.GenericAPIServer
	engine  *live.Engine
	source  live.Source
	// firstObserved remembers for the engine what no object dates.
	firstObserved *observations.Store
	// complete is set once everything can be served; served is what lists it.
	complete      *atomic.Bool
	served        []rest.Lister
	auditing      *auditing
	index         *audit.Index
	configuration *auditconfig.Record
	modelCalls    *modelCalls
	keys          *token.KeyStore
	webhook       ctrlwebhook.Server
	// page is nil unless it is to be served.
	page  http.Handler
	extra ExtraConfig
}

// Complete fills in what is derived and makes the server.
func (c *Config) Complete(ctx context.Context) (*Server, error) {
	var engine *live.Engine
	firstObserved := observations.NewStore(observations.Options{
		Clock:      c.Extra.clock(),
		Elapsed:    c.Extra.elapsed(),
		Unreliable: func() []string { return engine.Unreliable() }, // which is asked once it runs
		Settled:    func() bool { return engine.Settled() },
	})
	if err := legacyregistry.Registerer().Register(firstObserved); err != nil {
		return nil, fmt.Errorf("registering the metrics of first-observed times: %w", err)
	}
	engine, source, err := newEngine(ctx, &c.Extra, firstObserved)
	if err != nil {
		return nil, err
	}
	complete := &atomic.Bool{}
	c.Generic.AddReadyzChecks(healthz.NamedCheck("live-view", func(*http.Request) error {
		// Latched: once complete, the server serves what it has.
		if !complete.Load() {
			return errors.New("the first complete view is still being computed")
		}
		return nil
	}))
	buildHandler := c.Generic.BuildHandlerChainFunc
	c.Generic.BuildHandlerChainFunc = func(handler http.Handler, config *genericapiserver.Config) http.Handler {
		return strictBodies(buildHandler(whenComplete(complete.Load, c.Extra.Codecs, handler), config))
	}
	generic, err := c.Generic.Complete().New("srenix-apiserver", genericapiserver.NewEmptyDelegate())
	if err != nil {
		return nil, fmt.Errorf("making the generic API server: %w", err)
	}
	s := &Server{generic: generic, engine: engine, source: source, firstObserved: firstObserved, complete: complete, extra: c.Extra}
	if err := s.install(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

func newEngine(ctx context.Context, extra *ExtraConfig, memory live.Memory) (*live.Engine, live.Source, error) {
	scheme, err := newClientScheme()
	if err != nil {
		return nil, nil, err
	}
	source, err := live.NewSource(extra.Client, scheme)
	if err != nil {
		return nil, nil, fmt.Errorf("making the source of the live view: %w", err)
	}
	engine := live.New(live.Options{
		Clock: extra.clock(), Logger: klog.FromContext(ctx).WithName("live"),
		Registerer: legacyregistry.Registerer(), Memory: memory,
	})
	if err := catalog.CheckVariables(os.Environ()); err != nil {
		return nil, nil, err
	}
	detecting, err := catalog.Build(extra.Configuration, extra.Namespace, os.Getenv)
	if err != nil {
		return nil, nil, fmt.Errorf("building the analyzers: %w", err)
	}
	for _, rule := range append(detecting, proposals.Rules(extra.Configuration, extra.Namespace)...) {
		if err := engine.AddRule(rule); err != nil {
			return nil, nil, fmt.Errorf("adding rule %s: %w", rule.Name, err)
		}
	}
	source, err = withVault(engine, source, detecting, extra)
	return engine, source, err
}

// newClientScheme returns the scheme of everything that is read from or written to kube-apiserver.
func newClientScheme() (*runtime.Scheme, error) {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, opsv1alpha1.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("making the client's scheme: %w", err)
		}
	}
	return scheme, nil
}

// install makes the parts that approve, the storage of every resource, and the webhook.
func (s *Server) install(ctx context.Context) error {
	scheme, err := newClientScheme()
	if err != nil {
		return err
	}
	kube, err := client.New(s.extra.Client, client.Options{Scheme: scheme})
	if err != nil {
		return fmt.Errorf("making a client of kube-apiserver: %w", err)
	}
	system, err := s.extra.Kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
	if err != nil {
		return fmt.Errorf("reading the cluster's ID: %w", err)
	}
	cluster := string(system.UID)
	s.keys = token.NewKeyStore(kube, s.extra.Namespace, s.extra.clock())
	if err := s.keys.Ensure(ctx); err != nil {
		return fmt.Errorf("ensuring the signing keys: %w", err)
	}
	signing, err := s.keys.Current(ctx)
	if err != nil {
		return fmt.Errorf("reading the signing keys: %w", err)
	}
	verifier := token.NewVerifier(signing, cluster, s.extra.clock())
	chain := audit.NewChain(kube, s.extra.Identity, s.extra.clock(), os.Stdout)
	if err := legacyregistry.Registerer().Register(chain); err != nil {
		return fmt.Errorf("registering the metrics of the audit chain: %w", err)
	}

	s.index = audit.NewIndex(kube)
	indexed := audit.Indexed(kube, s.index)
	if s.extra.PageBindPort != 0 {
		s.page, err = approvalpage.New(approvalpage.Options{
			Proposals: standing{s.engine}, Verifier: verifier, Decider: newPageDecider(s.generic.LoopbackClientConfig, scheme),
			Clock: s.extra.clock(), Registerer: legacyregistry.Registerer(),
		})
		if err != nil {
			return err
		}
	}
	requester := newRequester(kube, s.extra.Namespace, s.extra.clock())
	if err := s.installStorage(requester, minter{
		signer: token.NewSigner(signing, cluster, s.extra.clock()), chain: chain,
		longest: s.extra.Configuration.Policy.MaxTokenLifetime.Duration,
		access:  kube, limit: audit.NewLimiter(tokensPerHour, s.extra.clock()),
	}, recorder{client: kube, verifier: verifier}); err != nil {
		return err
	}
	s.configuration = &auditconfig.Record{Chain: chain, Reader: kube, Configuration: s.extra.Configuration}
	s.modelCalls = newModelCalls(chain, indexed, s.extra.clock())
	if err := s.modelCalls.follow(s.engine); err != nil {
		return err
	}
	if s.auditing, err = newAuditing(indexed, chain, s.engine, cluster, &s.extra); err != nil {
		return err
	}
	if err := legacyregistry.Registerer().Register(s.auditing.checkpointer); err != nil {
		return fmt.Errorf("registering the metrics of audit checkpoints: %w", err)
	}
	s.webhook = newWebhookServer(&s.extra)
	var pathSecret string
	if s.extra.served != nil {
		pathSecret = s.extra.served.certificate().path
	}
	handlers := webhook.New(webhook.Options{
		Gatherer: evidence.New(evidence.Options{
			Reader: indexed, Access: kube, Chain: chain, Verifier: verifier,
			Config: &s.extra.Configuration.Policy, OwnNamespace: s.extra.Namespace, Clock: s.extra.clock(), Concurrent: true,
		}),
		Chain: chain, Proposals: standing{s.engine}, Verifier: verifier, Clock: s.extra.clock(), Scheme: scheme,
		PathSecret: pathSecret, Server: "system:serviceaccount:" + s.extra.Namespace + ":srenix-apiserver", Tracer: s.extra.Tracer,
	})
	handlers.Register(s.webhook)
	if err := legacyregistry.Registerer().Register(handlers); err != nil {
		return fmt.Errorf("registering the metrics of the webhook: %w", err)
	}
	return nil
}

func (s *Server) installStorage(requester finding.Requester, minter proposal.Minter, recorder proposal.Recorder) error {
	if err := memory.ConfigureCachers(); err != nil {
		return err
	}
	options := virtual.Options{
		Scheme: s.extra.Scheme,
		Codec:  s.extra.Codecs.LegacyCodec(v1alpha1.SchemeGroupVersion),
		Clock:  s.extra.clock(),
	}
	findings, err := finding.NewREST(options)
	if err != nil {
		return err
	}
	clusterFindings, err := finding.NewClusterREST(options)
	if err != nil {
		return err
	}
	proposalREST, err := proposal.NewREST(options)
	if err != nil {
		return err
	}
	if err := countStanding(s.engine, legacyregistry.Registerer()); err != nil {
		return err
	}
	if err := publish(s.engine, destinations{
		findings: findings.Objects(), clusterFindings: clusterFindings.Objects(), proposals: proposalREST.Objects(),
	}); err != nil {
		return err
	}
	s.served = []rest.Lister{findings, clusterFindings, proposalREST}
	group := genericapiserver.NewDefaultAPIGroupInfo(v1alpha1.GroupName, s.extra.Scheme, runtime.NewParameterCodec(s.extra.Scheme), s.extra.Codecs)
	group.NegotiatedSerializer = withoutProtobuf{s.extra.Codecs}
	group.PrioritizedVersions = []schema.GroupVersion{v1alpha1.SchemeGroupVersion}
	group.VersionedResourcesStorageMap[v1alpha1.SchemeGroupVersion.Version] = map[string]rest.Storage{
		"findings":                    findings,
		"findings/investigate":        finding.NewInvestigateREST(findings, requester),
		"clusterfindings":             clusterFindings,
		"clusterfindings/investigate": finding.NewClusterInvestigateREST(clusterFindings, requester),
		"proposals":                   proposalREST,
		"proposals/token":             proposal.NewTokenREST(proposalREST, minter),
		"proposals/approve":           proposal.NewApproveREST(proposalREST, recorder),
		"proposals/runbook":           proposal.NewRunbookREST(proposalREST, runbooks{s.engine}, s.generic.Authorizer),
	}
	if err := s.generic.InstallAPIGroup(&group); err != nil {
		return fmt.Errorf("installing %s: %w", v1alpha1.SchemeGroupVersion, err)
	}
	return nil
}

func newWebhookServer(extra *ExtraConfig) ctrlwebhook.Server {
	options := ctrlwebhook.Options{Host: extra.WebhookBindAddress, Port: extra.WebhookBindPort}
	switch {
	case extra.CertificateFiles != nil:
		options.CertName, options.KeyName = extra.CertificateFiles.CertFile, extra.CertificateFiles.KeyFile
		options.CertDir = "/"
	default:
		options.TLSOpts = []func(*tls.Config){func(config *tls.Config) {
			config.MinVersion = tls.VersionTLS12
			config.GetCertificate = extra.served.GetCertificate
		}}
	}
	return ctrlwebhook.NewServer(options)
}

// Run serves until ctx ends or a part fails. While the API server drains, all that
// it serves from goes on.
func (s *Server) Run(ctx context.Context) error {
	group, serving := errgroup.WithContext(ctx)
	beside, drained := context.WithCancel(context.WithoutCancel(ctx))
	run := func(ctx context.Context, part string, serve func(context.Context) error) {
		group.Go(func() error {
			defer utilruntime.HandleCrashWithContext(ctx)
			if err := serve(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("running the %s: %w", part, err)
			}
			return nil
		})
	}
	configMaps := s.extra.Kube.CoreV1().ConfigMaps(s.extra.Namespace)
	if err := s.firstObserved.Load(ctx, configMaps); err != nil {
		// The times come with the first watch instead, and correct what began without.
		klog.FromContext(ctx).Error(err, "Starting without first-observed times")
	}
	run(beside, "memory of first-observed times", func(ctx context.Context) error {
		return s.firstObserved.Run(ctx, configMaps, s.engine.Reconsider)
	})
	run(beside, "live view", func(ctx context.Context) error { return s.engine.Run(ctx, s.source) })
	run(beside, "first complete view", func(ctx context.Context) error {
		if err := s.engine.WaitForSync(ctx); err != nil {
			return err
		}
		s.firstObserved.Synced()
		err := caughtUp(ctx, s.served...)
		s.complete.Store(err == nil)
		return err
	})
	run(beside, "webhook", s.webhook.Start)
	if s.page != nil {
		run(beside, "approval page", s.servePage)
	}
	run(beside, "client authorities", s.extra.authorities.run)
	run(beside, "maintenance of the signing keys", s.maintainKeys)
	run(beside, "record of the configuration", s.configuration.Run)
	run(beside, "record of the calls of models", s.modelCalls.run)
	run(beside, "index of the audit chain", s.index.Run)
	run(beside, "checkpoints of the audit chain", s.auditing.run)
	if s.extra.served != nil {
		services, err := aggregator.NewForConfig(s.extra.Client)
		if err != nil {
			drained()
			return errors.Join(fmt.Errorf("making a client of APIServices: %w", err), group.Wait())
		}
		publication := &publication{
			kube: s.extra.Kube, services: services, namespace: s.extra.Namespace,
			hosts: servingHosts(s.extra.Namespace), clock: s.extra.clock(), served: s.extra.served,
		}
		run(beside, "publication of the authority", publication.run)
	}
	run(serving, "API server", func(ctx context.Context) error {
		defer drained()
		if err := s.extra.authorities.wait(ctx, s.extra.Kube); err != nil {
			return err
		}
		return s.generic.PrepareRun().RunWithContext(ctx)
	})
	return group.Wait()
}

// keyMaintenance is how often it is looked whether the signing keys need anything.
const keyMaintenance = 10 * time.Minute

func (s *Server) maintainKeys(ctx context.Context) error {
	wait.UntilWithContext(ctx, func(ctx context.Context) {
		if err := s.keys.Maintain(ctx); err != nil && ctx.Err() == nil {
			klog.FromContext(ctx).Error(err, "The signing keys could not be looked after", "again", keyMaintenance)
		}
	}, keyMaintenance)
	return nil
}

// withoutProtobuf offers no protobuf, which our kinds cannot be encoded in, so
// that clients which would rather have it get the next that they accept.
type withoutProtobuf struct{ runtime.NegotiatedSerializer }

// SupportedMediaTypes implements runtime.NegotiatedSerializer.
func (w withoutProtobuf) SupportedMediaTypes() []runtime.SerializerInfo {
	return slices.DeleteFunc(slices.Clone(w.NegotiatedSerializer.SupportedMediaTypes()), func(info runtime.SerializerInfo) bool {
		return info.MediaType == runtime.ContentTypeProtobuf
	})
}
