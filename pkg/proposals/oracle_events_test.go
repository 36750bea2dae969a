// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failedpods"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/fixers"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/silences"
)

func randomEvents(random *rand.Rand) []event {
	namespaces := []string{"shop", "kube-system"}
	events := []event{{"namespaces", func(_ testing.TB, h *history) {
		for _, name := range namespaces {
			h.cluster.Set(inputs.Namespaces.Ref().Resource(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}})
		}
	}}}
	if random.IntN(2) == 0 { // some begin in the middle of things
		events = append(events, statefulSet("shop", 2, false),
			pod("shop", 0, 0, corev1.ConditionFalse, ""), pod("shop", 1, 0, corev1.ConditionTrue, ""),
			deployment("shop", false), passes(time.Minute), configMap("shop"), passes(20*time.Minute))
	} else { // others where there is something to plan
		events = append(events, deploymentsCrash)
	}
	for range 5 + random.IntN(20) {
		namespace := namespaces[random.IntN(6)/5] // mostly the one that is not protected
		switch random.IntN(10) {
		case 0, 1:
			events = append(events, fromGolden(random))
		case 2:
			events = append(events, lost(random))
		case 3:
			events = append(events, back)
		default:
			events = append(events, happenings[random.IntN(len(happenings))](random, namespace))
		}
	}
	return events
}

func controlledBy(kind, name string) []metav1.OwnerReference {
	controller := true
	return []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: kind, Name: name, UID: types.UID(kind + "-" + name), Controller: &controller}}
}

// plannedBy are the fixers that mostly fit what is found, by reason.
var plannedBy = map[string]string{
	configdrift.ConfigurationChangedAfterStart: fixers.RestartDeployment,
	crashloop.Crashing:                         fixers.ReplaceCrashingPod,
	certexpiry.RequestFailed:                   fixers.RenewCertificateRequest,
	tlssecretmismatch.BetterSecret:             fixers.ServeCoveringCertificate,
	failedpods.PodFailed:                       fixers.RemoveFailedPod,
	workloadstatedrift.OrdinalZeroNotReady:     fixers.ReplaceOutdatedPod,
}

// planOf is one of what rules would mend just now in a namespace; nil if that is nothing.
func planOf(h *history, namespace string, backwards bool) *opsv1alpha1.ChosenPlan {
	mends := map[types.UID]bool{}
	for _, proposal := range live.List(h.engine, Proposals) {
		if proposal.Spec.Source == v1alpha1.SourceRule && proposal.Spec.Plan == nil {
			mends[proposal.Spec.Finding.UID] = true
		}
	}
	var steps []opsv1alpha1.ChosenStep
	for _, finding := range live.List(h.engine, Findings) {
		if fixer := plannedBy[finding.Spec.Reason]; finding.Namespace == namespace && fixer != "" && mends[finding.UID] {
			steps = append(steps, step(finding, fixer))
		}
	}
	if len(steps) == 0 {
		return nil
	}
	slices.SortFunc(steps, func(a, b opsv1alpha1.ChosenStep) int { return strings.Compare(a.Finding.Name, b.Finding.Name) })
	if backwards {
		slices.Reverse(steps)
	}
	return &opsv1alpha1.ChosenPlan{Steps: steps[:min(len(steps), v1alpha1.MaximumPlanSteps)]}
}

var deploymentsCrash = event{"three Deployments crash", func(t testing.TB, h *history) {
	objects, at := crashingDeployments(t.(*testing.T))
	h.clock.Step(at.Sub(h.clock.Now()))
	analyzertest.Store(t.(*testing.T), h.cluster, objects)
	h.set = append(h.set, objects...)
}}

