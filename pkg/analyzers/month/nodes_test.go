// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// node adds one that is Ready.
func (c *cluster) node(name string) *corev1.Node {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}}
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		nodeCondition(node, kind, corev1.ConditionFalse, "KubeletHasSufficient"+string(kind), "")
	}
	nodeCondition(node, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
	c.create(node)
	c.nodes = append(c.nodes, node)
	for _, daemon := range c.daemons {
		c.queue(daemon.UID)
	}
	return node
}

func nodeCondition(node *corev1.Node, kind corev1.NodeConditionType, status corev1.ConditionStatus, reason, message string) {
	for i := range node.Status.Conditions {
		had := &node.Status.Conditions[i]
		if had.Type == kind {
			if had.Status != status {
				had.LastTransitionTime = now()
			}
			had.Status, had.Reason, had.Message, had.LastHeartbeatTime = status, reason, message, now()
			return
		}
	}
	node.Status.Conditions = append(node.Status.Conditions, corev1.NodeCondition{
		Type: kind, Status: status, Reason: reason, Message: message, LastTransitionTime: now(), LastHeartbeatTime: now(),
	})
}

func taint(node *corev1.Node, key string, effect corev1.TaintEffect) {
	node.Spec.Taints = append(node.Spec.Taints, corev1.Taint{Key: key, Effect: effect, TimeAdded: ptr.To(now())})
}

func untaint(node *corev1.Node, key string) {
	node.Spec.Taints = slices.DeleteFunc(node.Spec.Taints, func(t corev1.Taint) bool { return t.Key == key })
}

// drain cordons a node and evicts what no DaemonSet keeps there, one after the other.
func (c *cluster) drain(node *corev1.Node) {
	node.Spec.Unschedulable = true
	taint(node, corev1.TaintNodeUnschedulable, corev1.TaintEffectNoSchedule)
	c.store(node)
	wait := time.Second
	for _, pod := range c.on(node.Name) {
		if metav1.GetControllerOf(pod).Kind == "DaemonSet" {
			continue
		}
		c.in(wait, func() { c.evict(pod) })
		wait += 5 * time.Second
	}
}

func (c *cluster) uncordon(node *corev1.Node) {
	node.Spec.Unschedulable = false
	untaint(node, corev1.TaintNodeUnschedulable)
	c.store(node)
}

// drained calls back once nothing is left on a node but what DaemonSets keep there.
func (c *cluster) drained(node *corev1.Node, then func()) {
	for _, pod := range c.on(node.Name) {
		if metav1.GetControllerOf(pod).Kind != "DaemonSet" {
			c.in(10*time.Second, func() { c.drained(node, then) })
			return
		}
	}
	c.in(time.Minute, then)
}

// upgrade drains a node, has it start again with another version, and lets pods onto
// it again.
func (c *cluster) upgrade(node *corev1.Node) {
	c.done["node that was restarted"]++
	c.drain(node)
	c.drained(node, func() {
		c.silence(node)
		c.in(5*time.Minute, func() { c.restart(node) })
		c.in(8*time.Minute, func() { c.uncordon(node) })
	})
}

