// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
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
	kubefake "k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	clocktesting "k8s.io/utils/clock/testing"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned/fake"
)

var since = time.Date(2026, 2, 3, 4, 5, 6, 0, time.UTC)

// objects are a finding with all that belongs to it, one with nothing, and a clusterfinding.
func objects() []runtime.Object {
	proposal := func(name string, phase v1alpha1.ProposalPhase, message string) *v1alpha1.Proposal {
		return &v1alpha1.Proposal{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name},
			Spec: v1alpha1.ProposalSpec{
				Finding: v1alpha1.FindingReference{Name: "db-not-ready"}, ActionKind: v1alpha1.ActionDeletePod,
				Target: v1alpha1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "db-0"},
			},
			Status: v1alpha1.ProposalStatus{Phase: phase, Conditions: []metav1.Condition{{Type: v1alpha1.ConditionApprovable, Message: message}}},
		}
	}
	return []runtime.Object{
		&v1alpha1.Finding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-not-ready"},
			Spec: v1alpha1.FindingSpec{
				Analyzer: "Test", Reason: "NotReady", Severity: v1alpha1.SeverityCritical, Message: "It is\nnot \x1b[31mready.", Since: metav1.NewTime(since.Add(-2 * time.Hour)),
				Subject: v1alpha1.ObjectReference{Kind: "StatefulSet", Namespace: "shop", Name: "db", UID: "1"},
				Related: []v1alpha1.RelatedObject{{ObjectReference: v1alpha1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: "db-0"}, Relation: "stuck pod"}},
				Remediation: v1alpha1.Remediation{
					Text: "Look at the pod, then delete it.", Commands: []string{"kubectl describe pod db-0 -n shop", "kubectl apply -f - <<EOF\nkind: Pod\nEOF"},
				},
			},
			Status: v1alpha1.FindingStatus{
				Narrative: "It began with the disk.", RootCause: "The disk is full.", Evidence: []string{"pod db-0: no space left", "node n1: DiskPressure"},
				Proposals: []string{"delete-db-0", "blocked", "gone"},
			},
		},
		&v1alpha1.Finding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "web-crashing"},
			Spec: v1alpha1.FindingSpec{
				Analyzer: "Test", Reason: "Crashing", Severity: v1alpha1.SeverityInfo, Message: "It crashes.", Since: metav1.NewTime(since),
				Subject: v1alpha1.ObjectReference{Kind: "Namespace", Name: "shop"}, Remediation: v1alpha1.Remediation{Commands: []string{"kubectl get pods -n shop"}},
			},
			Status: v1alpha1.FindingStatus{SilencedBy: "weekend"},
		},
		&v1alpha1.ClusterFinding{
			ObjectMeta: metav1.ObjectMeta{Name: "node-not-ready-n1"},
			Spec: v1alpha1.FindingSpec{
				Analyzer: "Nodes", Reason: "NodeNotReady", Severity: v1alpha1.SeverityWarning, Message: "It is away.", Since: metav1.NewTime(since),
				Subject: v1alpha1.ObjectReference{Kind: "Node", Name: "n1", UID: "2"},
			},
		},
		proposal("delete-db-0", v1alpha1.ProposalOpen, "no layer would refuse an approval"),
		proposal("blocked", v1alpha1.ProposalBlocked, "NamespaceProtection: no (change that)"),
		&opsv1alpha1.Silence{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "weekend"},
			Spec:       opsv1alpha1.SilenceSpec{Owner: "team", Reason: "nobody is there", Expires: metav1.NewTime(since.Add(time.Hour))},
		},
	}
}

