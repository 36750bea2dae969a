// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"

	"github.com/spf13/pflag"
	"golang.org/x/net/http/httpproxy"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// Limits of requests to kube-apiserver. One investigation makes up to a dozen.
	clientQPS   = 20
	clientBurst = 40

	// standardMaximum is how many investigations are stored at most.
	standardMaximum = 1000

	// disabled is the address that serves nothing, as controller-runtime has it.
	disabled = "0"
	// none is the severity of findings that are looked into only when somebody asks.
	none = "None"
)

// Options are the flags of the advisor.
type Options struct {
	Logs *logs.Options

	// Kubeconfig is how kube-apiserver is reached; empty means as a pod is.
	Kubeconfig string
	// Namespace is where srenix runs.
	Namespace string
	// LeaderElect lets one of several advisors work at a time.
	LeaderElect bool
	// LeaderElectionNamespace holds the Lease; by default it is Namespace.
	LeaderElectionNamespace string
	// AutomaticSeverity is the least severity of findings that are looked into by
	// themselves: Critical, Warning or Info, or None.
	AutomaticSeverity string
	// MaximumInvestigations is how many are stored at most.
	MaximumInvestigations int
	// LookUpHosts has hosts that findings name resolved, and their certificates
	// looked at, from where the advisor runs.
	LookUpHosts bool
	// Model is which model is asked, and how much; none if it has no BaseURL.
	Model model.Options
	// ModelInvestigates has the model look into findings itself, beside the rules.
	ModelInvestigates bool
	// ModelChoosesFixes has the model choose fixes, which are proposed beside those of rules.
	ModelChoosesFixes bool
	// ModelMakesPlans has the model put fixes of several findings in order.
	ModelMakesPlans bool
	// ModelDraftsRunbooks has the model draft runbooks for trouble with Vault.
	ModelDraftsRunbooks bool
	// PseudonymKeyFile holds the key by which names become pseudonyms for the model.
	PseudonymKeyFile string
	// MetricsBindAddress and HealthProbeBindAddress are host:port, or "0" for none.
	MetricsBindAddress     string
	HealthProbeBindAddress string
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{
		Logs:                   logs.NewOptions(),
		Namespace:              os.Getenv("POD_NAMESPACE"),
		LeaderElect:            true,
		AutomaticSeverity:      string(srenix.SeverityCritical),
		MaximumInvestigations:  standardMaximum,
		Model:                  model.Standard(),
		MetricsBindAddress:     "127.0.0.1:8080",
		HealthProbeBindAddress: "127.0.0.1:8081",
	}
}

