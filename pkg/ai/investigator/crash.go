// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"github.com/srenix/srenix/pkg/ai/redaction"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// signals are those that tell a cause by themselves, by their exit codes (signal(7)).
var signals = map[int32]verdict{
	132: {"IllegalInstruction", "it was ended by signal 4 (SIGILL), as a program is that is built for another processor"},
	134: {"Aborted", "it was ended by signal 6 (SIGABRT), which it sent to itself"},
	135: {"BusError", "it was ended by signal 7 (SIGBUS)"},
	136: {"ArithmeticError", "it was ended by signal 8 (SIGFPE)"},
	139: {"SegmentationFault", "it was ended by signal 11 (SIGSEGV), for it used memory that is not its own"},
}

// crash goes by how a container ended, and by what it wrote before.
func (q *inquiry) crash(pod *corev1.Pod, ref v1alpha1.ObjectReference, container *corev1.ContainerStatus) verdict {
	of := fmt.Sprintf("Container %s of Pod %s", container.Name, pod.Name)
	end, previous := container.State.Terminated, false
	if end == nil {
		end, previous = container.LastTerminationState.Terminated, true
	}
	if end != nil {
		switch end.Reason {
		case "OOMKilled":
			return verdict{"OutOfMemory", of + " was killed because it ran out of memory: " + limit(pod, container.Name)}
		case "StartError", "ContainerCannotRun":
			if said := redaction.Mask(end.Message); said != "" {
				return verdict{signIn(said, "CannotStart"), of + " could not be started: " + sentence(said)}
			}
		case "DeadlineExceeded", "Evicted":
			return verdict{end.Reason, of + " was ended: " + cmp.Or(sentence(redaction.Mask(pod.Status.Message)), end.Reason)}
		}
	}
	events := q.events(ref)
	if end == nil || end.ExitCode == 137 || end.ExitCode == 143 {
		for _, event := range events {
			if event.Reason == "Unhealthy" && !strings.HasPrefix(event.Message, "Readiness") {
				return verdict{"ProbeFails", of + " is killed by the kubelet, for it does not pass its probe: " + sentence(event.Message)}
			}
		}
	}
	log := q.log(pod, container.Name, previous)
	if end != nil && end.Message != "" { // what it left as its last words
		log = append(log, lines(redaction.Mask(end.Message))...)
	}
	if found, known := tell(log); known {
		text := fmt.Sprintf("%s ends because %s: it logged %s", of, found.says, quote(found.line))
		return verdict{found.cause, text + q.behind(pod, found)}
	}
	if end == nil {
		q.lack(CauseNoKnownSign, fmt.Sprintf("nothing says how container %s of Pod %s ended", container.Name, pod.Name))
		return verdict{}
	}
	if signal, known := signals[end.ExitCode]; known {
		return verdict{signal.cause, of + " crashes: " + signal.text}
	}
	switch end.ExitCode {
	case 0:
		return verdict{"EndedSuccessfully", of + " ends successfully and is restarted, for its pod is one that has to go on: its command does its work and returns"}
	case 126:
		return verdict{"CommandNotExecutable", of + " ends with exit code 126: its command cannot be executed"}
	case 127:
		return verdict{"CommandNotFound", of + " ends with exit code 127: its command is not in its image"}
	}
	if n := len(log); n > 0 {
		q.lack(CauseNoKnownSign, fmt.Sprintf("container %s of Pod %s ended with exit code %d, and its last line was %s", container.Name, pod.Name, end.ExitCode, quote(log[n-1])))
	}
	return verdict{}
}

// limit tells how much memory a container may have.
func limit(pod *corev1.Pod, container string) string {
	for _, of := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if of.Name != container {
			continue
		}
		if most, limited := of.Resources.Limits[corev1.ResourceMemory]; limited {
			return "its limit is " + most.String()
		}
		return "it has no limit, so that its node, or what it shares a limit with, had none left"
	}
	return "its limit is not known"
}

// hostIn finds the host that a line is about, as Go, PostgreSQL's and Node's
// libraries name it.
var hostIn = regexp.MustCompile(`(?i)(?:\blookup |ENOTFOUND |ECONNREFUSED |server at "|host name "|dial tcp |host[=:] ?"?|://)([a-z][a-z0-9-]*(?:\.[a-z0-9-]+)*)`)

// behind looks at the Service that a line is about, if it is one of the pod's own
// namespace: what a log names must not lead anywhere else.
func (q *inquiry) behind(pod *corev1.Pod, found told) string {
	if !slices.Contains([]string{"HostNotFound", "ConnectionRefused", "TimedOut"}, found.cause) {
		return ""
	}
	service, names := serviceIn(found.line, pod.Namespace)
	if !names {
		return ""
	}
	ref := v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: pod.Namespace, Name: service}
	object := &corev1.Service{}
	switch q.object(ref, object) {
	case absent:
		return fmt.Sprintf(". There is no Service %s in namespace %s", service, pod.Namespace)
	case unread:
		return ""
	case present:
	}
	if object.Spec.Type == corev1.ServiceTypeExternalName {
		q.note(opsv1alpha1.ToolObject, name(ref), "leads to "+object.Spec.ExternalName)
		return ""
	}
	ready, read := q.endpoints(object)
	switch {
	case !read:
		return ""
	case ready == 0:
		q.note(opsv1alpha1.ToolObject, name(ref), "has no ready endpoint")
		return fmt.Sprintf(". Service %s has no ready endpoint", service)
	}
	q.note(opsv1alpha1.ToolObject, name(ref), "has ready endpoints")
	return ""
}

// serviceIn returns the Service of a namespace that a line is about, if it is about one.
func serviceIn(text, of string) (service string, names bool) {
	match := hostIn.FindStringSubmatch(text)
	if match == nil {
		return "", false
	}
	service, rest, qualified := strings.Cut(strings.ToLower(match[1]), ".")
	namespace, domain, _ := strings.Cut(rest, ".")
	if service == "localhost" || qualified && (namespace != of || domain != "" && domain != "svc" && !strings.HasPrefix(domain, "svc.")) {
		return "", false
	}
	return service, true
}

// endpoints counts the ready endpoints of a Service.
func (q *inquiry) endpoints(service *corev1.Service) (ready int, read bool) {
	list := &discoveryv1.EndpointSliceList{}
	what := "EndpointSlices of Service/" + service.Name
	if err := q.read(what, q.listing(list, service.Namespace, discoveryv1.LabelServiceName, service.Name)); err != nil {
		q.failed(opsv1alpha1.ToolObject, what, err)
		return 0, false
	}
	for _, slice := range list.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
				ready++
			}
		}
	}
	return ready, true
}
