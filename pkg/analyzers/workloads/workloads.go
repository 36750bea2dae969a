// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package workloads shows everything that runs pods in one form: Deployments,
// StatefulSets, DaemonSets, CronJobs, Jobs, ReplicaSets, and pods that none of
// these looks after. Analyzers of what goes wrong in pods judge workloads, so that
// a finding is about what a person would mend, is one for all replicas, and
// outlives a rollout.
package workloads

import (
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Workload is something that runs pods.
type Workload struct {
	Reference v1alpha1.ObjectReference
	Meta      *metav1.ObjectMeta
	// Template is what its next pod is made from, trimmed as package inputs trims
	// it; nil where it is not kept: of ReplicaSets and of single pods.
	Template *corev1.PodTemplateSpec
	// Settled is false while a rollout is under way, and for what is paused,
	// suspended or scaled to zero.
	Settled bool
	// controllers of its pods.
	controllers []types.UID
	// pod is the single one of a workload that is a pod.
	pod *corev1.Pod
}

// Pods returns the workload's pods, those being deleted included, by name.
func (w Workload) Pods(view *live.View) []*corev1.Pod { return w.by(view, inputs.ByController) }

// Troubled returns the pods of the workload that may be in trouble (inputs.Troubled)
// and are not being deleted. To ask for them costs nothing while there are none.
func (w Workload) Troubled(view *live.View) []*corev1.Pod {
	return w.those(view, inputs.ByTroubledController, inputs.Troubled)
}

// Restarted returns those pods, and with them the ones that run and of which a container
// was restarted ever (inputs.Restarted). They may be many, and a change of each has them
// all looked at again: it is for who counts restarts.
func (w Workload) Restarted(view *live.View) []*corev1.Pod {
	return w.those(view, inputs.ByRestartedController, inputs.Restarted)
}

func (w Workload) those(view *live.View, index string, are func(*corev1.Pod) bool) []*corev1.Pod {
	pods := slices.Clone(w.by(view, index))
	return slices.DeleteFunc(pods, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil || !are(pod) })
}

func (w Workload) by(view *live.View, index string) []*corev1.Pod {
	if w.pod != nil {
		return []*corev1.Pod{w.pod}
	}
	var pods []*corev1.Pod
	for _, controller := range w.controllers {
		pods = append(pods, inputs.Pods.ByIndex(view, index, inputs.Controls(controller))...)
	}
	return pods
}

// Argument is how kubectl's commands name the workload, as "deployment/web -n shop".
func (w Workload) Argument() string { return Argument(w.Reference) }

// fluxKustomization labels what Flux's kustomize-controller applies.
const fluxKustomization = "kustomize.toolkit.fluxcd.io/name"

// Restart is the command that replaces the workload's pods. Flux takes back what
// kubectl sets under its own names as field manager, and so would roll the pods a
// second time; it leaves alone what is set under this one.
func (w Workload) Restart() string {
	command := "kubectl rollout restart " + w.Argument()
	if w.Meta.Labels[fluxKustomization] != "" {
		command += " --field-manager=flux-client-side-apply"
	}
	return command
}

// String is how a sentence names the workload, as "Deployment web".
func (w Workload) String() string { return w.Reference.Kind + " " + w.Reference.Name }

// Argument is how kubectl's commands name an object, as "deployment/web -n shop" or
// "certificate.cert-manager.io/web -n shop".
func Argument(of v1alpha1.ObjectReference) string {
	kind := schema.FromAPIVersionAndKind(of.APIVersion, strings.ToLower(of.Kind)).GroupKind()
	if builtin := kind.Group == "apps" || kind.Group == "batch"; builtin {
		kind.Group = ""
	}
	argument := kind.String() + "/" + of.Name
	if of.Namespace != "" {
		argument += " -n " + of.Namespace
	}
	return argument
}

// PodReference refers to a pod.
func PodReference(pod *corev1.Pod) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID}
}

// Judge tells what is wrong with a workload.
type Judge func(view *live.View, workload Workload) ([]v1alpha1.FindingSpec, error)

