// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package silences

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/analyzers"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

var epoch = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

var (
	served  = live.NewDerived[*v1alpha1.Finding]("served", nil)
	trouble = live.NewInput(corev1.SchemeGroupVersion.WithResource("pods"), live.InputOptions[*corev1.Pod]{})
)

// troubled finds something wrong with every pod.
var troubled = live.Rule{
	Name: "troubled", Group: "Test", Subject: trouble.Ref(), Outputs: []live.KindRef{analyzers.DetectedFindings.Ref()},
	Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
		pod, _ := trouble.Get(view, subject)
		return []live.Output{live.Emit(analyzers.DetectedFindings, analyzers.NewFinding("Test", v1alpha1.FindingSpec{
			Message: pod.Annotations["message"],
			Reason:  "Troubled", Severity: v1alpha1.SeverityInfo, Since: metav1.NewTime(epoch),
			Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: subject.Namespace, Name: subject.Name},
		}))}, nil
	},
}

// marked tells by which silence each finding is marked.
var marked = live.Rule{
	Name: "marked", Subject: analyzers.DetectedFindings.Ref(), Reads: []live.KindRef{Silences.Ref()}, Outputs: []live.KindRef{served.Ref()},
	Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
		detected, exists := analyzers.DetectedFindings.Get(view, subject)
		if !exists {
			return nil, nil
		}
		finding := detected.DeepCopy()
		finding.Status.SilencedBy = By(view, detected)
		return []live.Output{live.Emit(served, finding)}, nil
	},
}

type world struct {
	testing.TB
	engine  *live.Engine
	cluster *livetest.Cluster
	clock   *testingclock.FakeClock
}

func newWorld(t *testing.T, pods ...string) *world {
	t.Helper()
	return newWorldOf(t, config.AnalyzerConfiguration{}, &livetest.Cluster{}, pods...)
}

func newWorldOf(t testing.TB, configuration config.AnalyzerConfiguration, cluster *livetest.Cluster, pods ...string) *world {
	t.Helper()
	known := map[string][]analyzers.Reason{"Test": {{Name: "Troubled"}}, Name: {{Name: Inert}}}
	analyzer, err := New(analyzers.NewSettings(configuration).Knowing(known))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{TB: t, cluster: cluster, clock: testingclock.NewFakeClock(epoch)}
	w.engine = live.New(live.Options{Clock: w.clock, SyncTimeout: time.Nanosecond, RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1}})
	for _, rule := range append(LiveRules(analyzer), troubled, marked) {
		if err := w.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range pods {
		w.cluster.Set(trouble.Ref().Resource(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}})
	}
	livetest.RunPast(t, w.engine, w.cluster, func() { w.clock.Step(time.Nanosecond) })
	return w
}

func (w *world) silence(name string, expires time.Duration, match opsv1alpha1.SilenceMatch) {
	w.cluster.Set(Silences.Ref().Resource(), &opsv1alpha1.Silence{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, UID: "uid", CreationTimestamp: metav1.NewTime(epoch.Add(-time.Hour))},
		Spec:       opsv1alpha1.SilenceSpec{Owner: "team shop", Reason: "known", Expires: metav1.NewTime(epoch.Add(expires)), Match: match},
	})
}

// says checks what is served: reasons with subjects, and silences in parentheses.
func (w *world) says(want ...string) {
	w.Helper()
	livetest.Settle(w, w.engine, w.cluster, trouble)
	livetest.Settle(w, w.engine, w.cluster, Silences)
	have := []string{}
	for _, finding := range append(live.List(w.engine, served), live.List(w.engine, Reports)...) {
		line := finding.Spec.Reason + " " + finding.Spec.Subject.Name
		if by := finding.Status.SilencedBy; by != "" {
			line += " (" + by + ")"
		}
		have = append(have, line)
	}
	slices.Sort(have)
	if diff := cmp.Diff(want, have); diff != "" {
		w.Errorf("served (-want +have):\n%s", diff)
	}
}

