// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"bytes"
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapiserver "k8s.io/apiserver/pkg/server"
	"k8s.io/apiserver/pkg/server/dynamiccertificates"
	"k8s.io/client-go/kubernetes"
)

// The ConfigMap of kube-system in which kube-apiserver publishes who vouches for
// its clients, and for itself when it proxies.
const (
	authenticationConfigMap = "extension-apiserver-authentication"
	clientAuthority         = "client-ca-file"
	frontProxyAuthority     = "requestheader-client-ca-file"
)

// authorities loads, before anything is served, the certificate authorities by
// which callers are recognized. The library starts to serve first and loads them
// beside: kube-apiserver then finds its authority missing from those that are
// asked for, sends no certificate, and all that it proxies over that connection,
// for as long as it lives, comes from system:anonymous.
type authorities struct {
	provider dynamiccertificates.CAContentProvider
	// awaited are the keys of the ConfigMap that were not given as files.
	awaited []string
	headers func() []string
}

// contentOnly hides from the library that a provider has to be run. It takes listeners
// at any time, which the provider takes only before it runs.
type contentOnly struct {
	dynamiccertificates.CAContentProvider
	listeners *relay
}

// AddListener implements dynamiccertificates.Notifier.
func (c contentOnly) AddListener(listener dynamiccertificates.Listener) { c.listeners.add(listener) }

// relay is a listener that passes on what it hears.
type relay struct {
	mu sync.Mutex
	to []dynamiccertificates.Listener
}

func (r *relay) add(listener dynamiccertificates.Listener) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.to = append(r.to, listener)
}

// Enqueue implements dynamiccertificates.Listener.
func (r *relay) Enqueue() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, listener := range r.to {
		listener.Enqueue()
	}
}

// newAuthorities takes over running the provider of client authorities.
func newAuthorities(generic *genericapiserver.RecommendedConfig, o *Options) *authorities {
	a := &authorities{provider: generic.SecureServing.ClientCA, headers: func() []string { return nil }}
	if generic.SecureServing.ClientCA != nil {
		listeners := &relay{}
		a.provider.AddListener(listeners)
		generic.SecureServing.ClientCA = contentOnly{a.provider, listeners}
	}
	if o.Authentication.ClientCert.ClientCA == "" {
		a.awaited = append(a.awaited, clientAuthority)
	}
	if o.Authentication.RequestHeader.ClientCAFile == "" {
		a.awaited = append(a.awaited, frontProxyAuthority)
		if config := generic.Authentication.RequestHeaderConfig; config != nil {
			a.headers = config.UsernameHeaders.Value
		}
	}
	return a
}

// run keeps the authorities up to date until ctx ends.
func (a *authorities) run(ctx context.Context) error {
	if runner, ok := a.provider.(dynamiccertificates.ControllerRunner); ok {
		if err := runner.RunOnce(ctx); err != nil {
			return fmt.Errorf("loading client authorities: %w", err)
		}
		runner.Run(ctx, 1)
	}
	<-ctx.Done()
	return nil
}

// wait waits until all that kube-apiserver has published is loaded.
func (a *authorities) wait(ctx context.Context, kube kubernetes.Interface) error {
	if len(a.awaited) == 0 {
		return nil
	}
	var last error
	err := wait.PollUntilContextTimeout(ctx, 20*time.Millisecond, startDeadline, true, func(ctx context.Context) (bool, error) {
		var published *corev1.ConfigMap
		if published, last = kube.CoreV1().ConfigMaps(metav1.NamespaceSystem).Get(ctx, authenticationConfigMap, metav1.GetOptions{}); last == nil {
			last = a.missing(published.Data)
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("loading who may call from ConfigMap %s/%s (bind role extension-apiserver-authentication-reader of kube-system to this service account): %w",
			metav1.NamespaceSystem, authenticationConfigMap, last)
	}
	return nil
}

// missing tells what is published and not loaded yet.
func (a *authorities) missing(published map[string]string) error {
	loaded := a.provider.CurrentCABundleContent()
	for _, key := range a.awaited {
		authority := bytes.TrimSpace([]byte(published[key]))
		if !bytes.Contains(loaded, authority) {
			return fmt.Errorf("%s is not loaded yet", key)
		}
		if key == frontProxyAuthority && len(authority) > 0 && len(a.headers()) == 0 {
			return fmt.Errorf("the headers that go with %s are not loaded yet", key)
		}
	}
	return nil
}
