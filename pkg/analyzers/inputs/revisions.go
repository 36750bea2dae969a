// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	"github.com/distribution/reference"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/srenix/srenix/pkg/live"
)

// ControllerRevisions of StatefulSets, with a digest of each part of their template
// in place of the template: PartOf reads it. Of those of DaemonSets nobody asks.
var ControllerRevisions = live.NewInput(appsv1.SchemeGroupVersion.WithResource("controllerrevisions"), live.InputOptions[*appsv1.ControllerRevision]{
	Trim: func(in *appsv1.ControllerRevision) *appsv1.ControllerRevision {
		trimMeta(&in.ObjectMeta)
		in.Labels, in.Annotations = nil, nil // those of the set
		in.Data = runtime.RawExtension{Raw: digestsOf(in)}
		return in
	},
})

// TemplatePart is a part of a pod template on which a trouble of its pods can hang.
type TemplatePart string

// Parts of a container, of which there is one for each.
const (
	// PartImage is the image.
	PartImage TemplatePart = "image"
	// PartRepository is the image without tag and digest.
	PartRepository TemplatePart = "repository"
	// PartRegistry is where the image is pulled from.
	PartRegistry TemplatePart = "registry"
	// PartPullPolicy is when the image is pulled.
	PartPullPolicy TemplatePart = "pullPolicy"
)

// Parts of a template as a whole.
const (
	// PartPullSecrets is as whom images are pulled.
	PartPullSecrets TemplatePart = "pullSecrets"
	// PartScheduling is what rules out nodes, and who chooses among them, but for what
	// the other parts are about.
	PartScheduling TemplatePart = "scheduling"
	// PartResources is what the containers ask for.
	PartResources TemplatePart = "resources"
	// PartHostPorts are the ports of the node that the containers ask for.
	PartHostPorts TemplatePart = "hostPorts"
	// PartStorage are the volumes of a storage system or a node.
	PartStorage TemplatePart = "storage"
	// PartContent are the volumes that show objects of the API.
	PartContent TemplatePart = "content"
	// PartConfiguration is PartContent, and the environment and the mounts of containers.
	PartConfiguration TemplatePart = "configuration"
	// PartSecurity is as whom and with which rights containers run.
	PartSecurity TemplatePart = "security"
	// PartSandbox is what the runtime and the network need to know of a pod.
	PartSandbox TemplatePart = "sandbox"
	// PartRun is all that containers run with: the whole, but for what chooses the
	// node and pulls images.
	PartRun TemplatePart = "run"
)

// OfContainer tells whether each container has a part of its own.
func (p TemplatePart) OfContainer() bool {
	return slices.Contains([]TemplatePart{PartImage, PartRepository, PartRegistry, PartPullPolicy}, p)
}

// PartOf returns a digest of a part of the template of one of ControllerRevisions.
// Parts of the template as a whole have no container. It is not known of a container
// that the template does not have, and of a name that is none of an image.
func PartOf(revision *appsv1.ControllerRevision, part TemplatePart, container string) (digest string, known bool) {
	var digests map[string]string
	if json.Unmarshal(revision.Data.Raw, &digests) != nil {
		return "", false
	}
	digest, known = digests[partKey(part, container)]
	return digest, known
}

func partKey(part TemplatePart, container string) string {
	if container == "" {
		return string(part)
	}
	return string(part) + "/" + container
}

// digestsOf returns the digests of the template that a StatefulSet keeps in a revision
// (k8s.io/kubernetes, pkg/controller/statefulset), by partKey; nil of others.
func digestsOf(in *appsv1.ControllerRevision) []byte {
	if owner := metav1.GetControllerOfNoCopy(in); owner == nil || owner.Kind != "StatefulSet" {
		return nil
	}
	var kept struct {
		Spec struct{ Template *corev1.PodTemplateSpec }
	}
	if json.Unmarshal(in.Data.Raw, &kept) != nil || kept.Spec.Template == nil {
		return nil
	}
	digests := map[string]string{}
	for key, part := range partsOf(&kept.Spec.Template.Spec) {
		text, err := json.Marshal(part)
		if err != nil {
			return nil // a template that came as JSON goes as JSON
		}
		sum := sha256.Sum256(text)
		digests[key] = hex.EncodeToString(sum[:8])
	}
	text, err := json.Marshal(digests)
	if err != nil {
		return nil
	}
	return text
}

