// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package status

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	metadatafake "k8s.io/client-go/metadata/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/breaker"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned/fake"
)

var since = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

func finding(namespace, name string, severity v1alpha1.Severity, age time.Duration, proposals ...string) *v1alpha1.Finding {
	return &v1alpha1.Finding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.FindingSpec{
			Analyzer: "Test", Reason: "Broken", Severity: severity, Message: "It is\nbroken.", Since: metav1.NewTime(since.Add(-age)),
		},
		Status: v1alpha1.FindingStatus{Proposals: proposals},
	}
}

func objects() []runtime.Object {
	silenced := finding("shop", "known", v1alpha1.SeverityCritical, 0)
	silenced.Status.SilencedBy = "weekend"
	proposal := func(namespace, name string, phase v1alpha1.ProposalPhase, why string) *v1alpha1.Proposal {
		return &v1alpha1.Proposal{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Status: v1alpha1.ProposalStatus{
			Phase: phase, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionApprovable, Message: why}},
		}}
	}
	approval := func(name string, phase opsv1alpha1.ApprovalPhase, message string) *opsv1alpha1.Approval {
		return &opsv1alpha1.Approval{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec:       opsv1alpha1.ApprovalSpec{Proposal: opsv1alpha1.ProposalReference{Name: "fix"}},
			Status:     opsv1alpha1.ApprovalStatus{Phase: phase, Message: message},
		}
	}
	after := func(name string, verified metav1.ConditionStatus, ago time.Duration) *opsv1alpha1.Approval {
		done := approval(name, opsv1alpha1.PhaseSucceeded, "")
		done.Status.Conditions = []metav1.Condition{{
			Type: opsv1alpha1.ConditionVerified, Status: verified, Message: "the finding did not clear", LastTransitionTime: metav1.NewTime(since.Add(-ago)),
		}}
		return done
	}
	return []runtime.Object{
		silenced,
		finding("shop", "slow", v1alpha1.SeverityWarning, 0),
		finding("shop", "young", v1alpha1.SeverityCritical, time.Minute),
		finding("bank", "old", v1alpha1.SeverityCritical, time.Hour, "fix", "other", "unknown"),
		&v1alpha1.ClusterFinding{
			ObjectMeta: metav1.ObjectMeta{Name: "degraded"},
			Spec:       v1alpha1.FindingSpec{Reason: v1alpha1.ReasonAnalyzerDegraded, Severity: v1alpha1.SeverityWarning, Message: "Nodes cannot see all that it needs."},
		},
		&v1alpha1.ClusterFinding{
			ObjectMeta: metav1.ObjectMeta{Name: "off"},
			Spec:       v1alpha1.FindingSpec{Reason: v1alpha1.ReasonAnalyzerOff, Severity: v1alpha1.SeverityInfo, Message: "RBACDrift is switched off."},
		},
		proposal("bank", "fix", v1alpha1.ProposalOpen, ""), proposal("bank", "other", v1alpha1.ProposalBlocked, "GitOpsManaged: Flux has it"),
		proposal("shop", "third", v1alpha1.ProposalOpen, ""),
		approval("a", opsv1alpha1.PhasePending, "the breaker is open"), approval("b", opsv1alpha1.PhaseSucceeded, ""), approval("c", "", ""),
		after("d", metav1.ConditionFalse, time.Hour), after("e", metav1.ConditionTrue, time.Hour), after("f", metav1.ConditionFalse, 25*time.Hour),
		after("g", metav1.ConditionUnknown, 25*time.Hour),
		&opsv1alpha1.AuditCheckpoint{
			ObjectMeta: metav1.ObjectMeta{Name: opsv1alpha1.LatestAuditCheckpoint},
			Spec:       opsv1alpha1.AuditCheckpointSpec{Size: 12, Time: metav1.NewMicroTime(since)},
		},
	}
}

// run prints the status; the resources of refused may not be listed or read.
func run(t *testing.T, namespace, output string, refused ...string) (stdout string, err error) {
	t.Helper()
	client := fake.NewSimpleClientset(objects()...)
	var known []runtime.Object
	for _, name := range []string{"bank", "quiet", "shop"} {
		known = append(known, &metav1.PartialObjectMetadata{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}, ObjectMeta: metav1.ObjectMeta{Name: name}})
	}
	scheme := metadatafake.NewTestScheme()
	if err := metav1.AddMetaToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	namespaces := metadatafake.NewSimpleMetadataClient(scheme, known...)
	for _, resource := range refused {
		for _, fake := range []*clienttesting.Fake{&client.Fake, &namespaces.Fake} {
			fake.PrependReactor("*", resource, func(clienttesting.Action) (bool, runtime.Object, error) {
				return true, nil, apierrors.NewForbidden(v1alpha1.Resource(resource), "", errors.New("no"))
			})
		}
	}
	var out bytes.Buffer
	flags := genericclioptions.NewConfigFlags(true)
	*flags.Namespace = namespace
	o := &Options{ConfigFlags: flags, IOStreams: genericiooptions.IOStreams{Out: &out, ErrOut: &out}, Output: output, clock: clocktesting.NewFakePassiveClock(since)}
	o.reader.client, o.reader.namespaces = client, namespaces.Resource(corev1.SchemeGroupVersion.WithResource("namespaces"))
	err = o.Run(t.Context())
	return out.String(), err
}

