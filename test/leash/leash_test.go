// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"testing"

	"github.com/srenix/srenix/pkg/policy"
)

func TestTheTwoLeashesAgree(t *testing.T) {
	for _, q := range questions(t) {
		t.Run(q.name, func(t *testing.T) {
			inGo, inCEL := q.want, q.want
			if q.onlyGo != "" {
				inCEL = ""
			}
			if q.onlyCEL != "" {
				inGo = ""
			}
			if q.input != nil {
				if have := judge(t, *q.input); have != inGo {
					t.Errorf("in Go it is %s, want %s: %s", verdict(have), verdict(inGo), policy.Evaluate(*q.input).Message())
				}
			}
			have, err := q.ask(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			if have != inCEL {
				t.Errorf("in CEL it is %s, want %s", verdict(have), verdict(inCEL))
			}
		})
	}
}

func verdict(layer policy.Layer) string {
	if layer == "" {
		return "allowed"
	}
	return "refused by layer " + string(layer)
}
