// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package proposals

import (
	"encoding/json"
	"maps"
	"slices"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	testingclock "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/crashloop"
	"github.com/srenix/srenix/pkg/analyzers/failedmounts"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/pendingpods"
	"github.com/srenix/srenix/pkg/analyzers/secretkeymissing"
	"github.com/srenix/srenix/pkg/analyzers/stuckrollout"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// setBack is a StatefulSet that was set back to its revision a while its pod db-1, of
// revision b, has not become Ready.
type setBack struct {
	set       *appsv1.StatefulSet
	zero, one *corev1.Pod
	node      *corev1.Node
	event     *corev1.Event
	// revisions are a, as the set's template is, and b, which db-1 was made of.
	revisions []*appsv1.ControllerRevision
}

// templateOf is the template of db-1, before what is the trouble is changed in it.
func templateOf() *corev1.PodTemplateSpec {
	return &corev1.PodTemplateSpec{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{"app": "db"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example/db:1"}}},
	}
}

func revisionOf(t *testing.T, name string, template *corev1.PodTemplateSpec) *appsv1.ControllerRevision {
	t.Helper()
	data, err := json.Marshal(map[string]any{"spec": map[string]any{"template": template}})
	if err != nil {
		t.Fatal(err)
	}
	return &appsv1.ControllerRevision{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, UID: types.UID("revision-" + name),
			OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "db", Controller: ptr.To(true)}},
		},
		Data: runtime.RawExtension{Raw: data},
	}
}

// changed has db-1 of a template that was changed since in all of some parts.
func (w *setBack) changed(t *testing.T, parts ...inputs.TemplatePart) {
	t.Helper()
	was := templateOf()
	for _, part := range parts {
		changes[part](&was.Spec)
	}
	w.revisions = []*appsv1.ControllerRevision{revisionOf(t, "a", &w.set.Spec.Template), revisionOf(t, "b", was)}
}

// keepsBack has a partition keep all pods at a revision that is not the newest.
func (w *setBack) keepsBack(revision string) {
	w.set.Spec.UpdateStrategy.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: ptr.To(int32(2))}
	w.set.Status.CurrentRevision = revision
}

// changes are one for each part.
var changes = map[inputs.TemplatePart]func(*corev1.PodSpec){
	inputs.PartImage:      func(spec *corev1.PodSpec) { spec.Containers[0].Image = "example/db:2" },
	inputs.PartRepository: func(spec *corev1.PodSpec) { spec.Containers[0].Image = "example/of:2" },
	inputs.PartRegistry:   func(spec *corev1.PodSpec) { spec.Containers[0].Image = "registry.example.com/example/db:1" },
	inputs.PartPullPolicy: func(spec *corev1.PodSpec) { spec.Containers[0].ImagePullPolicy = corev1.PullNever },
	inputs.PartPullSecrets: func(spec *corev1.PodSpec) {
		spec.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "old"}}
	},
	inputs.PartScheduling: func(spec *corev1.PodSpec) { spec.NodeSelector = map[string]string{"disk": "none"} },
	inputs.PartResources: func(spec *corev1.PodSpec) {
		spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("1000")}
	},
	inputs.PartHostPorts: func(spec *corev1.PodSpec) {
		spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}}
	},
	inputs.PartStorage: func(spec *corev1.PodSpec) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "data", VolumeSource: corev1.VolumeSource{NFS: &corev1.NFSVolumeSource{Server: "nobody"}}})
	},
	inputs.PartContent: func(spec *corev1.PodSpec) {
		spec.Volumes = append(spec.Volumes, corev1.Volume{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
		}}})
	},
	inputs.PartConfiguration: func(spec *corev1.PodSpec) {
		spec.Containers[0].Env = []corev1.EnvVar{{Name: "MODE", Value: "none"}}
	},
	inputs.PartSecurity: func(spec *corev1.PodSpec) {
		spec.Containers[0].SecurityContext = &corev1.SecurityContext{RunAsNonRoot: ptr.To(true)}
	},
	inputs.PartSandbox: func(spec *corev1.PodSpec) { spec.HostAliases = []corev1.HostAlias{{IP: "10.0.0.1"}} },
	inputs.PartRun:     func(spec *corev1.PodSpec) { spec.Containers[0].Command = []string{"none"} },
}