// decided are four approvals of what is proposed for the finding with everything, by its finding or
// its target, and others that are not.
func decided() []runtime.Object {
	approval := func(name, finding, target string, kind v1alpha1.ActionKind, minutes int, status opsv1alpha1.ApprovalStatus) *opsv1alpha1.Approval {
		return &opsv1alpha1.Approval{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: name, CreationTimestamp: metav1.NewTime(since.Add(time.Duration(minutes) * time.Minute))},
			Spec: opsv1alpha1.ApprovalSpec{Decision: v1alpha1.DecisionApprove, Snapshot: v1alpha1.ProposalSpec{
				ActionKind: kind, Finding: v1alpha1.FindingReference{Name: finding}, Target: v1alpha1.ObjectReference{Kind: "Pod", Namespace: "shop", Name: target},
			}},
			Status: status,
		}
	}
	verified := func(status metav1.ConditionStatus, message string) opsv1alpha1.ApprovalStatus {
		return opsv1alpha1.ApprovalStatus{
			Phase: opsv1alpha1.PhaseSucceeded, Approver: "alice", Message: "deleted",
			Conditions: []metav1.Condition{{Type: opsv1alpha1.ConditionVerified, Status: status, Message: message}},
		}
	}
	return []runtime.Object{
		approval("oldest", "db-not-ready", "db-0", v1alpha1.ActionDeletePod, -40, verified(metav1.ConditionTrue, "it is gone")),
		approval("failed", "db-not-ready", "db-9", v1alpha1.ActionDeletePod, -30, opsv1alpha1.ApprovalStatus{Phase: opsv1alpha1.PhaseFailed, Approver: "bob", Message: "no\nsuch pod"}),
		approval("unhelpful", "other", "db-0", v1alpha1.ActionDeletePod, -20, verified(metav1.ConditionFalse, "the finding is there")),
		approval("done", "db-not-ready", "db-0", v1alpha1.ActionDeletePod, -10, verified(metav1.ConditionUnknown, "waiting")),
		approval("other-action", "other", "db-0", v1alpha1.ActionDeleteJob, -1, opsv1alpha1.ApprovalStatus{}),
		approval("other-target", "other", "web-0", v1alpha1.ActionDeletePod, -1, opsv1alpha1.ApprovalStatus{}),
	}
}

func TestWhatBecameOfTheSameIsTold(t *testing.T) {
	all := append(objects(), decided()...)
	have, _, failure := (&call{output: outputText, objects: all}).run(t, "db-not-ready")
	want := strings.Replace(whole, "By hand", `Earlier   2026-02-03T03:55:06Z  DeletePod by alice: Succeeded, being verified: waiting (done)
          2026-02-03T03:45:06Z  DeletePod by alice: Succeeded, not verified: the finding is there (unhelpful)
          2026-02-03T03:35:06Z  DeletePod by bob: Failed: no such pod (failed)
By hand`, 1)
	if diff := cmp.Diff(want, have); failure != "" || diff != "" {
		t.Errorf("%s(-want +have)\n%s", failure, diff)
	}
	// Who may not read approvals does without.
	have, _, failure = (&call{output: outputText, objects: all, refused: []string{"approvals"}}).run(t, "db-not-ready")
	if diff := cmp.Diff(whole, have); failure != "" || diff != "" {
		t.Errorf("%s(-want +have)\n%s", failure, diff)
	}
	have, _, failure = (&call{output: outputJSON, objects: all}).run(t, "db-not-ready")
	if failure != "" || strings.Count(have, `"kind": "Approval"`) != cli.MostEarlier {
		t.Errorf("as JSON: %s%s", failure, have)
	}
}

