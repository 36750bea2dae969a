// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"cmp"
	"encoding/json"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/rand"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/live"
)

var (
	deploymentKind  = schema.GroupKind{Group: "apps", Kind: "Deployment"}
	statefulSetKind = schema.GroupKind{Group: "apps", Kind: "StatefulSet"}
	daemonSetKind   = schema.GroupKind{Group: "apps", Kind: "DaemonSet"}
)

func compare(a, b string) int { return cmp.Compare(a, b) }

// controllers are those of kube-controller-manager: they look at an object once something
// has changed that they follow it for.
type controllers struct {
	sync     map[types.UID]func()
	queued   map[types.UID]bool
	services []*corev1.Service
	daemons  []*appsv1.DaemonSet
}

const toSync = 200 * time.Millisecond

func (c *cluster) queue(uid types.UID) {
	sync := c.sync[uid]
	if sync == nil || c.queued[uid] {
		return
	}
	c.queued[uid] = true
	c.in(toSync, func() {
		delete(c.queued, uid)
		sync()
	})
}

// control has a new object looked after, with what the API server fills in.
func (c *cluster) control(object live.Object) {
	switch o := object.(type) {
	case *appsv1.Deployment:
		o.Spec.Replicas, o.Spec.ProgressDeadlineSeconds = cmp.Or(o.Spec.Replicas, ptr.To[int32](1)), ptr.To[int32](600)
		if o.Spec.Strategy.Type == "" {
			quarter := intstr.FromString("25%")
			o.Spec.Strategy = appsv1.DeploymentStrategy{
				Type: appsv1.RollingUpdateDeploymentStrategyType, RollingUpdate: &appsv1.RollingUpdateDeployment{MaxSurge: &quarter, MaxUnavailable: &quarter},
			}
		}
		o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		c.sync[o.UID] = func() { c.deployment(o) }
	case *appsv1.StatefulSet:
		o.Spec.Replicas, o.Spec.PodManagementPolicy = cmp.Or(o.Spec.Replicas, ptr.To[int32](1)), appsv1.OrderedReadyPodManagement
		o.Spec.UpdateStrategy = appsv1.StatefulSetUpdateStrategy{
			Type: appsv1.RollingUpdateStatefulSetStrategyType, RollingUpdate: &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To[int32](0)},
		}
		o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		c.sync[o.UID] = func() { c.statefulSet(o) }
	case *appsv1.DaemonSet:
		one, none := intstr.FromInt32(1), intstr.FromInt32(0)
		o.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{
			Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: &appsv1.RollingUpdateDaemonSet{MaxUnavailable: &one, MaxSurge: &none},
		}
		o.Spec.Template.Spec.RestartPolicy = corev1.RestartPolicyAlways
		c.daemons = append(c.daemons, o)
		c.sync[o.UID] = func() { c.daemonSet(o) }
	case *batchv1.Job:
		c.job(o, []end{{after: 30 * time.Second}}, func() {})
	case *batchv1.CronJob:
		c.cronJob(o)
	case *corev1.Service:
		if len(o.Spec.Selector) > 0 {
			c.services = append(c.services, o)
			c.sync[o.UID] = func() { c.slice(o) }
		}
	}
	c.store(object)
	c.queue(object.GetUID())
}

// hash is short and of a template.
func hash(of any) string {
	content, err := json.Marshal(of)
	if err != nil {
		panic(err) // templates have JSON
	}
	sum := fnv.New32a()
	_, _ = sum.Write(content)
	return rand.SafeEncodeString(fmt.Sprint(sum.Sum32()))
}

// alive are the pods of a controller that have not ended, by name.
func (c *cluster) alive(uid types.UID) []*corev1.Pod {
	pods := slices.DeleteFunc(slices.Clone(c.pods[uid]), func(pod *corev1.Pod) bool {
		return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
	})
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return compare(a.Name, b.Name) })
	return pods
}

// staying are those of them that are not being deleted.
func (c *cluster) staying(uid types.UID) []*corev1.Pod {
	return slices.DeleteFunc(c.alive(uid), func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil })
}

func countReady(pods []*corev1.Pod) (count int32) {
	for _, pod := range pods {
		if ready(pod) {
			count++
		}
	}
	return count
}