func newSetBack() *setBack {
	labels := map[string]string{"app": "db"}
	pod := func(name, revision string, ready corev1.ConditionStatus) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "shop", Name: name, UID: types.UID("uid-" + name), CreationTimestamp: metav1.NewTime(now.Add(-2 * time.Hour)),
				Labels:          map[string]string{"app": "db", appsv1.ControllerRevisionHashLabelKey: revision},
				OwnerReferences: []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "StatefulSet", Name: "db", UID: "db", Controller: ptr.To(true)}},
			},
			Spec: corev1.PodSpec{NodeName: "node-1", Containers: []corev1.Container{{Name: "app", Image: "example/db:1"}}},
			Status: corev1.PodStatus{
				Phase: corev1.PodRunning, StartTime: ptr.To(metav1.NewTime(now.Add(-2 * time.Hour))),
				Conditions: []corev1.PodCondition{
					{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour))},
					{Type: corev1.PodReady, Status: ready, LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour))},
				},
			},
		}
	}
	return &setBack{
		set: &appsv1.StatefulSet{
			ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db", UID: "db", Generation: 3},
			Spec: appsv1.StatefulSetSpec{
				Replicas: ptr.To(int32(2)), Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{
					ObjectMeta: metav1.ObjectMeta{Labels: labels},
					Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example/db:1"}}},
				},
			},
			Status: appsv1.StatefulSetStatus{
				ObservedGeneration: 3, Replicas: 2, ReadyReplicas: 1, CurrentReplicas: 1, UpdatedReplicas: 1, CurrentRevision: "a", UpdateRevision: "a",
			},
		},
		zero: pod("db-0", "a", corev1.ConditionTrue),
		one:  pod("db-1", "b", corev1.ConditionFalse),
		node: &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "node-1", UID: "node"}, Status: corev1.NodeStatus{
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now.Add(-24 * time.Hour))}},
		}},
	}
}

// waits has a container of the pod wait.
func (w *setBack) waits(reason, message string) {
	w.one.Status.Phase = corev1.PodPending
	w.one.Status.ContainerStatuses = []corev1.ContainerStatus{{
		Name: "app", Image: "example/db:2", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason, Message: message}},
	}}
}

// noNode has the scheduler say why there is none for the pod.
func (w *setBack) noNode(message string) {
	w.one.Status.Phase, w.one.Spec.NodeName, w.one.Status.StartTime = corev1.PodPending, "", nil
	w.one.Status.Conditions = []corev1.PodCondition{{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: corev1.PodReasonUnschedulable, Message: message,
		LastTransitionTime: metav1.NewTime(now.Add(-2 * time.Hour)),
	}}
}

// told has the pod wait for its volumes, and an Event say why.
func (w *setBack) told(reason, message string) {
	w.waits("ContainerCreating", "")
	w.event = &corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", Name: "db-1.1", UID: "e"}, Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		InvolvedObject: corev1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: "shop", Name: "db-1", UID: "uid-db-1"},
		LastTimestamp:  metav1.NewTime(now.Add(16 * time.Minute)),
	}
}

// proposed are the deletions that are proposed once all graces have passed, by the
// reason of their finding; empty for a finding without.
func (w *setBack) proposed(t *testing.T) map[string]string {
	t.Helper()
	objects := []live.Object{
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", UID: "ns"}}, w.set, w.zero, w.one, w.node,
	}
	for _, revision := range w.revisions {
		objects = append(objects, revision)
	}
	if w.event != nil {
		objects = append(objects, w.event)
	}
	clock := testingclock.NewFakeClock(now)
	engine := newEngineOfAll(t, clock, nil)
	livetest.Run(t, engine, analyzertest.Cluster(t, objects))
	livetest.Eventually(t, "everything is evaluated", engine.Settled)
	clock.Step(16 * time.Minute)
	livetest.Eventually(t, "everything is evaluated again", engine.Settled)
	have := map[string]string{}
	for _, finding := range live.List(engine, Findings) {
		have[finding.Spec.Reason] = ""
		for _, proposal := range live.List(engine, Proposals) {
			if proposal.Spec.Finding.UID == finding.UID {
				have[finding.Spec.Reason] += described(t, proposal)
			}
		}
	}
	return have
}

