// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestNamespaceProtectionDenies(t *testing.T) {
	tests := map[string]denial{
		"the namespace is gone":          {spoil: func(in *Input) { in.Namespace = nil }, words: "does not exist"},
		"another namespace was read":     {spoil: func(in *Input) { in.Namespace.Name = "bank" }, words: "bank"},
		"the label":                      {spoil: func(in *Input) { in.Namespace.Labels = map[string]string{ProtectedLabel: "true"} }, words: "srenix.io/protected=true"},
		"the configuration":              {spoil: func(in *Input) { in.Config.ProtectedNamespaces = []string{"shop"} }, words: "configuration"},
		"the namespace of srenix":        {spoil: func(in *Input) { in.OwnNamespace = "shop" }, words: "srenix runs in"},
		"nobody knows where srenix runs": {spoil: func(in *Input) { in.OwnNamespace = "" }, words: "not known"},
		"a runbook about another namespace": {
			kind: v1alpha1.ActionRunbook, words: `the target is in namespace "bank", and the proposal in "shop"`,
			spoil: func(in *Input) { in.Proposal.Spec.Target.Namespace, in.Namespace.Name = "bank", "bank" },
		},
		"a runbook about another namespace itself": {
			kind: v1alpha1.ActionRunbook, words: `the target is in namespace "bank", and the proposal in "shop"`,
			spoil: func(in *Input) {
				about(in, "v1", "Namespace", "bank")
			},
		},
		"a runbook about something of the cluster": {
			kind: v1alpha1.ActionRunbook, words: `the target is in namespace "", and the proposal in "shop"`,
			spoil: func(in *Input) {
				about(in, "v1", "Node", "shop")
			},
		},
		"a runbook about what another project calls a namespace": {
			kind: v1alpha1.ActionRunbook, words: `the target is in namespace "", and the proposal in "shop"`,
			spoil: func(in *Input) {
				about(in, "example.com/v1", "Namespace", "shop")
			},
		},
		"it is being deleted":             {spoil: func(in *Input) { in.Namespace.DeletionTimestamp = ptr.To(metav1.NewTime(start)) }, words: "being deleted"},
		"it is terminating":               {spoil: func(in *Input) { in.Namespace.Status.Phase = corev1.NamespaceTerminating }, words: "being deleted"},
		"a runbook is refused there, too": {kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.OwnNamespace = "shop" }, words: "srenix runs in"},
	}
	for _, name := range ProtectedNamespaces() {
		tests["built in: "+name] = denial{words: name, spoil: func(in *Input) {
			in.Proposal.Namespace, in.Proposal.Spec.Target.Namespace, in.Namespace.Name = name, name, name
			in.Target.(*corev1.Pod).Namespace = name
		}}
	}
	runDenials(t, NamespaceProtection, tests)
}

// The built-in lists are written out a second time: the tests that go through
// them would not notice a name that is missing or misspelled.
func TestBuiltInLists(t *testing.T) {
	if diff := cmp.Diff([]string{
		"kube-system", "kube-public", "kube-node-lease", "vault", "external-secrets", "cnpg-system", "rook-ceph",
	}, ProtectedNamespaces()); diff != "" {
		t.Errorf("protected namespaces (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff(config.GitOpsMarkers{
		Annotations: []string{
			"argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance", "meta.helm.sh/release-name",
			"kustomize.toolkit.fluxcd.io/name", "kustomize.toolkit.fluxcd.io/namespace",
			"helm.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/namespace",
		},
		Labels: []string{"argocd.argoproj.io/instance", "kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"},
	}, GitOpsMarkers()); diff != "" {
		t.Errorf("markers (-want +have):\n%s", diff)
	}
	if diff := cmp.Diff([]string{"helm", "argocd", "argo-cd", "flux", "fluxcd"}, GitOpsManagers()); diff != "" {
		t.Errorf("managers (-want +have):\n%s", diff)
	}
}

// about makes a proposal one about something that is in no namespace.
func about(in *Input, apiVersion, kind, name string) {
	target := &in.Proposal.Spec.Target
	target.APIVersion, target.Kind, target.Namespace, target.Name = apiVersion, kind, "", name
}

// Findings may be about the namespace that they are in.
func TestARunbookMayBeAboutItsNamespace(t *testing.T) {
	in := good(t, StageStanding, v1alpha1.ActionRunbook)
	about(&in, "v1", "Namespace", "shop")
	if decision := Evaluate(in); !decision.Allowed {
		t.Error(decision.Message())
	}
}

func TestTargetsWithoutNamespaceAreRefused(t *testing.T) {
	in := good(t, StageStanding, v1alpha1.ActionRunbook)
	in.Proposal.Namespace, in.Proposal.Spec.Target.Namespace, in.Namespace.Name = "", "", ""
	if verdict := verdictOf(t, Evaluate(in), NamespaceProtection); verdict.Result != v1alpha1.VerdictDenied {
		t.Errorf("verdict is %+v", verdict)
	}
}

func TestProtectionNeedsNoConfiguration(t *testing.T) {
	for name, want := range map[string]string{"shop": "", "vault": "namespace vault is protected", "own": "namespace own is the one that srenix runs in"} {
		protected, why := IsProtected(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, "own", nil)
		if protected != (want != "") || why != want {
			t.Errorf("%s is protected: %t, because %q", name, protected, why)
		}
	}
}

