// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

// counted counts what is asked of a cluster, and may refuse it.
type counted struct {
	mu          sync.Mutex
	gets, lists int
	fail        func(verb string) error
}

func (c *counted) ask(verb string, count *int) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	*count++
	if c.fail != nil {
		return c.fail(verb)
	}
	return nil
}

func (c *counted) over(cluster client.WithWatch) client.WithWatch {
	return interceptor.NewClient(cluster, interceptor.Funcs{
		Get: func(ctx context.Context, inner client.WithWatch, key client.ObjectKey, into client.Object, options ...client.GetOption) error {
			if err := c.ask("get", &c.gets); err != nil {
				return err
			}
			return inner.Get(ctx, key, into, options...)
		},
		List: func(ctx context.Context, inner client.WithWatch, into client.ObjectList, options ...client.ListOption) error {
			if err := c.ask("list", &c.lists); err != nil {
				return err
			}
			return inner.List(ctx, into, options...)
		},
	})
}

// about is an event of a token, a proposal and a budget by number.
func about(token, proposal, approver int, kind opsv1alpha1.AuditType) Entry {
	entry := accepted(fmt.Sprintf("%032x", token))
	entry.Type = kind
	entry.References.ProposalUID = types.UID(fmt.Sprintf("proposal-%d", proposal))
	entry.References.Approver = fmt.Sprintf("approver-%d", approver)
	if kind == opsv1alpha1.AuditModelCalled {
		entry.ModelCall = &opsv1alpha1.ModelCall{ID: fmt.Sprintf("call-%d", token)}
	}
	return entry
}

// TestIndexAnswersAsAListDoes asks an index and kube-apiserver the same after each
// step of random histories: events of two writers, the oldest pruned, the index filled,
// run ahead or left behind.
func TestIndexAnswersAsAListDoes(t *testing.T) {
	kinds := []opsv1alpha1.AuditType{opsv1alpha1.AuditTokenMinted, opsv1alpha1.AuditApprovalAccepted, opsv1alpha1.AuditDenialRecorded, opsv1alpha1.AuditActionIntended, opsv1alpha1.AuditModelCalled}
	asked, indexed := 0, 0
	for seed := range uint64(10) {
		random := rand.New(rand.NewPCG(seed, 1))
		cluster := newCluster(t)
		counts := &counted{}
		index := NewIndex(counts.over(cluster))
		through := Indexed(cluster, index)
		chains := []*Chain{newChain(cluster, nil), newChain(through, nil)}
		for range 60 {
			switch n := random.IntN(10); {
			case n < 6:
				if _, err := chains[random.IntN(2)].Append(t.Context(), about(random.IntN(4), random.IntN(3), random.IntN(2), kinds[random.IntN(len(kinds))])); err != nil {
					t.Fatal(err)
				}
			case n < 7:
				if events := stored(t, cluster); len(events) > 3 {
					if err := cluster.Delete(t.Context(), &events[0]); err != nil {
						t.Fatal(err)
					}
				}
			case n < 8 && !index.ready():
				if err := index.Fill(t.Context()); err != nil {
					t.Fatal(err)
				}
			case n < 9:
				index.forget(t.Context())
			}
			token, proposal, approver := fmt.Sprintf("%032x", random.IntN(4)), types.UID(fmt.Sprintf("proposal-%d", random.IntN(3))), fmt.Sprintf("approver-%d", random.IntN(2))
			call := fmt.Sprintf("call-%d", random.IntN(4))
			for name, query := range map[string]func(client.Reader) ([]opsv1alpha1.AuditEvent, error){
				"token":    func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) { return ByJTI(t.Context(), r, token) },
				"decision": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) { return AcceptedByJTI(t.Context(), r, token) },
				"digest": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) {
					return AboutDigest(t.Context(), r, proposal, "sha256:d")
				},
				"call": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) {
					event, err := OfModelCall(t.Context(), r, call)
					if event == nil {
						return nil, err
					}
					return []opsv1alpha1.AuditEvent{{Spec: *event}}, err
				},
				"budget": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) {
					return AcceptedSince(t.Context(), r, approver, "WorkloadStateDrift", start.Add(-time.Hour))
				},
			} {
				want, err := query(cluster)
				if err != nil {
					t.Fatal(err)
				}
				lists := counts.lists
				have, err := query(through)
				if err != nil {
					t.Fatalf("seed %d, %s: %v", seed, name, err)
				}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Fatalf("seed %d, %s: (-listed +indexed)\n%s", seed, name, diff)
				}
				asked++
				if index.ready() && counts.lists == lists {
					indexed++
				}
			}
		}
	}
	if indexed < asked/4 {
		t.Errorf("only %d of %d questions were answered by an index", indexed, asked)
	}
}

