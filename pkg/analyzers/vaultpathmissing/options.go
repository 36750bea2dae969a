// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/vault"
)

// Options are the analyzer's own. Without an address it is off.
type Options struct {
	// Address is the URL of Vault, by https unless that is this very machine.
	Address string `json:"address,omitempty"`
	// AlsoKnownAs are other URLs under which SecretStores name the same Vault.
	AlsoKnownAs []string `json:"alsoKnownAs,omitempty"`
	// TokenFile holds a token, or else KubernetesRole is logged in as, at
	// KubernetesMount ("kubernetes"), with the token in ServiceAccountTokenFile (that of
	// the pod).
	TokenFile               string `json:"tokenFile,omitempty"`
	KubernetesRole          string `json:"kubernetesRole,omitempty"`
	KubernetesMount         string `json:"kubernetesMount,omitempty"`
	ServiceAccountTokenFile string `json:"serviceAccountTokenFile,omitempty"`
	// CAFile holds the authorities that Vault's certificate is from; those of the system
	// if empty.
	CAFile string `json:"caFile,omitempty"`
	// Timeout of one request, 10s by default, and at most a minute.
	Timeout *metav1.Duration `json:"timeout,omitempty"`
	// RefreshInterval is how often everything is asked for, 10m by default, and at least
	// a minute.
	RefreshInterval *metav1.Duration `json:"refreshInterval,omitempty"`
}

const (
	standardTimeout         = 10 * time.Second
	longestTimeout          = time.Minute
	standardRefreshInterval = 10 * time.Minute
	shortestRefreshInterval = time.Minute
)

// OptionsOf returns the analyzer's options, with defaults, and whether it is to ask a
// Vault at all.
func OptionsOf(settings analyzers.Settings) (options Options, on bool, err error) {
	if err := settings.Options(&options); err != nil {
		return Options{}, false, err
	}
	if options.Address == "" {
		empty := options.TokenFile == "" && options.KubernetesRole == "" && len(options.AlsoKnownAs) == 0
		if !empty {
			return Options{}, false, errors.New("options.address: is needed to ask a Vault")
		}
		return Options{}, false, nil
	}
	if options.KubernetesMount == "" {
		options.KubernetesMount = "kubernetes"
	}
	if options.ServiceAccountTokenFile == "" {
		options.ServiceAccountTokenFile = "/var/run/secrets/kubernetes.io/serviceaccount/token"
	}
	if options.Timeout == nil {
		options.Timeout = &metav1.Duration{Duration: standardTimeout}
	}
	if options.RefreshInterval == nil {
		options.RefreshInterval = &metav1.Duration{Duration: standardRefreshInterval}
	}
	return options, true, options.validate()
}

func (o Options) validate() error {
	var errs []error
	at, err := url.Parse(o.Address)
	switch {
	case err != nil || at.Host == "" || at.Scheme != "https" && at.Scheme != "http":
		errs = append(errs, fmt.Errorf("options.address: %q is not the URL of a server", o.Address))
	case at.Scheme == "http" && !loopback(at.Hostname()):
		errs = append(errs, errors.New("options.address: must be https"))
	}
	for i, other := range o.AlsoKnownAs {
		if at, err := url.Parse(other); err != nil || at.Host == "" {
			errs = append(errs, fmt.Errorf("options.alsoKnownAs[%d]: %q is not the URL of a server", i, other))
		}
	}
	if (o.TokenFile == "") == (o.KubernetesRole == "") {
		errs = append(errs, errors.New("options: one of tokenFile and kubernetesRole is needed"))
	}
	if t := o.Timeout.Duration; t <= 0 || t > longestTimeout {
		errs = append(errs, fmt.Errorf("options.timeout: must be more than 0 and at most %s", longestTimeout))
	}
	if o.RefreshInterval.Duration < shortestRefreshInterval {
		errs = append(errs, fmt.Errorf("options.refreshInterval: must be at least %s", shortestRefreshInterval))
	}
	return errors.Join(errs...)
}

func loopback(host string) bool {
	address := net.ParseIP(host)
	return host == "localhost" || address != nil && address.IsLoopback()
}

// Client are the options of the client of Vault.
func (o Options) Client() vault.Options {
	return vault.Options{
		Address: o.Address, TokenFile: o.TokenFile, KubernetesRole: o.KubernetesRole, KubernetesMount: o.KubernetesMount,
		ServiceAccountTokenFile: o.ServiceAccountTokenFile, CAFile: o.CAFile, Timeout: o.Timeout.Duration,
	}
}

// asks tells whether a server that a SecretStore names is the Vault that is asked.
func (o Options) asks(server string) bool {
	return slices.ContainsFunc(append([]string{o.Address}, o.AlsoKnownAs...), func(known string) bool { return origin(known) == origin(server) })
}

// origin is scheme, host and port of a URL.
func origin(text string) string {
	at, err := url.Parse(text)
	if err != nil {
		return text
	}
	port := at.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[at.Scheme]
	}
	return strings.ToLower(at.Scheme + "://" + at.Hostname() + ":" + port)
}
