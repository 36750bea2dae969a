// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	"k8s.io/apimachinery/pkg/util/wait"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/test/harness"
)

// gate is a real admission webhook on requests of the executor, which stops one
// half-way: after the executor has sent it and before kube-apiserver has done it.
type gate struct {
	reached  chan struct{}
	decision chan bool
	seen     atomic.Int64
}

// await waits until the executor asks for what the gate stops.
func (g *gate) await(t *testing.T) {
	t.Helper()
	select {
	case <-g.reached:
	case <-time.After(deadline):
		t.Fatal("the executor never asked for what the gate stops")
	}
}

// newGate stops deletions of pods in a namespace. The kubelet's own, which kwok
// plays, go through.
func newGate(t *testing.T, namespace string) *gate {
	t.Helper()
	return newGateOn(t, "gate-"+namespace, `{apiGroups: [""], apiVersions: [v1], resources: [pods], operations: [DELETE]}`,
		func(request *admissionv1.AdmissionRequest) bool { return request.Namespace == namespace })
}

// newIntentGate stops the record of an intent to act in a namespace.
func newIntentGate(t *testing.T, namespace string) *gate {
	t.Helper()
	return newGateOn(t, "gate-intent-"+namespace, `{apiGroups: [ops.srenix.io], apiVersions: [v1alpha1], resources: [auditevents], operations: [CREATE]}`,
		func(request *admissionv1.AdmissionRequest) bool {
			var event opsv1alpha1.AuditEvent
			err := json.Unmarshal(request.Object.Raw, &event)
			return err == nil && event.Spec.Type == opsv1alpha1.AuditActionIntended && event.Spec.References.Namespace == namespace
		})
}

// newGateOn stops what the executor asks for by a rule, where it concerns the gate.
func newGateOn(t *testing.T, name, rule string, concerns func(*admissionv1.AdmissionRequest) bool) *gate {
	t.Helper()
	g := &gate{reached: make(chan struct{}, 10), decision: make(chan bool, 10)}
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review admissionv1.AdmissionReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		allowed := true
		byExecutor := review.Request.UserInfo.Username == "system:serviceaccount:"+harness.Namespace+":srenix-executor"
		if dryRun := review.Request.DryRun; byExecutor && (dryRun == nil || !*dryRun) && concerns(review.Request) {
			g.seen.Add(1)
			g.reached <- struct{}{}
			select {
			case allowed = <-g.decision:
			case <-r.Context().Done():
				return
			}
		}
		review.Response = &admissionv1.AdmissionResponse{UID: review.Request.UID, Allowed: allowed}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	}))
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	apply(t, fmt.Sprintf(`
apiVersion: admissionregistration.k8s.io/v1
kind: ValidatingWebhookConfiguration
metadata: {name: %[1]s}
webhooks:
  - name: gate.e2e.srenix.io
    admissionReviewVersions: [v1]
    sideEffects: NoneOnDryRun
    failurePolicy: Fail
    timeoutSeconds: 30
    clientConfig: {url: "%[2]s", caBundle: %[3]s}
    rules: [%[4]s]
`, name, server.URL, base64.StdEncoding.EncodeToString(ca), rule))
	t.Cleanup(func() {
		_, _, _ = srenix.Plane.Kubectl(context.Background(), "delete", "validatingwebhookconfiguration", name)
		server.CloseClientConnections()
		server.Close()
	})
	return g
}

