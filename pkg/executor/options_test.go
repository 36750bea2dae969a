// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"strings"
	"testing"
)

func TestOptions(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		want   string
	}{
		"the defaults in a namespace": {change: func(*Options) {}},
		"nothing served":              {change: func(o *Options) { o.MetricsBindAddress, o.HealthProbeBindAddress = "0", "0" }},
		"no namespace":                {change: func(o *Options) { o.Namespace = "" }, want: "POD_NAMESPACE"},
		"a bad Lease namespace":       {change: func(o *Options) { o.LeaderElectionNamespace = "Not_One" }, want: "--leader-election-namespace"},
		"an unused Lease namespace":   {change: func(o *Options) { o.LeaderElectionNamespace, o.LeaderElect = "Not_One", false }},
		"no port for metrics":         {change: func(o *Options) { o.MetricsBindAddress = "localhost" }, want: "--metrics-bind-address"},
		"no port for probes":          {change: func(o *Options) { o.HealthProbeBindAddress = "localhost" }, want: "--health-probe-bind-address"},
	} {
		t.Run(name, func(t *testing.T) {
			options := NewOptions()
			options.Namespace = "srenix-system"
			test.change(options)
			options.Complete()
			err := options.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("error %v, want one about %q", err, test.want)
			}
		})
	}
}
