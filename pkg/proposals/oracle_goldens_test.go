// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"sync"
	"testing"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
)

// goldens are those of every analyzer, and of what is proposed, by folder: what
// makes a new analyzer find something is in its folder, and so in the histories.
var goldens = sync.OnceValue(func() map[string][]string {
	byFolder := map[string][]string{}
	for _, pattern := range []string{"testdata/*.yaml", "../analyzers/*/testdata/*.yaml"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			panic(err)
		}
		for _, file := range files {
			byFolder[filepath.Dir(file)] = append(byFolder[filepath.Dir(file)], file)
		}
	}
	return byFolder
})

var folders = sync.OnceValue(func() []string { return slices.Sorted(maps.Keys(goldens())) })

// read are the goldens that were read already.
var read sync.Map

func golden(t testing.TB, file string) analyzertest.Golden {
	if known, ok := read.Load(file); ok {
		return known.(analyzertest.Golden)
	}
	g := analyzertest.Read(t.(*testing.T), file)
	read.Store(file, g)
	return g
}

// fromGolden has the objects of a golden appear, at the time at which they are
// looked at or later; or has one go of those that did.
func fromGolden(random *rand.Rand) event {
	if random.IntN(4) == 0 {
		which := random.IntN(100)
		return event{fmt.Sprintf("object %d of goldens goes", which), func(t testing.TB, h *history) {
			if n := len(h.set); n > 0 {
				analyzertest.Remove(t.(*testing.T), h.cluster, h.set[which%n])
				h.set = slices.Delete(h.set, which%n, which%n+1)
			}
		}}
	}
	files := goldens()[folders()[random.IntN(len(folders()))]]
	file, onwards := files[random.IntN(len(files))], random.IntN(4) > 0
	return event{fmt.Sprintf("golden %s, time %t", file, onwards), func(t testing.TB, h *history) {
		g := golden(t, file)
		if onwards && g.Now.After(h.clock.Now()) {
			h.clock.Step(g.Now.Sub(h.clock.Now()))
		}
		analyzertest.Store(t.(*testing.T), h.cluster, g.Objects)
		h.set = append(h.set, g.Objects...)
	}}
}
