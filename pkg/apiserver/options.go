// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package apiserver wires the aggregated API server: options become a config,
// a config a server, a server runs. What it serves is computed in package live
// by the rules of analyzers and proposals, and translated in package registry.
package apiserver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path"
	"time"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	openapinamer "k8s.io/apiserver/pkg/endpoints/openapi"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	utilfeature "k8s.io/apiserver/pkg/util/feature"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/generated/openapi"
)

// authorizationCacheTTL bounds how long a right that was taken away still
// counts, for every verb and so for approve and token.
const authorizationCacheTTL = 2 * time.Second

// watchTermination is how long a server that stops takes to end its watches.
const watchTermination = 5 * time.Second

// Options are the flags of the server.
type Options struct {
	ServerRun      *genericoptions.ServerRunOptions
	SecureServing  *genericoptions.SecureServingOptionsWithLoopback
	Authentication *genericoptions.DelegatingAuthenticationOptions
	Authorization  *genericoptions.DelegatingAuthorizationOptions
	Audit          *genericoptions.AuditOptions
	Features       *genericoptions.FeatureOptions
	CoreAPI        *genericoptions.CoreAPIOptions
	Admission      *genericoptions.AdmissionOptions
	Logs           *logs.Options

	// ConfigFile is a SrenixConfiguration; empty means the defaults.
	ConfigFile string
	// Namespace is where srenix runs and keeps its keys.
	Namespace string
	// WebhookBindAddress and WebhookBindPort are where admission reviews are answered.
	WebhookBindAddress string
	WebhookBindPort    int
	// PageBindAddress and PageBindPort are where the approval page is served; port 0 is nowhere.
	PageBindAddress string
	PageBindPort    int
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	serving := genericoptions.NewSecureServingOptions()
	serving.BindPort = 6443
	// The aggregator multiplexes its clients' watches into few connections.
	serving.HTTP2MaxStreamsPerConnection = 1000
	authorization := genericoptions.NewDelegatingAuthorizationOptions()
	authorization.AllowCacheTTL = authorizationCacheTTL
	authorization.DenyCacheTTL = authorizationCacheTTL
	features := genericoptions.NewFeatureOptions()
	// kube-apiserver has queued and rated every request before it is proxied here.
	features.EnablePriorityAndFairness = false
	serverRun := genericoptions.NewServerRunOptions()
	// Without it watches are not ended, and the shutdown waits a minute for them.
	serverRun.ShutdownWatchTerminationGracePeriod = watchTermination
	return &Options{
		ServerRun:          serverRun,
		SecureServing:      serving.WithLoopback(),
		Authentication:     genericoptions.NewDelegatingAuthenticationOptions(),
		Authorization:      authorization,
		Audit:              genericoptions.NewAuditOptions(),
		Features:           features,
		CoreAPI:            genericoptions.NewCoreAPIOptions(),
		Admission:          genericoptions.NewAdmissionOptions(),
		Logs:               logs.NewOptions(),
		Namespace:          os.Getenv("POD_NAMESPACE"),
		WebhookBindAddress: "0.0.0.0",
		WebhookBindPort:    9443,
		PageBindAddress:    "0.0.0.0",
	}
}

// AddFlags adds the flags of every part.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	o.ServerRun.AddUniversalFlags(flags)
	o.SecureServing.AddFlags(flags)
	o.Authentication.AddFlags(flags)
	o.Authorization.AddFlags(flags)
	o.Audit.AddFlags(flags)
	o.Features.AddFlags(flags)
	o.CoreAPI.AddFlags(flags)
	o.Admission.AddFlags(flags)
	logsapi.AddFlags(o.Logs, flags)
	flags.StringVar(&o.ConfigFile, "config", o.ConfigFile, "File with a SrenixConfiguration (config.srenix.io/v1alpha1). Without it the defaults hold.")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "Namespace in which srenix runs and keeps its keys. Defaults to $POD_NAMESPACE.")
	flags.StringVar(&o.WebhookBindAddress, "webhook-bind-address", o.WebhookBindAddress, "Address on which admission reviews are answered.")
	flags.IntVar(&o.WebhookBindPort, "webhook-bind-port", o.WebhookBindPort, "Port on which admission reviews are answered.")
	flags.StringVar(&o.PageBindAddress, "approval-page-bind-address", o.PageBindAddress, "Address on which the approval page of kubectl create approval --link is served.")
	flags.IntVar(&o.PageBindPort, "approval-page-bind-port", o.PageBindPort, "Port on which the approval page is served, over HTTPS, at /approve. 0 serves none.")
}

