// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"encoding/json"
	"maps"
	"regexp"
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/test/plane"
)

// panel is what is checked of a panel of Grafana.
type panel struct {
	ID      int    `json:"id"`
	Type    string `json:"type"`
	Title   string `json:"title"`
	GridPos struct{ X, Y, W, H int }
	Targets []struct {
		Expr   string `json:"expr"`
		Legend string `json:"legendFormat"`
	} `json:"targets"`
}

// panels returns those of the dashboard as it is installed.
func panels(t *testing.T) []panel {
	t.Helper()
	rendered, err := Render(Namespace, "metrics: {dashboard: {enabled: true}}")
	if err != nil {
		t.Fatal(err)
	}
	for _, object := range rendered.Objects {
		if object.GetName() != "srenix-dashboard" {
			continue
		}
		content, _, err := unstructured.NestedString(object.Object, "data", "srenix.json")
		if err != nil {
			t.Fatal(err)
		}
		var dashboard struct {
			UID    string  `json:"uid"`
			Panels []panel `json:"panels"`
		}
		if err := json.Unmarshal([]byte(content), &dashboard); err != nil {
			t.Fatal(err)
		}
		if dashboard.UID == "" {
			t.Error("the dashboard has no uid, so each load makes another one")
		}
		return dashboard.Panels
	}
	t.Fatal("there is no dashboard")
	return nil
}

var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

func TestTheDashboardIsOnMetricsThatExist(t *testing.T) {
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	files := sources(t, root)
	drawn := 0
	for _, panel := range panels(t) {
		if len(panel.Targets) == 0 && panel.Type != "row" {
			t.Errorf("%s shows nothing", panel.Title)
		}
		for _, target := range panel.Targets {
			drawn++
			if metrics := metricsOf(t, panel.Title, target.Expr, files); len(metrics) != 1 {
				t.Errorf("%s is on %d metrics: %s", panel.Title, len(metrics), target.Expr)
			}
			for _, label := range legendLabel.FindAllStringSubmatch(target.Legend, -1) {
				// The label pod is from where Prometheus finds a target.
				if !slices.Contains(labelsOf(target.Expr), label[1]) && label[1] != "pod" {
					t.Errorf("%s: its legend has the label %s, its expression does not: %s", panel.Title, label[1], target.Expr)
				}
			}
		}
	}
	if drawn < 30 {
		t.Errorf("the dashboard draws %d expressions", drawn)
	}
}

// TestPanelsOfTheDashboardDoNotOverlap, nor leave its 24 columns.
func TestPanelsOfTheDashboardDoNotOverlap(t *testing.T) {
	taken, ids := map[[2]int]string{}, map[int]string{}
	for _, panel := range panels(t) {
		if other := ids[panel.ID]; other != "" {
			t.Errorf("%q and %q have the same id", panel.Title, other)
		}
		ids[panel.ID] = panel.Title
		at := panel.GridPos
		if at.W <= 0 || at.H <= 0 || at.X < 0 || at.X+at.W > 24 {
			t.Errorf("%q is at %+v", panel.Title, at)
		}
		over := map[string]bool{}
		for x := at.X; x < at.X+at.W; x++ {
			for y := at.Y; y < at.Y+at.H; y++ {
				if other := taken[[2]int{x, y}]; other != "" {
					over[other] = true
				}
				taken[[2]int{x, y}] = panel.Title
			}
		}
		if len(over) > 0 {
			t.Errorf("%q lies over %q", panel.Title, slices.Sorted(maps.Keys(over)))
		}
	}
}