// AddFlags adds the flags of every part.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	logsapi.AddFlags(o.Logs, flags)
	flags.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "File that says how to reach kube-apiserver. Without it the pod's service account is used.")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "Namespace in which srenix runs. Defaults to $POD_NAMESPACE.")
	flags.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "Work only while holding a Lease, so that several advisors can stand by.")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", o.LeaderElectionNamespace, "Namespace of the Lease. Defaults to --namespace.")
	flags.StringVar(&o.AutomaticSeverity, "automatic-severity", o.AutomaticSeverity, "Least severity of findings that are looked into by themselves: Critical, Warning or Info, or None for those that somebody asks about.")
	flags.IntVar(&o.MaximumInvestigations, "maximum-investigations", o.MaximumInvestigations, "How many Investigations are stored at most. Further findings wait until some are gone.")
	flags.BoolVar(&o.LookUpHosts, "look-up-hosts", o.LookUpHosts, "Resolve hosts that findings name, as registries and those of certificates, and look at the certificates that public ones serve, from where the advisor runs.")
	flags.StringVar(&o.Model.BaseURL, "model-base-url", o.Model.BaseURL, "Base URL, up to its version, of an endpoint that speaks the chat-completions protocol of OpenAI, as https://api.openai.com/v1. Without it no model is asked.")
	flags.StringVar(&o.Model.Model, "model-name", o.Model.Model, "Name by which the endpoint knows the model.")
	flags.StringVar(&o.Model.KeyFile, "model-key-file", o.Model.KeyFile, "File with the endpoint's key. Without it none is sent.")
	flags.StringVar(&o.Model.CAFile, "model-ca-file", o.Model.CAFile, "File with the authorities of the endpoint's certificate, in PEM. Without it those of the system count.")
	flags.DurationVar(&o.Model.Timeout, "model-timeout", o.Model.Timeout, "How long a call of the model may take, with its retries.")
	flags.IntVar(&o.Model.Concurrency, "model-concurrency", o.Model.Concurrency, "How many calls of the model are made at a time.")
	flags.IntVar(&o.Model.PromptTokens, "model-prompt-tokens", o.Model.PromptTokens, "How many tokens a prompt may have, by estimate.")
	flags.IntVar(&o.Model.AnswerTokens, "model-answer-tokens", o.Model.AnswerTokens, "How many tokens an answer may have, with what the model thinks before.")
	flags.IntVar(&o.Model.HourlyTokens, "model-hourly-tokens", o.Model.HourlyTokens, "How many tokens all calls within any hour may use.")
	flags.BoolVar(&o.ModelInvestigates, "model-investigates", o.ModelInvestigates, "Have the model look further into each finding that was looked into, by choosing what is read next, six times at most. What it takes for the cause is shown beside what rules found.")
	flags.BoolVar(&o.ModelMakesPlans, "model-makes-plans", o.ModelMakesPlans, "Have the model put fixes of the findings of a namespace in order, for each finding that was looked into. Each step is proposed where all of them fit, and can be approved once the one before is verified.")
	flags.BoolVar(&o.ModelChoosesFixes, "model-chooses-fixes", o.ModelChoosesFixes, "Have the model choose a fix for each finding that was looked into, out of those that srenix knows. It is proposed beside what rules propose, where it fits.")
	flags.BoolVar(&o.ModelDraftsRunbooks, "model-drafts-runbooks", o.ModelDraftsRunbooks, "Have the model draft a runbook for people for each finding about Vault that was looked into. Two people have to approve it before it is released; nothing executes it.")
	flags.StringVar(&o.PseudonymKeyFile, "pseudonym-key-file", o.PseudonymKeyFile, "File with 32 random bytes or more, from which the model's words for namespaces, objects, hosts and users are made.")
	flags.StringVar(&o.MetricsBindAddress, "metrics-bind-address", o.MetricsBindAddress, "Address (host:port) on which metrics are served; 0 serves none.")
	flags.StringVar(&o.HealthProbeBindAddress, "health-probe-bind-address", o.HealthProbeBindAddress, "Address (host:port) on which /healthz and /readyz are served; 0 serves none.")
}

// Complete fills in what follows from other options.
func (o *Options) Complete() {
	if o.LeaderElectionNamespace == "" {
		o.LeaderElectionNamespace = o.Namespace
	}
}

// Validate reports every option that makes no sense.
func (o *Options) Validate() error {
	var errs []error
	if problems := validation.IsDNS1123Label(o.Namespace); len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--namespace %q: %s; set it or $POD_NAMESPACE to the namespace in which srenix runs", o.Namespace, problems[0]))
	}
	if problems := validation.IsDNS1123Label(o.LeaderElectionNamespace); o.LeaderElect && o.LeaderElectionNamespace != o.Namespace && len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--leader-election-namespace %q: %s", o.LeaderElectionNamespace, problems[0]))
	}
	if _, known := ranks[o.AutomaticSeverity]; !known {
		errs = append(errs, fmt.Errorf("--automatic-severity %q: write Critical, Warning, Info or None", o.AutomaticSeverity))
	}
	if o.MaximumInvestigations < 1 {
		errs = append(errs, fmt.Errorf("--maximum-investigations %d: want 1 or more", o.MaximumInvestigations))
	}
	if o.Model.BaseURL == "" {
		if o.Model.Model != "" || o.Model.KeyFile != "" || o.Model.CAFile != "" || o.PseudonymKeyFile != "" || o.ModelInvestigates || o.ModelChoosesFixes || o.ModelMakesPlans || o.ModelDraftsRunbooks {
			errs = append(errs, errors.New("--model-base-url: name the endpoint of the model that the other flags are about, or leave them out"))
		}
	} else if o.PseudonymKeyFile == "" {
		errs = append(errs, errors.New("--pseudonym-key-file: name a file with 32 random bytes or more; without them the model would see names, or words that anybody can make of names"))
	}
	errs = append(errs, validAddress("--metrics-bind-address", o.MetricsBindAddress), validAddress("--health-probe-bind-address", o.HealthProbeBindAddress))
	return utilerrors.NewAggregate(errs)
}

