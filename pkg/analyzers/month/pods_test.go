// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/live"
)

// How long things take.
const (
	toSchedule = time.Second
	toTakeUp   = time.Second
	toInit     = 4 * time.Second
	toStart    = 12 * time.Second
	toEnd      = 6 * time.Second
)

// toBeReady is how long pods with a label "app" run before they are Ready.
var toBeReady = map[string]time.Duration{"search": 6 * time.Minute, "engine": 4 * time.Minute, "agent": 40 * time.Second}

// pod makes a pod of a template. end is when and how its containers are done, where they
// ever are.
func (c *cluster) pod(owner live.Object, name string, template *corev1.PodTemplateSpec, more map[string]string, node string, end *end) *corev1.Pod {
	c.t.Helper()
	pod := &corev1.Pod{ObjectMeta: *template.ObjectMeta.DeepCopy(), Spec: *template.Spec.DeepCopy()}
	pod.Namespace, pod.Name, pod.OwnerReferences = owner.GetNamespace(), name, ownedBy(owner)
	if pod.Labels == nil {
		pod.Labels = map[string]string{}
	}
	for label, value := range more {
		pod.Labels[label] = value
	}
	if pod.Spec.ServiceAccountName == "" {
		pod.Spec.ServiceAccountName = "default"
	}
	pod.Spec.TerminationGracePeriodSeconds = ptr.To[int64](30)
	pod.Status.Phase = corev1.PodPending
	c.create(pod)
	c.pods[owner.GetUID()] = append(c.pods[owner.GetUID()], pod)
	if node != "" {
		c.bound[pod.UID] = node
	}
	c.in(toSchedule, func() { c.schedule(pod, node, end) })
	return pod
}

// end is how the containers of a pod end by themselves.
type end struct {
	after time.Duration
	code  int32
}

// gone tells whether a pod is not there any more, or is being deleted.
func (c *cluster) gone(pod *corev1.Pod) bool {
	return c.objects[keyOf(pod)] != live.Object(pod) || pod.DeletionTimestamp != nil
}

// schedule is what kube-scheduler does.
func (c *cluster) schedule(pod *corev1.Pod, node string, end *end) {
	if c.gone(pod) {
		return
	}
	if node == "" {
		fewest := -1
		for _, n := range c.nodes {
			if n.Spec.Unschedulable || len(n.Spec.Taints) > 0 {
				continue
			}
			count := 0 // those of the same workload matter most
			for _, other := range c.on(n.Name) {
				count++
				if other.Namespace == pod.Namespace && other.Labels["app"] == pod.Labels["app"] {
					count += 100
				}
			}
			if fewest < 0 || count < fewest {
				node, fewest = n.Name, count
			}
		}
	}
	if app := pod.Labels["app"]; app == "engine" && pod.Status.Conditions == nil {
		// There is no room until a placeholder has gone, or another node has come.
		condition(pod, corev1.PodScheduled, corev1.ConditionFalse, corev1.PodReasonUnschedulable)
		pod.Status.Conditions[0].Message = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available: 3 No preemption victims found for incoming pod."
		c.changed(pod)
		c.done["pod that waits for room"]++
		c.in(50*time.Second, func() { c.schedule(pod, node, end) })
		return
	}
	pod.Spec.NodeName = node
	condition(pod, corev1.PodScheduled, corev1.ConditionTrue, "")
	c.changed(pod)
	c.in(toTakeUp, func() { c.takeUp(pod, end) })
}

// on are the pods on a node that have not ended.
func (c *cluster) on(node string) []*corev1.Pod {
	var pods []*corev1.Pod
	for _, all := range c.pods {
		for _, pod := range all {
			if pod.Spec.NodeName == node && pod.Status.Phase != corev1.PodSucceeded && pod.Status.Phase != corev1.PodFailed {
				pods = append(pods, pod)
			}
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return compare(keyOf(a), keyOf(b)) })
	return pods
}