// outdatedPods are ways for a pod not to become Ready, by the reason that tells of them.
var outdatedPods = map[string]func(*setBack){
	imagepull.AuthenticationFailed: func(w *setBack) { w.waits("ErrImagePull", "401 Unauthorized") },
	imagepull.NotFound:             func(w *setBack) { w.waits("ErrImagePull", "manifest unknown") },
	imagepull.RegistryUnreachable:  func(w *setBack) { w.waits("ErrImagePull", "dial tcp: i/o timeout") },
	imagepull.RateLimited:          func(w *setBack) { w.waits("ErrImagePull", "toomanyrequests") },
	imagepull.NameInvalid:          func(w *setBack) { w.waits("InvalidImageName", "") },
	imagepull.NeverPulled:          func(w *setBack) { w.waits("ErrImageNeverPull", "") },
	imagepull.PullFailed:           func(w *setBack) { w.waits("ImageInspectError", "") },
	secretkeymissing.KeyMissing: func(w *setBack) {
		w.waits("CreateContainerConfigError", "couldn't find key mode in ConfigMap shop/settings")
	},
	secretkeymissing.ObjectMissing: func(w *setBack) { w.waits("CreateContainerConfigError", `secret "login" not found`) },
	secretkeymissing.ContainerConfigError: func(w *setBack) {
		w.waits("CreateContainerConfigError", "container has runAsNonRoot and image will run as root")
	},
	pendingpods.InsufficientResources: func(w *setBack) { w.noNode("0/5 nodes are available: 5 Insufficient cpu.") },
	pendingpods.UntoleratedTaints:     func(w *setBack) { w.noNode("0/5 nodes are available: 5 node(s) had untolerated taint {a: b}.") },
	pendingpods.AffinityUnsatisfied: func(w *setBack) {
		w.noNode("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector.")
	},
	pendingpods.VolumeUnavailable: func(w *setBack) { w.noNode("0/5 nodes are available: 5 node(s) had volume node affinity conflict.") },
	pendingpods.PortsTaken: func(w *setBack) {
		w.noNode("0/5 nodes are available: 5 node(s) didn't have free ports for the requested pod ports.")
	},
	pendingpods.Unschedulable: func(w *setBack) { w.noNode("none") },
	failedmounts.VolumeContentMissing: func(w *setBack) {
		w.told("FailedMount", `MountVolume.SetUp failed for volume "c" : configmap "settings" not found`)
	},
	failedmounts.VolumeInUse: func(w *setBack) {
		w.told("FailedAttachVolume", `Multi-Attach error for volume "c" Volume is already used by pod(s) x`)
	},
	failedmounts.VolumeAttachFailed: func(w *setBack) { w.told("FailedAttachVolume", `AttachVolume.Attach failed for volume "c" : no`) },
	failedmounts.VolumeMountFailed:  func(w *setBack) { w.told("FailedMount", `MountVolume.MountDevice failed for volume "c" : no`) },
	failedmounts.SandboxFailed:      func(w *setBack) { w.told("FailedCreatePodSandBox", "Failed to create pod sandbox: no") },
	crashloop.NotCreated:            func(w *setBack) { w.waits("CreateContainerError", "no command specified") },
	crashloop.Crashing: func(w *setBack) {
		w.waits("CrashLoopBackOff", "")
		w.one.Status.Phase = corev1.PodRunning
	},
	stuckrollout.Stuck: func(*setBack) {}, // it runs, and is not Ready
}