// TestASilenceConcernsWhatItNames counts how often findings are held against silences.
func TestASilenceConcernsWhatItNames(t *testing.T) {
	looked := map[string]*atomic.Int64{"a": {}, "b": {}}
	looking := marked
	looking.Evaluate = func(view *live.View, subject live.Key) ([]live.Output, error) {
		if finding, exists := analyzers.DetectedFindings.Get(view, subject); exists {
			looked[finding.Spec.Subject.Name].Add(1)
		}
		return marked.Evaluate(view, subject)
	}
	w := &world{TB: t, cluster: &livetest.Cluster{}, clock: testingclock.NewFakeClock(epoch)}
	w.engine = live.New(live.Options{Clock: w.clock})
	for _, rule := range []live.Rule{troubled, looking} {
		if err := w.engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	for name := range looked {
		w.cluster.Set(trouble.Ref().Resource(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}})
	}
	livetest.Run(t, w.engine, w.cluster)
	for _, step := range []struct {
		name  string
		match opsv1alpha1.SilenceMatch
		a, b  int64
	}{
		{"a subject", pods("b"), 0, 1},
		{"an analyzer", opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}}, 1, 1},
		{"another analyzer", opsv1alpha1.SilenceMatch{Analyzers: []string{"Other"}}, 0, 0},
		{"another analyzer's subject", opsv1alpha1.SilenceMatch{Analyzers: []string{"Other"}, Subjects: pods("a").Subjects}, 1, 0},
		{"a reason", opsv1alpha1.SilenceMatch{Reasons: []string{"Troubled"}}, 1, 1},
	} {
		livetest.Settle(t, w.engine, w.cluster, trouble)
		a, b := looked["a"].Load(), looked["b"].Load()
		w.silence(step.name, time.Hour, step.match)
		livetest.Settle(t, w.engine, w.cluster, Silences)
		if a, b = looked["a"].Load()-a, looked["b"].Load()-b; a != step.a || b != step.b {
			t.Errorf("a silence of %s has a looked at %d times and b %d times, want %d and %d", step.name, a, b, step.a, step.b)
		}
	}
}

func pods(names ...string) opsv1alpha1.SilenceMatch {
	match := opsv1alpha1.SilenceMatch{}
	for _, name := range names {
		match.Subjects = append(match.Subjects, opsv1alpha1.SilencedSubject{Kind: "Pod", Name: name})
	}
	return match
}

func TestASilenceMarksUntilItExpires(t *testing.T) {
	w := newWorld(t, "a", "b")
	w.says("Troubled a", "Troubled b")
	w.silence("known", time.Hour, pods("a"))
	w.says("Troubled a (known)", "Troubled b")
	w.silence("also", 2*time.Hour, pods("a", "b"))
	w.says("Troubled a (also)", "Troubled b (also)")
	w.clock.Step(time.Hour)
	w.says("SilenceExpired known", "Troubled a (also)", "Troubled b (also)")
	w.clock.Step(time.Hour)
	w.says("SilenceExpired also", "SilenceExpired known", "Troubled a", "Troubled b")
	w.silence("also", 3*time.Hour, pods("a", "b"))
	w.cluster.Delete(Silences.Ref().Resource(), live.Key{Namespace: "shop", Name: "known"})
	w.says("Troubled a (also)", "Troubled b (also)")
}

// Since is when it ended, however late that was noticed, and also where it ended
// before it was made.
func TestASilenceIsExpiredSinceItEnded(t *testing.T) {
	w := newWorld(t, "a")
	w.silence("late", time.Hour, pods("a"))
	w.silence("never", -2*time.Hour, pods("a"))
	w.clock.Step(30 * time.Hour)
	w.says("SilenceExpired late", "SilenceExpired never", "Troubled a")
	for _, finding := range live.List(w.engine, Reports) {
		end, words := epoch.Add(time.Hour), "is over, and what it hid shows again"
		if finding.Spec.Subject.Name == "never" {
			end, words = epoch.Add(-2*time.Hour), "was over before it was made, so it never hid anything"
		}
		if !finding.Spec.Since.Time.Equal(end) || !finding.CreationTimestamp.Time.Equal(end) || !strings.Contains(finding.Spec.Message, words) {
			t.Errorf("%s, since %s, created %s, want %s", finding.Spec.Message, finding.Spec.Since, finding.CreationTimestamp, end)
		}
	}
}