func TestExecutorKilledBetweenIntentAndAction(t *testing.T) {
	for name, test := range map[string]struct {
		allow bool
		phase opsv1alpha1.ApprovalPhase
	}{
		"and the action did not happen": {false, opsv1alpha1.PhaseFailed},
		"and the action happened":       {true, opsv1alpha1.PhaseSucceeded},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			alice := approver(t, ns, "alice")
			proposal := stuckStatefulSet(t, ns, "db")
			gate := newGate(t, ns)
			approval := approve(t, alice, proposal)
			t.Cleanup(func() {
				// Whatever state it is in: the tests that follow need it.
				if t.Failed() {
					if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
						t.Error(err)
					}
				}
			})
			gate.await(t)
			intents := strings.Fields(kubectl(t, "get", "auditevents", "-l", "ops.srenix.io/type=ActionIntended,ops.srenix.io/proposal-uid="+string(proposal.UID), "-o", "name"))
			if len(intents) != 1 {
				t.Fatalf("%d intents stand in the chain at the time of acting, want 1", len(intents))
			}
			// Stopped in its tracks, so that it cannot learn what becomes of its
			// request, which goes on; a kill alone would end the request too.
			if err := srenix.Executor.Pause(); err != nil {
				t.Fatal(err)
			}
			gate.decision <- test.allow
			if test.allow {
				eventually(t, "the pod to be replaced", func(context.Context) (bool, string) {
					uid := kubectl(t, "get", "pod", "db-0", "-n", ns, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
					return uid != "" && uid != string(proposal.Spec.Target.UID), uid
				})
			}
			if err := errors.Join(srenix.Executor.Kill(), srenix.Executor.Start()); err != nil {
				t.Fatal(err)
			}
			settled := waitPhase(t, ns, approval, opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseSucceeded)
			if settled.Status.Phase != test.phase {
				t.Errorf("settled as %s (%s), want %s", settled.Status.Phase, settled.Status.Message, test.phase)
			}
			if deletions := gate.seen.Load(); deletions != 1 {
				t.Errorf("the executor asked %d times for the deletion, want once", deletions)
			}
			uid := kubectl(t, "get", "pod", "db-0", "-n", ns, "-o", "jsonpath={.metadata.uid}")
			if same := uid == string(proposal.Spec.Target.UID); same == test.allow {
				t.Errorf("the pod is the same: %t", same)
			}
			if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
				t.Errorf("audit verify: %s", output)
			}
		})
	}
}

func TestKubeAPIServerRestartsUnderAllPrograms(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	before := stuckStatefulSet(t, ns, "before")
	if err := srenix.Plane.Control(t.Context(), "restart", "kube-apiserver"); err != nil {
		t.Fatal(err)
	}
	if err := srenix.WaitAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
	if srenix.APIServer.Ended() || srenix.Executor.Ended() {
		t.Fatal("a program ended with kube-apiserver")
	}
	still := proposalFor(t, ns, "before-0")
	if still.UID != before.UID || still.Spec.Digest != before.Spec.Digest || !still.CreationTimestamp.Equal(&before.CreationTimestamp) {
		t.Errorf("the proposal is another one after the restart: %+v and %+v", before, still)
	}
	after := stuckStatefulSet(t, ns, "after")
	for _, proposal := range []string{approve(t, alice, still), approve(t, alice, after)} {
		kubectl(t, "wait", "--for=condition=Verified", "approval/"+proposal, "-n", ns, "--timeout=90s")
	}
}

// keepRunning does the kubelet's part until the test ends: it starts a program
// again that has ended, as an executor does that has lost its lease.
func keepRunning(t *testing.T, program *harness.Process) {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		wait.UntilWithContext(ctx, func(context.Context) {
			if program.Ended() {
				if err := program.Start(); err != nil {
					t.Error(err)
				}
			}
		}, pollInterval)
	}()
	t.Cleanup(func() {
		stop()
		<-done
	})
}

