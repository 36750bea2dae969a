// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package redaction

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestSpotFindsNamesByTheirForm(t *testing.T) {
	for text, want := range map[string][]Name{
		"dial tcp: lookup db.shop.svc.cluster.local: no such host":                 {{"Host", "db.shop.svc.cluster.local"}},
		`Failed to pull image "Registry.Example.com:5000/team/app:1.2"`:            {{"Host", "Registry.Example.com"}},
		"node ip-10-0-12-34.ec2.internal is not ready":                             {{"Host", "ip-10-0-12-34.ec2.internal"}},
		"password authentication failed for user shop_rw":                          {{"User", "shop_rw"}},
		`{"user":"dana","n":1}`:                                                    {{"User", "dana"}},
		`FATAL: no entry for user "app", database "x"`:                             {{"User", "app"}},
		`User "system:serviceaccount:shop:web" cannot list resource "pods"`:        {{"User", "system:serviceaccount:shop:web"}, {"Namespace", "shop"}, {"ServiceAccount", "web"}},
		"customresourcedefinitions.apiextensions.k8s.io and app.kubernetes.io":     nil,
		"version 1.25.3 of server.go panicked with java.lang.NullPointerException": nil,
		"the user is not known, and users may not":                                 nil,
	} {
		if diff := cmp.Diff(want, Spot(text)); diff != "" {
			t.Errorf("in %q (-want +have):\n%s", text, diff)
		}
	}
}