// helps are the changes of the template that each reason can come from.
var helps = map[string][]inputs.TemplatePart{
	imagepull.AuthenticationFailed:        {inputs.PartRepository, inputs.PartRegistry, inputs.PartPullSecrets},
	imagepull.NotFound:                    {inputs.PartImage, inputs.PartRepository, inputs.PartRegistry},
	imagepull.RegistryUnreachable:         {inputs.PartRegistry},
	imagepull.RateLimited:                 {inputs.PartRegistry, inputs.PartPullSecrets},
	imagepull.NameInvalid:                 {inputs.PartImage, inputs.PartRepository, inputs.PartRegistry},
	imagepull.NeverPulled:                 {inputs.PartImage, inputs.PartRepository, inputs.PartRegistry, inputs.PartPullPolicy},
	imagepull.PullFailed:                  {inputs.PartImage, inputs.PartRepository, inputs.PartRegistry},
	secretkeymissing.KeyMissing:           {inputs.PartConfiguration, inputs.PartContent},
	secretkeymissing.ObjectMissing:        {inputs.PartConfiguration, inputs.PartContent},
	secretkeymissing.ContainerConfigError: {inputs.PartImage, inputs.PartRepository, inputs.PartRegistry, inputs.PartConfiguration, inputs.PartContent, inputs.PartSecurity},
	pendingpods.InsufficientResources:     {inputs.PartResources, inputs.PartScheduling},
	pendingpods.UntoleratedTaints:         {inputs.PartScheduling},
	pendingpods.AffinityUnsatisfied:       {inputs.PartScheduling},
	pendingpods.VolumeUnavailable:         {inputs.PartStorage, inputs.PartScheduling},
	pendingpods.PortsTaken:                {inputs.PartHostPorts, inputs.PartScheduling},
	pendingpods.Unschedulable:             {inputs.PartScheduling},
	failedmounts.VolumeContentMissing:     {inputs.PartContent},
	failedmounts.VolumeInUse:              {inputs.PartStorage},
	failedmounts.VolumeAttachFailed:       {inputs.PartStorage},
	failedmounts.VolumeMountFailed:        {inputs.PartStorage},
	failedmounts.SandboxFailed:            {inputs.PartSandbox},
	crashloop.NotCreated:                  allOfRun,
	crashloop.Crashing:                    allOfRun,
	stuckrollout.Stuck:                    allOfRun,
}

// allOfRun are all but what chooses the node and pulls images.
var allOfRun = []inputs.TemplatePart{
	inputs.PartImage, inputs.PartRepository, inputs.PartRegistry, inputs.PartResources, inputs.PartHostPorts, inputs.PartStorage, inputs.PartContent,
	inputs.PartConfiguration, inputs.PartSecurity, inputs.PartSandbox, inputs.PartRun,
}

// Whatever keeps a pod of a revision that was set back from becoming Ready, only to
// delete it helps, if what keeps it was changed with that. If all else was changed, it
// does not, nor can anybody tell where the revisions are not there.
func TestAPodThatItsStatefulSetKeepsIsDeleted(t *testing.T) {
	for key, reasons := range keepsFromStarting {
		for reason := range reasons {
			if outdatedPods[reason] == nil {
				t.Errorf("no pod is kept for %s of %s", reason, key)
			}
		}
	}
	all := slices.Collect(maps.Keys(changes))
	for reason, broken := range outdatedPods {
		proposed := func(t *testing.T, parts ...inputs.TemplatePart) string {
			t.Helper()
			w := newSetBack()
			broken(w)
			if len(parts) > 0 {
				w.changed(t, parts...)
			}
			have, found := w.proposed(t)[reason]
			if !found {
				t.Errorf("%s is not found", reason)
			}
			return have
		}
		t.Run(reason, func(t *testing.T) {
			for _, part := range helps[reason] {
				if have := proposed(t, part); have != "DeletePod Pod/db-1" {
					t.Errorf("proposed %q where %s was changed", have, part)
				}
			}
			others := slices.DeleteFunc(slices.Clone(all), func(part inputs.TemplatePart) bool { return slices.Contains(helps[reason], part) })
			if have := proposed(t, others...); have != "" {
				t.Errorf("proposed %q where %v were changed", have, others)
			}
			if have := proposed(t); have != "" {
				t.Errorf("proposed %q where no revision is kept", have)
			}
		})
	}
}