// silence is what kube-controller-manager writes when the kubelet has not been heard of.
func (c *cluster) silence(node *corev1.Node) {
	for i := range node.Status.Conditions {
		nodeCondition(node, node.Status.Conditions[i].Type, corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status.")
	}
	taint(node, corev1.TaintNodeUnreachable, corev1.TaintEffectNoSchedule)
	taint(node, corev1.TaintNodeUnreachable, corev1.TaintEffectNoExecute)
	c.store(node)
	for _, pod := range c.on(node.Name) {
		condition(pod, corev1.PodReady, corev1.ConditionFalse, "")
		c.changed(pod)
	}
}

// restart is what the kubelet of a node writes that has started again: of each pod that is
// still there it starts all containers anew.
func (c *cluster) restart(node *corev1.Node) {
	for _, kind := range []corev1.NodeConditionType{corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		nodeCondition(node, kind, corev1.ConditionFalse, "KubeletHasSufficient"+string(kind), "")
	}
	nodeCondition(node, corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized")
	untaint(node, corev1.TaintNodeUnreachable)
	taint(node, corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
	taint(node, corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	c.store(node)
	pods := c.on(node.Name)
	for _, pod := range pods {
		for i := range pod.Status.ContainerStatuses {
			status := &pod.Status.ContainerStatuses[i]
			if status.State.Running == nil {
				continue
			}
			status.LastTerminationState = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
				ExitCode: 255, Reason: "Unknown", StartedAt: status.State.Running.StartedAt, FinishedAt: now(),
			}}
			status.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ContainerCreating"}}
			status.Ready, status.Started = false, ptr.To(false)
		}
		condition(pod, corev1.PodReadyToStartContainers, corev1.ConditionFalse, "")
		condition(pod, corev1.PodReady, corev1.ConditionFalse, "ContainersNotReady")
		condition(pod, corev1.ContainersReady, corev1.ConditionFalse, "ContainersNotReady")
		c.changed(pod)
	}
	c.in(20*time.Second, func() {
		nodeCondition(node, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
		untaint(node, corev1.TaintNodeNotReady)
		c.store(node)
		for _, pod := range pods {
			if c.gone(pod) {
				continue
			}
			for i := range pod.Status.ContainerStatuses {
				pod.Status.ContainerStatuses[i].RestartCount++
			}
			c.start(pod, nil)
		}
	})
}

// replace takes a node away after another has come, as upgrades of node pools do.
func (c *cluster) replace(node *corev1.Node, name string) {
	c.done["node that was replaced"]++
	fresh := c.node(name)
	nodeCondition(fresh, corev1.NodeReady, corev1.ConditionFalse, "KubeletNotReady", "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: cni plugin not initialized")
	taint(fresh, corev1.TaintNodeNotReady, corev1.TaintEffectNoSchedule)
	taint(fresh, corev1.TaintNodeNotReady, corev1.TaintEffectNoExecute)
	c.store(fresh)
	c.in(50*time.Second, func() {
		nodeCondition(fresh, corev1.NodeReady, corev1.ConditionTrue, "KubeletReady", "kubelet is posting ready status")
		fresh.Spec.Taints = nil
		c.store(fresh)
	})
	c.in(2*time.Minute, func() {
		c.drain(node)
		c.drained(node, func() { c.take(node) })
	})
}

// take has a node go, and what is on it.
func (c *cluster) take(node *corev1.Node) {
	c.silence(node)
	c.in(time.Minute, func() {
		c.nodes = slices.DeleteFunc(c.nodes, func(n *corev1.Node) bool { return n == node })
		c.remove(node)
		c.in(time.Minute, func() { // the garbage collector of pods
			for _, pod := range c.on(node.Name) {
				pod.Status.Phase = corev1.PodFailed
				condition(pod, corev1.DisruptionTarget, corev1.ConditionTrue, "DeletionByPodGC")
				c.changed(pod)
				c.in(time.Second, func() { c.drop(pod) })
			}
		})
	})
}

// upgradeOfWeek has every node upgraded: by replacing it in every second week.
func (c *cluster) upgradeOfWeek(week int) {
	for i, node := range slices.Clone(c.nodes) {
		c.in(time.Duration(i)*90*time.Minute, func() {
			if week%2 == 0 {
				c.upgrade(node)
				return
			}
			c.replace(node, fmt.Sprintf("node-%d-of-week-%d", i+1, week))
		})
	}
}

// evicted is what the kubelet does with a pod that has written more than its limit of
// ephemeral storage. Its controller replaces it, and the garbage collector of pods
// leaves what is left of it.
func (c *cluster) evicted(pod *corev1.Pod) {
	c.done["pod that its node evicted"]++
	c.finish(pod, 137)
	pod.Status.Reason, pod.Status.Message = "Evicted", "Pod ephemeral local storage usage exceeds the total limit of containers 1Gi. "
	condition(pod, corev1.DisruptionTarget, corev1.ConditionTrue, "TerminationByKubelet")
	c.changed(pod)
}