// takeUp, start and what follows are what the kubelet does.
func (c *cluster) takeUp(pod *corev1.Pod, end *end) {
	if c.gone(pod) {
		return
	}
	started := now()
	pod.Status.StartTime, pod.Status.QOSClass = &started, corev1.PodQOSBestEffort
	wait, hasInit := "ContainerCreating", len(pod.Spec.InitContainers) > 0
	if hasInit {
		wait = "PodInitializing"
	}
	condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")
	condition(pod, corev1.PodInitialized, truth(!hasInit), "")
	condition(pod, corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady")
	condition(pod, corev1.ContainersReady, corev1.ConditionFalse, "ContainersNotReady")
	statuses := func(containers []corev1.Container) []corev1.ContainerStatus {
		var all []corev1.ContainerStatus
		for _, container := range containers {
			all = append(all, corev1.ContainerStatus{
				Name: container.Name, Image: container.Image, Started: ptr.To(false),
				State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: wait}},
			})
		}
		return all
	}
	pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses = statuses(pod.Spec.InitContainers), statuses(pod.Spec.Containers)
	c.changed(pod)
	if hasInit {
		c.in(toInit, func() { c.initialize(pod) })
	}
	switch pod.Labels["app"] {
	case "search":
		c.attach(pod)
		c.in(80*time.Second, func() { c.start(pod, end) })
	case "engine":
		c.in(toStart, func() { c.crash(pod) })
	case "batch":
		c.pull(pod)
		c.in(toStart+45*time.Second, func() { c.start(pod, end) })
	default:
		c.in(toStart, func() { c.start(pod, end) })
	}
}

// attach is what is said while the volume of a pod is still attached to another node.
func (c *cluster) attach(pod *corev1.Pod) {
	event := c.event(pod, "FailedAttachVolume", "attachdetach-controller", fmt.Sprintf("Multi-Attach error for volume \"pvc-%s\" Volume is already exclusively attached to one node and can't be attached to another", pod.Name))
	c.in(time.Hour, func() { c.remove(event) })
	c.done["volume that is attached elsewhere"]++
}

// pull is what the kubelet says while a registry has a bad moment.
func (c *cluster) pull(pod *corev1.Pod) {
	name := pod.Spec.Containers[0].Name
	message := fmt.Sprintf("failed to pull and unpack image %q: failed to resolve reference %[1]q: dial tcp 10.9.9.9:443: i/o timeout", pod.Spec.Containers[0].Image)
	wait := func(reason, message string) {
		if c.gone(pod) {
			return
		}
		pod.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: reason, Message: message}
		condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
		c.changed(pod)
	}
	c.in(2*time.Second, func() {
		wait("ErrImagePull", message)
		event := c.event(pod, "Failed", "kubelet", fmt.Sprintf("Failed to pull image %q: %s", pod.Spec.Containers[0].Image, message))
		event.InvolvedObject.FieldPath = "spec.containers{" + name + "}"
		c.store(event)
		c.in(time.Hour, func() { c.remove(event) })
	})
	c.in(14*time.Second, func() {
		wait("ImagePullBackOff", fmt.Sprintf("Back-off pulling image %q: ErrImagePull: %s", pod.Spec.Containers[0].Image, message))
	})
	c.in(34*time.Second, func() { wait("ErrImagePull", message) })
	c.done["image that is pulled at the second attempt"]++
}

// event makes a Warning about a pod.
func (c *cluster) event(pod *corev1.Pod, reason, by, message string) *corev1.Event {
	c.uids++
	event := &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: pod.Namespace, Name: fmt.Sprintf("%s.%d", pod.Name, c.uids)},
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: pod.Namespace, Name: pod.Name, UID: pod.UID},
		Type:           corev1.EventTypeWarning, Reason: reason, Message: message, Source: corev1.EventSource{Component: by},
		FirstTimestamp: now(), LastTimestamp: now(), Count: 1,
	}
	c.create(event)
	return event
}

// crash has the container of a pod end at once, because what it needs is not there yet.
// The kubelet starts it again without a pause the first time.
func (c *cluster) crash(pod *corev1.Pod) {
	if c.gone(pod) {
		return
	}
	status := &pod.Status.ContainerStatuses[0]
	pod.Status.Phase = corev1.PodRunning
	condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
	status.State = terminated(corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now()}}, 1)
	c.changed(pod)
	c.in(time.Second, func() {
		status.LastTerminationState = status.State
		status.RestartCount++
		c.start(pod, nil)
	})
	c.done["container that is restarted at its start"]++
}

// kill has the container of a pod use more memory than it may. The kubelet starts it
// again at once.
func (c *cluster) kill(pod *corev1.Pod) {
	status := &pod.Status.ContainerStatuses[0]
	if !ready(pod) || status.State.Running == nil {
		return
	}
	status.LastTerminationState = terminated(status.State, 137)
	status.LastTerminationState.Terminated.Reason = "OOMKilled"
	status.State = status.LastTerminationState
	status.Ready, status.Started = false, ptr.To(false)
	condition(pod, corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady")
	condition(pod, corev1.ContainersReady, corev1.ConditionFalse, "ContainersNotReady")
	c.changed(pod)
	c.in(2*time.Second, func() {
		status.RestartCount++
		c.start(pod, nil)
	})
	c.done["OOM kill"]++
}

func (c *cluster) initialize(pod *corev1.Pod) {
	if c.gone(pod) {
		return
	}
	condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
	for i := range pod.Status.InitContainerStatuses {
		pod.Status.InitContainerStatuses[i].State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now()}}
		pod.Status.InitContainerStatuses[i].Started = ptr.To(true)
	}
	c.changed(pod)
}

