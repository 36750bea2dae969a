// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// The tools of an exploration. They read what rules read, and nothing else.
const (
	ReadState       = "read-state"
	ReadEvents      = "read-events"
	ListControlled  = "list-controlled"
	ReadLog         = "read-log"
	ReadPreviousLog = "read-previous-log"
	ReadRollout     = "read-rollout"
	LookUpHost      = "look-up-host"
)

// Tool is one of an exploration, with what it reads in a few words.
type Tool struct{ Name, Description string }

// Tools are all of them.
func Tools() []Tool {
	return []Tool{
		{ReadState, "how an object stands, what it belongs to and what it names"},
		{ReadEvents, "the warnings about an object, the newest first"},
		{ListControlled, "the newest objects that an object controls, and how they stand"},
		{ReadLog, "the end of the log of a container as it runs"},
		{ReadPreviousLog, "the end of the log of a container before its last restart"},
		{ReadRollout, "what the rollout changed that a container came with"},
		{LookUpHost, "whether a host's name can be resolved and its certificate is valid"},
	}
}

const (
	// mostTargets is how many targets an exploration has at most.
	mostTargets = 16
	// hostKind is the kind of targets that are no objects of the API.
	hostKind = "Host"
	// mostControlled is of how many objects that another one controls it is told.
	mostControlled = 3
)

// Target is what can be read: an object, a container of one, or a host. The finding
// names it, or what was read.
type Target struct {
	Object    v1alpha1.ObjectReference
	Container string
	// Tools are the names of those that read it.
	Tools []string
}

// Exploration reads one thing at a time about a finding, as somebody else chooses than
// rules. What can be chosen is for it to say. It is for one goroutine.
type Exploration struct {
	q       *inquiry
	targets []Target
}

// Explore begins an exploration. Sources are those of what rules have read.
func (i *Investigator) Explore(finding *v1alpha1.Finding, sources []string) *Exploration {
	e := &Exploration{q: &inquiry{Options: i.options, finding: finding}}
	e.add(finding.Spec.Subject, "")
	for _, related := range finding.Spec.Related {
		// What is read of an object shows in the finding: to nobody who sees another namespace only.
		if related.Namespace == finding.Namespace || related.Namespace == "" || finding.Namespace == "" {
			e.add(related.ObjectReference, "")
		}
	}
	for _, source := range sources {
		e.named(source)
	}
	return e
}

// sourceVersions are the versions of kinds that sources name, of which rules read objects.
var sourceVersions = map[string]string{
	"Pod": "v1", "PersistentVolumeClaim": "v1", "Service": "v1", "Node": "v1", "Deployment": "apps/v1", "ReplicaSet": "apps/v1",
	"Certificate": certManagerV1, "CertificateRequest": certManagerV1, "Issuer": certManagerV1, "ClusterIssuer": certManagerV1,
	"Order": acmeV1, "Challenge": acmeV1,
}

// named adds what a source names, as "Pod/web-0 container app" does.
func (e *Exploration) named(source string) {
	words := strings.Fields(source)
	if len(words) == 0 {
		return
	}
	kind, name, is := strings.Cut(words[0], "/")
	if kind == hostKind && is {
		e.addHost(name)
	}
	version, known := sourceVersions[kind]
	if !is || !known {
		return
	}
	ref := v1alpha1.ObjectReference{APIVersion: version, Kind: kind, Namespace: e.q.finding.Namespace, Name: name}
	if kind == "Node" || kind == "ClusterIssuer" {
		ref.Namespace = ""
	}
	e.add(ref, "")
	if len(words) > 2 && kind == "Pod" && words[1] == "container" {
		e.add(ref, words[2])
	}
}

// add adds a target, unless it is there or there are enough.
func (e *Exploration) add(object v1alpha1.ObjectReference, container string) {
	if object.Name == "" || len(e.targets) >= mostTargets || slices.ContainsFunc(e.targets, func(target Target) bool {
		is := target.Object
		return groupKind(is) == groupKind(object) && is.Namespace == object.Namespace && is.Name == object.Name && target.Container == container
	}) {
		return
	}
	target := Target{Object: object, Container: container}
	switch {
	case container != "":
		target.Tools = []string{ReadLog, ReadPreviousLog, ReadRollout}
	case object.Kind == hostKind:
		target.Tools = []string{LookUpHost}
	default:
		target.Tools = []string{ReadEvents}
		if stands(object) != nil {
			target.Tools = append(target.Tools, ReadState)
		}
		// Orders can be listed and not read, so that one has to be known by its UID.
		if _, has := controls[groupKind(object)]; has && (object.Kind != "Order" || object.UID != "") {
			target.Tools = append(target.Tools, ListControlled)
		}
	}
	e.targets = append(e.targets, target)
}

// addHost adds a host, where somebody wants hosts to be looked at.
func (e *Exploration) addHost(host string) {
	if e.q.Hosts != nil && !strings.HasPrefix(host, "*") {
		e.add(v1alpha1.ObjectReference{Kind: hostKind, Name: host}, "")
	}
}