// replicaSetsOf are those of a Deployment, the newest last.
func (c *cluster) replicaSetsOf(d *appsv1.Deployment) []*appsv1.ReplicaSet {
	var all []*appsv1.ReplicaSet
	for _, object := range c.objects {
		if r, is := object.(*appsv1.ReplicaSet); is && metav1.IsControlledBy(r, d) {
			all = append(all, r)
		}
	}
	slices.SortFunc(all, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), compare(a.Name, b.Name))
	})
	return all
}

const podTemplateHash = "pod-template-hash"

// deployment does what the controller of Deployments does, and those of their ReplicaSets.
func (c *cluster) deployment(d *appsv1.Deployment) {
	want, of := *d.Spec.Replicas, hash(d.Spec.Template)
	sets := c.replicaSetsOf(d)
	i := slices.IndexFunc(sets, func(r *appsv1.ReplicaSet) bool { return r.Labels[podTemplateHash] == of })
	var newest *appsv1.ReplicaSet
	began := i < 0
	if began {
		c.revisions[d.UID]++
		labels := map[string]string{podTemplateHash: of}
		for label, value := range d.Spec.Template.Labels {
			labels[label] = value
		}
		newest = &appsv1.ReplicaSet{ObjectMeta: metav1.ObjectMeta{
			Namespace: d.Namespace, Name: d.Name + "-" + of, Labels: labels, OwnerReferences: ownedBy(d),
			Annotations: map[string]string{"deployment.kubernetes.io/revision": fmt.Sprint(c.revisions[d.UID])},
		}, Spec: appsv1.ReplicaSetSpec{Replicas: ptr.To[int32](0), Template: *d.Spec.Template.DeepCopy()}}
		c.create(newest)
		c.sync[newest.UID] = func() { c.queue(d.UID) }
	} else {
		newest = sets[i]
		sets = slices.Delete(sets, i, i+1)
	}
	surge, unavailable := int32(0), want
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil {
		scaled := func(of *intstr.IntOrString, up bool) int32 {
			value, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(of, intstr.FromString("25%")), int(want), up)
			if err != nil {
				c.t.Fatal(err)
			}
			return int32(value)
		}
		surge, unavailable = scaled(rolling.MaxSurge, true), scaled(rolling.MaxUnavailable, false)
	}
	var old []*corev1.Pod // not yet Ready first
	oldLeft := int32(0)
	for _, set := range sets {
		old = append(old, c.staying(set.UID)...)
		oldLeft += int32(len(c.alive(set.UID)))
	}
	slices.SortStableFunc(old, func(a, b *corev1.Pod) int {
		return cmp.Compare(countReady([]*corev1.Pod{a}), countReady([]*corev1.Pod{b}))
	})
	current := c.staying(newest.UID)
	// Up, as far as there may be more.
	most := want
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType && oldLeft > 0 {
		most = 0
	} else {
		most = min(most, int32(len(current))+max(0, want+surge-int32(len(current)+len(old))))
	}
	for n := int32(len(current)); n < most; n++ {
		c.uids++
		name := fmt.Sprintf("%s-%s", newest.Name, rand.SafeEncodeString(fmt.Sprintf("%05d", c.uids)))
		current = append(current, c.pod(newest, name, &newest.Spec.Template, map[string]string{podTemplateHash: of}, "", nil))
	}
	for _, pod := range current[min(len(current), int(want)):] {
		c.delete(pod)
	}
	// Down, as far as there may be fewer.
	available := countReady(old) + countReady(current)
	for _, pod := range old {
		if ready(pod) {
			if available-1 < want-unavailable {
				break
			}
			available--
		}
		c.delete(pod)
	}
	for _, set := range append(sets, newest) {
		pods, replicas := c.alive(set.UID), int32(len(c.staying(set.UID)))
		if set.Status.Replicas != int32(len(pods)) || *set.Spec.Replicas != replicas || set.Status.ReadyReplicas != countReady(pods) {
			set.Spec.Replicas = &replicas
			set.Status = appsv1.ReplicaSetStatus{Replicas: int32(len(pods)), ReadyReplicas: countReady(pods), AvailableReplicas: countReady(pods), ObservedGeneration: set.Generation}
			c.store(set)
		}
	}
	old = slices.DeleteFunc(old, func(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil })
	before := d.Status.DeepCopy()
	s := &d.Status
	s.ObservedGeneration = d.Generation
	s.UpdatedReplicas = int32(len(current))
	s.Replicas = int32(len(current) + len(old))
	s.ReadyReplicas = countReady(current) + countReady(old)
	s.AvailableReplicas = s.ReadyReplicas
	s.UnavailableReplicas = max(0, max(s.Replicas, want)-s.AvailableReplicas)
	if s.AvailableReplicas >= want-unavailable {
		deploymentCondition(d, appsv1.DeploymentAvailable, corev1.ConditionTrue, "MinimumReplicasAvailable", false)
	} else {
		deploymentCondition(d, appsv1.DeploymentAvailable, corev1.ConditionFalse, "MinimumReplicasUnavailable", false)
	}
	complete := s.UpdatedReplicas == want && s.Replicas == want && s.AvailableReplicas == want
	progress := s.UpdatedReplicas > before.UpdatedReplicas || s.ReadyReplicas > before.ReadyReplicas || s.Replicas-s.UpdatedReplicas < before.Replicas-before.UpdatedReplicas
	switch {
	case began:
		deploymentCondition(d, appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetCreated", true)
	case complete:
		if deploymentCondition(d, appsv1.DeploymentProgressing, corev1.ConditionTrue, "NewReplicaSetAvailable", false) {
			c.done["rollout of a Deployment"]++
		}
	case progress && !slices.ContainsFunc(s.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Reason == "NewReplicaSetAvailable" }):
		deploymentCondition(d, appsv1.DeploymentProgressing, corev1.ConditionTrue, "ReplicaSetUpdated", true)
	}
	if hash(before) != hash(s) {
		c.store(d)
	}
	if oldLeft > 0 && int32(len(current)) < want || began {
		c.queue(d.UID)
	}
	for len(sets) > 10 { // revisionHistoryLimit
		c.remove(sets[0])
		delete(c.sync, sets[0].UID)
		sets = sets[1:]
	}
}

