// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"path"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// Progress tells how far a reading has come. It may be asked from any goroutine.
type Progress struct {
	files, objects atomic.Int64
	evaluating     atomic.Bool
}

// String is a line for a person who waits.
func (p *Progress) String() string {
	if p.evaluating.Load() {
		return fmt.Sprintf("looking at %d objects", p.objects.Load())
	}
	return fmt.Sprintf("reading: %d objects in %d files so far", p.objects.Load(), p.files.Load())
}

// dump is what files have of a cluster.
type dump struct {
	limits   Limits
	now      time.Time // by the real clock; nothing is dated later
	progress *Progress
	// wanted are the resources that some rule reads.
	wanted map[schema.GroupResource]wanted

	objects map[schema.GroupVersionResource]map[live.Key]*stored
	// listed are the resources of which there was a list, be it empty.
	listed map[schema.GroupResource]bool
	// partial tells why the files do not have all objects of a resource.
	partial map[schema.GroupResource]string
	// inFile are the resources of which the file that is being read has objects.
	inFile map[schema.GroupResource]bool
	kept   int64
	newest sighting
	// unmanaged are the ConfigMaps and Secrets without managedFields, and managed the
	// resources of which an object has them: a cluster may have some without, too.
	unmanaged map[schema.GroupResource]int
	managed   map[schema.GroupResource]bool

	counts Counts
	broken []Broken
}

type wanted struct {
	versions []string
	optional bool
}

type stored struct {
	raw     []byte
	version string
	file    string
}

// sighting is a time in an object.
type sighting struct {
	at time.Time
	of string
}

// Counts are what there was in the files.
type Counts struct {
	// Files were looked into, and Skipped were not, by their names.
	Files, Skipped int
	// Objects that there were, Ignored those of kinds that nothing reads, and Repeated
	// those that were there in another file too.
	Objects, Ignored, Repeated int
	// Others are the documents that are no Kubernetes objects.
	Others int
}

// Broken is a part of a file that could not be read.
type Broken struct {
	File string
	Err  error
}

// mostBroken is how many are kept.
const mostBroken = 100

var (
	configMaps  = inputs.ConfigMaps.Ref().Resource().GroupResource()
	secrets     = inputs.Secrets.Ref().Resource().GroupResource()
	definitions = live.InstallationResource().GroupResource()
)

// newDump returns an empty dump for what the rules read.
func newDump(rules []live.Rule, limits Limits, now time.Time, progress *Progress) *dump {
	limits.setDefaults()
	d := &dump{
		limits: limits, now: now, progress: progress,
		wanted:    map[schema.GroupResource]wanted{definitions: {versions: []string{live.InstallationResource().Version}}},
		objects:   map[schema.GroupVersionResource]map[live.Key]*stored{},
		listed:    map[schema.GroupResource]bool{},
		partial:   map[schema.GroupResource]string{},
		unmanaged: map[schema.GroupResource]int{}, managed: map[schema.GroupResource]bool{},
	}
	for _, rule := range rules {
		for _, kind := range append([]live.KindRef{rule.Subject}, rule.Reads...) {
			if resource := kind.Resource(); resource.Resource != "" {
				d.wanted[resource.GroupResource()] = wanted{versions: kind.Versions(), optional: kind.Optional()}
			}
		}
	}
	return d
}

// read takes in a folder, an archive or a file.
func (d *dump) read(ctx context.Context, name string) error {
	w := &walker{ctx: ctx, left: d.limits.Read, limit: d.limits.Read, visit: d.file}
	err := w.walk(name)
	d.counts.Skipped = w.skipped
	if err != nil {
		return err
	}
	switch {
	case d.counts.Objects == 0 && len(d.broken) > 0:
		return fmt.Errorf("there is no Kubernetes object in it that can be read: %s: %w", d.broken[0].File, d.broken[0].Err)
	case d.counts.Objects == 0:
		return errors.New("there is no Kubernetes object in it: it wants what `kubectl get -o yaml` prints, in files whose names end in .yaml, .yml or .json")
	}
	return nil
}

