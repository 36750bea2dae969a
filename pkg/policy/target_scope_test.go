// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestTargetScopeDenies(t *testing.T) {
	const restart, tls = v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS
	operation := func(i int, change func(*v1alpha1.JSONPatchOperation)) func(*Input) {
		return func(in *Input) { change(&in.Proposal.Spec.Patch.JSONPatch[i]) }
	}
	deployment := func(in *Input) *appsv1.Deployment { return in.DryRun.(*appsv1.Deployment) }
	gone := []Layer{TargetScope, GitOpsManaged}
	runDenials(t, TargetScope, map[string]denial{
		"another kind of object":  {spoil: func(in *Input) { in.Proposal.Spec.Target.Kind = "Node" }, words: "Node"},
		"another version":         {spoil: func(in *Input) { in.Proposal.Spec.Target.APIVersion = "v2" }, words: "v2"},
		"no UID":                  {spoil: func(in *Input) { in.Proposal.Spec.Target.UID = "" }, words: "UID", layers: []Layer{TargetScope, SignedToken}},
		"no name":                 {spoil: func(in *Input) { in.Proposal.Spec.Target.Name = "" }, words: "name"},
		"a target elsewhere":      {spoil: func(in *Input) { in.Proposal.Spec.Target.Namespace = "bank" }, words: "bank", layers: []Layer{TargetScope, NamespaceProtection}},
		"a target that is gone":   {spoil: func(in *Input) { in.Target = nil }, words: "does not exist any more", layers: gone},
		"a target made anew":      {spoil: func(in *Input) { in.Target.(*corev1.Pod).UID = "another" }, words: "another object of the same name"},
		"another object was read": {spoil: func(in *Input) { in.Target.(*corev1.Pod).Name = "db" }, words: "shop/db"},
		"another type was read":   {spoil: func(in *Input) { in.Target = target(v1alpha1.ActionDeleteJob) }, words: "*v1.Job"},
		"another custom resource": {
			kind:  v1alpha1.ActionDeleteCertificateRequest,
			spoil: func(in *Input) { in.Target.(*unstructured.Unstructured).SetKind("Certificate") }, words: "CertificateRequest",
		},
		"a patch on a delete":  {spoil: func(in *Input) { in.Proposal.Spec.Patch = &v1alpha1.Patch{} }, words: "takes no patch"},
		"a patch on a runbook": {kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.Proposal.Spec.Patch = &v1alpha1.Patch{} }, words: "runbook changes nothing"},

		"restart without a patch": {kind: restart, spoil: func(in *Input) { in.Proposal.Spec.Patch = nil }, words: "needs a patch"},
		"another annotation":      {kind: restart, spoil: func(in *Input) { in.Proposal.Spec.Patch.SetAnnotation.Name = "a/b" }, words: `"a/b"`},
		"restart with a JSON patch": {
			kind: restart, words: "nothing else",
			spoil: func(in *Input) {
				in.Proposal.Spec.Patch.JSONPatch = []v1alpha1.JSONPatchOperation{{Op: "replace", Path: "/spec/replicas", Value: "0"}}
			},
		},
		"a paused Deployment": {kind: restart, spoil: func(in *Input) { in.Target.(*appsv1.Deployment).Spec.Paused = true }, words: "kubectl rollout resume deployment/web -n shop"},
		"no dry run":          {kind: restart, stage: StageExecution, spoil: func(in *Input) { in.DryRun = nil }, words: "no dry run"},
		"dry run of another":  {kind: restart, stage: StageExecution, spoil: func(in *Input) { deployment(in).UID = "x" }, words: "same name"},
		"dry run changes the image": {
			kind: restart, stage: StageExecution, words: "/spec/template/spec/containers/0/image",
			spoil: func(in *Input) { deployment(in).Spec.Template.Spec.Containers[0].Image = "evil" },
		},
		"dry run adds a container": {
			kind: restart, stage: StageExecution, words: "/spec/template/spec/containers",
			spoil: func(in *Input) {
				spec := &deployment(in).Spec.Template.Spec
				spec.Containers = append(spec.Containers, corev1.Container{Name: "more"})
			},
		},
		"dry run changes replicas": {
			kind: restart, stage: StageExecution, words: "/spec/replicas",
			spoil: func(in *Input) { deployment(in).Spec.Replicas = ptr.To(int32(0)) },
		},
		"dry run sets another annotation": {
			kind: restart, stage: StageExecution, words: "/spec/template/metadata/annotations/a~1b",
			spoil: func(in *Input) { deployment(in).Spec.Template.Annotations["a/b"] = "c" },
		},
		"dry run sets the annotation elsewhere": {
			kind: restart, stage: StageExecution, words: "/metadata/annotations/kubectl.kubernetes.io~1restartedAt",
			spoil: func(in *Input) { deployment(in).Annotations = map[string]string{RestartedAtAnnotation: "now"} },
		},
		"dry run adds a finalizer": {
			kind: restart, stage: StageExecution, words: "/metadata/finalizers",
			spoil: func(in *Input) { deployment(in).Finalizers = []string{"x/y"} },
		},
		"dry run writes another time": {
			kind: restart, stage: StageExecution, words: "was approved",
			spoil: func(in *Input) {
				deployment(in).Spec.Template.Annotations[RestartedAtAnnotation] = start.Add(time.Hour).Format(time.RFC3339)
			},
		},
		"dry run writes nothing": {
			kind: restart, stage: StageExecution, words: "was approved",
			spoil: func(in *Input) { in.DryRun = in.Target.DeepCopyObject() },
		},

		"TLS: another operation":        {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Op = "add" }), words: "one test and one replace"},
		"TLS: no test":                  {kind: tls, spoil: func(in *Input) { in.Proposal.Spec.Patch.JSONPatch = in.Proposal.Spec.Patch.JSONPatch[1:] }, words: "one test and one replace"},
		"TLS: test elsewhere":           {kind: tls, spoil: operation(0, func(o *v1alpha1.JSONPatchOperation) { o.Path = "/spec/tls/0/secretName" }), words: "same"},
		"TLS: another path":             {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Path = "/spec/rules/0/host" }), words: "same"},
		"TLS: index with a zero":        {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/01/secretName") }, words: "same"},
		"TLS: append":                   {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/-/secretName") }, words: "same"},
		"TLS: no such entry":            {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/7/secretName") }, words: "no TLS entry 7"},
		"TLS: a name that is none":      {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Value = "../x" }), words: "name"},
		"TLS: nothing changes":          {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Value = "old-tls" }), words: "changes nothing"},
		"TLS: the entry changed":        {kind: tls, spoil: func(in *Input) { in.Target.(*networkingv1.Ingress).Spec.TLS[1].SecretName = "b-tls" }, words: `"b-tls" now`},
		"TLS: an entry without hosts":   {kind: tls, spoil: func(in *Input) { in.Target.(*networkingv1.Ingress).Spec.TLS[1].Hosts = nil }, words: "no hosts"},
		"TLS: no Certificate":           {kind: tls, spoil: func(in *Input) { in.Certificates = nil }, words: "no Ready Certificate"},
		"TLS: Certificate is not Ready": {kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("new-tls", "False", "*.example.com") }, words: "no Ready Certificate"},
		"TLS: Certificate for another Secret": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("c-tls", "True", "*.example.com") }, words: "no Ready Certificate",
		},
		"TLS: Certificate for another host": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("new-tls", "True", "example.com", "*.b.example.com") }, words: "no Ready Certificate",
		},
		"TLS: Certificate in another namespace": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0].SetNamespace("bank") }, words: "no Ready Certificate",
		},
		"TLS: dry run changes another entry": {
			kind: tls, stage: StageExecution, words: "/spec/tls/0/secretName",
			spoil: func(in *Input) { in.DryRun.(*networkingv1.Ingress).Spec.TLS[0].SecretName = "x" },
		},
	})
}

func setPaths(in *Input, path string) {
	for i := range in.Proposal.Spec.Patch.JSONPatch {
		in.Proposal.Spec.Patch.JSONPatch[i].Path = path
	}
}