func TestAnApprovalTellsOfItsFindingOrOfItself(t *testing.T) {
	all := append(objects(), decided()...)
	const failed = "Approval  2026-02-03T03:35:06Z  DeletePod by bob: Failed: no such pod (failed)\n"
	for name, test := range map[string]struct{ name, output, want string }{
		"its finding, and what became of it, once": {"failed", outputText, failed + strings.Replace(whole, "By hand", `Earlier   2026-02-03T03:55:06Z  DeletePod by alice: Succeeded, being verified: waiting (done)
          2026-02-03T03:45:06Z  DeletePod by alice: Succeeded, not verified: the finding is there (unhelpful)
          2026-02-03T03:25:06Z  DeletePod by alice: Succeeded, verified: it is gone (oldest)
By hand`, 1)},
		"what became of it, if its finding is gone": {"approval.ops.srenix.io/unhelpful", outputText,
			`Approval  2026-02-03T03:45:06Z  DeletePod by alice: Succeeded, not verified: the finding is there (unhelpful)
          its finding, other in namespace shop, is gone: it has probably cleared
`},
	} {
		t.Run(name, func(t *testing.T) {
			have, _, failure := (&call{output: test.output, objects: all}).run(t, test.name)
			if diff := cmp.Diff(test.want, have); failure != "" || diff != "" {
				t.Errorf("%s(-want +have)\n%s", failure, diff)
			}
		})
	}
	for name, want := range map[string]int{"failed": 1 + cli.MostEarlier, "appr/unhelpful": 1} {
		have, _, failure := (&call{output: outputJSON, objects: all}).run(t, name)
		if failure != "" || strings.Count(have, `"kind": "Approval"`) != want {
			t.Errorf("%s as JSON: %s%s", name, failure, have)
		}
	}
	// Who may not read approvals is not told that there is none.
	if _, _, failure := (&call{output: outputText, objects: all, refused: []string{"approvals"}}).run(t, "approval/failed"); !strings.Contains(failure, "Forbidden") {
		t.Errorf("it says %q", failure)
	}
}

// events are seven of StatefulSet shop/db, in the four ways in which events tell their
// time, and one of Node n1.
func events() []runtime.Object {
	at := func(minutes int) metav1.Time { return metav1.NewTime(since.Add(time.Duration(minutes) * time.Minute)) }
	event := func(namespace, name string) *corev1.Event {
		return &corev1.Event{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, CreationTimestamp: at(-60)}, Type: corev1.EventTypeWarning, Reason: name, Message: "m",
		}
	}
	series, last, eventTime, created, old, older, oldest, node := event("shop", "Series"), event("shop", "Last"), event("shop", "EventTime"), event("shop", "Created"),
		event("shop", "Old"), event("shop", "Older"), event("shop", "Oldest"), event("default", "OfNode")
	series.Series = &corev1.EventSeries{Count: 3, LastObservedTime: metav1.NewMicroTime(at(-1).Time)}
	last.LastTimestamp, last.Count = at(-2), 7
	eventTime.EventTime = metav1.NewMicroTime(at(-3).Time)
	created.CreationTimestamp = at(-4)
	old.LastTimestamp, older.LastTimestamp, oldest.LastTimestamp = at(-5), at(-6), at(-7)
	return []runtime.Object{oldest, last, older, created, series, old, eventTime, node}
}

// call is one call of the command.
type call struct {
	// namespace is that of -n; without it the current one is shop.
	namespace, output string
	objects           []runtime.Object
	// refused are the resources that may not be read.
	refused []string
	// down tells that nobody serves srenix.io.
	down bool
	// selected are the field selectors that events were asked for with.
	selected []string
}

func (c *call) options(t *testing.T) (o *Options, stdout, stderr *bytes.Buffer) {
	t.Helper()
	if c.objects == nil {
		c.objects = objects()
	}
	client, kube := fake.NewSimpleClientset(c.objects...), kubefake.NewClientset(events()...)
	kube.PrependReactor("list", "events", func(action clienttesting.Action) (bool, runtime.Object, error) {
		c.selected = append(c.selected, action.(clienttesting.ListAction).GetListRestrictions().Fields.String())
		return false, nil, nil
	})
	for _, resource := range c.refused {
		refuse := func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewForbidden(v1alpha1.Resource(resource), "", errors.New("no"))
		}
		client.PrependReactor("*", resource, refuse)
		kube.PrependReactor("*", resource, refuse)
	}
	if c.down {
		client.PrependReactor("*", "*", func(clienttesting.Action) (bool, runtime.Object, error) {
			return true, nil, apierrors.NewGenericServerResponse(404, "get", v1alpha1.Resource("findings"), "x", "404 page not found", 0, true)
		})
	}
	streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
	flags := genericclioptions.NewConfigFlags(true)
	*flags.Namespace = c.namespace
	o = &Options{ConfigFlags: flags, IOStreams: streams, Output: c.output, from: &cluster{client, kube.CoreV1()}, clock: clocktesting.NewFakePassiveClock(since)}
	if o.namespace = c.namespace; o.namespace == "" {
		o.namespace = "shop"
	}
	return o, stdout, stderr
}

