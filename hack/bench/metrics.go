// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"strconv"
	"strings"
)

// sumMetric sums the series of a metric, in the text that /metrics serves, which
// have the given labels.
func sumMetric(text []byte, name string, labels map[string]string) float64 {
	sum := 0.0
	eachSeries(text, name, func(have map[string]string, value float64) {
		for label, want := range labels {
			if have[label] != want {
				return
			}
		}
		sum += value
	})
	return sum
}

// eachSeries calls visit with every series of a metric. Label values with
// escapes or commas come out wrong, and none that is looked at has any.
func eachSeries(text []byte, name string, visit func(labels map[string]string, value float64)) {
	for line := range strings.Lines(string(text)) {
		rest, found := strings.CutPrefix(line, name)
		if !found || rest == "" || (rest[0] != '{' && rest[0] != ' ') {
			continue
		}
		labels := map[string]string{}
		if inside, after, found := strings.Cut(rest, "} "); found {
			for _, pair := range strings.Split(strings.TrimPrefix(inside, "{"), ",") {
				key, value, _ := strings.Cut(pair, "=")
				labels[key] = strings.Trim(value, `"`)
			}
			rest = after
		}
		if value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64); err == nil {
			visit(labels, value)
		}
	}
}
