// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"strings"
	"testing"
)

func TestLooping(t *testing.T) {
	for name, row := range map[string]struct {
		text string
		want bool
	}{
		"empty":           {"", false},
		"prose":           {"The pod of the deployment crashes because its volume is full. It matters because nobody can pay. Look at the claim and at the node that it is on, then at the events of the pod.", false},
		"a phrase":        {"It begins well. " + strings.Repeat("and then the pod restarts, ", 20), true},
		"cut in a phrase": {strings.Repeat("and then the pod restarts, ", 20) + "and th", true},
		"newlines":        {`{"fixer":` + strings.Repeat("\n", 300), true},
		"a short list":    {"a, b, c, " + strings.Repeat("pod, ", 10), false},
		"loop that ended": {strings.Repeat("x ", 200) + "but in the end it says something.", false},
	} {
		if got := looping(row.text); got != row.want {
			t.Errorf("%s: looping is %v", name, got)
		}
	}
}