// run tells of a name, and returns how an error is told.
func (c *call) run(t *testing.T, name string) (stdout, stderr, failure string) {
	t.Helper()
	o, out, errOut := c.options(t)
	var err error
	if o.resource, o.name, err = parseName(name); err != nil {
		t.Fatal(err)
	}
	if err := o.Run(t.Context()); err != nil {
		var text bytes.Buffer
		cli.Report(&text, err)
		failure = text.String()
	}
	return out.String(), errOut.String(), failure
}

const whole = `Critical  NotReady of StatefulSet shop/db, since 2026-02-03T02:05:06Z, 120m ago
          It is not \u001b[31mready.
          finding db-not-ready in namespace shop, by Test
Related   Pod shop/db-0: stuck pod
Story     It began with the disk.
Cause     The disk is full.
Evidence  pod db-0: no space left
          node n1: DiskPressure
Proposal  delete-db-0: DeletePod Pod shop/db-0, Open
            no layer would refuse an approval
            kubectl create approval --proposal delete-db-0 -n shop
          blocked: DeletePod Pod shop/db-0, Blocked
            NamespaceProtection: no (change that)
            kubectl describe proposal.srenix.io blocked -n shop
By hand   Look at the pod, then delete it.
            kubectl describe pod db-0 -n shop
            kubectl apply -f - <<EOF
            kind: Pod
            EOF
Events    2026-02-03T04:04:06Z Warning Series (3 times): m
          2026-02-03T04:03:06Z Warning Last (7 times): m
          2026-02-03T04:02:06Z Warning EventTime: m
          2026-02-03T04:01:06Z Warning Created: m
          2026-02-03T04:00:06Z Warning Old: m
`