func TestASilenceIsForItsOwnNamespace(t *testing.T) {
	w := newWorld(t, "a")
	w.cluster.Set(trouble.Ref().Resource(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "bank", Name: "vault"}})
	w.silence("known", time.Hour, opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}})
	w.says("Troubled a (known)", "Troubled vault")
}

func TestWhatASilenceHidesTooMuchOrNotAtAllIsReported(t *testing.T) {
	var crowded []string
	for i := range crowd + 1 {
		crowded = append(crowded, fmt.Sprintf("p%02d", i))
	}
	for name, test := range map[string]struct {
		pods  []string
		match opsv1alpha1.SilenceMatch
		after time.Duration
		want  []string
	}{
		"what is meant":                   {[]string{"a"}, pods("a"), 30 * time.Hour, []string{"Troubled a (s)"}},
		"everything":                      {[]string{"a"}, opsv1alpha1.SilenceMatch{}, 0, []string{"SilenceOverBroad s", "Troubled a (s)"}},
		"nothing, for a while":            {[]string{"a"}, pods("b"), 23 * time.Hour, []string{"Troubled a"}},
		"nothing, for a day":              {[]string{"a"}, pods("b"), 24 * time.Hour, []string{"SilenceInert s", "Troubled a"}},
		"nothing, for it cannot be read":  {[]string{"a"}, opsv1alpha1.SilenceMatch{Selector: labeled("a", "Nonsense")}, 0, []string{"SilenceInvalid s", "Troubled a"}},
		"an analyzer that does not exist": {[]string{"a"}, opsv1alpha1.SilenceMatch{Analyzers: []string{"Tset"}}, 0, []string{"SilenceInert s", "Troubled a"}},
		"a reason that does not exist":    {[]string{"a"}, opsv1alpha1.SilenceMatch{Reasons: []string{"Trouble"}}, 0, []string{"SilenceInert s", "Troubled a"}},
		"a name that exists, and another": {[]string{"a"}, opsv1alpha1.SilenceMatch{Reasons: []string{"Trouble", "Troubled"}}, 0, []string{"SilenceInert s", "Troubled a (s)"}},
		"as many as a person can name":    {crowded[1:], opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}}, 0, silencedAll(crowded[1:])},
		"more than a person can name":     {crowded, opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}}, 0, append([]string{"SilenceOverBroad s"}, silencedAll(crowded)...)},
		"what other silences are told of": {nil, opsv1alpha1.SilenceMatch{Analyzers: []string{Name}}, 24 * time.Hour, []string{"SilenceInert s"}},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, test.pods...)
			w.silence("s", 100*time.Hour, test.match)
			livetest.Settle(t, w.engine, w.cluster, Silences)
			w.clock.Step(test.after)
			w.says(test.want...)
		})
	}
}

func silencedAll(names []string) []string {
	var all []string
	for _, name := range names {
		all = append(all, "Troubled "+name+" (s)")
	}
	return all
}

func TestWhatIsConfigured(t *testing.T) {
	configuration := config.AnalyzerConfiguration{
		Grace: &metav1.Duration{Duration: time.Hour}, Options: &runtime.RawExtension{Raw: []byte(`{"mostFindings": 1}`)},
	}
	w := newWorldOf(t, configuration, &livetest.Cluster{}, "a", "b")
	w.silence("many", 100*time.Hour, opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}})
	w.silence("none", 100*time.Hour, pods("c"))
	w.says("SilenceOverBroad many", "Troubled a (many)", "Troubled b (many)")
	w.clock.Step(time.Hour)
	w.says("SilenceInert none", "SilenceOverBroad many", "Troubled a (many)", "Troubled b (many)")
}

func TestWrongOptionsAreNamed(t *testing.T) {
	for options, want := range map[string]string{
		`{"mostFindings": 0}`: "mostFindings", `{"mostFindings": "few"}`: "mostFindings", `{"crowd": 3}`: "crowd",
	} {
		_, err := New(analyzers.NewSettings(config.AnalyzerConfiguration{Options: &runtime.RawExtension{Raw: []byte(options)}}))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", options, err)
		}
	}
}

