// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

func TestTargetScopeDenies(t *testing.T) {
	const restart, tls = v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS
	operation := func(i int, change func(*v1alpha1.JSONPatchOperation)) func(*Input) {
		return func(in *Input) { change(&in.Proposal.Spec.Patch.JSONPatch[i]) }
	}
	gvk, _ := TargetGVK(restart)
	newer := func(value any, path ...string) func(*Input) {
		return func(in *Input) {
			if err := unstructured.SetNestedField(in.DryRun.Object, value, path...); err != nil {
				t.Error(err)
			}
		}
	}
	gone := []Layer{TargetScope, GitOpsManaged}
	runDenials(t, TargetScope, map[string]denial{
		"another kind of object":         {spoil: func(in *Input) { in.Proposal.Spec.Target.Kind = "Node" }, words: "Node"},
		"another version":                {spoil: func(in *Input) { in.Proposal.Spec.Target.APIVersion = "v2" }, words: "v2"},
		"no UID":                         {spoil: func(in *Input) { in.Proposal.Spec.Target.UID = "" }, words: "the target has no name or no UID", layers: []Layer{TargetScope, SignedToken}},
		"no name":                        {spoil: func(in *Input) { in.Proposal.Spec.Target.Name = "" }, words: "the target has no name or no UID"},
		"a target elsewhere":             {spoil: func(in *Input) { in.Proposal.Spec.Target.Namespace = "bank" }, words: "bank", layers: []Layer{TargetScope, NamespaceProtection}},
		"a target that is gone":          {spoil: func(in *Input) { in.Target = nil }, words: "does not exist any more", layers: gone},
		"a target made anew":             {spoil: func(in *Input) { in.Target.(*corev1.Pod).UID = "another" }, words: "another object of the same name"},
		"a target that is being deleted": {spoil: func(in *Input) { in.Target.(*corev1.Pod).DeletionTimestamp = ptr.To(metav1.NewTime(start)) }, words: "is being deleted already"},
		"another object was read":        {spoil: func(in *Input) { in.Target.(*corev1.Pod).Name = "db" }, words: "shop/db"},
		"one elsewhere was read":         {spoil: func(in *Input) { in.Target.(*corev1.Pod).Namespace = "bank" }, words: "another object was read: bank/web"},
		"another type was read":          {spoil: func(in *Input) { in.Target = target(v1alpha1.ActionDeleteJob) }, words: "*v1.Job"},
		"another custom resource": {
			kind:  v1alpha1.ActionDeleteCertificateRequest,
			spoil: func(in *Input) { in.Target.(*unstructured.Unstructured).SetKind("Certificate") }, words: "CertificateRequest",
		},
		"another type for a custom resource": {
			kind: v1alpha1.ActionDeleteCertificateRequest, spoil: func(in *Input) { in.Target = target(v1alpha1.ActionDeletePod) }, words: "a *v1.Pod was read for a CertificateRequest",
		},
		"a patch on a delete":  {spoil: func(in *Input) { in.Proposal.Spec.Patch = &v1alpha1.Patch{} }, words: "takes no patch"},
		"a patch on a runbook": {kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.Proposal.Spec.Patch = &v1alpha1.Patch{} }, words: "runbook changes nothing"},

		"a runbook without a text": {
			kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.Proposal.Spec.Runbook = nil }, words: "not said which text is released",
		},
		"a runbook whose text may be any": {
			kind: v1alpha1.ActionRunbook, spoil: func(in *Input) { in.Proposal.Spec.Runbook.Digest = "" }, words: "not said which text is released",
		},
		"a delete that releases a text": {
			spoil: func(in *Input) { in.Proposal.Spec.Runbook = &v1alpha1.RunbookReference{Digest: "sha256:text"} }, words: "DeletePod releases no runbook",
		},

		"restart without a patch": {kind: restart, spoil: func(in *Input) { in.Proposal.Spec.Patch = nil }, words: "needs a patch"},
		"another annotation":      {kind: restart, spoil: func(in *Input) { in.Proposal.Spec.Patch.SetAnnotation.Name = "a/b" }, words: `"a/b"`},
		"restart without an annotation": {
			kind: restart, words: "must set one annotation", spoil: func(in *Input) { in.Proposal.Spec.Patch.SetAnnotation = nil },
		},
		"restart with a JSON patch": {
			kind: restart, words: "nothing else",
			spoil: func(in *Input) {
				in.Proposal.Spec.Patch.JSONPatch = []v1alpha1.JSONPatchOperation{{Op: "replace", Path: "/spec/replicas", Value: "0"}}
			},
		},
		"a paused Deployment": {kind: restart, spoil: func(in *Input) { in.Target.(*appsv1.Deployment).Spec.Paused = true }, words: "kubectl rollout resume deployment/web -n shop"},
		"no dry run":          {kind: restart, stage: StageExecution, spoil: func(in *Input) { in.DryRun = nil }, words: "no dry run"},
		"dry run of another":  {kind: restart, stage: StageExecution, spoil: stored(func(d *appsv1.Deployment) { d.UID = "x" }), words: "same name"},
		"dry run without a token": {
			kind: restart, stage: StageExecution, words: "the value cannot be checked", layers: append([]Layer{TargetScope}, noClaims...),
			spoil: func(in *Input) { in.Token = "" },
		},
		"dry run changes the image": {
			kind: restart, stage: StageExecution, words: "/spec/template/spec/containers/0/image",
			spoil: stored(func(d *appsv1.Deployment) { d.Spec.Template.Spec.Containers[0].Image = "evil" }),
		},
		"dry run adds a container": {
			kind: restart, stage: StageExecution, words: "/spec/template/spec/containers",
			spoil: stored(func(d *appsv1.Deployment) {
				d.Spec.Template.Spec.Containers = append(d.Spec.Template.Spec.Containers, corev1.Container{Name: "more"})
			}),
		},
		"dry run changes replicas": {
			kind: restart, stage: StageExecution, words: "/spec/replicas",
			spoil: stored(func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To(int32(0)) }),
		},
		"dry run sets another annotation": {
			kind: restart, stage: StageExecution, words: "/spec/template/metadata/annotations/a~1b",
			spoil: stored(func(d *appsv1.Deployment) { d.Spec.Template.Annotations["a/b"] = "c" }),
		},
		"dry run sets the annotation elsewhere": {
			kind: restart, stage: StageExecution, words: "/metadata/annotations/kubectl.kubernetes.io~1restartedAt",
			spoil: stored(func(d *appsv1.Deployment) { d.Annotations = map[string]string{RestartedAtAnnotation: "now"} }),
		},
		"dry run adds a finalizer": {
			kind: restart, stage: StageExecution, words: "/metadata/finalizers",
			spoil: stored(func(d *appsv1.Deployment) { d.Finalizers = []string{"x/y"} }),
		},
		"dry run writes another time": {
			kind: restart, stage: StageExecution, words: "was approved",
			spoil: stored(func(d *appsv1.Deployment) {
				d.Spec.Template.Annotations[RestartedAtAnnotation] = start.Add(time.Hour).Format(time.RFC3339)
			}),
		},
		"dry run writes nothing": {
			kind: restart, stage: StageExecution, words: "was approved",
			spoil: func(in *Input) { in.DryRun = in.Target.(*unstructured.Unstructured).DeepCopy() },
		},
		"dry run sets a field newer than the type": {
			kind: restart, stage: StageExecution, words: "it would also change /spec/template/spec/ofTomorrow",
			spoil: newer("x", "spec", "template", "spec", "ofTomorrow"),
		},
		"dry run sets metadata newer than the type": {
			kind: restart, stage: StageExecution, words: "it would also change /metadata/ofTomorrow",
			spoil: newer("x", "metadata", "ofTomorrow"),
		},
		"dry run sets a part of an object that is newer than the type": {
			kind: tls, stage: StageExecution, words: "it would also change /ofTomorrow/really",
			spoil: newer(true, "ofTomorrow", "really"),
		},
		"a target of which fields may be missing": {
			kind: restart, stage: StageExecution, words: "it cannot be compared with a *v1.Deployment",
			spoil: func(in *Input) { in.Target = target(restart) },
		},
		"a paused Deployment that was read whole": {
			kind: restart, stage: StageExecution, words: "kubectl rollout resume deployment/web -n shop",
			spoil: func(in *Input) {
				paused := target(restart).(*appsv1.Deployment)
				paused.Spec.Paused = true
				in.Target = whole(paused, gvk)
			},
		},
		"a Deployment that is none": {
			kind: restart, stage: StageExecution, words: "reading Deployment shop/web as a *v1.Deployment",
			spoil: func(in *Input) { in.Target.(*unstructured.Unstructured).Object["spec"] = "none" },
		},
		"another kind of object was read whole": {
			kind: restart, stage: StageExecution, words: "was read for a Deployment",
			spoil: func(in *Input) { in.Target.(*unstructured.Unstructured).SetKind("StatefulSet") },
		},

		"TLS: an Ingress that is none": {
			kind: tls, stage: StageExecution, words: "reading Ingress shop/web as a *v1.Ingress",
			spoil: func(in *Input) {
				in.Target = whole(target(tls), networkingv1.SchemeGroupVersion.WithKind("Ingress"))
				in.Target.(*unstructured.Unstructured).Object["spec"] = "none"
			},
		},
		"TLS: another operation": {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Op = "add" }), words: "one test and one replace"},
		"TLS: no test":           {kind: tls, spoil: func(in *Input) { in.Proposal.Spec.Patch.JSONPatch = in.Proposal.Spec.Patch.JSONPatch[1:] }, words: "one test and one replace"},
		"TLS: three operations": {
			kind: tls, words: "one test and one replace",
			spoil: func(in *Input) {
				patch := in.Proposal.Spec.Patch
				patch.JSONPatch = append(patch.JSONPatch, v1alpha1.JSONPatchOperation{Op: "remove", Path: "/spec/rules"})
			},
		},
		"TLS: no test but an add": {kind: tls, spoil: operation(0, func(o *v1alpha1.JSONPatchOperation) { o.Op = "add" }), words: "one test and one replace"},
		"TLS: and an annotation": {
			kind: tls, words: "a JSON patch and nothing else",
			spoil: func(in *Input) { in.Proposal.Spec.Patch.SetAnnotation = &v1alpha1.SetAnnotation{Name: "a/b"} },
		},
		"TLS: test elsewhere":                 {kind: tls, spoil: operation(0, func(o *v1alpha1.JSONPatchOperation) { o.Path = "/spec/tls/0/secretName" }), words: "same"},
		"TLS: another path":                   {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Path = "/spec/rules/0/host" }), words: "same"},
		"TLS: index with a zero":              {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/01/secretName") }, words: "same"},
		"TLS: append":                         {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/-/secretName") }, words: "same"},
		"TLS: the one after the last":         {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/2/secretName") }, words: "no TLS entry 2"},
		"TLS: no such entry":                  {kind: tls, spoil: func(in *Input) { setPaths(in, "/spec/tls/7/secretName") }, words: "no TLS entry 7"},
		"TLS: a name that is none":            {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Value = "../x" }), words: "the new Secret's name is not one"},
		"TLS: nothing changes":                {kind: tls, spoil: operation(1, func(o *v1alpha1.JSONPatchOperation) { o.Value = "old-tls" }), words: "changes nothing"},
		"TLS: the entry changed":              {kind: tls, spoil: func(in *Input) { in.Target.(*networkingv1.Ingress).Spec.TLS[1].SecretName = "b-tls" }, words: `"b-tls" now`},
		"TLS: an entry without hosts":         {kind: tls, spoil: func(in *Input) { in.Target.(*networkingv1.Ingress).Spec.TLS[1].Hosts = nil }, words: "no hosts"},
		"TLS: no Certificate":                 {kind: tls, spoil: func(in *Input) { in.Certificates = nil }, words: "no Ready Certificate"},
		"TLS: Certificate is not Ready":       {kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("new-tls", "False", "*.example.com") }, words: "no Ready Certificate"},
		"TLS: Certificate without conditions": {kind: tls, spoil: conditions(), words: "no Ready Certificate"},
		"TLS: Certificate whose conditions are none": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0].Object["status"] = map[string]any{"conditions": "Ready"} }, words: "no Ready Certificate",
		},
		"TLS: Certificate with another condition": {
			kind: tls, spoil: conditions("Issuing", "True", "Ready", "False"), words: "no Ready Certificate",
		},
		"TLS: Certificate that was Ready before it was changed": {
			kind: tls, spoil: observed(2, int64(1)), words: "no Ready Certificate",
		},
		"TLS: Certificate that was Ready before it was changed, as JSON": {
			kind: tls, spoil: observed(2, float64(1)), words: "no Ready Certificate",
		},
		"TLS: Certificate whose condition's generation is no number": {
			kind: tls, spoil: observed(2, "2"), words: "no Ready Certificate",
		},
		"TLS: Certificate for another Secret": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("c-tls", "True", "*.example.com") }, words: "no Ready Certificate",
		},
		"TLS: Certificate for another host": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0] = certificate("new-tls", "True", "example.com", "*.b.example.com") }, words: "no Ready Certificate",
		},
		"TLS: Certificate of another issuer":         {kind: tls, spoil: issuer("name", "letsencrypt"), words: "does not name the issuer"},
		"TLS: Certificate of another kind of issuer": {kind: tls, spoil: issuer("kind", "ClusterIssuer"), words: "does not name the issuer"},
		"TLS: Certificate of another group's issuer": {kind: tls, spoil: issuer("group", "example.com"), words: "does not name the issuer"},
		"TLS: Secret served that no Certificate writes": {
			kind: tls, spoil: func(in *Input) { in.Certificates = in.Certificates[:1] }, words: "does not name the issuer",
		},
		"TLS: Secret served that a Certificate of another namespace writes": {
			kind: tls, spoil: func(in *Input) { in.Certificates[1].SetNamespace("bank") }, words: "does not name the issuer",
		},
		"TLS: no Secret served, and a Certificate that names none": {
			kind: tls, spoil: noSecret(func(spec map[string]any) { delete(spec, "secretName") }), words: "does not name the issuer",
		},
		"TLS: no Secret served, and a Certificate whose Secret has no name": {
			kind: tls, spoil: noSecret(func(spec map[string]any) { spec["secretName"] = int64(0) }), words: "does not name the issuer",
		},
		"TLS: Secret served that another issuer's Certificate writes too": {
			kind: tls, words: "does not name the issuer",
			spoil: func(in *Input) {
				in.Certificates = append(in.Certificates, certificate("old-tls", "True", "a.example.com"))
				in.Certificates[2].Object["spec"].(map[string]any)["issuerRef"] = map[string]any{"name": "letsencrypt"}
			},
		},
		"TLS: Certificate in another namespace": {
			kind: tls, spoil: func(in *Input) { in.Certificates[0].SetNamespace("bank") }, words: "no Ready Certificate",
		},
		"TLS: dry run changes another entry": {
			kind: tls, stage: StageExecution, words: "/spec/tls/0/secretName",
			spoil: stored(func(i *networkingv1.Ingress) { i.Spec.TLS[0].SecretName = "x" }),
		},
	})
}