func TestText(t *testing.T) {
	for name, test := range map[string]struct {
		namespace string
		refused   []string
		want      string
	}{
		"all namespaces": {want: `Findings    2 Critical, 1 Warning; 1 more are silenced
  Critical  bank/old Broken, since 2026-02-03T03:05:06Z
            It is broken.
            kubectl create approval --proposal fix -n bank
            proposal other is Blocked: GitOpsManaged: Flux has it
            how proposal unknown stands is not known
  Critical  shop/young Broken, since 2026-02-03T04:04:06Z
            It is broken.
  Warning   shop/slow Broken, since 2026-02-03T04:05:06Z
            It is broken.
Blind spots 2
  Nodes cannot see all that it needs.
  RBACDrift is switched off.
Proposals   1 Blocked, 2 Open
  kubectl create approval --proposal third -n shop
Approvals   2 under way, 1 being verified, 1 did not help in the last day
  shop/a of fix: Pending: the breaker is open
  shop/c of fix: not yet picked up
  shop/g of fix: being verified: the finding did not clear
  shop/d of fix: not verified at 2026-02-03T03:05:06Z: the finding did not clear
Audit       checkpoint of 12 events, signed 2026-02-03T04:05:06Z
`},
		"one without trouble, by somebody who may not see all": {namespace: "quiet", refused: []string{"approvals"}, want: `Findings    none
Blind spots 2
  Nodes cannot see all that it needs.
  RBACDrift is switched off.
Proposals   none
Not read    approvals: approvals.srenix.io is forbidden: no
`},
		"one, by somebody who may see nothing beyond it": {namespace: "quiet", refused: []string{"clusterfindings", "namespaces"}, want: `Findings    none
Blind spots not known: clusterfindings tell them
Proposals   none
Approvals   0 under way
Not read    clusterfindings: clusterfindings.srenix.io is forbidden: no
Not read    namespaces: namespaces.srenix.io is forbidden: no
`},
	} {
		t.Run(name, func(t *testing.T) {
			have, err := run(t, test.namespace, outputText, test.refused...)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

// ended is an approval of proposal shop/OF that ended so long ago.
func ended(name, of string, ago time.Duration, phase opsv1alpha1.ApprovalPhase, message string) *opsv1alpha1.Approval {
	at := metav1.NewTime(since.Add(-ago))
	return &opsv1alpha1.Approval{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(since.Add(-ago - time.Minute))},
		Spec:       opsv1alpha1.ApprovalSpec{Decision: v1alpha1.DecisionApprove, Proposal: opsv1alpha1.ProposalReference{Name: of}},
		Status:     opsv1alpha1.ApprovalStatus{Phase: phase, Message: message, CompletedAt: &at},
	}
}

// verified sets the condition of that name, at the end.
func verified(approval *opsv1alpha1.Approval, status metav1.ConditionStatus, message string) *opsv1alpha1.Approval {
	approval.Status.Conditions = []metav1.Condition{{
		Type: opsv1alpha1.ConditionVerified, Status: status, Message: message, LastTransitionTime: *approval.Status.CompletedAt,
	}}
	return approval
}

func TestWhatDidNotHelpIsTold(t *testing.T) {
	no := ended("person", "denied", time.Hour, opsv1alpha1.PhaseDenied, "denied by bob")
	no.Spec.Decision = v1alpha1.DecisionDeny
	elsewhere := verified(ended("elsewhere", "fix", 0, opsv1alpha1.PhaseSucceeded, ""), metav1.ConditionTrue, "")
	elsewhere.Namespace = "bank"
	const failed, succeeded, denied = opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseDenied
	for name, test := range map[string]struct {
		approvals []runtime.Object
		want      string
	}{
		"each way, the newest first": {[]runtime.Object{
			ended("a", "fix", 3*time.Hour, failed, "no such pod"), ended("b", "fix", time.Hour, denied, "GitOpsManaged: Flux has it"),
			verified(ended("c", "fix", 2*time.Hour, succeeded, ""), metav1.ConditionFalse, "it did not clear"),
			ended("long-ago", "fix", 25*time.Hour, failed, "no such pod"), ended("other-digest", "fix", time.Hour, opsv1alpha1.PhaseSuperseded, "changed"),
			no, elsewhere,
		}, `Approvals   0 under way, 3 did not help in the last day
  shop/b of fix: refused at 2026-02-03T03:05:06Z: GitOpsManaged: Flux has it
  shop/c of fix: not verified at 2026-02-03T02:05:06Z: it did not clear
  shop/a of fix: failed at 2026-02-03T01:05:06Z: no such pod
`},
		"not what a later one has mended": {[]runtime.Object{
			ended("a", "fix", 3*time.Hour, failed, "no such pod"), verified(ended("b", "fix", 2*time.Hour, succeeded, ""), metav1.ConditionFalse, "it did not clear"),
			verified(ended("c", "fix", time.Hour, succeeded, ""), metav1.ConditionTrue, "it cleared"), ended("d", "fix", 0, failed, "forbidden"),
			ended("e", "other", 2*time.Hour, failed, "no such pod"),
		}, `Approvals   0 under way, 2 did not help in the last day
  shop/d of fix: failed at 2026-02-03T04:05:06Z: forbidden
  shop/e of other: failed at 2026-02-03T02:05:06Z: no such pod
`},
		"the same of many in a line": {[]runtime.Object{
			ended("a", "fix", 3*time.Hour, failed, "no such pod"), ended("b", "fix", time.Hour, failed, "no such pod"), ended("c", "fix", 2*time.Hour, failed, "no such pod"),
			ended("d", "other", 4*time.Hour, failed, "no such pod"), ended("e", "fix", 5*time.Hour, failed, "forbidden"),
			ended("f", "wait", 0, "", ""), ended("g", "wait", 0, "", ""),
		}, `Approvals   2 under way, 5 did not help in the last day
  shop/f and 1 more of wait: not yet picked up
  shop/b and 2 more of fix: failed at 2026-02-03T03:05:06Z: no such pod
  shop/d of other: failed at 2026-02-03T00:05:06Z: no such pod
  shop/e of fix: failed at 2026-02-02T23:05:06Z: forbidden
`},
		"no more than a screen has room for": {[]runtime.Object{
			ended("a", "a", 0, failed, "no"), ended("b", "b", 0, failed, "no"), ended("c", "c", 0, failed, "no"), ended("d", "d", 0, failed, "no"),
			ended("e", "e", 0, failed, "no"), ended("f", "f", time.Hour, failed, "no"), ended("g", "f", time.Hour, failed, "no"),
		}, `Approvals   0 under way, 7 did not help in the last day
  shop/a of a: failed at 2026-02-03T04:05:06Z: no
  shop/b of b: failed at 2026-02-03T04:05:06Z: no
  shop/c of c: failed at 2026-02-03T04:05:06Z: no
  shop/d of d: failed at 2026-02-03T04:05:06Z: no
  shop/e of e: failed at 2026-02-03T04:05:06Z: no
  and 2 more that did not help: kubectl get approvals -A -o wide
`},
	} {
		t.Run(name, func(t *testing.T) {
			s, err := (&reader{client: fake.NewSimpleClientset(test.approvals...), now: since}).read(t.Context(), "")
			if err != nil {
				t.Fatal(err)
			}
			_, have, _ := strings.Cut(s.text(), "Proposals   none\n")
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestOpenBreakersAreTold(t *testing.T) {
	failure := func(namespace, name string, kind v1alpha1.ActionKind, ago time.Duration) *opsv1alpha1.Approval {
		approval := ended(name, name, ago, opsv1alpha1.PhaseFailed, "no")
		approval.Namespace, approval.Spec.Snapshot.ActionKind, approval.Status.AuditEvents = namespace, kind, []string{"record-of-" + name}
		return approval
	}
	const pod, job = v1alpha1.ActionDeletePod, v1alpha1.ActionDeleteJob
	acknowledged := failure("shop", "c", pod, 46*time.Hour)
	acknowledged.Annotations = map[string]string{breaker.Acknowledged: "record-of-c"}
	client := fake.NewSimpleClientset(
		failure("shop", "a", pod, 48*time.Hour), failure("shop", "b", pod, 47*time.Hour), acknowledged,
		failure("shop", "d", job, 48*time.Hour), failure("shop", "e", job, 47*time.Hour), failure("shop", "f", job, 46*time.Hour), failure("bank", "g", job, 45*time.Hour),
		failure("bank", "h", v1alpha1.ActionPatchIngressTLS, 45*time.Hour),
	)
	client.PrependReactor("list", "approvals", func(action clienttesting.Action) (bool, runtime.Object, error) {
		if action.GetNamespace() == "secret" {
			return true, nil, apierrors.NewForbidden(opsv1alpha1.Resource("approvals"), "", errors.New("no"))
		}
		return false, nil, nil
	})
	const (
		everywhere = "Breaker     DeleteJob in all namespaces is not carried out, because it failed 3 times in a row, in 2 namespaces; once the cause is understood, " +
			"close the breaker, which takes the right to patch approvals.ops.srenix.io in namespace bank: " +
			"kubectl annotate approvals.ops.srenix.io g -n bank --overwrite ops.srenix.io/breaker-acknowledged=record-of-g\n"
		shop = "Breaker     DeleteJob in namespace shop is not carried out, because it failed 3 times in a row in namespace shop; once the cause is understood, " +
			"close the breaker, which takes the right to patch approvals.ops.srenix.io in namespace shop: " +
			"kubectl annotate approvals.ops.srenix.io f -n shop --overwrite ops.srenix.io/breaker-acknowledged=record-of-f\n"
	)
	for namespace, want := range map[string]string{"": everywhere + shop, "shop": shop, "bank": "", "secret": ""} {
		s, err := (&reader{client: client, now: since}).read(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		var have strings.Builder
		for line := range strings.Lines(s.text()) {
			if strings.HasPrefix(line, "Breaker") {
				have.WriteString(line)
			}
		}
		if diff := cmp.Diff(want, have.String()); diff != "" {
			t.Errorf("namespace %q (-want +have)\n%s", namespace, diff)
		}
	}
}

func TestJSONHasTheSame(t *testing.T) {
	have, err := run(t, "", outputJSON)
	if err != nil {
		t.Fatal(err)
	}
	var read summary
	if err := json.Unmarshal([]byte(have), &read); err != nil {
		t.Fatal(err)
	}
	text, err := run(t, "", outputText)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(text, read.text()); diff != "" {
		t.Errorf("(-text +text of the JSON)\n%s", diff)
	}
}

func TestOnlyTheWorstAreNamed(t *testing.T) {
	client := fake.NewSimpleClientset()
	for i := range 2 * maximumWorst {
		name := string(rune('a' + i))
		for _, object := range []runtime.Object{
			finding("shop", name, v1alpha1.SeverityInfo, 0),
			&v1alpha1.Proposal{ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name}, Status: v1alpha1.ProposalStatus{Phase: v1alpha1.ProposalOpen}},
		} {
			if err := client.Tracker().Add(object); err != nil {
				t.Fatal(err)
			}
		}
	}
	for namespace, more := range map[string][]string{
		"":     {"and 5 more: kubectl get findings,clusterfindings -A\n", "and 5 more that can be approved: kubectl get proposals -A --field-selector status.phase=Open\n"},
		"shop": {"and 5 more: kubectl get findings -n shop\n", "and 5 more that can be approved: kubectl get proposals -n shop --field-selector status.phase=Open\n"},
	} {
		s, err := (&reader{client: client, now: since}).read(t.Context(), namespace)
		if err != nil {
			t.Fatal(err)
		}
		if len(s.Worst) != maximumWorst || s.Worst[0].Name != "a" || s.Findings[v1alpha1.SeverityInfo] != 2*maximumWorst {
			t.Errorf("%+v", s)
		}
		for _, line := range more {
			if text := s.text(); !strings.Contains(text, line) {
				t.Errorf("it does not say %q:\n%s", line, text)
			}
		}
	}
}

func TestANamespaceThatDoesNotExistIsTold(t *testing.T) {
	have, err := run(t, "shpo", outputText)
	if !apierrors.IsNotFound(err) || have != "" {
		t.Fatalf("%v, printed %q", err, have)
	}
	var report strings.Builder
	if cli.Report(&report, err); !strings.Contains(report.String(), "kubectl get namespaces") {
		t.Errorf("reported %q", report.String())
	}
}

func TestWithoutFindingsThereIsNoStatus(t *testing.T) {
	for namespace, hint := range map[string]string{"": "kubectl srenix status -n NAMESPACE", "shop": "srenix-viewer"} {
		have, err := run(t, namespace, outputText, "findings")
		var report strings.Builder
		if err != nil {
			cli.Report(&report, err)
		}
		if err == nil || have != "" || !strings.Contains(report.String(), hint) {
			t.Errorf("namespace %q: %v, printed %q, reported %q", namespace, err, have, report.String())
		}
	}
}
