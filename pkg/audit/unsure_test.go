// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

// creation is what becomes of one request to create an event.
type creation func(create func() error) error

// unreliable creates as told, once, from the second event on.
func unreliable(c client.WithWatch, next *creation, blind *bool) client.WithWatch {
	return interceptor.NewClient(c, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			fate := *next
			if fate == nil {
				return c.Create(ctx, object, options...)
			}
			*next = nil
			return fate(func() error { return c.Create(ctx, object, options...) })
		},
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if *blind {
				return io.ErrUnexpectedEOF
			}
			return c.Get(ctx, key, object, options...)
		},
	})
}

// expectSameLog checks that the log by itself is the whole chain of the cluster.
func expectSameLog(t *testing.T, cluster client.Client, log *bytes.Buffer, want int) {
	t.Helper()
	events := specs(stored(t, cluster))
	if len(events) != want {
		t.Errorf("%d events are stored, want %d", len(events), want)
	}
	logged := 0
	for spec, err := range ReadJSONL(bytes.NewReader(log.Bytes())) {
		if err != nil {
			t.Fatal(err)
		}
		if logged >= len(events) || spec.Hash != events[logged].Hash {
			t.Fatalf("line %d of the log is event %d: %s", logged, spec.Index, spec.Message)
		}
		logged++
	}
	if logged != len(events) {
		t.Errorf("the log has %d events, and the chain %d", logged, len(events))
	}
}

func TestAnAppendWhoseAnswerIsLostIsLoggedOnce(t *testing.T) {
	exists := apierrors.NewAlreadyExists(schema.GroupResource{Resource: "auditevents"}, "1")
	for name, lost := range map[string]error{
		"the connection breaks":        io.ErrUnexpectedEOF,
		"the time is over":             context.DeadlineExceeded,
		"the server timed out":         apierrors.NewTimeoutError("request timed out", 0),
		"the server failed":            apierrors.NewInternalError(errors.New("etcdserver: request timed out")),
		"a client that tried again":    exists,
		"the server is shutting down":  apierrors.NewServiceUnavailable("shutting down"),
		"a gateway answered for it":    apierrors.NewGenericServerResponse(504, "POST", schema.GroupResource{}, "", "", 0, true),
		"a caller that does not wait":  context.Canceled,
		"leader of etcd is being lost": apierrors.NewServerTimeout(schema.GroupResource{}, "create", 1),
	} {
		t.Run(name, func(t *testing.T) {
			cluster, log := newCluster(t), &bytes.Buffer{}
			var next creation
			chain := newChain(unreliable(cluster, &next, new(bool)), log)
			appendAll(t, chain, 1)
			next = func(create func() error) error { return errors.Join(create(), lost) }
			event, err := chain.Append(t.Context(), accepted("lost"))
			if err != nil || event.Spec.References.JTI != "lost" || event.Spec.Index != 2 {
				t.Fatalf("appended was %+v: %v", event, err)
			}
			appendAll(t, chain, 1)
			expectSameLog(t, cluster, log, 4)
		})
	}
}

// Somebody's admission takes or changes a label of what is appended, and the answer
// tells so, or is lost. The event is in the chain, and what it was for is denied.
func TestAnEventThatNobodyFindsIsAnErrorAndInTheChain(t *testing.T) {
	for name, mutate := range map[string]func(labels map[string]string){
		"taken":   func(labels map[string]string) { delete(labels, LabelJTI) },
		"changed": func(labels map[string]string) { labels[LabelBudget] = "of-another-one" },
		"emptied": func(labels map[string]string) { clear(labels) },
	} {
		for answer, lost := range map[string]error{"answered": nil, "lost": io.ErrUnexpectedEOF} {
			t.Run(name+"/"+answer, func(t *testing.T) {
				cluster, log := newCluster(t), &bytes.Buffer{}
				armed := false
				mutating := interceptor.NewClient(cluster, interceptor.Funcs{
					Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
						if !armed {
							return c.Create(ctx, object, options...)
						}
						mutate(object.GetLabels())
						return errors.Join(c.Create(ctx, object, options...), lost)
					},
				})
				chain := newChain(mutating, log)
				appendAll(t, chain, 1)
				armed = true
				event, err := chain.Append(t.Context(), accepted("hidden"))
				var bad *BadLink
				if event != nil || !errors.As(err, &bad) || bad.Index != 2 || !strings.Contains(err.Error(), "exempt them") {
					t.Errorf("have %+v, %v: want an error about event 2 that says what to do", event, err)
				}
				armed = false
				appendAll(t, chain, 1)
				expectSameLog(t, cluster, log, 4)
			})
		}
	}
}

