// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

var start = time.Date(2026, 3, 1, 12, 0, 0, 123456789, time.UTC)

func newCluster(t testing.TB) client.WithWatch {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(opsv1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return fake.NewClientBuilder().WithScheme(scheme).Build()
}

func newChain(c client.Client, jsonl io.Writer) *Chain {
	return NewChain(c, "apiserver", clocktesting.NewFakePassiveClock(start), jsonl)
}

func accepted(jti string) Entry {
	return Entry{
		Actor: "alice", Type: opsv1alpha1.AuditApprovalAccepted, Message: "alice approved <it> & said \"yes\"",
		References: opsv1alpha1.AuditReferences{
			Namespace: "shop", Proposal: "fix-web", ProposalUID: "7c3f", Digest: "sha256:d", Approval: "approval-" + jti,
			Approver: "alice", JTI: jti, DiagnosticClass: "WorkloadStateDrift", ActionKind: v1alpha1.ActionDeletePod,
			Target: &v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "web-0", UID: "u"},
		},
		Verdicts: []v1alpha1.Verdict{{Layer: "SignedToken", Result: v1alpha1.VerdictAllowed, Message: "it fits"}},
		Hashes:   map[string]string{"snapshot": "sha256:s"},
	}
}

func appendAll(t testing.TB, chain *Chain, count int) {
	t.Helper()
	for i := range count {
		if _, err := chain.Append(t.Context(), accepted(fmt.Sprintf("%032x", i))); err != nil {
			t.Fatal(err)
		}
	}
}

// stored are the events in the cluster, in the order of their names.
func stored(t testing.TB, c client.Client) []opsv1alpha1.AuditEvent {
	t.Helper()
	list := &opsv1alpha1.AuditEventList{}
	if err := c.List(t.Context(), list); err != nil {
		t.Fatal(err)
	}
	slices.SortFunc(list.Items, func(a, b opsv1alpha1.AuditEvent) int { return cmp.Compare(a.Name, b.Name) })
	return list.Items
}

func specs(events []opsv1alpha1.AuditEvent) []opsv1alpha1.AuditEventSpec {
	var all []opsv1alpha1.AuditEventSpec
	for i := range events {
		all = append(all, events[i].Spec)
	}
	return all
}

func sequence(specs []opsv1alpha1.AuditEventSpec) iter.Seq2[opsv1alpha1.AuditEventSpec, error] {
	return func(yield func(opsv1alpha1.AuditEventSpec, error) bool) {
		for _, spec := range specs {
			if !yield(spec, nil) {
				return
			}
		}
	}
}

func TestFirstAppendStartsTheChain(t *testing.T) {
	cluster := newCluster(t)
	event, err := newChain(cluster, nil).Append(t.Context(), accepted("j"))
	if err != nil {
		t.Fatal(err)
	}
	events := stored(t, cluster)
	if len(events) != 2 || events[0].Spec.Type != opsv1alpha1.AuditChainStarted || events[0].Spec.PrevHash != strings.Repeat("0", 64) {
		t.Fatalf("the chain is %+v", events)
	}
	if event.Name != "00000000000000000001" || event.Spec.PrevHash != events[0].Spec.Hash {
		t.Errorf("event %s has prevHash %s", event.Name, event.Spec.PrevHash)
	}
	want := map[string]string{
		LabelType: "ApprovalAccepted", LabelJTI: "j", LabelProposalUID: "7c3f", LabelBudget: BudgetKey("alice", "WorkloadStateDrift"),
	}
	if diff := gocmp.Diff(want, events[1].Labels); diff != "" {
		t.Errorf("labels (-want +have):\n%s", diff)
	}
}

func TestLogHasTheSameChainAsTheCluster(t *testing.T) {
	cluster, log := newCluster(t), &bytes.Buffer{}
	appendAll(t, newChain(cluster, log), 5)
	inCluster, err := Verify(sequence(specs(stored(t, cluster))))
	if err != nil {
		t.Fatal(err)
	}
	inLog, err := Verify(ReadJSONL(log))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(inCluster, inLog); diff != "" || inLog.Count != 6 || inLog.Last != 5 {
		t.Errorf("(-cluster +log):\n%s", diff)
	}
}

