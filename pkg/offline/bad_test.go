// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// TestWhatCannotBeRead ends with an error that says what to do.
func TestWhatCannotBeRead(t *testing.T) {
	written := func(name, content string) func(*testing.T) string {
		return func(t *testing.T) string { return filepath.Join(files{name: content}.folder(t), name) }
	}
	cut := func(t *testing.T) string {
		name := archive(t, shop(t), true)
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, content[:len(content)/2], 0o600); err != nil {
			t.Fatal(err)
		}
		return name
	}
	cutTar := func(t *testing.T) string {
		name := archive(t, shop(t), false)
		if err := os.Truncate(name, 3000); err != nil {
			t.Fatal(err)
		}
		return name
	}
	bomb := func(t *testing.T) string {
		return archive(t, files{"bomb.log": strings.Repeat("\x00", 4<<20), "pods.yaml": webPod}, true)
	}
	// fields are some of a size, each below the limit.
	fields := func(n, size int) string {
		var all strings.Builder
		for i := range n {
			fmt.Fprintf(&all, `"%d": "%s",`, i, strings.Repeat("x", size))
		}
		return all.String()
	}
	// laughs is small, and much larger in JSON.
	laughs := "apiVersion: v1\nx: &x [&y " + strings.Repeat("y", 10_000) + strings.Repeat(", *y", 900) + "]\nkind: Pod\n"
	large := strings.Replace(webPod, "a script", strings.Repeat("x", 2<<20), 1)
	for name, test := range map[string]struct {
		path   func(*testing.T) string
		limits Limits
		want   string
	}{
		"nothing there":                 {path: func(t *testing.T) string { return filepath.Join(t.TempDir(), "none") }, want: "no such file or directory"},
		"an empty folder":               {path: func(t *testing.T) string { return t.TempDir() }, want: "there is no Kubernetes object in it"},
		"a folder of other things":      {path: files{"a.log": "x", "values.yaml": "replicas: 1"}.folderOf, want: "it wants what `kubectl get -o yaml` prints"},
		"a file of another kind":        {path: written("notes.txt", "x"), want: "it is neither a folder nor a tar archive"},
		"an archive that was cut off":   {path: cut, want: "it was cut off: copy it again"},
		"a tar that was cut off":        {path: cutTar, want: "it was cut off: copy it again"},
		"no gzip, though it begins so":  {path: written("pods.yaml.gz", "\x1f\x8b1234567890"), want: "gzip: invalid header"},
		"a bomb":                        {path: bomb, limits: Limits{Read: 1 << 20}, want: "the files have more than 1 MiB uncompressed, and that is the most"},
		"more objects than can be kept": {path: shop(t).folderOf, limits: Limits{Kept: 1000}, want: "the objects that are looked at have more than 1000 bytes"},
		"a large object in YAML":        {path: written("pods.yaml", large), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB, and that is the most"},
		"a large item in YAML":          {path: written("pods.yaml", "items:\n- "+strings.ReplaceAll(large[1:], "\n", "\n  ")), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"a large line":                  {path: written("pods.yaml", strings.Repeat("a", 2<<20)), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"a large value in JSON":         {path: written("pods.json", `{"items": [{"a": "`+strings.Repeat("x", 2<<20)+`"}]}`), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"many fields in JSON":           {path: written("pods.json", `{`+fields(6, 300<<10)+`"kind": "Pod", "apiVersion": "v1"}`), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"many fields around the items":  {path: written("pods.json", `{`+fields(3, 300<<10)+`"items": [{}],`+fields(3, 300<<10)+`"kind": "List", "apiVersion": "v1"}`), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"many small fields in JSON":     {path: written("pods.json", `{`+fields(100_000, 8)+`"kind": "Pod", "apiVersion": "v1"}`), limits: Limits{Object: 1 << 20}, want: "has more than 1 MiB"},
		"aliases in YAML":               {path: written("pods.yaml", laughs), want: "pods.yaml: line 2: it has an anchor or an alias, which kubectl never writes"},
		"an alias in an item":           {path: written("pods.yaml", "items:\n- a: 1\n- "+strings.ReplaceAll(laughs, "\n", "\n  ")), want: "pods.yaml: line 4: it has an anchor or an alias"},
		"a list of many without a kind": {path: written("pods.json", `{"items": [`+strings.Repeat(`{"a": "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"},`, 40000)+`{}]}`), limits: Limits{Object: 1 << 20}, want: "a list has items without a kind"},
		"objects without any time": {
			path: written("x.yaml", "{apiVersion: v1, kind: Pod, metadata: {namespace: shop, name: web, uid: u}}"), want: "give --as-of",
		},
	} {
		t.Run(name, func(t *testing.T) {
			o := options(t, test.path(t))
			o.Limits = test.limits
			_, err := Read(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Read(ctx, options(t, shop(t).folder(t))); err == nil {
		t.Error("it goes on though nobody waits any more")
	}
}

func (f files) folderOf(t *testing.T) string { return f.folder(t) }

// TestWhatIsBrokenIsTold has what can be read looked at, and the rest told.
func TestWhatIsBrokenIsTold(t *testing.T) {
	all := shop(t)
	older := strings.NewReplacer(`resourceVersion: "10"`, `resourceVersion: "9"`, "CrashLoopBackOff", "ContainerCreating", "restartCount: 9", "restartCount: 0").Replace(webPod)
	newer := strings.Replace(older, `resourceVersion: "9"`, `resourceVersion: "100"`, 1)
	other := strings.Replace(older, `resourceVersion: "9"`, `resourceVersion: "none"`, 1)
	crashing := func(cluster *Cluster) bool {
		return slices.ContainsFunc(found(cluster), func(line string) bool { return strings.HasPrefix(line, "ContainerCrashing") })
	}
	for name, test := range map[string]struct {
		more     files
		broken   string
		crashing bool
		degraded string
		repeated int
	}{
		"YAML that is none":                {more: files{"a.yaml": "a: b\n  c: d\n"}, broken: "a.yaml: line 2: it is no YAML that can be read", crashing: true},
		"one item of a list":               {more: files{"a.yaml": "kind: List\napiVersion: v1\nitems:\n- {}\n- x: y\n   z: 1\n"}, broken: "a.yaml: line 6: it is no YAML that can be read", crashing: true},
		"an item that is no object":        {more: files{"a.yaml": "kind: List\napiVersion: v1\nitems: [1]\n"}, broken: "a.yaml: line 1: an item of a list is no object", crashing: true},
		"an alias":                         {more: files{"a.yaml": "a: &b 1\nc: *b\n"}, broken: "a.yaml: line 1: it has an anchor or an alias", crashing: true},
		"what looks like an alias":         {more: files{"a.yaml": "a: x &b *c\nd: '*e'\nf: |\n  cat 2>&1 *g\n#&h\n"}, crashing: true},
		"JSON that ends":                   {more: files{"a.json": `{"kind": "Pod", "metadata": {`}, broken: "a.json: it ends in the middle", crashing: true},
		"JSON that is none":                {more: files{"a.json": `{"kind": Pod}`}, broken: "a.json: it is no JSON at byte ", crashing: true},
		"JSON items that are no objects":   {more: files{"a.json": `{"items": [1]}`}, broken: "a.json: an item of a list is no object", crashing: true},
		"JSON items that are no list":      {more: files{"a.json": `{"items": 1}`}, broken: "a.json: items is no list", crashing: true},
		"a manifest":                       {more: files{"a.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: shop}}"}, broken: "a.yaml: Pod shop/x has no name or no uid, so it was not read from a cluster", crashing: true},
		"an object of another shape":       {more: files{"a.yaml": "{apiVersion: v1, kind: Pod, metadata: {name: x, namespace: shop, uid: u}, spec: {containers: 1}}"}, degraded: "CrashLoop"},
		"a version that nobody reads":      {more: files{"nodes.yaml": strings.Replace(lostNode, "apiVersion: v1", "apiVersion: v9", 1)}, crashing: true, degraded: "Nodes"},
		"two versions":                     {more: files{"a.yaml": strings.Replace(lostNode, "apiVersion: v1", "apiVersion: v9", 1)}, crashing: true, degraded: "Nodes"},
		"the same twice":                   {more: files{"a.yaml": webPod}, crashing: true, repeated: 1},
		"an older one":                     {more: files{"a.yaml": older}, crashing: true, repeated: 1},
		"a newer one, which counts":        {more: files{"a.yaml": newer}, repeated: 1},
		"one whose age cannot be told":     {more: files{"z.yaml": other}, broken: "z.yaml: Pod shop/web is in pods.yaml too, and differs", crashing: true, repeated: 1},
		"what other programs keep":         {more: files{"a.json": "[1, {", "b.json": "", "c.yaml": "- 1\n- 2\n", "d.json": "{}"}, crashing: true},
		"a field items that is no list":    {more: files{"a.yaml": "apiVersion: x.example/v1\nkind: X\nmetadata: {name: x}\nitems:\n  a: b\n"}, crashing: true},
		"lists of nothing, as Go has them": {more: files{"a.json": `{"kind": "PodList", "apiVersion": "v1", "items": null}`, "b.yaml": "kind: PodList\napiVersion: v1\nitems: null\n"}, crashing: true},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := read(t, all.with(test.more).folder(t))
			if have := broken(cluster); test.broken == "" && have != "" || !strings.HasPrefix(have, test.broken) {
				t.Errorf("broken: %q, want %q", have, test.broken)
			}
			if crashing(cluster) != test.crashing {
				t.Errorf("found: %v", found(cluster))
			}
			if blind := degraded(cluster); test.degraded == "" && len(blind) > 0 || test.degraded != "" && blind[test.degraded] == nil {
				t.Errorf("degraded: %v", blind)
			}
			if cluster.Counts.Repeated != test.repeated {
				t.Errorf("repeated: %d", cluster.Counts.Repeated)
			}
		})
	}
}

// A folder may have links, of which those to files count.
func TestLinks(t *testing.T) {
	all := shop(t)
	elsewhere := files{"web.yaml": list(t, object(t, webPod))}.folder(t)
	root := all.without("pods.yaml").folder(t)
	for name, target := range map[string]string{"pods.yaml": filepath.Join(elsewhere, "web.yaml"), "folder.yaml": elsewhere} {
		if err := os.Symlink(target, filepath.Join(root, name)); err != nil {
			t.Fatal(err)
		}
	}
	if cluster := read(t, root); len(degraded(cluster)) > 0 || cluster.Counts.Skipped != 1 || !slices.ContainsFunc(found(cluster), func(line string) bool { return strings.HasPrefix(line, "ContainerCrashing") }) {
		t.Errorf("%v %+v", found(cluster), cluster.Counts)
	}
}

// TestProgress has a person who waits told how far it is.
func TestProgress(t *testing.T) {
	progress := &Progress{}
	if have := progress.String(); have != "reading: 0 objects in 0 files so far" {
		t.Error(have)
	}
	cluster := read(t, shop(t).folder(t), func(o *Options) { o.Progress = progress })
	if have := progress.String(); have != "looking at 4 objects" || cluster.Counts.Objects != 4 {
		t.Errorf("%s, %+v", have, cluster.Counts)
	}
	if cluster.AsOf.After(time.Now()) {
		t.Error("it is later than now")
	}
}