// observed is a Certificate of one generation whose Ready condition is of another.
func observed(generation int64, condition any) func(*Input) {
	return func(in *Input) {
		in.Certificates[0].SetGeneration(generation)
		in.Certificates[0].Object["status"] = map[string]any{"conditions": []any{
			map[string]any{"type": "Ready", "status": "True", "observedGeneration": condition},
		}}
	}
}

func TestACertificateIsReadyAsItStands(t *testing.T) {
	for _, condition := range []any{nil, int64(2), int64(3), float64(2)} {
		in := good(t, StageApproval, v1alpha1.ActionPatchIngressTLS)
		observed(2, condition)(&in)
		if condition == nil {
			conditions("Ready", "True")(&in)
		}
		if decision := Evaluate(in); !decision.Allowed {
			t.Errorf("observed generation %v of 2: %s", condition, decision.Message())
		}
	}
}

// noSecret takes the Secret that is served out of the Ingress and the patch, and
// changes the Certificate that wrote it.
func noSecret(change func(spec map[string]any)) func(*Input) {
	return func(in *Input) {
		in.Target.(*networkingv1.Ingress).Spec.TLS[1].SecretName = ""
		in.Proposal.Spec.Patch.JSONPatch[0].Value = ""
		change(in.Certificates[1].Object["spec"].(map[string]any))
	}
}

