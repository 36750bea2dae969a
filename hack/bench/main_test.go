// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestWhatIsMeasuredWhere lists, for each size, what is measured of two rows: one that
// is cheap, and one that is not.
func TestWhatIsMeasuredWhere(t *testing.T) {
	const both, cheap = "list,cpu", "list"
	for name, test := range map[string]struct {
		arguments string
		want      map[int]string
	}{
		"by default":               {"", map[int]string{1000: both, 3000: cheap, 10_000: both}},
		"the largest":              {"--size 50k", map[int]string{1000: both, 3000: cheap, 10_000: cheap, 50_000: both}},
		"a size that is a point":   {"--size 1k,3k", map[int]string{1000: both, 3000: both}},
		"nothing between":          {"--size 1k", map[int]string{1000: both}},
		"points of one's own":      {"--between 2k,2000", map[int]string{1000: both, 2000: cheap, 10_000: both}},
		"no points":                {"--between=", map[int]string{1000: both, 10_000: both}},
		"no row that is cheap":     {"--rows cpu", map[int]string{1000: "cpu", 10_000: "cpu"}},
		"no row but the cheap one": {"--rows list", map[int]string{1000: cheap, 3000: cheap, 10_000: cheap}},
	} {
		t.Run(name, func(t *testing.T) {
			o, err := parse(strings.Fields(test.arguments))
			if err != nil {
				t.Fatal(err)
			}
			have := map[int]string{}
			for _, size := range o.sizes {
				var rows []string
				for _, row := range []string{rowList, rowCPU} {
					if o.measures(row, size) {
						rows = append(rows, row)
					}
				}
				have[size] = strings.Join(rows, ",")
			}
			if diff := cmp.Diff(test.want, have); diff != "" || !slices.IsSorted(o.sizes) {
				t.Errorf("sizes are %d, measured (-want +have):\n%s", o.sizes, diff)
			}
		})
	}
}

func TestSizesThatAreRefused(t *testing.T) {
	for argument, want := range map[string]string{"--size=1k,many": `--size: "many" must be`, "--between=-3k": `--between: "-3k" must be`} {
		if _, err := parse([]string{argument}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: have %v, want %q", argument, err, want)
		}
	}
}
