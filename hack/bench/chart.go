// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
	"text/template"
)

// curves are the figures over the number of pods that the chart shows.
var curves = []struct{ name, title, baseline string }{
	{fmt.Sprintf(nameListTime, constantFindings), fmt.Sprintf("LIST of %d findings", constantFindings), "kube-apiserver, custom resources"},
	{nameLiveHeap, "Live heap", "bare informers"},
	{nameChange, "CPU for one pod change", "bare informers"},
}

// Sizes in the chart, in pixels.
const (
	panelWidth, panelHeight             = 320, 260
	marginLeft, marginTop, marginBottom = 52, 40, 66
	plotWidth                           = panelWidth - marginLeft - 32
	plotHeight                          = panelHeight - marginTop - marginBottom
	gridLines                           = 4
)

type panel struct {
	X                          int
	Title, Unit, Baseline      string
	Ours, Theirs               string
	OursPoints, BaselinePoints []point
	Ticks                      []tick
	Grid                       []tick
}

type point struct{ X, Y float64 }

type tick struct {
	At    float64
	Label string
}

var chart = template.Must(template.New("chart").Parse(`<svg xmlns="http://www.w3.org/2000/svg" width="{{.Width}}" height="{{.Height}}" viewBox="0 0 {{.Width}} {{.Height}}" font-family="sans-serif" font-size="11" fill="#333">
<rect width="100%" height="100%" fill="#fff"/>
{{- range .Panels}}
<g transform="translate({{.X}} 0)">
<text x="{{$.Left}}" y="22" font-size="14" font-weight="bold">{{.Title}} ({{.Unit}})</text>
{{- range .Grid}}
<line x1="{{$.Left}}" x2="{{$.Right}}" y1="{{.At}}" y2="{{.At}}" stroke="#ddd"/>
<text x="{{$.LabelRight}}" y="{{.At}}" dy="4" text-anchor="end">{{.Label}}</text>
{{- end}}
{{- range .Ticks}}
<text x="{{.At}}" y="{{$.TickLine}}" text-anchor="middle">{{.Label}}</text>
{{- end}}
<polyline points="{{.Theirs}}" fill="none" stroke="#999" stroke-width="2" stroke-dasharray="5 3"/>
{{- range .BaselinePoints}}
<circle cx="{{.X}}" cy="{{.Y}}" r="3" fill="#999"/>
{{- end}}
<polyline points="{{.Ours}}" fill="none" stroke="#1565c0" stroke-width="2"/>
{{- range .OursPoints}}
<circle cx="{{.X}}" cy="{{.Y}}" r="3" fill="#1565c0"/>
{{- end}}
<text x="{{$.Left}}" y="{{$.LegendLine}}"><tspan fill="#1565c0">&#9679; srenix</tspan><tspan dx="14" fill="#777">&#9679; {{.Baseline}}</tspan></text>
</g>
{{- end}}
</svg>
`))

// writeChart draws the curves that the results have figures of.
func writeChart(file string, results []result) error {
	var panels []panel
	for _, curve := range curves {
		var points []result
		for _, one := range results {
			if one.Name == curve.name && one.Baseline != nil {
				points = append(points, one)
			}
		}
		if len(points) == 0 {
			continue
		}
		slices.SortFunc(points, func(a, b result) int { return a.Size - b.Size })
		p := newPanel(points)
		p.X, p.Title, p.Unit, p.Baseline = len(panels)*panelWidth, curve.title, points[0].Unit, curve.baseline
		panels = append(panels, p)
	}
	if len(panels) == 0 {
		return fmt.Errorf("drawing %s: the results have no figure of any curve: measure the rows %s, %s and %s", file, rowList, rowMemory, rowCPU)
	}
	var text strings.Builder
	if err := chart.Execute(&text, map[string]any{
		"Panels": panels, "Width": len(panels) * panelWidth, "Height": panelHeight,
		"Left": marginLeft, "Right": marginLeft + plotWidth, "LabelRight": marginLeft - 6,
		"TickLine": marginTop + plotHeight + 18, "LegendLine": panelHeight - 18,
	}); err != nil {
		return fmt.Errorf("drawing the chart: %w", err)
	}
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("writing the chart: %w", err)
	}
	return nil
}

// newPanel places points, which are sorted by size and not empty: sizes by their
// logarithm, figures from zero.
func newPanel(points []result) panel {
	highest := 0.0
	for _, one := range points {
		highest = max(highest, one.Value, *one.Baseline)
	}
	step := niceStep(highest / gridLines)
	top := step * math.Ceil(highest/step)
	first, last := math.Log(float64(points[0].Size)), math.Log(float64(points[len(points)-1].Size))
	across := func(size int) float64 {
		if last == first {
			return marginLeft + plotWidth/2
		}
		return round(marginLeft + plotWidth*(math.Log(float64(size))-first)/(last-first))
	}
	up := func(value float64) float64 { return round(marginTop + plotHeight*(1-value/top)) }
	var p panel
	for value := 0.0; value <= top+step/2; value += step {
		p.Grid = append(p.Grid, tick{up(value), fmt.Sprintf("%g", round(value))})
	}
	for _, one := range points {
		x := across(one.Size)
		p.Ticks = append(p.Ticks, tick{x, pods(one.Size)})
		p.OursPoints = append(p.OursPoints, point{x, up(one.Value)})
		p.BaselinePoints = append(p.BaselinePoints, point{x, up(*one.Baseline)})
	}
	p.Ours, p.Theirs = polyline(p.OursPoints), polyline(p.BaselinePoints)
	return p
}

func polyline(points []point) string {
	var parts []string
	for _, p := range points {
		parts = append(parts, fmt.Sprintf("%g,%g", p.X, p.Y))
	}
	return strings.Join(parts, " ")
}

func round(f float64) float64 { return math.Round(f*100) / 100 }

// niceStep rounds up to 1, 2 or 5 times a power of ten.
func niceStep(least float64) float64 {
	power := math.Pow(10, math.Floor(math.Log10(least)))
	for _, factor := range []float64{1, 2, 5} {
		if factor*power >= least {
			return factor * power
		}
	}
	return 10 * power
}