func TestASilenceThatIsBeingDeletedIsOver(t *testing.T) {
	w := newWorld(t, "a")
	w.silence("known", time.Hour, pods("a"))
	w.says("Troubled a (known)")
	deleted := metav1.NewTime(epoch)
	w.cluster.Set(Silences.Ref().Resource(), &opsv1alpha1.Silence{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "known", UID: "uid", DeletionTimestamp: &deleted, Finalizers: []string{"a/b"}},
		Spec:       opsv1alpha1.SilenceSpec{Owner: "team shop", Reason: "known", Expires: metav1.NewTime(epoch), Match: pods("a")},
	})
	w.says("Troubled a")
}

func TestASilenceHoldsAgainWhenTheClockIsSetBack(t *testing.T) {
	w := newWorld(t, "a")
	w.silence("known", time.Hour, pods("a"))
	w.clock.Step(2 * time.Hour)
	w.says("SilenceExpired known", "Troubled a")
	w.clock.SetTime(epoch)
	// The engine looks at the clock every few seconds that really pass, and whenever
	// it is told of something that comes first.
	w.silence("other", time.Minute, pods("b"))
	livetest.Eventually(t, "the engine to notice", func() bool {
		return len(live.List(w.engine, Reports)) == 0 && live.List(w.engine, served)[0].Status.SilencedBy == "known"
	})
	w.clock.Step(time.Hour - time.Nanosecond)
	w.says("SilenceExpired other", "Troubled a (known)")
	w.clock.Step(time.Nanosecond)
	w.says("SilenceExpired known", "SilenceExpired other", "Troubled a")
}

func TestWhereSilencesWereNeverReadTroubleShows(t *testing.T) {
	silences := Silences.Ref().Resource()
	for name, test := range map[string]struct {
		lose func(*livetest.Cluster)
		want live.State
	}{
		"forbidden":     {func(c *livetest.Cluster) { c.Forbid(silences) }, live.Degraded},
		"failing":       {func(c *livetest.Cluster) { c.Fail(silences, apierrors.NewInternalError(errors.New("etcd is away"))) }, live.Degraded},
		"not installed": {func(c *livetest.Cluster) { c.NotInstalled(silences) }, live.Healthy},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := &livetest.Cluster{}
			test.lose(cluster)
			w := newWorldOf(t, config.AnalyzerConfiguration{}, cluster, "a")
			w.silence("known", time.Hour, pods("a"))
			livetest.Eventually(t, "trouble to show", func() bool {
				found := live.List(w.engine, served)
				return len(found) == 1 && found[0].Status.SilencedBy == ""
			})
			livetest.Eventually(t, "both rules to be "+string(test.want), func() bool {
				all := live.List(w.engine, live.Statuses())
				return !slices.ContainsFunc(all, func(s *live.Status) bool { return s.Rule != "troubled" && s.State != test.want })
			})
			cluster.Serve(silences)
			w.says("Troubled a (known)")
		})
	}
}

func TestWhileSilencesCannotBeReadTroubleShows(t *testing.T) {
	w := newWorld(t, "a")
	w.silence("known", time.Hour, pods("a", "b"))
	w.says("Troubled a (known)")
	w.cluster.Forbid(Silences.Ref().Resource())
	livetest.Eventually(t, "the server to notice", func() bool {
		return slices.ContainsFunc(live.List(w.engine, live.Statuses()), func(s *live.Status) bool { return s.State == live.Degraded })
	})
	w.cluster.Set(trouble.Ref().Resource(), &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "b"}},
		&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "c"}})
	livetest.Settle(t, w.engine, w.cluster, trouble)
	w.clock.Step(time.Hour)
	livetest.Eventually(t, "what is over to be over", func() bool {
		var silenced int
		all := append(live.List(w.engine, served), live.List(w.engine, Reports)...)
		for _, finding := range all {
			if finding.Status.SilencedBy != "" {
				silenced++
			}
		}
		return len(all) == 4 && silenced == 0
	})
}

