// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/proposals"
	"github.com/srenix/srenix/pkg/silences"
)

// Options say what is read, and how it is looked at.
type Options struct {
	// Path is a folder, an archive or a file.
	Path string
	// AsOf is when the files were made; the newest time in them if zero.
	AsOf time.Time
	// Configuration is that of the analyzers and the policy.
	Configuration *config.SrenixConfiguration
	// Namespace is where srenix runs in the cluster.
	Namespace string
	Limits    Limits
	Progress  *Progress
}

// Cluster is what the files tell. Its objects are shared and read-only.
type Cluster struct {
	Findings        []*v1alpha1.Finding
	ClusterFindings []*v1alpha1.ClusterFinding
	Proposals       []*v1alpha1.Proposal
	Silences        []*opsv1alpha1.Silence
	// Namespaces are those that are in the files as objects.
	Namespaces []*corev1.Namespace

	// AsOf is the time at which the files were looked at, and DatedBy the object that
	// says so; empty if it was given.
	AsOf    time.Time
	DatedBy string
	// Undated are the subjects by analyzer of which nothing was found, and something
	// might be: a grace runs from when it was first observed, which no file tells.
	Undated map[string][]string
	Counts  Counts
	Broken  []Broken

	dump *dump
}

// Read reads the files and looks at them once.
func Read(ctx context.Context, options Options) (*Cluster, error) {
	rules, err := catalog.Build(options.Configuration, options.Namespace, func(string) string { return "" })
	if err != nil {
		return nil, fmt.Errorf("building the analyzers: %w", err)
	}
	rules = append(rules, proposals.Rules(options.Configuration, options.Namespace)...)
	d := newDump(rules, options.Limits, time.Now(), options.Progress)
	if err := d.read(ctx, options.Path); err != nil {
		return nil, fmt.Errorf("reading %s: %w", options.Path, err)
	}
	asOf, datedBy := options.AsOf, ""
	if asOf.IsZero() {
		if asOf, datedBy = d.newest.at, d.newest.of; asOf.IsZero() {
			return nil, errNoTime
		}
	}
	if blind := d.blind(); len(blind) > 0 {
		rules = append(rules, analyzers.BlindRule(blind, advice))
	}
	memory := &undated{since: map[live.Observation]time.Time{}}
	engine := live.New(live.Options{
		Clock: frozen{now: asOf}, Memory: memory, SyncTimeout: longest,
		// What is not in the files does not come.
		RetryBackoff: &wait.Backoff{Duration: time.Minute},
	})
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			return nil, fmt.Errorf("adding rule %s: %w", rule.Name, err)
		}
	}
	options.Progress.evaluating.Store(true)
	c := &Cluster{AsOf: asOf, DatedBy: datedBy, Counts: d.counts, Broken: d.broken, dump: d}
	if err := run(ctx, engine, d, func() { c.take(engine, memory) }); err != nil {
		return nil, err
	}
	return c, nil
}

// longest is how long the first sync waits for an input; each is there, or is not.
const longest = 24 * time.Hour

// run runs an engine until nothing is left to evaluate.
func run(ctx context.Context, engine *live.Engine, source live.Source, done func()) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	ended := make(chan error, 1)
	go func() {
		defer stop() // what cannot start is not waited for
		ended <- engine.Run(ctx, source)
	}()
	err := engine.WaitForSync(ctx)
	if err == nil {
		err = wait.PollUntilContextCancel(ctx, time.Millisecond, true, func(context.Context) (bool, error) { return engine.Settled(), nil })
	}
	if err == nil {
		done()
	}
	stop()
	if failed := <-ended; failed != nil {
		return fmt.Errorf("running the analyzers: %w", failed)
	}
	return err
}

func (c *Cluster) take(engine *live.Engine, memory *undated) {
	c.Findings, c.ClusterFindings = live.List(engine, proposals.Findings), live.List(engine, proposals.ClusterFindings)
	c.Proposals, c.Silences = live.List(engine, proposals.Proposals), live.List(engine, silences.Silences)
	c.Namespaces = live.List(engine, inputs.Namespaces)
	c.Undated = memory.unfound(c)
}