func deploymentCondition(d *appsv1.Deployment, kind appsv1.DeploymentConditionType, status corev1.ConditionStatus, reason string, update bool) (changed bool) {
	i := slices.IndexFunc(d.Status.Conditions, func(c appsv1.DeploymentCondition) bool { return c.Type == kind })
	if i < 0 {
		d.Status.Conditions = append(d.Status.Conditions, appsv1.DeploymentCondition{Type: kind})
		i = len(d.Status.Conditions) - 1
	}
	had := &d.Status.Conditions[i]
	if had.Status == status && had.Reason == reason && !update {
		return false
	}
	if had.Status != status {
		had.LastTransitionTime = now()
	}
	had.Status, had.Reason, had.LastUpdateTime = status, reason, now()
	return true
}

// statefulSet does what the controller of StatefulSets does, with ordered pods and
// rolling updates.
func (c *cluster) statefulSet(s *appsv1.StatefulSet) {
	want, of := int(*s.Spec.Replicas), s.Name+"-"+hash(s.Spec.Template)
	if _, has := c.objects["ControllerRevision.apps "+s.Namespace+"/"+of]; !has {
		data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": s.Spec.Template}})
		if err != nil {
			c.t.Fatal(err)
		}
		c.revisions[s.UID]++
		c.create(&appsv1.ControllerRevision{
			ObjectMeta: metav1.ObjectMeta{Namespace: s.Namespace, Name: of, OwnerReferences: ownedBy(s)},
			Data:       runtime.RawExtension{Raw: data}, Revision: c.revisions[s.UID],
		})
	}
	before := s.Status.DeepCopy()
	if s.Status.CurrentRevision == "" {
		s.Status.CurrentRevision = of
	}
	s.Status.UpdateRevision, s.Status.ObservedGeneration = of, s.Generation
	pods := map[string]*corev1.Pod{}
	for _, pod := range c.pods[s.UID] {
		pods[pod.Name] = pod
	}
	name := func(ordinal int) string { return fmt.Sprintf("%s-%d", s.Name, ordinal) }
	moved := false
	for ordinal := 0; ordinal < want && !moved; ordinal++ {
		pod := pods[name(ordinal)]
		switch {
		case pod == nil:
			made := c.pod(s, name(ordinal), c.claims(s, name(ordinal)), map[string]string{
				appsv1.ControllerRevisionHashLabelKey: of, "statefulset.kubernetes.io/pod-name": name(ordinal), "apps.kubernetes.io/pod-index": fmt.Sprint(ordinal),
			}, "", nil)
			pods[made.Name] = made
			moved = true
		case !ready(pod):
			moved = true
		}
	}
	for ordinal := want - 1; ordinal >= 0 && !moved; ordinal-- {
		if pod := pods[name(ordinal)]; pod.Labels[appsv1.ControllerRevisionHashLabelKey] != of {
			c.delete(pod)
			moved = true
		}
	}
	var updated, current, readyOnes int32
	for _, pod := range pods {
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == of {
			updated++
		}
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == s.Status.CurrentRevision {
			current++
		}
		if ready(pod) {
			readyOnes++
		}
	}
	s.Status.Replicas, s.Status.ReadyReplicas, s.Status.AvailableReplicas = int32(len(pods)), readyOnes, readyOnes
	s.Status.UpdatedReplicas, s.Status.CurrentReplicas = updated, current
	if int(updated) == want && int(readyOnes) == want {
		if s.Status.CurrentRevision != of {
			c.done["rollout of a StatefulSet"]++
		}
		s.Status.CurrentRevision, s.Status.CurrentReplicas = of, updated
	}
	if hash(before) != hash(s.Status) {
		c.store(s)
	}
}