// issuer changes a field of the issuerRef of the new Certificate.
func issuer(field, value string) func(*Input) {
	return func(in *Input) {
		in.Certificates[0].Object["spec"].(map[string]any)["issuerRef"].(map[string]any)[field] = value
	}
}

func TestAnIssuerIsTheSameHoweverItIsSpelled(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionPatchIngressTLS)
	issuer("kind", "Issuer")(&in)
	issuer("group", "cert-manager.io")(&in)
	if decision := Evaluate(in); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

// conditions are pairs of a type and a status, of the new Certificate.
func conditions(pairs ...string) func(*Input) {
	list := []any{}
	for i := 0; i < len(pairs); i += 2 {
		list = append(list, map[string]any{"type": pairs[i], "status": pairs[i+1]})
	}
	return func(in *Input) { in.Certificates[0].Object["status"] = map[string]any{"conditions": list} }
}

func TestReadyIsFoundAmongOtherConditions(t *testing.T) {
	in := good(t, StageApproval, v1alpha1.ActionPatchIngressTLS)
	conditions("Issuing", "False", "Ready", "True")(&in)
	if decision := Evaluate(in); !decision.Allowed {
		t.Errorf("refused: %s", decision.Message())
	}
}

// Each part of the layer judges by itself, though others would deny the same.
func TestTargetScopeTellsTheFirstReason(t *testing.T) {
	bad := proposal(t, v1alpha1.ActionPatchIngressTLS).Spec
	bad.Patch.JSONPatch[0].Op = "add"
	if problem := payloadProblem(&bad); !strings.Contains(problem, "one test and one replace") {
		t.Errorf("payload: %q", problem)
	}
	ingress := target(v1alpha1.ActionPatchIngressTLS).(*networkingv1.Ingress)
	if verdict, ok := tlsVerdict(ingress, &bad, nil); ok || verdict.Result != v1alpha1.VerdictDenied || !strings.Contains(verdict.Message, "one test and one replace") {
		t.Errorf("state: %+v", verdict)
	}
	for name, test := range map[string]struct {
		proposal string
		change   func(*v1alpha1.ProposalSpec)
		words    string
	}{
		"an unknown kind":            {"shop", func(s *v1alpha1.ProposalSpec) { s.ActionKind = "DrainNode" }, `no kind of object fits "DrainNode"`},
		"a target elsewhere":         {"shop", func(s *v1alpha1.ProposalSpec) { s.Target.Namespace = "bank" }, `the target is in namespace "bank", and the proposal in "shop"`},
		"a target without namespace": {"", func(s *v1alpha1.ProposalSpec) { s.Target.Namespace = "" }, `the target is in namespace ""`},
		"a good one":                 {"shop", func(*v1alpha1.ProposalSpec) {}, ""},
	} {
		spec := proposal(t, v1alpha1.ActionDeletePod).Spec
		test.change(&spec)
		if problem := referenceProblem(test.proposal, &spec); (problem == "") != (test.words == "") || !strings.Contains(problem, test.words) {
			t.Errorf("%s: %q", name, problem)
		}
	}
}

func setPaths(in *Input, path string) {
	for i := range in.Proposal.Spec.Patch.JSONPatch {
		in.Proposal.Spec.Patch.JSONPatch[i].Path = path
	}
}

// A field that the compiled types do not know does not hinder what leaves it alone.
func TestFieldsNewerThanTheTypeMayStandInATarget(t *testing.T) {
	for _, kind := range []v1alpha1.ActionKind{v1alpha1.ActionPatchDeploymentAnnotation, v1alpha1.ActionPatchIngressTLS} {
		in := good(t, StageExecution, kind)
		for _, object := range []*unstructured.Unstructured{in.Target.(*unstructured.Unstructured), in.DryRun} {
			if err := unstructured.SetNestedField(object.Object, "x", "spec", "ofTomorrow"); err != nil {
				t.Fatal(err)
			}
		}
		if decision := Evaluate(in); !decision.Allowed {
			t.Errorf("%s: refused: %s", kind, decision.Message())
		}
	}
}
