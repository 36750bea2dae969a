// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

var errCrashed = errors.New("the process is dead")

// process is one executor. It can be made to die around one of its calls, or to
// stand still before one.
type process struct {
	*reconciler
	world *world
	index *audit.Index
	turn  sync.Mutex // guards calls and dead
	calls int
	// dieAt is the call to die at, counted from 0: before it reaches the server, or
	// with answered, after it went through and before the answer is seen.
	dieAt    int
	answered bool
	dead     bool
	// pauseAt is the call before which pause runs.
	pauseAt int
	pause   func()
	// deny makes calls fail that it returns an error for.
	deny func(verb string, object client.Object, dryRun bool) error
	// updated runs after a status update went through and before its answer is seen.
	updated func(object client.Object)
}

func (w *world) newProcess(identity string) *process {
	w.t.Helper()
	p := &process{world: w, dieAt: -1, pauseAt: -1}
	metrics, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		w.t.Fatal(err)
	}
	connection := p.connect()
	p.index = audit.NewIndex(connection)
	connection = audit.Indexed(connection, p.index)
	chain := audit.NewChain(connection, component+"/"+identity, w.clock, io.Discard)
	verifier := token.NewVerifier(w.keys, clusterUID, w.clock)
	p.reconciler = &reconciler{
		client: connection, cached: w.store, chain: chain, verifier: verifier, keys: w.keys,
		evidence: evidence.New(evidence.Options{
			Reader: connection, Access: connection, Chain: chain, Verifier: verifier,
			Config: &w.config.Policy, OwnNamespace: "srenix-system", Clock: w.clock,
		}),
		evaluate: policy.Evaluate, actions: newActions(), configured: isConfigured, leash: held{}, config: w.config.Executor,
		identity: identity, clock: w.clock, recorder: recorder{w}, metrics: metrics,
	}
	return p
}

// recorder keeps the Kubernetes events that executors make.
type recorder struct{ world *world }

var _ events.EventRecorder = recorder{}

// Eventf implements events.EventRecorder.
func (r recorder) Eventf(regarding, related runtime.Object, severity, reason, action, note string, arguments ...any) {
	about, beside := regarding.(*corev1.ObjectReference), related.(*corev1.ObjectReference)
	r.world.reported = append(r.world.reported, report{
		about: about.Kind + " " + string(about.UID), beside: beside.Kind + " " + string(beside.UID),
		severity: severity, reason: reason, action: action, note: fmt.Sprintf(note, arguments...),
	})
}

// report is a Kubernetes event: about one object, and another one beside it.
type report struct{ about, beside, severity, reason, action, note string }

func (p *process) around(call func() error) error {
	p.turn.Lock()
	n, dead := p.calls, p.dead
	p.calls++
	dies := n == p.dieAt && !p.answered
	p.dead = dead || dies
	p.turn.Unlock()
	if dead {
		return errCrashed
	}
	if n == p.pauseAt {
		p.pause()
	}
	if dies {
		return errCrashed
	}
	err := call() // which may step this process too
	if n == p.dieAt {
		p.turn.Lock()
		defer p.turn.Unlock()
		p.dead = true
		return errCrashed
	}
	return err
}

func (p *process) refuse(verb string, object client.Object, dryRun bool) error {
	if p.deny == nil {
		return nil
	}
	return p.deny(verb, object, dryRun)
}

// connect returns this process's way to the server.
func (p *process) connect() client.Client {
	w := p.world
	return interceptor.NewClient(w.store, interceptor.Funcs{
		Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			return p.around(func() error {
				if err := p.refuse("get", object, false); err != nil {
					return err
				}
				return c.Get(ctx, key, object, options...)
			})
		},
		List: func(ctx context.Context, c client.WithWatch, list client.ObjectList, options ...client.ListOption) error {
			return p.around(func() error { return c.List(ctx, list, options...) })
		},
		Create: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.CreateOption) error {
			return p.around(func() error {
				if review, ok := object.(*authorizationv1.SubjectAccessReview); ok {
					review.Status.Allowed = !w.forbids
					return nil
				}
				if err := p.refuse("create", object, false); err != nil {
					return err
				}
				return c.Create(ctx, object, options...)
			})
		},
		Delete: func(ctx context.Context, c client.WithWatch, object client.Object, options ...client.DeleteOption) error {
			return p.around(func() error {
				asked := (&client.DeleteOptions{}).ApplyOptions(options)
				dryRun := len(asked.DryRun) > 0
				if err := p.refuse("delete", object, dryRun); err != nil {
					return err
				}
				if err := w.checkPreconditions(ctx, object, asked.Preconditions); err != nil || dryRun {
					return err
				}
				if err := c.Delete(ctx, object, options...); err != nil {
					return err
				}
				w.acted("delete " + object.GetName())
				return nil
			})
		},
		Patch: func(ctx context.Context, c client.WithWatch, object client.Object, patch client.Patch, options ...client.PatchOption) error {
			return p.around(func() error {
				dryRun := len((&client.PatchOptions{}).ApplyOptions(options).DryRun) > 0
				if err := p.refuse("patch", object, dryRun); err != nil {
					return err
				}
				if dryRun {
					return w.dryRun(ctx, object, patch)
				}
				if err := c.Patch(ctx, object, patch, options...); err != nil {
					return asTestFailed(err)
				}
				// Both actions that patch change the spec.
				object.SetGeneration(object.GetGeneration() + 1)
				if w.mutates != nil {
					w.mutates(object.(*unstructured.Unstructured).Object, false)
				}
				if err := c.Update(ctx, object); err != nil {
					return err
				}
				data, _ := patch.Data(object)
				w.acted("patch " + string(data))
				return nil
			})
		},
		SubResourceUpdate: func(ctx context.Context, c client.Client, subresource string, object client.Object, options ...client.SubResourceUpdateOption) error {
			return p.around(func() error {
				if err := p.refuse("update", object, false); err != nil {
					return err
				}
				if err := c.SubResource(subresource).Update(ctx, object, options...); err != nil {
					return err
				}
				if p.updated != nil {
					p.updated(object)
				}
				return nil
			})
		},
	})
}