// partsOf returns what belongs to each part of a template, by partKey.
func partsOf(spec *corev1.PodSpec) map[string]any {
	parts := map[string]any{
		string(PartPullSecrets): []any{spec.ImagePullSecrets, spec.ServiceAccountName},
		string(PartScheduling): []any{
			spec.NodeName, spec.NodeSelector, spec.Affinity, spec.Tolerations, spec.TopologySpreadConstraints, spec.SchedulerName,
			spec.PriorityClassName, spec.RuntimeClassName, spec.OS, spec.SchedulingGates,
		},
	}
	var content, storage []corev1.Volume
	for _, volume := range spec.Volumes {
		switch {
		case volume.ConfigMap != nil, volume.Secret != nil, volume.Projected != nil, volume.DownwardAPI != nil:
			content = append(content, volume)
		case volume.EmptyDir == nil:
			storage = append(storage, volume)
		}
	}
	parts[string(PartContent)], parts[string(PartStorage)] = content, storage
	resources, ports := []any{spec.Resources, spec.ResourceClaims, spec.Overhead}, []any{spec.HostNetwork}
	configuration, security := []any{content}, []any{spec.SecurityContext, spec.HostUsers}
	for _, c := range slices.Concat(spec.InitContainers, spec.Containers) {
		parts[partKey(PartImage, c.Name)], parts[partKey(PartPullPolicy, c.Name)] = c.Image, c.ImagePullPolicy
		if named, err := reference.ParseNormalizedNamed(c.Image); err == nil {
			parts[partKey(PartRepository, c.Name)], parts[partKey(PartRegistry, c.Name)] = named.Name(), reference.Domain(named)
		}
		resources = append(resources, c.Resources)
		configuration = append(configuration, c.Name, c.Env, c.EnvFrom, c.VolumeMounts)
		security = append(security, c.Name, c.SecurityContext)
		for _, port := range c.Ports {
			if port.HostPort != 0 || spec.HostNetwork {
				ports = append(ports, []any{port.HostIP, port.HostPort, port.ContainerPort, port.Protocol})
			}
		}
	}
	parts[string(PartResources)], parts[string(PartHostPorts)] = resources, ports
	parts[string(PartConfiguration)], parts[string(PartSecurity)] = configuration, security
	parts[string(PartSandbox)] = []any{
		spec.RuntimeClassName, spec.OS, spec.HostNetwork, spec.HostPID, spec.HostIPC, spec.HostUsers, spec.ShareProcessNamespace, spec.SecurityContext,
		spec.DNSPolicy, spec.DNSConfig, spec.HostAliases, spec.Hostname, spec.Subdomain, spec.SetHostnameAsFQDN,
	}
	parts[string(PartRun)] = run(spec)
	return parts
}

func run(spec *corev1.PodSpec) *corev1.PodSpec {
	out := spec.DeepCopy()
	out.NodeName, out.NodeSelector, out.Affinity, out.Tolerations, out.TopologySpreadConstraints = "", nil, nil, nil, nil
	out.SchedulerName, out.PriorityClassName, out.Priority, out.PreemptionPolicy, out.SchedulingGates = "", "", nil, nil, nil
	out.ImagePullSecrets, out.TerminationGracePeriodSeconds = nil, nil
	for _, containers := range [][]corev1.Container{out.InitContainers, out.Containers} {
		for i := range containers {
			containers[i].ImagePullPolicy = ""
		}
	}
	return out
}