// happenings are the things that can happen in a namespace.
var happenings = []func(random *rand.Rand, namespace string) event{
	// A StatefulSet, now and then managed by Flux.
	func(random *rand.Rand, namespace string) event {
		replicas, managed := int32(1+random.IntN(2)), random.IntN(4) == 0
		return statefulSet(namespace, replicas, managed)
	},
	// One of its pods, in any state, under an old or a new UID.
	func(random *rand.Rand, namespace string) event {
		ordinal, uid := random.IntN(2), random.IntN(2)
		ready := []corev1.ConditionStatus{corev1.ConditionTrue, corev1.ConditionTrue, corev1.ConditionFalse}[random.IntN(3)]
		waiting := []string{"", "", "ContainerCreating", "CrashLoopBackOff"}[random.IntN(4)]
		return pod(namespace, ordinal, uid, ready, waiting)
	},
	func(random *rand.Rand, namespace string) event {
		name := []string{"db-0", "db-1", "web-1"}[random.IntN(3)]
		return event{"delete Pod " + namespace + "/" + name, func(_ testing.TB, h *history) {
			h.cluster.Delete(inputs.Pods.Ref().Resource(), live.Key{Namespace: namespace, Name: name})
		}}
	},
	// A Deployment with its ReplicaSet and pod, all new, which uses a ConfigMap.
	func(random *rand.Rand, namespace string) event {
		paused := random.IntN(4) == 0
		return deployment(namespace, paused)
	},
	func(_ *rand.Rand, namespace string) event {
		return configMap(namespace)
	},
	func(random *rand.Rand, namespace string) event {
		verb := []string{"*", "get"}[random.IntN(2)]
		return event{"Role " + namespace + "/wide with " + verb, func(_ testing.TB, h *history) {
			rules := []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: []string{verb}}}
			h.cluster.Set(inputs.Roles.Ref().Resource(), &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "wide"}, Rules: rules})
			h.cluster.Set(inputs.ClusterRoles.Ref().Resource(), &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: "wide"}, Rules: rules})
		}}
	},
	func(random *rand.Rand, namespace string) event {
		protected := random.IntN(2) == 0
		return event{fmt.Sprintf("Namespace %s protected %t", namespace, protected), func(_ testing.TB, h *history) {
			h.cluster.Set(inputs.Namespaces.Ref().Resource(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
				Name: namespace, Labels: map[string]string{"srenix.io/protected": fmt.Sprint(protected)},
			}})
		}}
	},
	// Whatever is proposed is decided, somehow.
	func(random *rand.Rand, _ string) event {
		phases := []opsv1alpha1.ApprovalPhase{"", opsv1alpha1.PhasePending, opsv1alpha1.PhaseExecuting, opsv1alpha1.PhaseSucceeded, opsv1alpha1.PhaseFailed, opsv1alpha1.PhaseDenied, opsv1alpha1.PhaseSuperseded}
		phase := phases[random.IntN(len(phases))]
		decision := []v1alpha1.Decision{v1alpha1.DecisionApprove, v1alpha1.DecisionApprove, v1alpha1.DecisionDeny}[random.IntN(3)]
		return event{fmt.Sprintf("all proposals have a decision %s in phase %q", decision, phase), func(_ testing.TB, h *history) {
			for _, proposal := range live.List(h.engine, Proposals) {
				h.cluster.Set(Approvals.Ref().Resource(), &opsv1alpha1.Approval{
					ObjectMeta: metav1.ObjectMeta{Namespace: proposal.Namespace, Name: "a-" + proposal.Name[:8], CreationTimestamp: metav1.NewTime(h.clock.Now())},
					Spec: opsv1alpha1.ApprovalSpec{
						Decision: decision,
						Proposal: opsv1alpha1.ProposalReference{Name: proposal.Name, UID: proposal.UID, Digest: proposal.Spec.Digest},
						Snapshot: proposal.Spec,
					},
					Status: opsv1alpha1.ApprovalStatus{Phase: phase, Approver: "alice"},
				})
				if decision == v1alpha1.DecisionDeny {
					h.cluster.Set(Recorded.Ref().Resource(), record("apiserver/a", opsv1alpha1.AuditDenialRecorded, proposal.UID, proposal.Spec.Digest, h.clock.Now()))
				}
			}
		}}
	},
	// Time passes: graces end.
	func(random *rand.Rand, _ string) event { return passes(time.Duration(random.IntN(30)) * time.Minute) },
	func(random *rand.Rand, _ string) event { return passes(time.Duration(random.IntN(30)) * time.Minute) },
	// The clock is set back.
	func(random *rand.Rand, _ string) event {
		back := time.Duration(1+random.IntN(40)) * time.Minute
		return event{fmt.Sprintf("the clock is set back by %s", back), func(_ testing.TB, h *history) {
			namespaces := live.List(h.engine, inputs.Namespaces)
			if len(namespaces) == 0 {
				return // nobody would notice
			}
			h.clock.SetTime(h.clock.Now().Add(-back))
			// Whatever is evaluated next notices it.
			for _, rule := range rulesOfAll() {
				if rule.Subject == inputs.Namespaces.Ref() {
					h.engine.Reconsider(rule.Name, live.Key{Name: namespaces[0].Name})
				}
			}
		}}
	},
	// Watches end, with or without the history that would let them go on.
	func(random *rand.Rand, _ string) event {
		resources := losable()
		resource, expires := resources[random.IntN(len(resources))], random.IntN(2) == 0
		return event{fmt.Sprintf("watches of %s end, their history expires %t", resource.Resource, expires), func(_ testing.TB, h *history) {
			if expires {
				h.cluster.Expire(resource)
			} else {
				h.cluster.CloseWatches(resource)
			}
		}}
	},
	// Somebody silences something for a while, or takes it back.
	func(random *rand.Rand, namespace string) event {
		name, lasts := []string{"a", "b"}[random.IntN(2)], time.Duration(random.IntN(60)-10)*time.Minute
		match := []opsv1alpha1.SilenceMatch{
			{},
			{Reasons: []string{workloadstatedrift.OrdinalZeroNotReady}},
			{Analyzers: []string{configdrift.Name}},
			{Severities: []v1alpha1.Severity{v1alpha1.SeverityInfo}},
			{Subjects: []opsv1alpha1.SilencedSubject{{Kind: "StatefulSet", Name: "db"}}},
			{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{analyzers.SeverityLabel: "Critical"}}},
			{Selector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "a", Operator: "Nonsense"}}}},
		}[random.IntN(7)]
		return event{fmt.Sprintf("Silence %s/%s of %v for %s", namespace, name, match, lasts), func(_ testing.TB, h *history) {
			h.cluster.Set(silences.Silences.Ref().Resource(), &opsv1alpha1.Silence{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name), CreationTimestamp: metav1.NewTime(now)},
				Spec: opsv1alpha1.SilenceSpec{
					Owner: "team", Reason: "known", Expires: metav1.NewTime(h.clock.Now().Add(lasts)), Match: match,
				},
			})
		}}
	},
	func(random *rand.Rand, namespace string) event {
		name := []string{"a", "b"}[random.IntN(2)]
		return event{"delete Silence " + namespace + "/" + name, func(_ testing.TB, h *history) {
			h.cluster.Delete(silences.Silences.Ref().Resource(), live.Key{Namespace: namespace, Name: name})
		}}
	},
	// A runbook is drafted for whatever there is, or taken back.
	func(random *rand.Rand, _ string) event {
		text := []string{"", "unseal", "unseal again"}[random.IntN(3)]
		return event{fmt.Sprintf("runbook %q", text), func(_ testing.TB, h *history) {
			for _, finding := range live.List(h.engine, Findings) {
				investigation := &opsv1alpha1.Investigation{
					ObjectMeta: metav1.ObjectMeta{Namespace: finding.Namespace, Name: "i-" + string(finding.UID)[:8]},
					Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
				}
				if text != "" {
					investigation.Status.Runbook = &opsv1alpha1.Runbook{Title: "Unseal", Text: text}
				}
				h.cluster.Set(Investigations.Ref().Resource(), investigation)
			}
		}}
	},
	// Whatever there is was looked into, or is once more, or that is forgotten. Of what
	// fixers fit a plan is made, beginning with either end.
	func(random *rand.Rand, _ string) event {
		cause := []string{"", "It is refused.", "It ran out of memory."}[random.IntN(3)]
		return event{fmt.Sprintf("root cause %q", cause), func(_ testing.TB, h *history) {
			for _, finding := range live.List(h.engine, Findings) {
				key := live.Key{Namespace: finding.Namespace, Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
				if cause == "" {
					h.cluster.Delete(Investigations.Ref().Resource(), key)
					continue
				}
				h.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
					ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
					Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Name: finding.Name, UID: finding.UID}},
					Status: opsv1alpha1.InvestigationStatus{RootCause: cause, Plan: planOf(h, key.Namespace, cause == "It is refused."), Evidence: []opsv1alpha1.Evidence{
						{Tool: opsv1alpha1.ToolObject, Source: "Pod/web", Said: "phase Running"},
					}},
				})
			}
			for _, finding := range live.List(h.engine, ClusterFindings) {
				key := live.Key{Namespace: "srenix-system", Name: opsv1alpha1.InvestigationName(finding.Name, finding.UID)}
				if cause == "" {
					h.cluster.Delete(Investigations.Ref().Resource(), key)
					continue
				}
				h.cluster.Set(Investigations.Ref().Resource(), &opsv1alpha1.Investigation{
					ObjectMeta: metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name},
					Spec:       opsv1alpha1.InvestigationSpec{Finding: opsv1alpha1.InvestigatedFinding{Kind: opsv1alpha1.KindClusterFinding, Name: finding.Name, UID: finding.UID}},
					Status:     opsv1alpha1.InvestigationStatus{RootCause: cause},
				})
			}
		}}
	},
	// All runbooks are released.
	func(*rand.Rand, string) event {
		return event{"all runbooks are released", func(_ testing.TB, h *history) {
			for _, proposal := range live.List(h.engine, Proposals) {
				if proposal.Spec.ActionKind == v1alpha1.ActionRunbook {
					h.cluster.Set(Recorded.Ref().Resource(), record("executor/a", opsv1alpha1.AuditRunbookReleased, proposal.UID, proposal.Spec.Digest, h.clock.Now()))
				}
			}
		}}
	},
	// A CRD goes, or is there again: that of approvals, and any that analyzers can do without.
	func(random *rand.Rand, _ string) event { return installation(random, Approvals.Ref().Resource()) },
	func(random *rand.Rand, _ string) event {
		optional := optionals()
		return installation(random, optional[random.IntN(len(optional))])
	},
}