func (d *dump) file(name string, content io.Reader) error {
	d.counts.Files++
	d.progress.files.Add(1)
	d.inFile = map[schema.GroupResource]bool{}
	var cut error
	err := documents(content, d.limits.Object, handler{
		object: func(object map[string]any) error { return d.add(name, object) },
		list:   func(version, kind string, items int) error { d.list(name, version, kind, items); return nil },
		broken: func(err error) { d.leave(name, err) },
		cut: func(version, kind string, why error) {
			d.leave(name, why)
			cut = why
			group, _ := schema.ParseGroupVersion(version)
			of, isList := strings.CutSuffix(kind, "List")
			if resource, is := d.resourceOf(group.Group, of); is && isList {
				d.inFile[resource] = true
			}
		},
	})
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if cut != nil {
		d.part(name, cut)
	}
	return nil
}

// part notes that a file does not have all objects of the resources that it has, or is
// named after.
func (d *dump) part(file string, why error) {
	if resource, is := d.namedAfter(file); is {
		d.inFile[resource] = true
	}
	for resource := range d.inFile {
		if d.partial[resource] == "" {
			d.partial[resource] = fmt.Sprintf("%s does not have all: %v", file, why)
		}
	}
}

func (d *dump) leave(file string, err error) {
	if len(d.broken) < mostBroken {
		d.broken = append(d.broken, Broken{file, err})
	}
}

// resourceOf returns the resource of a kind, if it is wanted. That a resource is its
// kind in the plural is how all that are wanted are named.
func (d *dump) resourceOf(group, kind string) (schema.GroupResource, bool) {
	kind = strings.ToLower(kind)
	for _, plural := range []string{kind + "s", kind + "es", strings.TrimSuffix(kind, "y") + "ies", kind} {
		resource := schema.GroupResource{Group: group, Resource: plural}
		if _, is := d.wanted[resource]; is {
			return resource, true
		}
	}
	return schema.GroupResource{}, false
}

// list notes that there was a list. One of any kinds tells what it has, or else by the
// name of its file what there is none of.
func (d *dump) list(file, version, kind string, items int) {
	group, _ := schema.ParseGroupVersion(version)
	if of := strings.TrimSuffix(kind, "List"); of != "" {
		if resource, is := d.resourceOf(group.Group, of); is {
			d.listed[resource] = true
		}
		return
	}
	if items > 0 {
		return
	}
	if resource, is := d.namedAfter(file); is {
		d.listed[resource] = true
	}
}

// namedAfter returns the resource that a file is named after: RESOURCE.yaml,
// RESOURCE.GROUP.yaml, or as must-gather does GROUP/RESOURCE.yaml.
func (d *dump) namedAfter(file string) (schema.GroupResource, bool) {
	base := strings.TrimSuffix(path.Base(file), ".gz")
	named := schema.ParseGroupResource(strings.TrimSuffix(base, path.Ext(base)))
	if _, is := d.wanted[named]; is {
		return named, true
	}
	var found []schema.GroupResource
	for resource := range d.wanted {
		if resource.Resource != named.Resource || named.Group != "" {
			continue
		}
		if resource.Group == path.Base(path.Dir(file)) {
			return resource, true
		}
		found = append(found, resource)
	}
	if len(found) != 1 {
		return schema.GroupResource{}, false
	}
	return found[0], true
}

// add takes in an object, or counts what is none.
func (d *dump) add(file string, object map[string]any) error {
	apiVersion, _ := object["apiVersion"].(string)
	kind, _ := object["kind"].(string)
	version, err := schema.ParseGroupVersion(apiVersion)
	if apiVersion == "" || kind == "" || err != nil {
		d.counts.Others++
		return nil //nolint:nilerr // it is counted
	}
	d.counts.Objects++
	d.progress.objects.Add(1)
	metadata, _ := object["metadata"].(map[string]any)
	text := func(name string) string { value, _ := metadata[name].(string); return value }
	key := live.Key{Namespace: text("namespace"), Name: text("name")}
	called := kind + " " + strings.TrimPrefix(key.String(), "/")
	resource, is := d.resourceOf(version.Group, kind)
	if !is {
		d.date(kind, called, object)
		d.counts.Ignored++
		return nil
	}
	d.inFile[resource] = true
	if key.Name == "" || text("uid") == "" {
		d.leave(file, fmt.Errorf("%s has no name or no uid, so it was not read from a cluster", called))
		return nil
	}
	switch resource {
	case configMaps, secrets:
		if fields, _ := metadata["managedFields"].([]any); len(fields) == 0 {
			d.unmanaged[resource]++
		} else {
			d.managed[resource] = true
		}
		object = inputs.WithoutValues(object)
	case definitions:
		object = map[string]any{"apiVersion": apiVersion, "kind": kind, "metadata": metadata}
	}
	d.date(kind, called, object)
	raw, err := json.Marshal(object)
	if err != nil {
		return fmt.Errorf("%s: %w", called, err)
	}
	return d.keep(version.WithResource(resource.Resource), key, &stored{raw, text("resourceVersion"), file}, called)
}