// checkPreconditions does what kube-apiserver does and the fake one does in part.
func (w *world) checkPreconditions(ctx context.Context, object client.Object, preconditions *metav1.Preconditions) error {
	if preconditions == nil || preconditions.UID == nil || preconditions.ResourceVersion == nil {
		w.t.Errorf("delete of %s without preconditions", object.GetName())
		return nil
	}
	stored := object.DeepCopyObject().(client.Object)
	if err := w.store.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		return err
	}
	if stored.GetUID() != *preconditions.UID || stored.GetResourceVersion() != *preconditions.ResourceVersion {
		return apierrors.NewConflict(schema.GroupResource{Resource: "pods"}, object.GetName(), errors.New("a precondition failed"))
	}
	return nil
}

// dryRun patches a copy, which the fake server does not do by itself.
func (w *world) dryRun(ctx context.Context, object client.Object, patch client.Patch) error {
	stored := object.DeepCopyObject().(client.Object)
	if err := w.store.Get(ctx, client.ObjectKeyFromObject(object), stored); err != nil {
		return err
	}
	copied := fake.NewClientBuilder().WithScheme(w.scheme).WithObjects(stored).Build()
	if err := copied.Patch(ctx, object, patch); err != nil {
		return asTestFailed(err)
	}
	object.SetGeneration(object.GetGeneration() + 1)
	if w.mutates != nil {
		w.mutates(object.(*unstructured.Unstructured).Object, true)
	}
	return nil
}

// asTestFailed answers a failed test operation as kube-apiserver does.
func asTestFailed(err error) error {
	var status apierrors.APIStatus
	if err == nil || errors.As(err, &status) {
		return err
	}
	return apierrors.NewGenericServerResponse(http.StatusUnprocessableEntity, "", schema.GroupResource{}, "", err.Error(), 0, false)
}

// acted counts an action, and is the analyzer that sees it.
func (w *world) acted(what string) {
	w.acts = append(w.acts, what)
	if w.heals {
		w.clear()
	}
}

func (w *world) clear() {
	if err := client.IgnoreNotFound(w.store.Delete(context.Background(), w.finding())); err != nil {
		w.t.Error(err)
	}
}

// maximumSteps is more than any approval needs.
const maximumSteps = 200

// run lets a process work on an approval until it is content or dead, and the
// time pass that it waits. Waiting for people ends it too.
func (p *process) run(approval *opsv1alpha1.Approval) {
	p.world.t.Helper()
	for range maximumSteps {
		result, err := p.step(approval)
		switch {
		case p.dead:
			return
		case err != nil:
			p.world.pass(time.Second)
		case result.RequeueAfter == 0 || result.RequeueAfter == waitRetry:
			return
		default:
			p.world.pass(result.RequeueAfter)
		}
	}
	p.world.t.Fatalf("Approval %s is not at its end after %d steps: %+v", approval.Name, maximumSteps, p.world.get(approval).Status)
}

func (p *process) step(approval *opsv1alpha1.Approval) (ctrl.Result, error) {
	ctx := klog.NewContext(p.world.t.Context(), klog.Logger{})
	if !p.world.lists {
		if err := p.index.Fill(ctx); err != nil && !p.dead {
			p.world.t.Errorf("indexing the chain: %v", err)
		}
	}
	return p.Reconcile(ctx, ctrl.Request{NamespacedName: client.ObjectKeyFromObject(approval)})
}