func validAddress(flag, address string) error {
	if address == disabled {
		return nil
	}
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("%s %q: %w; write host:port, or 0 for none", flag, address, err)
	}
	return nil
}

// ranks order severities; that of none is above all.
var ranks = map[string]int{string(srenix.SeverityInfo): 1, string(srenix.SeverityWarning): 2, string(srenix.SeverityCritical): 3, none: 4}

// Config is what an advisor is made of.
type Config struct {
	Client *rest.Config
	// Namespace is where srenix runs.
	Namespace string

	LeaderElect             bool
	LeaderElectionNamespace string
	AutomaticSeverity       string
	MaximumInvestigations   int
	LookUpHosts             bool
	// Model is nil if none is asked.
	Model *model.Options
	// ModelInvestigates has it look into findings itself.
	ModelInvestigates bool
	// ModelChoosesFixes has it choose fixes.
	ModelChoosesFixes bool
	// ModelMakesPlans has it put fixes in order.
	ModelMakesPlans bool
	// ModelDraftsRunbooks has it draft runbooks.
	ModelDraftsRunbooks bool
	// PseudonymKey has 32 bytes or more if one is.
	PseudonymKey           []byte
	MetricsBindAddress     string
	HealthProbeBindAddress string

	// Clock is the real one unless a test sets it.
	Clock clock.PassiveClock
}

// Config loads what the options name. It talks to nobody.
func (o *Options) Config() (*Config, error) {
	client, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding out how to reach kube-apiserver (set --kubeconfig outside of a cluster): %w", err)
	}
	client.QPS, client.Burst = clientQPS, clientBurst
	client.UserAgent = "srenix-advisor/" + version.Get().GitVersion
	config := &Config{
		Client: client, Namespace: o.Namespace, LeaderElect: o.LeaderElect, LeaderElectionNamespace: o.LeaderElectionNamespace,
		AutomaticSeverity: o.AutomaticSeverity, MaximumInvestigations: o.MaximumInvestigations, LookUpHosts: o.LookUpHosts,
		MetricsBindAddress: o.MetricsBindAddress, HealthProbeBindAddress: o.HealthProbeBindAddress,
		Clock: clock.RealClock{},
	}
	if o.Model.BaseURL != "" {
		if err := o.model(config); err != nil {
			return nil, err
		}
	}
	return config, nil
}

// model adds what it takes to ask a model.
func (o *Options) model(config *Config) error {
	key, err := os.ReadFile(o.PseudonymKeyFile)
	if err != nil {
		return fmt.Errorf("reading the key for pseudonyms: %w", err)
	}
	config.PseudonymKey = bytes.TrimSpace(key)
	if _, err := redaction.New(config.PseudonymKey, nil); err != nil {
		return fmt.Errorf("--pseudonym-key-file %s: %w", o.PseudonymKeyFile, err)
	}
	options := o.Model
	base, err := url.Parse(options.BaseURL)
	if err != nil {
		return errors.New("--model-base-url: it is no URL") // which may hold a password
	}
	proxy, err := httpproxy.FromEnvironment().ProxyFunc()(base)
	if err != nil {
		return errors.New("the proxy that the environment names for the model's endpoint (HTTPS_PROXY, HTTP_PROXY, NO_PROXY) is no URL")
	}
	if proxy != nil {
		options.ProxyURL = proxy.String()
	}
	config.ModelInvestigates = o.ModelInvestigates
	config.Model, config.ModelChoosesFixes, config.ModelMakesPlans, config.ModelDraftsRunbooks = &options, o.ModelChoosesFixes, o.ModelMakesPlans, o.ModelDraftsRunbooks
	return nil
}