// Where the next pod would be the same, or the controller replaces it by itself, or
// nobody would, nothing is proposed.
func TestAPodThatDeletingDoesNotHelpStays(t *testing.T) {
	container := func(w *setBack) *corev1.Container { return &w.set.Spec.Template.Spec.Containers[0] }
	for name, test := range map[string]struct {
		reason string
		as     func(*setBack)
	}{
		"nobody tells what a revision before the newest asks for": {secretkeymissing.KeyMissing, func(w *setBack) {
			before := w.revisions[0].DeepCopy()
			before.Name, before.UID = "c", "revision-c"
			w.revisions = append(w.revisions, before)
			w.keepsBack("c")
		}},
		"its revision is of another set":      {imagepull.NotFound, func(w *setBack) { w.revisions[1].OwnerReferences[0].UID = "other" }},
		"the present one is not kept":         {imagepull.NotFound, func(w *setBack) { w.revisions = w.revisions[1:] }},
		"it is of the present revision":       {imagepull.NotFound, func(w *setBack) { w.one.Labels[appsv1.ControllerRevisionHashLabelKey] = "a" }},
		"nobody says of which revision it is": {imagepull.NotFound, func(w *setBack) { w.one.Labels = nil }},
		"another container waits for an image as before": {secretkeymissing.KeyMissing, func(w *setBack) {
			w.one.Status.InitContainerStatuses = []corev1.ContainerStatus{{
				Name: "app", Image: "example/db:1", State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: "ErrImagePull"}},
			}}
		}},
		"the controller waits for no pod":   {imagepull.NotFound, func(w *setBack) { w.set.Spec.PodManagementPolicy = appsv1.ParallelPodManagement }},
		"the controller recreates all pods": {imagepull.NotFound, func(w *setBack) { w.set.Spec.UpdateStrategy.Type = "Recreate" }},
		"the change is not observed":        {imagepull.NotFound, func(w *setBack) { w.set.Generation = 4 }},
		"the partition keeps it at its own revision": {imagepull.NotFound, func(w *setBack) {
			w.keepsBack("b")
		}},
		"the template names the key too": {secretkeymissing.KeyMissing, func(w *setBack) {
			container(w).Env = []corev1.EnvVar{{Name: "MODE", ValueFrom: &corev1.EnvVarSource{ConfigMapKeyRef: &corev1.ConfigMapKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"}, Key: "mode",
			}}}}
		}},
		"the template names the Secret too": {secretkeymissing.ObjectMissing, func(w *setBack) {
			container(w).EnvFrom = []corev1.EnvFromSource{{SecretRef: &corev1.SecretEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "login"}}}}
		}},
		"a volume of the template names the ConfigMap too": {failedmounts.VolumeContentMissing, func(w *setBack) {
			w.set.Spec.Template.Spec.Volumes = []corev1.Volume{{Name: "c", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
				LocalObjectReference: corev1.LocalObjectReference{Name: "settings"},
			}}}}
		}},
		"somebody replaces its pods by hand": {imagepull.NotFound, func(w *setBack) { w.set.Spec.UpdateStrategy.Type = appsv1.OnDeleteStatefulSetStrategyType }},
		"its node is away":                   {stuckrollout.Stuck, func(w *setBack) { w.node.Status.Conditions[0].Status = corev1.ConditionUnknown }},
	} {
		t.Run(name, func(t *testing.T) {
			w := newSetBack()
			outdatedPods[test.reason](w)
			w.changed(t, helps[test.reason]...)
			if have := w.proposed(t); have[test.reason] == "" {
				t.Fatalf("nothing is proposed though nothing stands against it: %v", have)
			}
			test.as(w)
			have, found := w.proposed(t), false
			for reason, proposed := range have {
				found = found || reason == test.reason
				if proposed != "" {
					t.Errorf("proposed %s for %s", proposed, reason)
				}
			}
			if !found {
				t.Errorf("found %v, want %s", have, test.reason)
			}
		})
	}
}

// Below a partition a pod is made of the revision before the newest.
func TestAPodBelowAPartitionIsMadeOfTheCurrentRevision(t *testing.T) {
	for image, want := range map[string]string{"example/db:1": "DeletePod Pod/db-1", "example/db:2": ""} {
		w := newSetBack()
		outdatedPods[imagepull.NotFound](w)
		w.set.Spec.Template.Spec.Containers[0].Image = "example/db:3"
		w.changed(t, inputs.PartImage)
		current := templateOf()
		current.Spec.Containers[0].Image = image
		w.revisions = append(w.revisions, revisionOf(t, "c", current))
		w.keepsBack("c")
		have, found := w.proposed(t)[imagepull.NotFound]
		if !found || have != want {
			t.Errorf("where the current revision has %s, proposed %q, want %q (found: %t)", image, have, want, found)
		}
	}
}