func TestProtectionNeedsTheExactLabelValue(t *testing.T) {
	for _, value := range []string{"", "false", "no"} {
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		in.Namespace.Labels = map[string]string{ProtectedLabel: value}
		if decision := Evaluate(in); !decision.Allowed {
			t.Errorf("%q protects: %s", value, decision.Message())
		}
	}
}

func TestGitOpsManagedDenies(t *testing.T) {
	chain := func(in *Input) (replicaSet, deployment *Owner) {
		in.Target.(*corev1.Pod).OwnerReferences = controlledBy("ReplicaSet", "web-1", "rs")
		in.Owners = []Owner{
			{APIVersion: "apps/v1", Kind: "ReplicaSet", ObjectMeta: metav1.ObjectMeta{Name: "web-1", UID: "rs", OwnerReferences: controlledBy("Deployment", "web", "dep")}},
			{APIVersion: "apps/v1", Kind: "Deployment", ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "dep"}},
		}
		return &in.Owners[0], &in.Owners[1]
	}
	tests := map[string]denial{
		"a marker on the Deployment above": {words: "Deployment web is managed", spoil: func(in *Input) {
			_, deployment := chain(in)
			deployment.Annotations = map[string]string{"argocd.argoproj.io/tracking-id": "shop:apps/Deployment:shop/web"}
		}},
		"a marker on the ReplicaSet above": {words: "ReplicaSet web-1 is managed", spoil: func(in *Input) {
			replicaSet, _ := chain(in)
			replicaSet.Labels = map[string]string{"helm.toolkit.fluxcd.io/name": "web"}
		}},
		"a chain that was not read": {words: "ReplicaSet web-1 was not read", spoil: func(in *Input) { chain(in); in.Owners = nil }},
		"a chain that was cut":      {words: "Deployment web was not read", spoil: func(in *Input) { chain(in); in.Owners = in.Owners[:1] }},
		"a chain of another object": {words: "was not read", spoil: func(in *Input) { chain(in); in.Owners[1].UID = "other" }},
		"a controller that is none": {words: "is none", spoil: func(in *Input) { chain(in); in.Target.(*corev1.Pod).OwnerReferences = nil }},
		"a site's own annotation": {words: "example.com/app=x", spoil: func(in *Input) {
			in.Config.GitOpsMarkers.Annotations = []string{"example.com/app"}
			in.Target.(*corev1.Pod).Annotations = map[string]string{"example.com/app": "x"}
		}},
		"a site's own label": {words: "example.com/app=x", spoil: func(in *Input) {
			in.Config.GitOpsMarkers.Labels = []string{"example.com/app"}
			in.Target.(*corev1.Pod).Labels = map[string]string{"example.com/app": "x"}
		}},
	}
	for _, key := range GitOpsMarkers().Annotations {
		tests["annotation "+key] = denial{words: key, spoil: func(in *Input) { in.Target.(*corev1.Pod).Annotations = map[string]string{key: "x"} }}
	}
	for _, key := range GitOpsMarkers().Labels {
		tests["label "+key] = denial{words: key, spoil: func(in *Input) { in.Target.(*corev1.Pod).Labels = map[string]string{key: "x"} }}
	}
	for _, value := range []string{"helm", "Helm", "HELM", "argocd", "argo-cd", "ArgoCD", "flux", "FluxCD"} {
		tests["managed by "+value] = denial{words: value, spoil: func(in *Input) { in.Target.(*corev1.Pod).Labels = map[string]string{managedByLabel: value} }}
	}
	runDenials(t, GitOpsManaged, tests)
}

func TestGitOpsManagedTellsWhatItCannotSee(t *testing.T) {
	for name, test := range map[string]struct {
		target runtime.Object
		words  string
	}{
		"a target that is gone":  {nil, "the target does not exist, so it cannot be told what manages it"},
		"one without any labels": {&metav1.Status{}, "the target's metadata cannot be read"},
	} {
		in := good(t, StageApproval, v1alpha1.ActionDeletePod)
		in.Target = test.target
		if verdict := verdictOf(t, Evaluate(in), GitOpsManaged); verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Message, test.words) {
			t.Errorf("%s: %+v", name, verdict)
		}
	}
}

func TestWhatMarksNothing(t *testing.T) {
	for name, marks := range map[string]struct{ labels, annotations map[string]string }{
		"nothing":               {},
		"the chart's instance":  {labels: map[string]string{"app.kubernetes.io/instance": "web"}},
		"another manager":       {labels: map[string]string{managedByLabel: "kustomize"}},
		"an empty label":        {labels: map[string]string{"kustomize.toolkit.fluxcd.io/name": ""}},
		"an empty annotation":   {annotations: map[string]string{"meta.helm.sh/release-name": ""}},
		"a label as annotation": {annotations: map[string]string{managedByLabel: "helm"}},
	} {
		t.Run(name, func(t *testing.T) {
			if marker := ManagedBy(marks.labels, marks.annotations, nil); marker != "" {
				t.Errorf("%s marks", marker)
			}
		})
	}
}