// What nobody can see may be there: no silence is called inert for it, unless it was
// before.
func TestWhileAnAnalyzerIsBlindNothingCountsAsMended(t *testing.T) {
	cluster := &livetest.Cluster{}
	cluster.Forbid(trouble.Ref().Resource())
	w := newWorldOf(t, config.AnalyzerConfiguration{}, cluster, "a")
	w.silence("of all", 1000*time.Hour, pods("a"))
	w.silence("of a reason", 1000*time.Hour, opsv1alpha1.SilenceMatch{Reasons: []string{"Troubled"}, Subjects: pods("a").Subjects})
	w.silence("of an analyzer", 1000*time.Hour, opsv1alpha1.SilenceMatch{Analyzers: []string{"Test"}, Subjects: pods("a").Subjects})
	w.silence("of another", 1000*time.Hour, opsv1alpha1.SilenceMatch{Analyzers: []string{Name}})
	w.silence("mended", 1000*time.Hour, pods("b"))
	reported := func(want ...string) {
		t.Helper()
		livetest.Settle(t, w.engine, cluster, Silences)
		have := []string{}
		for _, report := range live.List(w.engine, Reports) {
			have = append(have, report.Spec.Reason+" "+report.Spec.Subject.Name)
		}
		slices.Sort(have)
		if diff := cmp.Diff(want, have, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("reported (-want +have):\n%s", diff)
		}
	}
	lose := func() {
		cluster.Forbid(trouble.Ref().Resource())
		livetest.Eventually(t, "its loss to be noticed", func() bool {
			status, _ := live.Get(w.engine, live.Statuses(), live.Key{Name: "troubled"})
			return status.State == live.Degraded && w.engine.Settled()
		})
	}
	reported()
	w.clock.Step(25 * time.Hour)
	reported("SilenceInert of another")

	cluster.Serve(trouble.Ref().Resource())
	livetest.Settle(t, w.engine, cluster, trouble)
	livetest.Eventually(t, "it to be healthy", func() bool {
		status, _ := live.Get(w.engine, live.Statuses(), live.Key{Name: "troubled"})
		return status.State == live.Healthy && w.engine.Settled()
	})
	w.clock.Step(23 * time.Hour)
	reported("SilenceInert of another")
	lose()
	w.clock.Step(2 * time.Hour)
	reported("SilenceInert of another")

	cluster.Serve(trouble.Ref().Resource())
	livetest.Eventually(t, "it to be healthy", func() bool {
		status, _ := live.Get(w.engine, live.Statuses(), live.Key{Name: "troubled"})
		return status.State == live.Healthy && w.engine.Settled()
	})
	w.clock.Step(24 * time.Hour)
	reported("SilenceInert mended", "SilenceInert of another")
	lose()
	w.clock.Step(time.Hour)
	reported("SilenceInert mended", "SilenceInert of another")
}

// BenchmarkOneFindingChanges among many, in a namespace with many silences.
func BenchmarkOneFindingChanges(b *testing.B) {
	for _, silenced := range []int{0, 20} {
		b.Run(fmt.Sprintf("%d silences", silenced), func(b *testing.B) {
			var names []string
			for i := range 2000 {
				names = append(names, fmt.Sprintf("p%04d", i))
			}
			w := newWorldOf(b, config.AnalyzerConfiguration{}, &livetest.Cluster{}, names...)
			for i := range silenced {
				w.silence(fmt.Sprintf("s%02d", i), time.Hour, pods(names[i]))
			}
			livetest.Settle(b, w.engine, w.cluster, trouble)
			livetest.Settle(b, w.engine, w.cluster, Silences)
			pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: names[0]}}
			finding := live.List(w.engine, served)[0]
			for i := 0; b.Loop(); i++ {
				said := fmt.Sprint(i)
				pod.Annotations = map[string]string{"message": said}
				w.cluster.Set(trouble.Ref().Resource(), pod)
				livetest.Eventually(b, "the change to be served", func() bool {
					is, _ := live.Get(w.engine, served, live.Key{Namespace: finding.Namespace, Name: finding.Name})
					return is.Spec.Message == said && w.engine.Settled()
				})
			}
		})
	}
}

func TestTextsAreBounded(t *testing.T) {
	text := shorten(strings.Repeat("ä", 100_000))
	if !utf8.ValidString(text) || utf8.RuneCountInString(text) > 210 {
		t.Errorf("%d characters, valid %t", utf8.RuneCountInString(text), utf8.ValidString(text))
	}
}