func TestConcurrentAppendersMakeOneUnbrokenChain(t *testing.T) {
	const writers, each = 6, 8
	cluster := newCluster(t)
	var wait sync.WaitGroup
	for writer := range writers {
		chain := newChain(cluster, nil)
		// Two goroutines share a chain: the same process, two requests.
		for half := range 2 {
			wait.Go(func() {
				for i := range each / 2 {
					if _, err := chain.Append(context.Background(), accepted(fmt.Sprintf("%d-%d-%d", writer, half, i))); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	wait.Wait()
	events := stored(t, cluster)
	result, err := Verify(sequence(specs(events)))
	if err != nil {
		t.Fatal(err)
	}
	if result.Count != writers*each+1 {
		t.Errorf("%d events, want %d", result.Count, writers*each+1)
	}
	seen := map[string]bool{}
	for _, event := range events[1:] {
		if seen[event.Spec.References.JTI] {
			t.Errorf("%s was appended twice", event.Spec.References.JTI)
		}
		seen[event.Spec.References.JTI] = true
	}
}

func TestHeadIsFoundInChainsOfEveryLength(t *testing.T) {
	cluster := newCluster(t)
	writer := newChain(cluster, nil)
	follower := newChain(cluster, nil)
	for i := range 20 {
		appendAll(t, writer, 1)
		for name, chain := range map[string]*Chain{"new": newChain(cluster, nil), "following": follower} {
			if i%3 != 0 && chain == follower {
				continue
			}
			if err := chain.CheckHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			if chain.head.Hash != writer.head.Hash {
				t.Errorf("the %s chain takes event %d for the head, and it is %d", name, chain.head.Index, writer.head.Index)
			}
		}
	}
}

func TestHeadIsFoundBehindAPrunedPrefix(t *testing.T) {
	cluster := newCluster(t)
	appendAll(t, newChain(cluster, nil), 30)
	for _, event := range stored(t, cluster)[:17] {
		if err := cluster.Delete(t.Context(), &event); err != nil {
			t.Fatal(err)
		}
	}
	event, err := newChain(cluster, nil).Append(t.Context(), accepted("after"))
	if err != nil {
		t.Fatal(err)
	}
	result, err := Verify(sequence(specs(stored(t, cluster))))
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(Result{Count: 15, First: 17, Last: 31, Head: event.Spec.Hash}, result); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
}

func TestDamagedHeadRefusesEverything(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, c client.Client, events []opsv1alpha1.AuditEvent){
		"the head was edited": func(t *testing.T, c client.Client, events []opsv1alpha1.AuditEvent) {
			last := &events[len(events)-1]
			last.Spec.Actor = "mallory"
			update(t, c, last)
		},
		"the head was edited and hashed anew": func(t *testing.T, c client.Client, events []opsv1alpha1.AuditEvent) {
			last := &events[len(events)-1]
			last.Spec.PrevHash = events[0].Spec.Hash
			rehash(t, &last.Spec)
			update(t, c, last)
		},
		"the event before the head was edited": func(t *testing.T, c client.Client, events []opsv1alpha1.AuditEvent) {
			before := &events[len(events)-2]
			before.Spec.Message = "nothing happened"
			update(t, c, before)
		},
		"the head holds another index": func(t *testing.T, c client.Client, events []opsv1alpha1.AuditEvent) {
			last := &events[len(events)-1]
			last.Spec.Index += 7
			rehash(t, &last.Spec)
			update(t, c, last)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newCluster(t)
			appendAll(t, newChain(cluster, nil), 4)
			damage(t, cluster, stored(t, cluster))
			fresh := newChain(cluster, nil)
			var bad *BadLink
			if err := fresh.CheckHead(t.Context()); !errors.As(err, &bad) {
				t.Errorf("the head is found to be in order: %v", err)
			}
			if _, err := fresh.Append(t.Context(), accepted("more")); !errors.As(err, &bad) {
				t.Errorf("it is appended to: %v", err)
			}
		})
	}
}

// Admission cannot tell where the chain ends. An event that somebody created ahead of
// that ends all appends once the chain gets there, until it is taken away.
func TestAnEventAheadOfTheChainsEndRefusesEverythingOnceItIsReached(t *testing.T) {
	cluster := newCluster(t)
	chain := newChain(cluster, nil)
	appendAll(t, chain, 4)
	events := stored(t, cluster)
	ahead := events[len(events)-1]
	ahead.Spec.Index += 3
	rehash(t, &ahead.Spec)
	ahead.ResourceVersion, ahead.Name = "", EventName(ahead.Spec.Index)
	if err := cluster.Create(t.Context(), &ahead); err != nil {
		t.Fatal(err)
	}
	var bad *BadLink
	if _, err := Verify(sequence(specs(stored(t, cluster)))); !errors.As(err, &bad) || bad.Index != ahead.Spec.Index-2 {
		t.Errorf("before it is reached: %v", err)
	}
	appendAll(t, chain, 2)
	for _, each := range []*Chain{chain, newChain(cluster, nil)} {
		if _, err := each.Append(t.Context(), accepted("more")); !errors.As(err, &bad) || bad.Index != ahead.Spec.Index {
			t.Errorf("it is appended to: %v", err)
		}
	}
	if err := cluster.Delete(t.Context(), &ahead); err != nil {
		t.Fatal(err)
	}
	for _, each := range []*Chain{chain, newChain(cluster, nil)} {
		appendAll(t, each, 1)
	}
	if _, err := Verify(sequence(specs(stored(t, cluster)))); err != nil {
		t.Errorf("after it was taken away: %v", err)
	}
}

func TestRunningChainNoticesWhenItsHeadIsReplacedOrCut(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, c client.Client, last *opsv1alpha1.AuditEvent){
		"replaced": func(t *testing.T, c client.Client, last *opsv1alpha1.AuditEvent) {
			last.Spec.Actor = "mallory"
			rehash(t, &last.Spec)
			update(t, c, last)
		},
		"cut": func(t *testing.T, c client.Client, last *opsv1alpha1.AuditEvent) {
			if err := c.Delete(t.Context(), last); err != nil {
				t.Fatal(err)
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := newCluster(t)
			chain := newChain(cluster, nil)
			appendAll(t, chain, 4)
			events := stored(t, cluster)
			damage(t, cluster, &events[len(events)-1])
			var bad *BadLink
			if _, err := chain.Append(t.Context(), accepted("more")); !errors.As(err, &bad) || bad.Index != 4 {
				t.Errorf("error is %v, want one that names event 4", err)
			}
		})
	}
}

func TestAppendGivesUpUnderEndlessContention(t *testing.T) {
	cluster := newCluster(t)
	rival := newChain(cluster, nil)
	appendAll(t, rival, 1)
	chain := newChain(interceptor.NewClient(cluster, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			if _, err := rival.Append(ctx, accepted("rival")); err != nil {
				return err
			}
			return c.Create(ctx, object, options...)
		},
	}), nil)
	if _, err := chain.Append(t.Context(), accepted("late")); !errors.Is(err, ErrContended) {
		t.Errorf("error is %v, want ErrContended", err)
	}
}