// Targets are what can be read, in an order that stays.
func (e *Exploration) Targets() []Target { return slices.Clone(e.targets) }

// Read uses a tool on the target of an index. A tool that does not read that target
// reads nothing.
func (e *Exploration) Read(ctx context.Context, tool string, target int) opsv1alpha1.Evidence {
	e.q.ctx = ctx
	before := len(e.q.evidence)
	if target >= 0 && target < len(e.targets) && slices.Contains(e.targets[target].Tools, tool) {
		e.use(tool, e.targets[target])
	}
	if len(e.q.evidence) == before {
		e.q.note(opsv1alpha1.ToolObject, tool, "nothing could be read")
	}
	// Of several the last is what the tool was asked for.
	last := e.q.evidence[len(e.q.evidence)-1]
	e.q.evidence = e.q.evidence[:0]
	return last
}

func (e *Exploration) use(tool string, of Target) {
	switch tool {
	case ReadState:
		stands(of.Object)(e, of.Object)
	case ReadEvents:
		e.q.events(of.Object)
	case ListControlled:
		e.listControlled(of.Object)
	case ReadLog, ReadPreviousLog:
		e.log(of, tool == ReadPreviousLog)
	case ReadRollout:
		e.rollout(of)
	case LookUpHost:
		e.q.host(of.Object.Name)
	}
}

// stands returns what reads how an object stands; nil if nothing does.
func stands(ref v1alpha1.ObjectReference) func(*Exploration, v1alpha1.ObjectReference) {
	switch groupKind(ref) {
	case "Pod":
		return (*Exploration).pod
	case "Service":
		return (*Exploration).service
	case "PersistentVolumeClaim":
		return (*Exploration).claim
	case "Node":
		return func(e *Exploration, ref v1alpha1.ObjectReference) { e.q.nodeState(ref) }
	case "Deployment.apps":
		return (*Exploration).deployment
	case "ReplicaSet.apps":
		return (*Exploration).replicaSet
	case "Certificate.cert-manager.io", "CertificateRequest.cert-manager.io", "Issuer.cert-manager.io", "ClusterIssuer.cert-manager.io",
		"ExternalSecret.external-secrets.io", "PushSecret.external-secrets.io", "SecretStore.external-secrets.io", "ClusterSecretStore.external-secrets.io":
		return (*Exploration).custom
	}
	return nil
}

// belongs tells what controls an object, which can be read from then on.
func (e *Exploration) belongs(object metav1.Object) string {
	owner := metav1.GetControllerOf(object)
	if owner == nil {
		return ""
	}
	e.add(v1alpha1.ObjectReference{APIVersion: owner.APIVersion, Kind: owner.Kind, Namespace: object.GetNamespace(), Name: owner.Name, UID: owner.UID}, "")
	return fmt.Sprintf("; controlled by %s/%s", owner.Kind, owner.Name)
}

func (e *Exploration) pod(ref v1alpha1.ObjectReference) {
	pod := &corev1.Pod{}
	if e.q.object(ref, pod) != present {
		return
	}
	said := state(pod)
	if condition := conditionOf(pod, corev1.PodScheduled); condition != nil && condition.Status == corev1.ConditionFalse {
		said += "; not scheduled: " + condition.Message
	}
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		e.add(ref, container.Name)
		e.addHost(registry(container.Image))
	}
	for _, volume := range pod.Spec.Volumes {
		if of := volume.PersistentVolumeClaim; of != nil {
			e.add(v1alpha1.ObjectReference{APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: pod.Namespace, Name: of.ClaimName}, "")
			said += "; mounts PersistentVolumeClaim/" + of.ClaimName
		}
	}
	e.q.note(opsv1alpha1.ToolObject, name(ref), said+e.belongs(pod))
}

func (e *Exploration) service(ref v1alpha1.ObjectReference) {
	service := &corev1.Service{}
	if e.q.object(ref, service) != present {
		return
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		e.q.note(opsv1alpha1.ToolObject, name(ref), "leads to "+service.Spec.ExternalName)
		return
	}
	if ready, read := e.q.endpoints(service); read {
		e.q.note(opsv1alpha1.ToolObject, name(ref), fmt.Sprintf("has %d ready endpoints", ready))
	}
}

func (e *Exploration) claim(ref v1alpha1.ObjectReference) {
	claim := &corev1.PersistentVolumeClaim{}
	if e.q.object(ref, claim) == present {
		e.q.note(opsv1alpha1.ToolObject, name(ref), "phase "+string(claim.Status.Phase))
	}
}

