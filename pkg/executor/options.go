// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"net"
	"os"

	"github.com/spf13/pflag"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/logs"
	logsapi "k8s.io/component-base/logs/api/v1"
	"k8s.io/component-base/version"
	"k8s.io/utils/clock"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/tracing"
)

// disabled is the address that serves nothing, as controller-runtime has it.
const disabled = "0"

// flagWithoutSecondLeash is recorded in the audit chain by this name.
const flagWithoutSecondLeash = "allow-without-second-leash"

// Options are the flags of the executor.
type Options struct {
	Logs *logs.Options

	// Kubeconfig is how kube-apiserver is reached; empty means as a pod is.
	Kubeconfig string
	// ConfigFile is a SrenixConfiguration; empty means the defaults.
	ConfigFile string
	// Namespace is where srenix runs.
	Namespace string
	// LeaderElect lets one of several executors work at a time.
	LeaderElect bool
	// LeaderElectionNamespace holds the Lease; by default it is Namespace.
	LeaderElectionNamespace string
	// AllowWithoutSecondLeash starts where kube-apiserver does not enforce the
	// ValidatingAdmissionPolicy on the executor's identity.
	AllowWithoutSecondLeash bool
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
		MetricsBindAddress:     "127.0.0.1:8080",
		HealthProbeBindAddress: "127.0.0.1:8081",
	}
}

// AddFlags adds the flags of every part.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	logsapi.AddFlags(o.Logs, flags)
	flags.StringVar(&o.Kubeconfig, "kubeconfig", o.Kubeconfig, "File that says how to reach kube-apiserver. Without it the pod's service account is used.")
	flags.StringVar(&o.ConfigFile, "config", o.ConfigFile, "File with a SrenixConfiguration (config.srenix.io/v1alpha1). Without it the defaults hold.")
	flags.StringVar(&o.Namespace, "namespace", o.Namespace, "Namespace in which srenix runs and publishes its keys. Defaults to $POD_NAMESPACE.")
	flags.BoolVar(&o.LeaderElect, "leader-elect", o.LeaderElect, "Work only while holding a Lease, so that several executors can stand by.")
	flags.StringVar(&o.LeaderElectionNamespace, "leader-election-namespace", o.LeaderElectionNamespace, "Namespace of the Lease. Defaults to --namespace.")
	flags.BoolVar(&o.AllowWithoutSecondLeash, flagWithoutSecondLeash, o.AllowWithoutSecondLeash, "Start, and carry out, also where kube-apiserver does not enforce ValidatingAdmissionPolicy "+leashName+" of this version on this identity. It is recorded in the audit chain. Then nothing but this program's own code keeps it to what was approved.")
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

// Config is what an executor is made of.
type Config struct {
	Client        *rest.Config
	Configuration *configv1alpha1.SrenixConfiguration

	Namespace               string
	LeaderElect             bool
	LeaderElectionNamespace string
	AllowWithoutSecondLeash bool
	MetricsBindAddress      string
	HealthProbeBindAddress  string

	// Pod is this executor's name in the audit chain.
	Pod string
	// Identity is this process and no other one ever, for claims.
	Identity string
	// AuditLog gets each audit event that this executor appends, as a line of JSON.
	AuditLog io.Writer
	// Clock is the real one unless a test sets it.
	Clock clock.PassiveClock
	// Tracer traces approvals; nil traces none.
	Tracer *tracing.Tracer
}

// Config loads what the options name. It talks to nobody.
func (o *Options) Config() (*Config, error) {
	configuration, err := configv1alpha1.Load(o.ConfigFile)
	if err != nil {
		return nil, err
	}
	client, err := clientcmd.BuildConfigFromFlags("", o.Kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("finding out how to reach kube-apiserver (set --kubeconfig outside of a cluster): %w", err)
	}
	client.QPS = -1 // kube-apiserver has priority and fairness, and few executions go on at a time
	client.Wrap(tracing.Wrap)
	client.UserAgent = "srenix-executor/" + version.Get().GitVersion
	pod := os.Getenv("POD_NAME")
	if pod == "" {
		if pod, err = os.Hostname(); err != nil {
			return nil, fmt.Errorf("naming this executor (set $POD_NAME): %w", err)
		}
	}
	var random [4]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, fmt.Errorf("drawing this executor's identity: %w", err)
	}
	return &Config{
		Client: client, Configuration: configuration,
		Namespace: o.Namespace, LeaderElect: o.LeaderElect, LeaderElectionNamespace: o.LeaderElectionNamespace,
		AllowWithoutSecondLeash: o.AllowWithoutSecondLeash,
		MetricsBindAddress:      o.MetricsBindAddress, HealthProbeBindAddress: o.HealthProbeBindAddress,
		Pod: pod, Identity: pod + "_" + hex.EncodeToString(random[:]),
		AuditLog: os.Stdout, Clock: clock.RealClock{},
	}, nil
}
