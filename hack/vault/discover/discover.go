// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package discover stands in for the one by which servers of a Raft cluster find each
// other in clouds. A Vault in memory has no others, and the clouds' libraries take
// most of the time of its build.
package discover

import (
	"errors"
	"log"
)

// Provider knows the servers of a cloud.
type Provider interface {
	Addrs(arguments map[string]string, l *log.Logger) ([]string, error)
	Help() string
}

// Providers there are none.
var Providers = map[string]Provider{}

// Discover finds nobody.
type Discover struct{}

// Option is not looked at.
type Option func(*Discover) error

// New returns what finds nobody.
func New(...Option) (*Discover, error) { return &Discover{}, nil }

// WithProviders does nothing.
func WithProviders(map[string]Provider) Option { return nil }

// Addrs always fails.
func (*Discover) Addrs(string, *log.Logger) ([]string, error) {
	return nil, errors.New("this Vault runs alone")
}

// Config is what a provider is given.
type Config map[string]string

// Parse always fails.
func Parse(string) (Config, error) { return nil, errors.New("this Vault runs alone") }

// String is what was parsed.
func (Config) String() string { return "" }