func (e *Exploration) deployment(ref v1alpha1.ObjectReference) {
	deployment := &appsv1.Deployment{}
	if e.q.object(ref, deployment) != present {
		return
	}
	said := []string{fmt.Sprintf("%d replicas are wanted, %d are ready", replicas(deployment.Spec.Replicas), deployment.Status.ReadyReplicas)}
	for _, condition := range deployment.Status.Conditions {
		said = append(said, fmt.Sprintf("%s=%s %s: %s", condition.Type, condition.Status, condition.Reason, sentence(condition.Message)))
	}
	e.q.note(opsv1alpha1.ToolObject, name(ref), strings.Join(said, "; "))
}

func (e *Exploration) replicaSet(ref v1alpha1.ObjectReference) {
	set := &appsv1.ReplicaSet{}
	if e.q.object(ref, set) != present {
		return
	}
	said := fmt.Sprintf("revision %d; %d replicas are wanted, %d are ready", number(set), replicas(set.Spec.Replicas), set.Status.ReadyReplicas)
	for _, condition := range set.Status.Conditions {
		said += fmt.Sprintf("; %s=%s %s: %s", condition.Type, condition.Status, condition.Reason, sentence(condition.Message))
	}
	e.q.note(opsv1alpha1.ToolObject, name(ref), said+e.belongs(set))
}

// replicas are those that are wanted, by the default of apps/v1.
func replicas(wanted *int32) int32 {
	if wanted == nil {
		return 1
	}
	return *wanted
}

func (e *Exploration) custom(ref v1alpha1.ObjectReference) {
	object, is := e.q.custom(ref)
	if is != present {
		return
	}
	said := conditions(object)
	if issuer, known := issuerOf(object); known {
		e.add(issuer, "")
		said += "; names " + name(issuer)
	}
	for _, named := range storesOf(object) {
		e.add(named, "")
		said += "; names " + name(named)
	}
	hosts, _, _ := unstructured.NestedStringSlice(object.Object, "spec", "dnsNames")
	for _, host := range hosts {
		e.addHost(host)
	}
	e.q.note(opsv1alpha1.ToolObject, name(ref), said+e.belongs(object))
}

// controls are the kinds whose objects those of another one control.
var controls = map[string]schema.GroupVersionKind{
	"Certificate.cert-manager.io":        schema.FromAPIVersionAndKind(certManagerV1, "CertificateRequest"),
	"CertificateRequest.cert-manager.io": schema.FromAPIVersionAndKind(acmeV1, "Order"),
	"Order.acme.cert-manager.io":         schema.FromAPIVersionAndKind(acmeV1, "Challenge"),
}

// listControlled tells how the newest objects stand that an object controls.
func (e *Exploration) listControlled(ref v1alpha1.ObjectReference) {
	by := &unstructured.Unstructured{}
	if ref.UID == "" { // a finding or a source does not name all of its objects by UID
		object, is := e.q.custom(ref)
		if is != present {
			return
		}
		by = object
	} else {
		by.SetAPIVersion(ref.APIVersion)
		by.SetKind(ref.Kind)
		by.SetNamespace(ref.Namespace)
		by.SetName(ref.Name)
		by.SetUID(ref.UID)
	}
	kind := controls[groupKind(ref)]
	version, is := kind.ToAPIVersionAndKind()
	noted := len(e.q.evidence)
	all := e.q.controlled(version, is, by)
	if len(e.q.evidence) > noted {
		return // why they could not be read
	}
	var said []string
	for _, object := range all[:min(len(all), mostControlled)] {
		e.add(reference(object), "")
		text := conditions(object)
		if host := inputs.TextAt(object, "spec", "dnsName"); host != "" {
			e.addHost(host)
			text = "for " + host
		}
		if state := inputs.TextAt(object, "status", "state"); state != "" {
			text = strings.TrimPrefix(text+", state "+state+": "+cmp.Or(inputs.TextAt(object, "status", "reason"), "no reason"), "has no conditions, ")
		}
		said = append(said, name(reference(object))+" "+text)
	}
	e.q.note(opsv1alpha1.ToolObject, is+"s of "+name(ref), cmp.Or(strings.Join(said, "; "), "there are none"))
}

// log reads the end of a log. A Service that it names, of the pod's own namespace, can
// be read from then on.
func (e *Exploration) log(of Target, previous bool) {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: of.Object.Namespace, Name: of.Object.Name}}
	all := e.q.log(pod, of.Container, previous)
	for _, text := range all[max(0, len(all)-mostLines):] {
		if service, names := serviceIn(text, pod.Namespace); names {
			e.add(v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: pod.Namespace, Name: service}, "")
		}
	}
}

func (e *Exploration) rollout(of Target) {
	source := name(of.Object) + " container " + of.Container
	pod := &corev1.Pod{}
	if e.q.object(of.Object, pod) != present {
		return
	}
	noted := len(e.q.evidence)
	text := e.q.rollout(pod, of.Container)
	if text == "" && len(e.q.evidence) > noted {
		return // why it could not be read
	}
	e.q.note(opsv1alpha1.ToolObject, source, cmp.Or(text, "came with no rollout that began shortly before the trouble and changed it"))
}
