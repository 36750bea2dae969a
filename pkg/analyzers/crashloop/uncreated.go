// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package crashloop

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/outdated"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// createError is what a container waits with that the runtime does not create. The
	// kubelet tries again and again (k8s.io/kubernetes, pkg/kubelet/kuberuntime).
	createError = "CreateContainerError"
	// createGrace is the least time for it: a node that is busy takes a few tries.
	createGrace = 5 * time.Minute
)

// passing is what changes from one try to the next in what runtimes say: the IDs of
// containers, and the number of the try at the end of a container's name.
var passing = regexp.MustCompile(`\b[0-9a-f]{12,64}\b|_[0-9]+"`)

// uncreated tells whether a container of a workload cannot be created. Whether a Job
// tries it or a Deployment makes no difference: no try of a Job has begun.
func (a analyzer) uncreated(view *live.View, w workloads.Workload) []v1alpha1.FindingSpec {
	var containers []string
	var related []v1alpha1.RelatedObject
	var waiting []*corev1.Pod
	said := ""
	pods := w.Troubled(view)
	for _, pod := range pods {
		if inputs.Finished(pod) {
			continue
		}
		for _, status := range slices.Concat(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses) {
			wait := status.State.Waiting
			if wait == nil || wait.Reason != createError {
				continue
			}
			containers = append(containers, status.Name)
			if message := inputs.Sentence(passing.ReplaceAllString(wait.Message, "...")); said == "" || message != "" && message < said {
				said = message
			}
			if n := len(related); n == 0 || related[n-1].Name != pod.Name {
				waiting = append(waiting, pod)
				related = append(related, v1alpha1.RelatedObject{Relation: "pod that waits", ObjectReference: workloads.PodReference(pod)})
			}
		}
	}
	if len(containers) == 0 {
		return nil
	}
	since := view.FirstObserved(NotCreated)
	if !analyzers.Past(view, since.Add(max(a.grace, createGrace))) {
		return nil
	}
	slices.SortFunc(related, func(x, y v1alpha1.RelatedObject) int { return strings.Compare(x.Name, y.Name) })
	message := fmt.Sprintf("%s %s of %s cannot be created, and the kubelet tries again and again", plural(containers, "Container"), workloads.Names(containers), w)
	if said != "" {
		message += ": " + said
	}
	first := related[0]
	commands := []string{fmt.Sprintf("kubectl describe pod %s -n %s", first.Name, first.Namespace)}
	if w.Reference.Kind != "Pod" {
		commands = append(commands, "kubectl describe "+w.Argument())
	}
	return []v1alpha1.FindingSpec{{
		Reason: NotCreated, Severity: v1alpha1.SeverityWarning, Subject: w.Reference, Related: related, Message: message + ".",
		Remediation: outdated.Advise(view, waiting, HangsOn[NotCreated], v1alpha1.Remediation{
			Text:     "See what the container runtime says: the image may have no command to run, a device or a path of the node may not be there, or the runtime may be stuck, which the node's own logs tell.",
			Commands: commands,
		}),
		Since: metav1.NewTime(since),
	}}
}
