// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/utils/clock"
)

// Options say which model is asked and how much. Where a number is 0 the standard
// that it names holds.
type Options struct {
	// BaseURL of the endpoint up to its version, as https://api.openai.com/v1.
	BaseURL string
	// Model is the name by which the endpoint knows the model.
	Model string
	// KeyFile holds the key that is sent as a bearer token. It is read for each
	// request. If empty, none is sent.
	KeyFile string
	// CAFile holds the authorities that the endpoint's certificate is from, in PEM;
	// those of the system if empty.
	CAFile string
	// ProxyURL is that of an HTTP proxy; none if empty. The variables of the
	// environment do not count.
	ProxyURL string
	// Timeout of a call with its retries and pauses; 30 s.
	Timeout time.Duration
	// Concurrency is how many requests may be under way at once; 2.
	Concurrency int
	// Attempts are how often a request is sent at most; 3.
	Attempts int
	// LongestPause is how long a call waits at most for its next attempt; 10 s. If the
	// endpoint asks for more, the call fails at once.
	LongestPause time.Duration
	// PromptTokens are the most that a prompt may have, by estimate; 8,000.
	PromptTokens int
	// AnswerTokens are the most that an answer may have, with what the model thinks
	// before; 1,000.
	AnswerTokens int
	// HourlyTokens are the most that all calls within any 60 minutes may use; 200,000.
	HourlyTokens int
	// ResponseBytes are the most that a response may have; 262,144.
	ResponseBytes int64
	// BreakerFailures in a row open the breaker; 5.
	BreakerFailures int
	// BreakerPause is how long it stays open before one call tries again; 1 min.
	BreakerPause time.Duration
	// Clock tells the time; the real one if nil.
	Clock clock.WithDelayedExecution
	// Registerer takes the metrics; nobody if nil.
	Registerer prometheus.Registerer
}

// Standard returns the numbers that hold where none are given.
func Standard() Options {
	var o Options
	o.complete()
	o.Clock, o.Registerer = nil, nil
	return o
}

// complete fills in the standards.
func (o *Options) complete() {
	o.Timeout = cmp.Or(o.Timeout, 30*time.Second)
	o.Concurrency = cmp.Or(o.Concurrency, 2)
	o.Attempts = cmp.Or(o.Attempts, 3)
	o.LongestPause = cmp.Or(o.LongestPause, 10*time.Second)
	o.PromptTokens = cmp.Or(o.PromptTokens, 8_000)
	o.AnswerTokens = cmp.Or(o.AnswerTokens, 1_000)
	o.HourlyTokens = cmp.Or(o.HourlyTokens, 200_000)
	o.ResponseBytes = cmp.Or(o.ResponseBytes, 256<<10)
	o.BreakerFailures = cmp.Or(o.BreakerFailures, 5)
	o.BreakerPause = cmp.Or(o.BreakerPause, time.Minute)
	if o.Clock == nil {
		o.Clock = clock.RealClock{}
	}
	if o.Registerer == nil {
		o.Registerer = prometheus.NewRegistry()
	}
}

// validate tells everything that is wrong with the options. It repeats no URL, because
// people write passwords into them.
func (o *Options) validate() error {
	var wrong []error
	if o.Model == "" {
		wrong = append(wrong, errors.New("name a model"))
	}
	switch base, err := url.Parse(o.BaseURL); {
	case err != nil || base.Scheme != "http" && base.Scheme != "https" || base.Host == "":
		wrong = append(wrong, errors.New("the base URL must be one of http or https, as https://api.openai.com/v1"))
	case base.User != nil || base.RawQuery != "" || base.Fragment != "":
		wrong = append(wrong, errors.New("the base URL must hold neither credentials nor a query: put the key into the key file"))
	}
	for _, number := range []struct {
		name  string
		value int64
	}{
		{"timeout", int64(o.Timeout)}, {"concurrency", int64(o.Concurrency)}, {"attempts", int64(o.Attempts)}, {"longest pause", int64(o.LongestPause)},
		{"prompt tokens", int64(o.PromptTokens)}, {"answer tokens", int64(o.AnswerTokens)}, {"hourly tokens", int64(o.HourlyTokens)},
		{"response bytes", o.ResponseBytes}, {"breaker failures", int64(o.BreakerFailures)}, {"breaker pause", int64(o.BreakerPause)},
	} {
		if number.value < 0 {
			wrong = append(wrong, fmt.Errorf("the %s must not be negative", number.name))
		}
	}
	return errors.Join(wrong...)
}

// connection returns the transport that the options ask for.
func (o *Options) connection() (*http.Transport, error) {
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = nil
	transport.MaxResponseHeaderBytes = 64 << 10
	transport.TLSClientConfig = &tls.Config{MinVersion: tls.VersionTLS12}
	if o.CAFile != "" {
		bundle, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("reading the authorities of the model's endpoint: %w", err)
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(bundle) {
			return nil, fmt.Errorf("reading the authorities of the model's endpoint: %s holds no certificate", o.CAFile)
		}
	}
	if o.ProxyURL != "" {
		proxy, err := url.Parse(o.ProxyURL)
		if err != nil || proxy.Host == "" {
			return nil, errors.New("the proxy must be given as a URL, as http://proxy.example.com:3128")
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return transport, nil
}