// filled is an index of a chain with some events, and what is asked of the cluster.
func filled(t *testing.T, events int) (*Index, client.WithWatch, *counted) {
	t.Helper()
	cluster, counts := newCluster(t), &counted{}
	chain := newChain(cluster, nil)
	for i := range events {
		if _, err := chain.Append(t.Context(), about(i, i, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
			t.Fatal(err)
		}
	}
	index := NewIndex(counts.over(cluster))
	if err := index.Fill(t.Context()); err != nil || !index.ready() {
		t.Fatalf("ready: %t, %v", index.ready(), err)
	}
	counts.gets, counts.lists = 0, 0
	return index, cluster, counts
}

// TestAQuestionCostsWhatItFinds counts the requests of one, whatever the length of the
// chain: two for whether it has grown, and one for each event.
func TestAQuestionCostsWhatItFinds(t *testing.T) {
	for _, length := range []int{1, 100} {
		index, cluster, counts := filled(t, length)
		events, err := ByJTI(t.Context(), Indexed(counts.over(cluster), index), fmt.Sprintf("%032x", 0))
		if err != nil || len(events) != 1 {
			t.Fatalf("%d events: %v", len(events), err)
		}
		if counts.gets != 3 || counts.lists != 0 {
			t.Errorf("of %d events: %d readings and %d lists, want 3 and none", length, counts.gets, counts.lists)
		}
	}
}

// TestWhatAnybodyCanBringAboutCostsOthersNothing asks about a proposal for which
// somebody mints tokens and has layers refuse, and about a budget that is theirs alone.
func TestWhatAnybodyCanBringAboutCostsOthersNothing(t *testing.T) {
	const many = 10 * mostRead
	for name, kind := range map[string]opsv1alpha1.AuditType{"minting": opsv1alpha1.AuditTokenMinted, "being refused": opsv1alpha1.AuditApprovalDenied} {
		t.Run(name, func(t *testing.T) {
			index, cluster, counts := filled(t, 1)
			chain := newChain(cluster, nil)
			for i := range many {
				if _, err := chain.Append(t.Context(), about(100+i, 0, 0, kind)); err != nil {
					t.Fatal(err)
				}
			}
			through := Indexed(counts.over(cluster), index)
			catchUp(t, index)
			for what, query := range map[string]func(client.Reader) ([]opsv1alpha1.AuditEvent, error){
				"digest": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) {
					return AboutDigest(t.Context(), r, "proposal-0", "sha256:d")
				},
				"budget": func(r client.Reader) ([]opsv1alpha1.AuditEvent, error) {
					return AcceptedSince(t.Context(), r, "approver-0", "WorkloadStateDrift", start.Add(-time.Hour))
				},
			} {
				counts.gets, counts.lists = 0, 0
				have, err := query(through)
				if err != nil {
					t.Fatal(err)
				}
				if counts.gets > 3 || counts.lists > 0 {
					t.Errorf("%s: %d readings and %d lists, want three readings at most", what, counts.gets, counts.lists)
				}
				want, err := query(cluster)
				if err != nil {
					t.Fatal(err)
				}
				if diff := cmp.Diff(want, have); diff != "" {
					t.Errorf("%s: (-listed +indexed)\n%s", what, diff)
				}
			}
		})
	}
}

// catchUp has an index take up all that there is.
func catchUp(t *testing.T, index *Index) {
	t.Helper()
	err := errBehind
	for errors.Is(err, errBehind) {
		err = index.follow(t.Context())
	}
	if err != nil {
		t.Fatal(err)
	}
}

// TestAnIndexThatIsBehindHasTheEventsListed: a question must not take the longer the
// faster the chain grows.
func TestAnIndexThatIsBehindHasTheEventsListed(t *testing.T) {
	index, cluster, counts := filled(t, 1)
	chain := newChain(cluster, nil)
	for i := range 3 * mostRead / 2 {
		if _, err := chain.Append(t.Context(), about(100+i, 7, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
			t.Fatal(err)
		}
	}
	want, err := AboutDigest(t.Context(), cluster, "proposal-7", "sha256:d")
	if err != nil {
		t.Fatal(err)
	}
	for question, lists := range []int{1, 1} { // the second has more to read than is read one by one
		counts.gets, counts.lists = 0, 0
		have, err := AboutDigest(t.Context(), Indexed(counts.over(cluster), index), "proposal-7", "sha256:d")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("question %d: (-listed +indexed)\n%s", question, diff)
		}
		if counts.gets > 2*mostRead+2 || counts.lists != lists {
			t.Errorf("question %d: %d readings and %d lists, want at most %d and %d", question, counts.gets, counts.lists, 2*mostRead+2, lists)
		}
	}
	counts.gets, counts.lists = 0, 0
	if _, err := ByJTI(t.Context(), Indexed(counts.over(cluster), index), fmt.Sprintf("%032x", 100)); err != nil || counts.gets > 3 || counts.lists > 0 {
		t.Errorf("once it has caught up: %d readings and %d lists (%v)", counts.gets, counts.lists, err)
	}
}