// optionals are the inputs that need not be installed, in a fixed order.
var optionals = sync.OnceValue(func() []schema.GroupVersionResource {
	all := map[schema.GroupVersionResource]bool{}
	for _, rule := range rulesOfAll() {
		for _, kind := range append([]live.KindRef{rule.Subject}, rule.Reads...) {
			if kind.Optional() {
				all[kind.Resource()] = true
			}
		}
	}
	return slices.DeleteFunc(slices.Clone(losable()), func(r schema.GroupVersionResource) bool { return !all[r] })
})

func installation(random *rand.Rand, resource schema.GroupVersionResource) event {
	installed := random.IntN(2) == 0
	return event{fmt.Sprintf("%s installed %t", resource.Resource, installed), func(_ testing.TB, h *history) {
		switch {
		case h.lost[resource]: // whether it is there cannot be told
		case installed:
			h.cluster.Serve(resource)
			delete(h.uninstalled, resource)
		default:
			h.cluster.NotInstalled(resource)
			h.uninstalled[resource] = true
		}
	}}
}

func passes(d time.Duration) event {
	return event{fmt.Sprintf("%s pass", d), func(_ testing.TB, h *history) { h.clock.Step(d) }}
}

func statefulSet(namespace string, replicas int32, managed bool) event {
	return event{fmt.Sprintf("StatefulSet %s/db of %d, managed %t", namespace, replicas, managed), func(_ testing.TB, h *history) {
		set := &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "db", UID: "StatefulSet-db"},
			Spec:       appsv1.StatefulSetSpec{Replicas: &replicas},
		}
		if managed {
			set.Labels = map[string]string{"kustomize.toolkit.fluxcd.io/name": "apps"}
		}
		h.cluster.Set(inputs.StatefulSets.Ref().Resource(), set)
	}}
}