func TestAppendFailsWithTheCluster(t *testing.T) {
	down := errors.New("etcd is down")
	for name, funcs := range map[string]interceptor.Funcs{
		"reading": {Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return down
		}},
		"listing": {List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error { return down }},
		"creating": {Create: func(context.Context, client.WithWatch, client.Object, ...client.CreateOption) error {
			return down
		}},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, log := newCluster(t), &bytes.Buffer{}
			appendAll(t, newChain(cluster, nil), 1)
			chain := newChain(interceptor.NewClient(cluster, funcs), log)
			if _, err := chain.Append(t.Context(), accepted("j")); !errors.Is(err, down) || log.Len() > 0 {
				t.Errorf("error is %v, and the log has %q", err, log)
			}
			if count := len(stored(t, cluster)); count != 2 {
				t.Errorf("%d events, want the 2 of before", count)
			}
		})
	}
}

func TestWaitingForAnotherAppendEndsWithTheContext(t *testing.T) {
	chain := newChain(newCluster(t), nil)
	if err := chain.lock(t.Context()); err != nil {
		t.Fatal(err)
	}
	defer chain.unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := chain.Append(ctx, accepted("j")); !errors.Is(err, context.Canceled) {
		t.Errorf("append: %v", err)
	}
	if err := chain.CheckHead(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("check: %v", err)
	}
}

type full struct{}

func (full) Write([]byte) (int, error) { return 0, errors.New("no space left") }

func TestFullLogDoesNotUndoADecision(t *testing.T) {
	cluster := newCluster(t)
	if _, err := newChain(cluster, full{}).Append(t.Context(), accepted("j")); err != nil {
		t.Error(err)
	}
	if count := len(stored(t, cluster)); count != 2 {
		t.Errorf("%d events, want 2", count)
	}
}

func TestHostileStringsAreCutAndStillVerify(t *testing.T) {
	cluster, log := newCluster(t), &bytes.Buffer{}
	entry := accepted("not a label! " + strings.Repeat("x", 5000))
	entry.Actor, entry.Message = "\xff\xfe\x00mallory\u2028", strings.Repeat("ä", 10000)+"\xc3"
	entry.References.ProposalUID = "../../etc"
	entry.References.Target.Name = strings.Repeat("n", 1<<20)
	event, err := newChain(cluster, log).Append(t.Context(), entry)
	if err != nil {
		t.Fatal(err)
	}
	if len(event.Spec.Message) > maximumText || len(event.Spec.References.Target.Name) != maximumField || len(event.Spec.References.JTI) != maximumField {
		t.Error("a string is longer than its bound")
	}
	if _, labeled := event.Labels[LabelJTI]; labeled {
		t.Error("what cannot be a label became one")
	}
	if _, err := Verify(sequence(specs(stored(t, cluster)))); err != nil {
		t.Error(err)
	}
	if _, err := Verify(ReadJSONL(log)); err != nil {
		t.Error(err)
	}
}

func update(t testing.TB, c client.Client, event *opsv1alpha1.AuditEvent) {
	t.Helper()
	if err := c.Update(t.Context(), event); err != nil {
		t.Fatal(err)
	}
}

func rehash(t testing.TB, spec *opsv1alpha1.AuditEventSpec) {
	t.Helper()
	hash, err := hashOf(spec)
	if err != nil {
		t.Fatal(err)
	}
	spec.Hash = hash
}