func TestLabelsOfOthersDoNotMatter(t *testing.T) {
	cluster := newCluster(t)
	chain := newChain(interceptor.NewClient(cluster, interceptor.Funcs{
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			object.GetLabels()["example.com/team"] = "a"
			return c.Create(ctx, object, options...)
		},
	}), nil)
	appendAll(t, chain, 2)
}

func TestAnAppendThatIsRefusedIsNotLookedFor(t *testing.T) {
	cluster, log := newCluster(t), &bytes.Buffer{}
	var next creation
	chain := newChain(unreliable(cluster, &next, new(bool)), log)
	appendAll(t, chain, 1)
	next = func(func() error) error { return apierrors.NewForbidden(schema.GroupResource{}, "", nil) }
	if _, err := chain.Append(t.Context(), accepted("refused")); !apierrors.IsForbidden(err) {
		t.Errorf("have %v", err)
	}
	appendAll(t, chain, 1)
	expectSameLog(t, cluster, log, 3)
}

// Its answer is lost, and the cluster cannot be asked; or it arrives only later.
func TestAnAppendOfWhichNothingIsKnownIsLoggedWhenItIsSeen(t *testing.T) {
	for name, test := range map[string]struct {
		stored bool
		blind  bool
		// late is when it is stored after all.
		late string
		want int
	}{
		"stored, and the cluster is silent":              {stored: true, blind: true, want: 4},
		"not stored, and the cluster is silent":          {blind: true, want: 3},
		"not stored":                                     {want: 3},
		"it arrives before the next":                     {late: "before", want: 4},
		"it arrives while the next one is on its way":    {late: "during", want: 4},
		"somebody else is faster than it, and the next":  {late: "other", want: 4},
		"it arrives, and somebody else appends after it": {late: "both", want: 5},
	} {
		t.Run(name, func(t *testing.T) {
			cluster, log, other := newCluster(t), &bytes.Buffer{}, &bytes.Buffer{}
			var next creation
			blind := false
			chain := newChain(unreliable(cluster, &next, &blind), log)
			appendAll(t, chain, 1)
			var arrive func() error
			next = func(create func() error) error {
				blind, arrive = test.blind, create
				if test.stored {
					return errors.Join(create(), io.ErrUnexpectedEOF)
				}
				return io.ErrUnexpectedEOF
			}
			if _, err := chain.Append(t.Context(), accepted("lost")); !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("it is known: %v", err)
			}
			blind = false
			foreign := NewChain(cluster, "executor", chain.clock, other)
			switch test.late {
			case "before", "both":
				if err := arrive(); err != nil {
					t.Fatal(err)
				}
			case "during":
				next = func(create func() error) error { return errors.Join(arrive(), create()) }
			}
			if test.late == "other" || test.late == "both" {
				appendAll(t, foreign, 1)
			}
			if err := chain.CheckHead(t.Context()); err != nil {
				t.Fatal(err)
			}
			appendAll(t, chain, 1)
			lines := &bytes.Buffer{}
			for spec, err := range Merge(ReadJSONL(bytes.NewReader(log.Bytes())), ReadJSONL(bytes.NewReader(other.Bytes()))) {
				if err != nil {
					t.Fatal(err)
				}
				if err := writeLine(lines, &spec); err != nil {
					t.Fatal(err)
				}
			}
			expectSameLog(t, cluster, lines, test.want)
		})
	}
}