func (c *cluster) start(pod *corev1.Pod, end *end) {
	if c.gone(pod) {
		return
	}
	if lacks := c.lacks(pod); lacks != "" {
		pod.Status.ContainerStatuses[0].State.Waiting = &corev1.ContainerStateWaiting{Reason: "CreateContainerConfigError", Message: fmt.Sprintf("secret %q not found", lacks)}
		condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
		c.changed(pod)
		c.in(10*time.Second, func() { c.start(pod, end) })
		c.done["wait for a Secret"]++
		return
	}
	for i := range pod.Status.InitContainerStatuses {
		status := &pod.Status.InitContainerStatuses[i]
		status.State = terminated(status.State, 0)
		status.Ready, status.Started = true, ptr.To(false)
	}
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		status.State = corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now()}}
		status.Started = ptr.To(true)
	}
	pod.Status.Phase = corev1.PodRunning
	condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionTrue, "")
	condition(pod, corev1.PodInitialized, corev1.ConditionTrue, "")
	passes := func() {
		for i := range pod.Status.ContainerStatuses {
			pod.Status.ContainerStatuses[i].Ready = true
		}
		condition(pod, corev1.PodReady, corev1.ConditionTrue, "")
		condition(pod, corev1.ContainersReady, corev1.ConditionTrue, "")
		c.changed(pod)
	}
	if wait := toBeReady[pod.Labels["app"]]; wait > 0 {
		c.changed(pod)
		started := pod.Status.ContainerStatuses[0].State.Running.StartedAt
		c.in(wait, func() {
			if running := pod.Status.ContainerStatuses[0].State.Running; !c.gone(pod) && running != nil && running.StartedAt.Equal(&started) {
				passes()
			}
		})
	} else {
		passes()
	}
	if end != nil {
		c.in(end.after, func() {
			if !c.gone(pod) {
				c.finish(pod, end.code)
				c.changed(pod)
			}
		})
	}
}

// lacks names a Secret that the containers of a pod take their environment from and that
// is not there yet.
func (c *cluster) lacks(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		for _, from := range container.EnvFrom {
			if from.SecretRef == nil {
				continue
			}
			if _, has := c.objects["Secret "+pod.Namespace+"/"+from.SecretRef.Name]; !has {
				return from.SecretRef.Name
			}
		}
	}
	return ""
}

// terminated is the state of a container that ran.
func terminated(before corev1.ContainerState, code int32) corev1.ContainerState {
	ended := &corev1.ContainerStateTerminated{ExitCode: code, Reason: "Completed", StartedAt: now(), FinishedAt: now()}
	if code != 0 {
		ended.Reason = "Error"
	}
	if before.Running != nil {
		ended.StartedAt = before.Running.StartedAt
	}
	return corev1.ContainerState{Terminated: ended}
}

// finish has the containers of a pod end for good.
func (c *cluster) finish(pod *corev1.Pod, code int32) {
	pod.Status.Phase = corev1.PodSucceeded
	reason := "PodCompleted"
	if code != 0 {
		pod.Status.Phase, reason = corev1.PodFailed, "PodFailed"
	}
	for i := range pod.Status.ContainerStatuses {
		status := &pod.Status.ContainerStatuses[i]
		status.State = terminated(status.State, code)
		status.Ready, status.Started = false, ptr.To(false)
	}
	condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")
	condition(pod, corev1.PodReady, corev1.ConditionFalse, reason)
	condition(pod, corev1.ContainersReady, corev1.ConditionFalse, reason)
}

// delete has a pod go, as its controller or an eviction does it.
func (c *cluster) delete(pod *corev1.Pod) {
	if c.gone(pod) {
		return
	}
	if pod.Spec.NodeName == "" || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		c.drop(pod)
		return
	}
	by := metav1.NewTime(now().Add(30 * time.Second))
	pod.DeletionTimestamp, pod.DeletionGracePeriodSeconds = &by, ptr.To[int64](30)
	c.changed(pod)
	c.in(toEnd, func() {
		if c.objects[keyOf(pod)] != live.Object(pod) {
			return
		}
		code := int32(0)
		if pod.Spec.RestartPolicy != corev1.RestartPolicyAlways {
			code = 143 // it had not done what it was for
		}
		c.finish(pod, code)
		c.changed(pod)
		c.in(time.Second, func() { c.drop(pod) })
	})
}