// EventsOf returns the events about an object, of any type, or why there are none.
func (c *Cluster) EventsOf(object *v1alpha1.ObjectReference) ([]*corev1.Event, error) {
	resource := corev1.SchemeGroupVersion.WithResource("events")
	if err := c.dump.unread(resource); err != nil {
		return nil, err
	}
	var events []*corev1.Event
	for _, key := range c.dump.sorted(resource) {
		if key.Namespace != cmp.Or(object.Namespace, corev1.NamespaceDefault) {
			continue
		}
		decoded, err := decode(c.dump.objects[resource][key].raw, &corev1.Event{})
		if err != nil {
			return nil, fmt.Errorf("event %s: %w", key, err)
		}
		event := decoded.(*corev1.Event)
		if of := &event.InvolvedObject; of.Kind == object.Kind && of.Name == object.Name &&
			// Of a Node, kubelets give the name as the UID.
			(object.Namespace == "" || object.UID == "" || of.UID == object.UID) {
			events = append(events, event)
		}
	}
	return events, nil
}

// advice is how to have managedFields in files.
var advice = v1alpha1.Remediation{
	Text: "Read them with their managedFields.",
	Commands: []string{
		"kubectl get configmaps -A -o yaml --show-managed-fields > configmaps.yaml",
		"kubectl get secrets -A -o yaml --show-managed-fields > secrets.yaml",
	},
}

// blind are the analyzers that would take what the files do not have for good.
func (d *dump) blind() map[string]string {
	var without []string
	for _, resource := range []schema.GroupResource{configMaps, secrets} {
		if n := d.unmanaged[resource]; n > 0 && !d.managed[resource] {
			without = append(without, fmt.Sprintf("%d %s", n, resource))
		}
	}
	if len(without) == 0 {
		return nil
	}
	return map[string]string{configdrift.Name: fmt.Sprintf(
		"%s goes by when keys changed, which managedFields tell, and %s have none in the files. Of those it tells only what was made after containers started.",
		configdrift.Name, strings.Join(without, " and "))}
}

// frozen is a clock that stands still. Timers of it go by the real one, for the engine
// to be able to stop.
type frozen struct {
	clock.RealClock
	now time.Time
}

// Now implements clock.PassiveClock.
func (f frozen) Now() time.Time { return f.now }

// Since implements clock.PassiveClock.
func (f frozen) Since(t time.Time) time.Duration { return f.now.Sub(t) }

// undated remembers conditions for one run, and which of them no object dates.
type undated struct {
	mu    sync.Mutex
	since map[live.Observation]time.Time
	told  map[live.Observation]bool
}

var _ live.Memory = &undated{}

// Recall implements live.Memory.
func (u *undated) Recall(o live.Observation) (time.Time, bool) {
	u.mu.Lock()
	defer u.mu.Unlock()
	since, known := u.since[o]
	return since, known
}

// Begin implements live.Memory.
func (u *undated) Begin(s live.Sighting) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.told == nil {
		u.told = map[live.Observation]bool{}
	}
	u.told[s.Observation] = !s.Told.IsZero()
	if before, known := u.since[s.Observation]; !known || s.Since.Before(before) {
		u.since[s.Observation] = s.Since
	}
}

// End implements live.Memory.
func (u *undated) End(o live.Observation) {
	u.mu.Lock()
	defer u.mu.Unlock()
	delete(u.since, o)
	delete(u.told, o)
}

// unfound are the subjects by analyzer of which it has observed what no object dates, and
// has found nothing.
func (u *undated) unfound(c *Cluster) map[string][]string {
	type subject struct{ analyzer, namespace, name string }
	found := map[subject]bool{}
	note := func(spec *v1alpha1.FindingSpec) {
		found[subject{spec.Analyzer, spec.Subject.Namespace, spec.Subject.Name}] = true
	}
	for _, finding := range c.Findings {
		note(&finding.Spec)
	}
	for _, finding := range c.ClusterFindings {
		note(&finding.Spec)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	all := map[string]map[string]bool{}
	for o, told := range u.told {
		analyzer, kind, is := strings.Cut(o.Rule, "/") // as the frame names them
		if !is || told || found[subject{analyzer, o.Subject.Namespace, o.Subject.Name}] {
			continue
		}
		if all[analyzer] == nil {
			all[analyzer] = map[string]bool{}
		}
		all[analyzer][kind+" "+strings.TrimPrefix(o.Subject.String(), "/")] = true
	}
	out := map[string][]string{}
	for analyzer, subjects := range all {
		out[analyzer] = slices.Sorted(maps.Keys(subjects))
	}
	return out
}