// Validate reports every option that makes no sense.
func (o *Options) Validate() error {
	var errs []error
	errs = append(errs, o.ServerRun.Validate()...)
	errs = append(errs, o.SecureServing.Validate()...)
	errs = append(errs, o.Authentication.Validate()...)
	errs = append(errs, o.Authorization.Validate()...)
	errs = append(errs, o.Audit.Validate()...)
	errs = append(errs, o.Features.Validate()...)
	errs = append(errs, o.CoreAPI.Validate()...)
	errs = append(errs, o.Admission.Validate()...)
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--namespace %q: %s; set it or $POD_NAMESPACE to the namespace in which srenix runs", o.Namespace, problems[0]))
	}
	if o.WebhookBindPort < 1 || o.WebhookBindPort > 65535 {
		errs = append(errs, fmt.Errorf("--webhook-bind-port %d: must be between 1 and 65535", o.WebhookBindPort))
	}
	if o.PageBindPort < 0 || o.PageBindPort > 65535 {
		errs = append(errs, fmt.Errorf("--approval-page-bind-port %d: must be between 0 and 65535", o.PageBindPort))
	}
	for flag, address := range map[string]string{"webhook": o.WebhookBindAddress, "approval-page": o.PageBindAddress} {
		if net.ParseIP(address) == nil {
			errs = append(errs, fmt.Errorf("--%s-bind-address %q: must be an IP address", flag, address))
		}
	}
	return utilerrors.NewAggregate(errs)
}

// Config loads what the options name and returns what a server is made of. It
// talks to kube-apiserver, and waits for it until ctx ends.
func (o *Options) Config(ctx context.Context) (*Config, error) {
	configuration, err := configv1alpha1.Load(o.ConfigFile)
	if err != nil {
		return nil, err
	}
	scheme, codecs, err := newServingScheme()
	if err != nil {
		return nil, err
	}
	generic := genericapiserver.NewRecommendedConfig(codecs)
	if err := o.ServerRun.ApplyTo(&generic.Config); err != nil {
		return nil, fmt.Errorf("applying server options: %w", err)
	}
	namer := openapinamer.NewDefinitionNamer(scheme)
	generic.OpenAPIConfig = genericapiserver.DefaultOpenAPIConfig(openapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIConfig.Info.Title = "srenix"
	generic.OpenAPIV3Config = genericapiserver.DefaultOpenAPIV3Config(openapi.GetOpenAPIDefinitions, namer)
	generic.OpenAPIV3Config.Info.Title = "srenix"

	if err := o.CoreAPI.ApplyTo(generic); err != nil {
		return nil, fmt.Errorf("configuring the client of kube-apiserver: %w", err)
	}
	// kube-apiserver queues and rates what it is asked; a second limit here would
	// only make approvals slow.
	generic.ClientConfig.QPS = -1
	kube, err := kubernetes.NewForConfig(generic.ClientConfig)
	if err != nil {
		return nil, fmt.Errorf("making a client of kube-apiserver: %w", err)
	}
	if err := waitForKubeAPIServer(ctx, kube); err != nil {
		return nil, err
	}
	extra := ExtraConfig{
		Scheme: scheme, Codecs: codecs, Client: generic.ClientConfig, Kube: kube,
		Configuration: configuration, Namespace: o.Namespace, Identity: path.Join("apiserver", os.Getenv("POD_NAME")),
		WebhookBindAddress: o.WebhookBindAddress, WebhookBindPort: o.WebhookBindPort,
		PageBindAddress: o.PageBindAddress, PageBindPort: o.PageBindPort,
	}
	if err := o.applyCertificate(ctx, &extra); err != nil {
		return nil, err
	}
	dynamicClient, err := dynamic.NewForConfig(generic.ClientConfig)
	if err != nil {
		return nil, fmt.Errorf("making a dynamic client of kube-apiserver: %w", err)
	}
	if err := errors.Join(
		o.SecureServing.ApplyTo(&generic.SecureServing, &generic.LoopbackClientConfig),
		o.Authentication.ApplyTo(&generic.Authentication, generic.SecureServing, generic.OpenAPIConfig),
		o.Authorization.ApplyTo(&generic.Authorization),
		o.Audit.ApplyTo(&generic.Config),
		o.Features.ApplyTo(&generic.Config, kube, generic.SharedInformerFactory),
	); err != nil {
		return nil, fmt.Errorf("applying options: %w", err)
	}
	if err := o.Admission.ApplyTo(&generic.Config, generic.SharedInformerFactory, kube, dynamicClient, utilfeature.DefaultFeatureGate, generic.EffectiveVersion); err != nil {
		return nil, fmt.Errorf("applying admission options: %w", err)
	}
	extra.authorities = newAuthorities(generic, o)
	return &Config{Generic: generic, Extra: extra}, nil
}

// applyCertificate uses the certificate files that were given, or the shared
// certificate that srenix keeps in a Secret.
func (o *Options) applyCertificate(ctx context.Context, extra *ExtraConfig) error {
	files := o.SecureServing.ServerCert.CertKey
	if files.CertFile != "" || files.KeyFile != "" {
		extra.CertificateFiles = &files
		return nil
	}
	now := extra.clock().Now()
	certificate, err := ensureCertificate(ctx, extra.Kube, o.Namespace, servingHosts(o.Namespace), now, now.Add(startBefore), nil)
	if err != nil {
		return err
	}
	if extra.served, err = newServed(certificate); err != nil {
		return err
	}
	o.SecureServing.ServerCert.GeneratedCert = extra.served
	return nil
}

// servingHosts are the names by which the Service and a local client call.
func servingHosts(namespace string) []string {
	const service = "srenix-apiserver"
	return []string{
		"localhost",
		service + "." + namespace + ".svc",
		service + "." + namespace,
		service + "." + namespace + ".svc.cluster.local",
	}
}
