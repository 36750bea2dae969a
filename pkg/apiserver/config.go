// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	genericoptions "k8s.io/apiserver/pkg/server/options"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"
	"k8s.io/utils/clock"

	configv1alpha1 "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/observations"
	"github.com/srenix/srenix/pkg/tracing"
)

// Config is what a server is made of.
type Config struct {
	Generic *genericapiserver.RecommendedConfig
	Extra   ExtraConfig
}

// ExtraConfig is what the generic server does not know.
type ExtraConfig struct {
	// Scheme and Codecs of the aggregated group.
	Scheme *runtime.Scheme
	Codecs serializer.CodecFactory
	// Client is how kube-apiserver is reached.
	Client *rest.Config
	Kube   kubernetes.Interface

	Configuration *configv1alpha1.SrenixConfiguration
	Namespace     string
	// Identity names this process in the audit chain, as "apiserver/POD".
	Identity string

	WebhookBindAddress string
	WebhookBindPort    int
	// PageBindAddress and PageBindPort are where the approval page is served; nowhere
	// if the port is 0.
	PageBindAddress string
	PageBindPort    int

	// CertificateFiles serve the webhook and the page too, where they were given.
	CertificateFiles *genericoptions.CertKey
	// served is the certificate kept in a Secret, where no files were given.
	served *served
	// authorities tell by whom callers are vouched for.
	authorities *authorities
	// Clock is the real one unless a test sets it.
	Clock clock.WithTicker
	// Tracer traces approvals; nil traces none.
	Tracer *tracing.Tracer
}

func (e *ExtraConfig) clock() clock.WithTicker {
	if e.Clock == nil {
		e.Clock = clock.RealClock{}
	}
	return e.Clock
}

// elapsed is a clock that nobody sets, where the clock is the real one.
func (e *ExtraConfig) elapsed() func() time.Duration {
	if _, real := e.clock().(clock.RealClock); real {
		return observations.SinceBoot
	}
	return nil
}

// startDeadline is how long a starting server waits for kube-apiserver before it
// gives up, so that a restart by the kubelet picks up whatever changed.
const startDeadline = 2 * time.Minute

func waitForKubeAPIServer(ctx context.Context, kube kubernetes.Interface) error {
	logger := klog.FromContext(ctx)
	var last error
	err := wait.PollUntilContextTimeout(ctx, time.Second, startDeadline, true, func(ctx context.Context) (bool, error) {
		_, last = kube.CoreV1().Namespaces().Get(ctx, metav1.NamespaceSystem, metav1.GetOptions{})
		if last != nil {
			logger.Info("Waiting for kube-apiserver", "reason", last.Error())
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("reaching kube-apiserver: %w", last)
	}
	return nil
}
