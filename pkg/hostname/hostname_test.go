// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package hostname

import "testing"

func TestCovers(t *testing.T) {
	for name, test := range map[string]struct {
		names []string
		host  string
		want  bool
	}{
		"the same name":                       {[]string{"a.example.com", "b.example.com"}, "b.example.com", true},
		"whatever the case":                   {[]string{"A.Example.com"}, "a.eXample.com", true},
		"another name":                        {[]string{"a.example.com"}, "b.example.com", false},
		"no name":                             {nil, "a.example.com", false},
		"a wildcard for the first label":      {[]string{"*.example.com"}, "a.example.com", true},
		"a wildcard is for one label":         {[]string{"*.example.com"}, "a.b.example.com", false},
		"a wildcard is not for the domain":    {[]string{"*.example.com"}, "example.com", false},
		"a wildcard host, by itself":          {[]string{"*.example.com"}, "*.example.com", true},
		"a wildcard host, by one of its kind": {[]string{"a.example.com"}, "*.example.com", false},
		"a bare star":                         {[]string{"*"}, "localhost", false},
		"a root dot has no parent":            {[]string{"*."}, "localhost.", false},
		"a host of one label":                 {[]string{"*."}, "localhost", false},
	} {
		t.Run(name, func(t *testing.T) {
			if have := Covers(test.names, test.host); have != test.want {
				t.Errorf("covers: %t", have)
			}
			if have := CoversAll(test.names, []string{test.host}); have != test.want {
				t.Errorf("covers all: %t", have)
			}
		})
	}
	if CoversAll([]string{"a"}, []string{"a", "b"}) {
		t.Error("one that is not covered is overlooked")
	}
}