// TestAnIndexOfAnotherChainAnswersNothing has storage restored from before some events,
// and the chain grow past what the index knew.
func TestAnIndexOfAnotherChainAnswersNothing(t *testing.T) {
	for name, grown := range map[string]int{"shorter": 1, "as long": 3, "longer": 5} {
		t.Run(name, func(t *testing.T) {
			index, cluster, counts := filled(t, 6)
			events := stored(t, cluster)
			for i := range events[3:] {
				if err := cluster.Delete(t.Context(), &events[3+i]); err != nil {
					t.Fatal(err)
				}
			}
			chain := newChain(cluster, nil)
			for i := range grown {
				if _, err := chain.Append(t.Context(), about(100+i, 7, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
					t.Fatal(err)
				}
			}
			want, err := AboutDigest(t.Context(), cluster, "proposal-7", "sha256:d")
			if err != nil {
				t.Fatal(err)
			}
			have, err := AboutDigest(t.Context(), Indexed(counts.over(cluster), index), "proposal-7", "sha256:d")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, have); diff != "" || len(want) != grown {
				t.Errorf("(-listed +indexed)\n%s", diff)
			}
			if index.ready() {
				t.Error("the index is of use still")
			}
		})
	}
}

// TestABudgetCostsWhatIsRecent has somebody approve for weeks, by clocks that are some
// hours apart.
func TestABudgetCostsWhatIsRecent(t *testing.T) {
	cluster, counts := newCluster(t), &counted{}
	clock := clocktesting.NewFakePassiveClock(start)
	chain := NewChain(cluster, "apiserver", clock, nil)
	random := rand.New(rand.NewPCG(1, 1))
	at := start
	for range 600 {
		at = at.Add(time.Hour)
		clock.SetTime(at.Add(time.Duration(random.Int64N(int64(oddClocks / 4)))))
		if _, err := chain.Append(t.Context(), about(random.IntN(1000), 0, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
			t.Fatal(err)
		}
	}
	index := NewIndex(counts.over(cluster))
	if err := index.Fill(t.Context()); err != nil {
		t.Fatal(err)
	}
	through := Indexed(counts.over(cluster), index)
	for _, since := range []time.Time{at.Add(-time.Hour), at.Add(-5 * time.Hour), start} {
		want, err := AcceptedSince(t.Context(), cluster, "approver-0", "WorkloadStateDrift", since)
		if err != nil {
			t.Fatal(err)
		}
		counts.gets, counts.lists = 0, 0
		have, err := AcceptedSince(t.Context(), through, "approver-0", "WorkloadStateDrift", since)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, have); diff != "" {
			t.Errorf("since %s: (-listed +indexed)\n%s", since, diff)
		}
		if old := since.Equal(start); counts.gets > mostRead+2 || (counts.lists == 0) == old {
			t.Errorf("since %s: %d readings and %d lists", since, counts.gets, counts.lists)
		}
	}
}

// TestAnIndexThatIsGivenUpAnswersNothing has somebody else find the end of the chain
// gone, between following it and looking up.
func TestAnIndexThatIsGivenUpAnswersNothing(t *testing.T) {
	index, cluster, _ := filled(t, 3)
	token := fmt.Sprintf("%032x", 1)
	if indices, ok := index.lookUp(LabelJTI, token); !ok || len(indices) != 1 {
		t.Fatalf("%v, %t", indices, ok)
	}
	events := stored(t, cluster)
	if err := cluster.Delete(t.Context(), &events[len(events)-1]); err != nil {
		t.Fatal(err)
	}
	if err := index.follow(t.Context()); !errors.Is(err, errNoIndex) {
		t.Fatal(err)
	}
	if indices, ok := index.lookUp(LabelJTI, token); ok {
		t.Errorf("it still answers with %v", indices)
	}
}

