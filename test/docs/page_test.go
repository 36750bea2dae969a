// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package docs

import "testing"

func TestWhatAPagePromisesIsCompared(t *testing.T) {
	for _, c := range []struct {
		page, output string
		want         bool
	}{
		{page: "yes\n", output: "yes\n", want: true},
		{page: "yes\n", output: "no\n"},
		{page: "yes\n", output: "yes\nno\n"},
		{page: "", output: "something\n"},
		{page: "NAME  AGE\ndb-...  ...\n", output: "NAME   AGE\ndb-0f3  5s\n", want: true},
		{page: "NAME\n...\nlast\n", output: "NAME\nfirst\nsecond\nlast\n", want: true},
		{page: "a+b\n", output: "aab\n"},
	} {
		if have := (command{output: c.page}).printed(c.output); have != c.want {
			t.Errorf("%q as %q: %t", c.output, c.page, have)
		}
	}
	text := "$ one\n1\n1\n$ two\n"
	have := commands(text)
	if len(have) != 2 || have[0] != (command{"one", "1\n1\n"}) || have[1] != (command{line: "two"}) {
		t.Errorf("commands of %q: %+v", text, have)
	}
}