// overhead is about what an object takes beside its JSON.
const overhead = 512

// keep stores an object. Of one that is there twice the newer version counts, and of the
// same version what has more, as with and without managedFields.
func (d *dump) keep(resource schema.GroupVersionResource, key live.Key, object *stored, called string) error {
	all := d.objects[resource]
	if all == nil {
		all = map[live.Key]*stored{}
		d.objects[resource] = all
	}
	if before := all[key]; before != nil {
		d.counts.Repeated++
		if bytes.Equal(before.raw, object.raw) {
			return nil
		}
		order, err := resourceversion.CompareResourceVersion(object.version, before.version)
		if err != nil {
			d.leave(object.file, fmt.Errorf("%s is in %s too, and differs; their resourceVersions do not tell which is newer, so leave one out", called, before.file))
			return nil //nolint:nilerr // it is told
		}
		if order < 0 || order == 0 && len(object.raw) <= len(before.raw) {
			return nil
		}
		d.kept -= int64(len(before.raw)) + overhead
	}
	all[key] = object
	if d.kept += int64(len(object.raw)) + overhead; d.kept > d.limits.Kept {
		return &fatalError{fmt.Errorf("the objects that are looked at have more than %s, and that is the most: take a part of them", size(d.limits.Kept))}
	}
	return nil
}

// past are the names of fields that say when something happened. Others, as notAfter or
// expires, may be of the future.
var past = map[string]bool{
	"creationTimestamp": true, "time": true, "lastTransitionTime": true, "lastUpdateTime": true, "lastHeartbeatTime": true, "lastProbeTime": true,
	"firstTimestamp": true, "lastTimestamp": true, "eventTime": true, "lastObservedTime": true, "acquireTime": true, "renewTime": true,
	"startTime": true, "startedAt": true, "finishedAt": true, "completionTime": true, "lastScheduleTime": true, "lastSuccessfulTime": true,
	"reconciledAt": true, "observedAt": true,
}

// date looks for the newest time that an object has, but for what people wish.
func (d *dump) date(kind, called string, object map[string]any) {
	for field, value := range object {
		if field == "metadata" || field == "status" || kind == "Event" || kind == "Lease" && field == "spec" {
			d.dateAt(field, value, called)
		}
	}
}

func (d *dump) dateAt(field string, value any, called string) {
	switch value := value.(type) {
	case map[string]any:
		for name, inner := range value {
			d.dateAt(name, inner, called)
		}
	case []any:
		for _, inner := range value {
			d.dateAt(field, inner, called)
		}
	case string:
		if !past[field] {
			return
		}
		at, err := time.Parse(time.RFC3339, value)
		if err != nil || at.After(d.now) {
			return
		}
		if order := at.Compare(d.newest.at); order > 0 || order == 0 && called < d.newest.of {
			d.newest = sighting{at.UTC(), called}
		}
	}
}

// versions are those in which there are objects of a resource.
func (d *dump) versions(resource schema.GroupResource) []string {
	var found []string
	for have := range maps.Keys(d.objects) {
		if have.GroupResource() == resource {
			found = append(found, have.Version)
		}
	}
	slices.Sort(found)
	return found
}

// sorted are the keys of all objects of a resource.
func (d *dump) sorted(resource schema.GroupVersionResource) []live.Key {
	return slices.SortedFunc(maps.Keys(d.objects[resource]), func(a, b live.Key) int { return strings.Compare(a.String(), b.String()) })
}

// errNoTime tells that nothing says of when the files are.
var errNoTime = errors.New("no object says when anything happened, so it is not known of when the files are: give --as-of")