// Rules are an analyzer's rules that judge every workload which is not being
// deleted. reads are what judge reads beside pods.
func Rules(judge Judge, reads ...live.KindRef) []analyzers.Rule {
	var rules []analyzers.Rule
	for _, kind := range kinds() {
		rules = append(rules, analyzers.Rule{
			Subject: kind.subject, Reads: kind.with(reads),
			Analyze: func(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
				workload, exists := kind.find(view, subject)
				if !exists || workload.Meta.DeletionTimestamp != nil {
					return nil, nil
				}
				return judge(view, workload)
			},
		})
	}
	return rules
}

// Derivations are an analyzer's rules that derive something from every workload which
// is not being deleted: for what is found in several workloads and told once. reads are
// what derive reads beside pods.
func Derivations(derive func(*live.View, Workload) []live.Output, output live.KindRef, reads ...live.KindRef) []live.Rule {
	var rules []live.Rule
	for _, kind := range kinds() {
		rules = append(rules, live.Rule{
			Subject: kind.subject, Reads: kind.with(reads), Outputs: []live.KindRef{output},
			Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
				workload, exists := kind.find(view, subject)
				if !exists || workload.Meta.DeletionTimestamp != nil {
					return nil, nil
				}
				return derive(view, workload), nil
			},
		})
	}
	return rules
}

// kind is one of those that run pods.
type kind struct {
	subject live.KindRef
	find    func(*live.View, live.Key) (Workload, bool)
	reads   []live.KindRef
}

func kinds() []kind {
	return []kind{
		{inputs.Deployments.Ref(), Deployment, []live.KindRef{inputs.ReplicaSets.Ref()}},
		{inputs.StatefulSets.Ref(), statefulSet, nil},
		{inputs.DaemonSets.Ref(), daemonSet, nil},
		{inputs.CronJobs.Ref(), cronJob, []live.KindRef{inputs.Jobs.Ref()}},
		{inputs.Jobs.Ref(), job, nil},
		{inputs.ReplicaSets.Ref(), replicaSet, nil},
		{inputs.Pods.Ref(), single, nil},
	}
}

// with returns all that a rule reads which reads some kinds beside pods.
func (k kind) with(reads []live.KindRef) []live.KindRef {
	all := append(slices.Concat(k.reads, reads), inputs.Pods.Ref())
	return unique(slices.DeleteFunc(all, func(ref live.KindRef) bool { return ref == k.subject }))
}

func unique(refs []live.KindRef) []live.KindRef {
	var out []live.KindRef
	for _, ref := range refs {
		if !slices.Contains(out, ref) {
			out = append(out, ref)
		}
	}
	return out
}

// Deployment returns the workload that a Deployment is.
func Deployment(view *live.View, key live.Key) (Workload, bool) {
	d, exists := inputs.Deployments.Get(view, key)
	if !exists {
		return Workload{}, false
	}
	w := Workload{Reference: reference("apps/v1", "Deployment", d), Meta: &d.ObjectMeta, Template: &d.Spec.Template}
	want := desired(d.Spec.Replicas)
	w.Settled = want > 0 && !d.Spec.Paused && d.Status.ObservedGeneration >= d.Generation &&
		d.Status.UpdatedReplicas == want && d.Status.Replicas == want
	w.controllers = replicaSetsOf(view, d)
	return w, true
}

// PodsOf returns the pods of a Deployment, those being deleted included.
func PodsOf(view *live.View, d *appsv1.Deployment) []*corev1.Pod {
	return Workload{controllers: replicaSetsOf(view, d)}.Pods(view)
}

func replicaSetsOf(view *live.View, d *appsv1.Deployment) (controllers []types.UID) {
	for _, replicaSet := range inputs.ReplicaSets.ByIndex(view, inputs.ByController, inputs.Controls(d.UID)) {
		controllers = append(controllers, replicaSet.UID)
	}
	return controllers
}

func statefulSet(view *live.View, key live.Key) (Workload, bool) {
	s, exists := inputs.StatefulSets.Get(view, key)
	if !exists {
		return Workload{}, false
	}
	w := Workload{Reference: reference("apps/v1", "StatefulSet", s), Meta: &s.ObjectMeta, Template: &s.Spec.Template, controllers: []types.UID{s.UID}}
	rolling := s.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType && s.Status.UpdateRevision != s.Status.CurrentRevision
	w.Settled = desired(s.Spec.Replicas) > 0 && s.Status.ObservedGeneration >= s.Generation && !rolling
	return w, true
}