// TestAnIndexThatCannotTellSaysSo has the chain pruned past all that the index knows,
// cut at its end, or gone.
func TestAnIndexThatCannotTellSaysSo(t *testing.T) {
	for name, drop := range map[string]func(events []opsv1alpha1.AuditEvent) []opsv1alpha1.AuditEvent{
		"pruned past its end": func(events []opsv1alpha1.AuditEvent) []opsv1alpha1.AuditEvent { return events[:len(events)-1] },
		"all gone":            func(events []opsv1alpha1.AuditEvent) []opsv1alpha1.AuditEvent { return events },
	} {
		t.Run(name, func(t *testing.T) {
			index, cluster, _ := filled(t, 3)
			chain := newChain(cluster, nil)
			for i := range 5 {
				if _, err := chain.Append(t.Context(), about(100+i, 7, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
					t.Fatal(err)
				}
			}
			for _, event := range drop(stored(t, cluster)) {
				if err := cluster.Delete(t.Context(), &event); err != nil {
					t.Fatal(err)
				}
			}
			want, err := AboutDigest(t.Context(), cluster, "proposal-7", "sha256:d")
			if err != nil {
				t.Fatal(err)
			}
			have, err := AboutDigest(t.Context(), Indexed(cluster, index), "proposal-7", "sha256:d")
			if diff := cmp.Diff(want, have); err != nil || diff != "" {
				t.Errorf("%v (-listed +indexed)\n%s", err, diff)
			}
			if index.ready() {
				t.Error("the index is still taken for whole")
			}
		})
	}
}

func TestAReadingThatFailsIsNoAnswer(t *testing.T) {
	index, cluster, counts := filled(t, 3)
	broken := errors.New("the API server is down")
	for fails := range 3 {
		n := 0
		counts.fail = func(string) error {
			if n++; n == fails+1 {
				return broken
			}
			return nil
		}
		if events, err := ByJTI(t.Context(), Indexed(counts.over(cluster), index), fmt.Sprintf("%032x", 1)); !errors.Is(err, broken) {
			t.Errorf("reading %d fails: %d events, %v", fails+1, len(events), err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	index.turn <- struct{}{} // somebody reads, and hangs
	if _, err := ByJTI(ctx, Indexed(cluster, index), "any"); !errors.Is(err, context.Canceled) {
		t.Errorf("waiting for a turn: %v", err)
	}
}

// TestAChainWithGapsIsNotIndexed lacks an event in its middle.
func TestAChainWithGapsIsNotIndexed(t *testing.T) {
	_, cluster, _ := filled(t, 5)
	if err := cluster.Delete(t.Context(), &stored(t, cluster)[2]); err != nil {
		t.Fatal(err)
	}
	index := NewIndex(cluster)
	if err := index.Fill(t.Context()); err == nil || index.ready() {
		t.Errorf("ready: %t, %v", index.ready(), err)
	}
}

// TestWhoAsksAtTheSameTimeReadsTogether asks a hundred times at once: nobody takes an
// answer from before they asked, and few readings serve all.
func TestWhoAsksAtTheSameTimeReadsTogether(t *testing.T) {
	index, cluster, counts := filled(t, 1)
	chain := newChain(cluster, nil)
	through := Indexed(counts.over(cluster), index)
	var asking sync.WaitGroup
	for i := range 100 {
		if i%10 == 0 {
			if _, err := chain.Append(t.Context(), about(1000+i, 9, 0, opsv1alpha1.AuditApprovalAccepted)); err != nil {
				t.Fatal(err)
			}
		}
		least := i/10 + 1
		asking.Go(func() {
			events, err := AboutDigest(t.Context(), through, "proposal-9", "sha256:d")
			if err != nil || len(events) < least {
				t.Errorf("%d events, want at least the %d that there were: %v", len(events), least, err)
			}
		})
	}
	asking.Wait()
}

func TestPrunedEventsAreForgotten(t *testing.T) {
	index, cluster, _ := filled(t, 20)
	for _, event := range stored(t, cluster)[:15] {
		if err := cluster.Delete(t.Context(), &event); err != nil {
			t.Fatal(err)
		}
	}
	index.forget(t.Context())
	held := 0
	for _, known := range index.postings {
		held += len(known)
	}
	// The chain's start has no labels but its type; each of the others has three.
	if left := len(stored(t, cluster)); left != 6 || held != 3*left {
		t.Errorf("%d postings of %d events", held, left)
	}
}

// TestRunFillsAndFollows runs an index over a chain that begins later.
func TestRunFillsAndFollows(t *testing.T) {
	cluster := newCluster(t)
	chain := newChain(cluster, nil)
	if _, err := chain.Append(t.Context(), about(1, 1, 1, opsv1alpha1.AuditTokenMinted)); err != nil {
		t.Fatal(err)
	}
	index := NewIndex(cluster)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- index.Run(ctx) }()
	if err := wait.PollUntilContextTimeout(ctx, time.Millisecond, time.Minute, true, func(context.Context) (bool, error) { return index.ready(), nil }); err != nil {
		t.Errorf("it is not filled: %v", err)
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}
