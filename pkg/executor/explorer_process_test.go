// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/digest"
	"github.com/srenix/srenix/pkg/evidence"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/token"
)

// cluster is what all processes of a scenario have in common, and what never
// changes: keys, configuration and the first objects.
type cluster struct {
	config config.SrenixConfiguration
	scheme *runtime.Scheme
	keys   *token.SigningKeys
	// tokens are those that were minted: the ID of a token is random, and a run
	// that is repeated must mint the same.
	tokens  map[string]minted
	metrics *metrics
	// proposal is how it stands at first, and another one that of another finding of
	// the same target, in scenarios that have it.
	proposal, another *srenix.Proposal
	// stops makes every request a place to stop at.
	stops bool
}

type minted struct {
	token string
	jti   string
	user  string
}

func newCluster(t *testing.T, kind srenix.ActionKind) *cluster {
	t.Helper()
	c := &cluster{scheme: runtime.NewScheme(), tokens: map[string]minted{}}
	if err := errors.Join(srenix.AddToScheme(c.scheme), opsv1alpha1.AddToScheme(c.scheme)); err != nil {
		t.Fatal(err)
	}
	c.config.Executor.SettleTime = &metav1.Duration{Duration: 8 * time.Second}
	c.config.Executor.VerifyDeadline = &metav1.Duration{Duration: 20 * time.Second}
	config.Default(&c.config)
	var err error
	if c.keys, err = token.NewSigningKeys(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{7}, ed25519.SeedSize))); err != nil {
		t.Fatal(err)
	}
	if c.metrics, err = newMetrics(prometheus.NewRegistry()); err != nil {
		t.Fatal(err)
	}
	c.proposal = (&world{t: t}).newProposal(kind)
	c.another = c.proposal.DeepCopy()
	c.another.Name, c.another.UID = "another", "another-uid"
	if c.another.Spec.Digest, err = digest.Proposal(c.another.Namespace, c.another.Name, c.another.UID, &c.another.Spec); err != nil {
		t.Fatal(err)
	}
	return c
}

// about is the proposal that somebody decides on.
func (c *cluster) about(another bool) *srenix.Proposal {
	if another {
		return c.another
	}
	return c.proposal
}

// later is the proposal of another episode of the same finding: everything but
// the digest, and the since that it is made of, stays.
func (c *cluster) later() *srenix.Proposal {
	next := c.proposal.DeepCopy()
	next.Spec.Finding.Since = metav1.NewTime(next.Spec.Finding.Since.Add(time.Minute))
	sum, err := digest.Proposal(next.Namespace, next.Name, next.UID, &next.Spec)
	if err != nil {
		panic(err)
	}
	next.Spec.Digest = sum
	return next
}

func (c *cluster) verifier(r *run) *token.Verifier {
	return token.NewVerifier(c.keys, clusterUID, r.clock)
}

// connect gives a run what every process has: a way to the API server, the audit
// chain as far as the process remembers it, and what gathers facts.
func (c *cluster) connect(ctx context.Context, r *run, name string, head *opsv1alpha1.AuditEvent) (*line, *audit.Chain, *evidence.Gatherer) {
	connection := &line{run: r, stops: c.stops}
	chain := audit.NewChain(connection, name, r.clock, nil)
	connection.remind(ctx, chain, head)
	return connection, chain, evidence.New(evidence.Options{
		Reader: connection, Access: connection, Chain: chain, Verifier: c.verifier(r),
		Config: &c.config.Policy, OwnNamespace: "srenix-system", Clock: r.clock,
	})
}

// reconcile is one call of the reconciler of the executor with an identity.
func (c *cluster) reconcile(identity, approval string, head *opsv1alpha1.AuditEvent) func(*run) outcome {
	return func(r *run) outcome {
		ctx := klog.NewContext(context.Background(), klog.Logger{})
		connection, chain, gatherer := c.connect(ctx, r, component+"/"+identity, head)
		shipped := &reconciler{
			client: connection, cached: cachedLine{connection}, chain: chain, verifier: c.verifier(r), keys: c.keys,
			evidence: gatherer, evaluate: policy.Evaluate, actions: newActions(), configured: isConfigured, leash: held{}, config: c.config.Executor,
			identity: identity, clock: r.clock, recorder: &events.FakeRecorder{}, metrics: c.metrics,
		}
		result, err := shipped.Reconcile(ctx, ctrl.Request{NamespacedName: types.NamespacedName{Namespace: "shop", Name: approval}})
		return outcome{err: err, again: result.RequeueAfter, head: headOf(chain)}
	}
}

// headOf is the index of the event that a chain remembers; -1 is none.
func headOf(chain *audit.Chain) int64 {
	head := reflect.ValueOf(chain).Elem().FieldByName("head")
	if head.IsNil() {
		return -1
	}
	return head.Elem().FieldByName("Index").Int()
}