func pod(namespace string, ordinal, uid int, ready corev1.ConditionStatus, waiting string) event {
	return event{fmt.Sprintf("Pod %s/db-%d (%d), Ready %s, waiting %q", namespace, ordinal, uid, ready, waiting), func(_ testing.TB, h *history) {
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: fmt.Sprintf("db-%d", ordinal), UID: types.UID(fmt.Sprintf("pod-%d-%d", ordinal, uid)),
				OwnerReferences: controlledBy("StatefulSet", "db"),
			},
			Spec: corev1.PodSpec{NodeName: "node-1"},
			Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{
				Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(h.clock.Now()),
			}}},
		}
		if waiting != "" {
			pod.Status.ContainerStatuses = []corev1.ContainerStatus{{State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: waiting}}}}
		}
		h.cluster.Set(inputs.Pods.Ref().Resource(), pod)
	}}
}

func deployment(namespace string, paused bool) event {
	return event{fmt.Sprintf("Deployment %s/web rolled out, paused %t", namespace, paused), func(_ testing.TB, h *history) {
		one := int32(1)
		template := corev1.PodTemplateSpec{Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "c", EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "web"}}}},
		}}}}
		h.cluster.Set(inputs.Deployments.Ref().Resource(), &appsv1.Deployment{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web", UID: "Deployment-web"},
			Spec:       appsv1.DeploymentSpec{Replicas: &one, Paused: paused, Template: template},
			Status:     appsv1.DeploymentStatus{Replicas: 1, UpdatedReplicas: 1, AvailableReplicas: 1, ReadyReplicas: 1},
		})
		h.cluster.Set(inputs.ReplicaSets.Ref().Resource(), &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "web-1", UID: "ReplicaSet-web-1", OwnerReferences: controlledBy("Deployment", "web"),
		}})
		started := metav1.NewTime(h.clock.Now())
		h.cluster.Set(inputs.Pods.Ref().Resource(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web-1", UID: "pod-web", OwnerReferences: controlledBy("ReplicaSet", "web-1")},
			Status:     corev1.PodStatus{Phase: corev1.PodRunning, StartTime: &started},
		})
	}}
}

func configMap(namespace string) event {
	return event{"ConfigMap " + namespace + "/web written", func(_ testing.TB, h *history) {
		written := metav1.NewTime(h.clock.Now())
		h.cluster.Set(inputs.ConfigMaps.Ref().Resource(), &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: "web", ManagedFields: []metav1.ManagedFieldsEntry{{Time: &written}},
		}})
	}}
}
