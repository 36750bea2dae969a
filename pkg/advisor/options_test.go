// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"strings"
	"testing"
)

func TestWrongOptionsAreNamed(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Options)
		says   string
	}{
		"a namespace that is none":          {func(o *Options) { o.Namespace = "Srenix" }, "--namespace"},
		"a namespace of the Lease":          {func(o *Options) { o.LeaderElectionNamespace = "Srenix" }, "--leader-election-namespace"},
		"a severity that there is not":      {func(o *Options) { o.AutomaticSeverity = "High" }, "--automatic-severity"},
		"no investigations at all":          {func(o *Options) { o.MaximumInvestigations = 0 }, "--maximum-investigations"},
		"an address without a port":         {func(o *Options) { o.MetricsBindAddress = "localhost" }, "--metrics-bind-address"},
		"another address without a port":    {func(o *Options) { o.HealthProbeBindAddress = "localhost" }, "--health-probe-bind-address"},
		"a model at no endpoint":            {func(o *Options) { o.Model.Model = "m" }, "--model-base-url"},
		"a model that would see names":      {func(o *Options) { o.Model.BaseURL = "https://model.example/v1" }, "--pseudonym-key-file"},
		"nothing, which is as it should be": {func(*Options) {}, ""},
		"no metrics":                        {func(o *Options) { o.MetricsBindAddress = "0" }, ""},
		"only what somebody asks about":     {func(o *Options) { o.AutomaticSeverity = "None" }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			options := NewOptions()
			options.Namespace = "srenix-system"
			test.change(options)
			options.Complete()
			err := options.Validate()
			if (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
				t.Errorf("have %v, want one that says %q", err, test.says)
			}
		})
	}
}