func daemonSet(view *live.View, key live.Key) (Workload, bool) {
	d, exists := inputs.DaemonSets.Get(view, key)
	if !exists {
		return Workload{}, false
	}
	w := Workload{Reference: reference("apps/v1", "DaemonSet", d), Meta: &d.ObjectMeta, Template: &d.Spec.Template, controllers: []types.UID{d.UID}}
	rolling := d.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType && d.Status.UpdatedNumberScheduled < d.Status.DesiredNumberScheduled
	w.Settled = d.Status.DesiredNumberScheduled > 0 && d.Status.ObservedGeneration >= d.Generation && !rolling
	return w, true
}

func cronJob(view *live.View, key live.Key) (Workload, bool) {
	c, exists := inputs.CronJobs.Get(view, key)
	if !exists {
		return Workload{}, false
	}
	w := Workload{Reference: reference("batch/v1", "CronJob", c), Meta: &c.ObjectMeta, Template: &c.Spec.JobTemplate.Spec.Template}
	w.Settled = c.Spec.Suspend == nil || !*c.Spec.Suspend
	for _, job := range inputs.Jobs.ByIndex(view, inputs.ByController, inputs.Controls(c.UID)) {
		w.controllers = append(w.controllers, job.UID)
	}
	return w, true
}

// job is one that no CronJob has made.
func job(view *live.View, key live.Key) (Workload, bool) {
	j, exists := inputs.Jobs.Get(view, key)
	if !exists || controlledBy(j, "batch", "CronJob") {
		return Workload{}, false
	}
	return Workload{
		Reference: reference("batch/v1", "Job", j), Meta: &j.ObjectMeta, Template: &j.Spec.Template, controllers: []types.UID{j.UID},
		Settled: j.Spec.Suspend == nil || !*j.Spec.Suspend,
	}, true
}

// replicaSet is one that no Deployment has made: one of its own, or of another
// project's kind of rollout.
func replicaSet(view *live.View, key live.Key) (Workload, bool) {
	r, exists := inputs.ReplicaSets.Get(view, key)
	if !exists || controlledBy(r, "apps", "Deployment") {
		return Workload{}, false
	}
	return Workload{Reference: reference("apps/v1", "ReplicaSet", r), Meta: &r.ObjectMeta, Settled: true, controllers: []types.UID{r.UID}}, true
}

// single is a pod that none of the other kinds looks after: one of its own, of a
// node (a static pod), or of another project's kind, which are told apart by name.
func single(view *live.View, key live.Key) (Workload, bool) {
	pod, exists := inputs.Pods.Get(view, key)
	if !exists {
		return Workload{}, false
	}
	for group, kinds := range map[string][]string{"apps": {"ReplicaSet", "StatefulSet", "DaemonSet"}, "batch": {"Job"}} {
		if controlledBy(pod, group, kinds...) {
			return Workload{}, false
		}
	}
	return Workload{Reference: PodReference(pod), Meta: &pod.ObjectMeta, Settled: true, pod: pod}, true
}

func controlledBy(object metav1.Object, group string, kinds ...string) bool {
	controller := metav1.GetControllerOfNoCopy(object)
	return controller != nil && slices.Contains(kinds, controller.Kind) && strings.HasPrefix(controller.APIVersion, group+"/")
}

func desired(replicas *int32) int32 {
	if replicas == nil {
		return 1
	}
	return *replicas
}

func reference(apiVersion, kind string, object metav1.Object) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: apiVersion, Kind: kind, Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

// Names lists at most three names in a sentence, as "a, b, c and others": how many
// they are changes while the trouble is the same.
func Names(names []string) string {
	const most = 3
	names = slices.Compact(slices.Sorted(slices.Values(names)))
	if len(names) > most {
		return strings.Join(names[:most], ", ") + " and others"
	}
	return strings.Join(names, ", ")
}