// TestKubeAPIServerKilledWithAnApprovalInFlight kills it while it holds a request
// of the executor, which never learns what became of that request.
func TestKubeAPIServerKilledWithAnApprovalInFlight(t *testing.T) {
	for name, test := range map[string]struct {
		gate  func(*testing.T, string) *gate
		phase opsv1alpha1.ApprovalPhase
	}{
		// An intent that was not recorded is nothing: the executor begins anew.
		"at the intent": {newIntentGate, opsv1alpha1.PhaseSucceeded},
		// An action that was sent is never sent again, even though it came to nothing.
		"at the action": {newGate, opsv1alpha1.PhaseFailed},
	} {
		t.Run(name, func(t *testing.T) {
			ns := namespace(t)
			erin := approver(t, ns, "erin") // of a budget of her own
			proposal := stuckStatefulSet(t, ns, "db")
			gate := test.gate(t, ns)
			keepRunning(t, srenix.Executor)
			approval := approve(t, erin, proposal)
			gate.await(t)
			if err := errors.Join(srenix.Plane.Control(t.Context(), "kill", "kube-apiserver"), srenix.Plane.Control(t.Context(), "start", "kube-apiserver")); err != nil {
				t.Fatal(err)
			}
			for range 5 {
				gate.decision <- true
			}
			if err := srenix.WaitAvailable(t.Context()); err != nil {
				t.Fatal(err)
			}
			settled := waitPhase(t, ns, approval, opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseSucceeded)
			if settled.Status.Phase != test.phase {
				t.Errorf("settled as %s (%s), want %s", settled.Status.Phase, settled.Status.Message, test.phase)
			}
			if asked := gate.seen.Load(); (asked == 1) != (test.phase == opsv1alpha1.PhaseFailed) {
				t.Errorf("the executor asked %d times", asked)
			}
			intents := strings.Fields(kubectl(t, "get", "auditevents", "-l", "ops.srenix.io/type=ActionIntended,ops.srenix.io/proposal-uid="+string(proposal.UID), "-o", "name"))
			if len(intents) != 1 {
				t.Errorf("%d intents stand in the chain, want 1", len(intents))
			}
			uid := kubectl(t, "get", "pod", "db-0", "-n", ns, "--ignore-not-found", "-o", "jsonpath={.metadata.uid}")
			if acted := uid != string(proposal.Spec.Target.UID); acted != (test.phase == opsv1alpha1.PhaseSucceeded) {
				t.Errorf("the pod is another one: %t", acted)
			}
			if output := kubectl(t, "srenix", "audit", "verify"); !strings.Contains(output, "verified") {
				t.Errorf("audit verify: %s", output)
			}
		})
	}
}

func TestAggregatedServerRestarts(t *testing.T) {
	ns := namespace(t)
	alice := approver(t, ns, "alice")
	before := stuckStatefulSet(t, ns, "db")
	minted := mint(t, alice, before)
	if err := srenix.APIServer.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := srenix.APIServer.Start(); err != nil {
		t.Fatal(err)
	}
	if err := srenix.WaitAvailable(t.Context()); err != nil {
		t.Fatal(err)
	}
	after := proposalFor(t, ns, "db-0")
	if after.UID != before.UID || after.Name != before.Name || after.Spec.Digest != before.Spec.Digest {
		t.Errorf("the proposal is another one after the restart: %+v and %+v", before, after)
	}
	if _, err := post(t, alice, after, "approve", approvalRequest(after.Spec.Digest, minted.Token)); err != nil {
		t.Errorf("a token from before the restart: %v", err)
	}
	kubectl(t, "wait", "--for=condition=Verified", "approval/"+minted.ApprovalName, "-n", ns, "--timeout=90s")
}

// TestTheLogsOfAllProgramsAreTheChain comes after the restarts: whatever answers
// were lost with them, what the programs logged is the chain without a gap.
func TestTheLogsOfAllProgramsAreTheChain(t *testing.T) {
	logs, err := filepath.Glob(filepath.Join(filepath.Dir(srenix.APIServer.AuditFile), "*.audit.jsonl"))
	if err != nil || len(logs) < 2 {
		t.Fatalf("the logs are %v: %v", logs, err)
	}
	arguments := []string{"srenix", "audit", "verify"}
	for _, log := range logs {
		arguments = append(arguments, "-f", log)
	}
	// A program may be about to write the line of an event that another one follows.
	eventually(t, "the logs to verify", func(ctx context.Context) (bool, string) {
		stdout, stderr, err := srenix.Plane.Kubectl(ctx, arguments...)
		return err == nil && strings.Contains(stdout, "verified"), stdout + stderr
	})
}