// claims returns the template of a pod with its claims, which it makes if there are none.
func (c *cluster) claims(s *appsv1.StatefulSet, pod string) *corev1.PodTemplateSpec {
	template := s.Spec.Template.DeepCopy()
	for _, claim := range s.Spec.VolumeClaimTemplates {
		name := claim.Name + "-" + pod
		if _, has := c.objects["PersistentVolumeClaim "+s.Namespace+"/"+name]; !has {
			made := claim.DeepCopy()
			made.Namespace, made.Name, made.Finalizers = s.Namespace, name, []string{"kubernetes.io/pvc-protection"}
			made.Status.Phase = corev1.ClaimBound
			c.create(made)
		}
		template.Spec.Volumes = append(template.Spec.Volumes, corev1.Volume{Name: claim.Name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
	return template
}

// daemonSet does what the controller of DaemonSets does.
func (c *cluster) daemonSet(d *appsv1.DaemonSet) {
	of := hash(d.Spec.Template)
	before := d.Status.DeepCopy()
	d.Status = appsv1.DaemonSetStatus{ObservedGeneration: d.Generation}
	pods := map[string]*corev1.Pod{}
	outdated := []*corev1.Pod{}
	unavailable := 0
	for _, pod := range c.alive(d.UID) {
		pods[c.bound[pod.UID]] = pod
	}
	for _, node := range c.nodes {
		d.Status.DesiredNumberScheduled++
		pod := pods[node.Name]
		if pod == nil {
			c.uids++
			pod = c.pod(d, fmt.Sprintf("%s-%s", d.Name, rand.SafeEncodeString(fmt.Sprintf("%05d", c.uids))), &d.Spec.Template,
				map[string]string{appsv1.ControllerRevisionHashLabelKey: of, "pod-template-generation": fmt.Sprint(d.Generation)}, node.Name, nil)
		}
		d.Status.CurrentNumberScheduled++
		if ready(pod) {
			d.Status.NumberReady++
			d.Status.NumberAvailable++
		} else {
			d.Status.NumberUnavailable++
			unavailable++
		}
		if pod.Labels[appsv1.ControllerRevisionHashLabelKey] == of {
			d.Status.UpdatedNumberScheduled++
		} else if pod.DeletionTimestamp == nil {
			outdated = append(outdated, pod)
		}
	}
	if before.UpdatedNumberScheduled < before.DesiredNumberScheduled && d.Status.UpdatedNumberScheduled == d.Status.DesiredNumberScheduled {
		c.done["rollout of a DaemonSet, or a node that got its pod"]++
	}
	if unavailable == 0 && len(outdated) > 0 {
		c.delete(outdated[0])
	}
	if hash(before) != hash(d.Status) {
		c.store(d)
	}
}