func TestText(t *testing.T) {
	for name, test := range map[string]struct {
		call
		name, want string
	}{
		"a finding with everything":       {name: "db-not-ready", want: whole},
		"its proposal":                    {name: "delete-db-0", want: whole},
		"as kubectl -o name prints it":    {name: "finding.srenix.io/db-not-ready", call: call{namespace: "shop"}, want: whole},
		"a proposal, as kubectl names it": {name: "prop/delete-db-0", want: whole},
		"one that is silenced, about what is in no namespace": {
			name: "web-crashing", want: `Info      Crashing of Namespace shop, since 2026-02-03T04:05:06Z, 0s ago
          It crashes.
          finding web-crashing in namespace shop, by Test
Silenced  silence weekend of team, until 2026-02-03T05:05:06Z: nobody is there
By hand     kubectl get pods -n shop
Events    2026-02-03T03:05:06Z Warning OfNode: m
`,
		},
		"a clusterfinding": {
			name: "node-not-ready-n1", want: `Warning   NodeNotReady of Node n1, since 2026-02-03T04:05:06Z, 0s ago
          It is away.
          clusterfinding node-not-ready-n1, by Nodes
Events    2026-02-03T03:05:06Z Warning OfNode: m
`,
		},
		"by somebody who may read little": {
			name: "web-crashing", call: call{refused: []string{"silences", "events", "clusterfindings", "proposals"}}, want: `Info      Crashing of Namespace shop, since 2026-02-03T04:05:06Z, 0s ago
          It crashes.
          finding web-crashing in namespace shop, by Test
Silenced  silence weekend
By hand     kubectl get pods -n shop
Not read  events: events.srenix.io is forbidden: no
Not read  silences: silences.srenix.io is forbidden: no
`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			test.output = outputText
			have, stderr, failure := test.run(t, test.name)
			if stderr != "" || failure != "" {
				t.Fatalf("%s%s", stderr, failure)
			}
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestEventsAreAskedForByTheirObject(t *testing.T) {
	for name, want := range map[string]string{
		"db-not-ready":      "involvedObject.kind=StatefulSet,involvedObject.name=db,involvedObject.uid=1",
		"node-not-ready-n1": "involvedObject.kind=Node,involvedObject.name=n1",
	} {
		c := &call{output: outputText}
		if _, _, failure := c.run(t, name); failure != "" || !slices.Equal(c.selected, []string{want}) {
			t.Errorf("%s: asked for %q, %s", name, c.selected, failure)
		}
	}
}

func TestJSONIsTheObjects(t *testing.T) {
	have, stderr, failure := (&call{output: outputJSON, refused: []string{"events"}}).run(t, "db-not-ready")
	if failure != "" || !strings.Contains(stderr, "not read: events: ") {
		t.Errorf("failed with %q, told %q", failure, stderr)
	}
	var list struct {
		metav1.TypeMeta
		Items []metav1.PartialObjectMetadata
	}
	if err := json.Unmarshal([]byte(have), &list); err != nil {
		t.Fatal(err)
	}
	var kinds []string
	for _, item := range list.Items {
		kinds = append(kinds, item.APIVersion+" "+item.Kind+" "+item.Name)
	}
	want := []string{"srenix.io/v1alpha1 Finding db-not-ready", "srenix.io/v1alpha1 Proposal delete-db-0", "srenix.io/v1alpha1 Proposal blocked"}
	if diff := cmp.Diff(want, kinds); list.Kind != "List" || diff != "" {
		t.Errorf("kind %q (-want +have)\n%s", list.Kind, diff)
	}
}

// TestItFitsOnAScreen has more of everything than is told.
func TestItFitsOnAScreen(t *testing.T) {
	all := objects()
	f := all[0].(*v1alpha1.Finding)
	f.Status.SilencedBy = "weekend"
	for i := range 20 {
		proposal := all[3].DeepCopyObject().(*v1alpha1.Proposal)
		proposal.Name = fmt.Sprint("more-", i)
		all = append(all, proposal)
		f.Status.Proposals = append(f.Status.Proposals, proposal.Name)
		f.Spec.Related = append(f.Spec.Related, f.Spec.Related[0])
		f.Status.Evidence = append(f.Status.Evidence, "more")
		f.Spec.Remediation.Commands = append(f.Spec.Remediation.Commands, "more")
	}
	have, _, failure := (&call{output: outputText, objects: all}).run(t, f.Name)
	if lines := strings.Count(have, "\n"); failure != "" || lines > 45 || strings.Count(have, "more, which -o json shows") != 4 {
		t.Errorf("%d lines: %s%s", lines, have, failure)
	}
}

func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		call
		name string
		want []string
		not  string
	}{
		"a wrong ending": {name: "db-not-redy", want: []string{
			"error: there is no \"db-not-redy\" in namespace \"shop\" among the findings, proposals, approvals, clusterfindings\nIt has probably cleared",
			"kubectl get findings.srenix.io -n shop\nThe nearest:\n  db-not-ready\n",
		}},
		"a part of names, also of a clusterfinding":    {name: "not-ready", want: []string{"The nearest:\n  db-not-ready\n  node-not-ready-n1\n"}},
		"with -n there are no clusterfindings":         {name: "not-ready", call: call{namespace: "shop"}, want: []string{"among the findings, proposals, approvals\n", "The nearest:\n  db-not-ready\n"}, not: "n1"},
		"nothing like it":                              {name: "x", want: []string{"there is no \"x\""}, not: "nearest"},
		"a clusterfinding that is none":                {name: "cfnd/node-not-ready-n2", want: []string{"there is no clusterfinding \"node-not-ready-n2\"", "kubectl get clusterfindings\n", "  node-not-ready-n1\n"}},
		"a finding that is only a clusterfinding":      {name: "finding/node-not-ready-n1", want: []string{"among the findings\n"}},
		"by somebody who may not see the cluster":      {name: "db-not-redy", call: call{refused: []string{"clusterfindings"}}, want: []string{"The nearest:\n  db-not-ready\n"}},
		"by somebody who may not see the current one":  {name: "db-not-ready", call: call{refused: []string{"findings"}}, want: []string{"Error from server (Forbidden): reading findings \"db-not-ready\"", "kubectl srenix why NAME -n NAMESPACE"}},
		"by somebody who may not see the one they say": {name: "db-not-ready", call: call{namespace: "shop", refused: []string{"findings"}}, want: []string{"srenix-viewer"}},
		"without srenix":                               {name: "db-not-ready", call: call{down: true}, want: []string{"is srenix installed in this cluster?"}},
	} {
		t.Run(name, func(t *testing.T) {
			test.output = outputText
			stdout, _, failure := test.run(t, test.name)
			if stdout != "" {
				t.Errorf("it printed %q", stdout)
			}
			for _, want := range test.want {
				if !strings.Contains(failure, want) {
					t.Errorf("it lacks %q:\n%s", want, failure)
				}
			}
			if test.not != "" && strings.Contains(failure, test.not) {
				t.Errorf("it has %q:\n%s", test.not, failure)
			}
		})
	}
}

func TestCompletion(t *testing.T) {
	ofNamespace := []string{"db-not-ready\tCritical NotReady of StatefulSet/db", "web-crashing\tInfo Crashing of Namespace/shop"}
	for name, test := range map[string]struct {
		call
		want []string
	}{
		"without a namespace, with what is in none": {want: append(slices.Clone(ofNamespace), "node-not-ready-n1\tWarning NodeNotReady of Node/n1")},
		"of a namespace": {call: call{namespace: "shop"}, want: ofNamespace},
		"by somebody who may not see the cluster": {call: call{refused: []string{"clusterfindings"}}, want: ofNamespace},
		"by somebody who may see nothing":         {call: call{refused: []string{"findings", "clusterfindings"}}},
	} {
		t.Run(name, func(t *testing.T) {
			o, _, _ := test.options(t)
			have, _ := o.completions(t.Context())
			if diff := cmp.Diff(test.want, have); diff != "" {
				t.Errorf("(-want +have)\n%s", diff)
			}
		})
	}
}

func TestArgumentsAreChecked(t *testing.T) {
	for name, test := range map[string]struct {
		arguments []string
		want      string
	}{
		"none":             {nil, "name the finding; these are there: kubectl get findings.srenix.io -A"},
		"two":              {[]string{"a", "b"}, "one at a time: have a, b"},
		"another resource": {[]string{"pod/db-0"}, "pod/db-0 is not a finding: want NAME, finding/NAME, clusterfinding/NAME, proposal/NAME or approval/NAME"},
		"no name":          {[]string{"finding/"}, `"finding/" has no name`},
		"a path":           {[]string{"finding/a/b"}, `"finding/a/b" has no name`},
		"a format":         {[]string{"a", "-o", "yaml"}, `unknown output format "yaml": it must be one of text, json`},
	} {
		t.Run(name, func(t *testing.T) {
			streams, _, stdout, stderr := genericiooptions.NewTestIOStreams()
			code := cli.Run(NewCommand(streams), streams, append([]string{"kubectl-srenix"}, test.arguments...))
			if code != 1 || stdout.String() != "" || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("exit code %d, output %q, errors %q", code, stdout, stderr)
			}
		})
	}
}