// evict is what kubectl drain has done.
func (c *cluster) evict(pod *corev1.Pod) {
	if c.gone(pod) {
		return
	}
	if app := pod.Labels["app"]; toBeReady[app] > 0 { // a PodDisruptionBudget lets one go at a time
		replicas := int32(map[string]int{"search": 3, "engine": 4}[app])
		up := int32(0)
		for _, all := range c.pods {
			for _, other := range all {
				if other.Namespace == pod.Namespace && other.Labels["app"] == app {
					up += countReady([]*corev1.Pod{other})
				}
			}
		}
		if ready(pod) && up < replicas {
			c.in(5*time.Second, func() { c.evict(pod) })
			return
		}
	}
	condition(pod, corev1.DisruptionTarget, corev1.ConditionTrue, "EvictionByEvictionAPI")
	c.delete(pod)
}

// drop removes a pod at last.
func (c *cluster) drop(pod *corev1.Pod) {
	if c.objects[keyOf(pod)] != live.Object(pod) {
		return
	}
	c.remove(pod)
	owner := metav1.GetControllerOf(pod).UID
	c.pods[owner] = slices.DeleteFunc(c.pods[owner], func(p *corev1.Pod) bool { return p == pod })
	c.queue(owner)
	c.endpoints(pod)
}

// changed stores a pod, and tells those that follow it.
func (c *cluster) changed(pod *corev1.Pod) {
	c.store(pod)
	c.queue(metav1.GetControllerOf(pod).UID)
	c.endpoints(pod)
}

func condition(pod *corev1.Pod, kind corev1.PodConditionType, status corev1.ConditionStatus, reason string) {
	for i := range pod.Status.Conditions {
		had := &pod.Status.Conditions[i]
		if had.Type != kind {
			continue
		}
		if had.Status != status {
			had.LastTransitionTime = now()
		}
		had.Status, had.Reason = status, reason
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{Type: kind, Status: status, Reason: reason, LastTransitionTime: now()})
}

func truth(so bool) corev1.ConditionStatus {
	if so {
		return corev1.ConditionTrue
	}
	return corev1.ConditionFalse
}

func ready(pod *corev1.Pod) bool {
	return pod.DeletionTimestamp == nil && slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	})
}

// endpoints has the slices of the Services that select a pod follow it.
func (c *cluster) endpoints(pod *corev1.Pod) {
	for _, service := range c.services {
		if service.Namespace == pod.Namespace && labels.SelectorFromSet(service.Spec.Selector).Matches(labels.Set(pod.Labels)) {
			c.queue(service.UID)
		}
	}
}

// slice is what the controller of EndpointSlices does.
func (c *cluster) slice(service *corev1.Service) {
	var endpoints []discoveryv1.Endpoint
	selector := labels.SelectorFromSet(service.Spec.Selector)
	var pods []*corev1.Pod
	for _, all := range c.pods {
		for _, pod := range all {
			over := pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
			if pod.Namespace == service.Namespace && selector.Matches(labels.Set(pod.Labels)) && !over && pod.Status.StartTime != nil {
				pods = append(pods, pod)
			}
		}
	}
	slices.SortFunc(pods, func(a, b *corev1.Pod) int { return compare(a.Name, b.Name) })
	for i, pod := range pods {
		endpoints = append(endpoints, discoveryv1.Endpoint{
			Addresses: []string{fmt.Sprintf("10.0.0.%d", i+1)}, NodeName: ptr.To(pod.Spec.NodeName),
			Conditions: discoveryv1.EndpointConditions{
				Ready: ptr.To(ready(pod)), Serving: ptr.To(ready(pod)), Terminating: ptr.To(pod.DeletionTimestamp != nil),
			},
		})
	}
	name := service.Name + "-slice"
	if had, has := c.objects["EndpointSlice.discovery.k8s.io "+service.Namespace+"/"+name].(*discoveryv1.EndpointSlice); has {
		had.Endpoints = endpoints
		had.Generation++
		c.store(had)
		return
	}
	c.create(&discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{Namespace: service.Namespace, Name: name, OwnerReferences: ownedBy(service), Labels: map[string]string{
			discoveryv1.LabelServiceName: service.Name, discoveryv1.LabelManagedBy: "endpointslice-controller.k8s.io",
		}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints,
	})
}
