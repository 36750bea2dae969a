// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	certificatesv1 "k8s.io/api/certificates/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/test/harness"
)

// otherRows are what is none of the five: everything else that an identity with
// every right could do, refused as such; and the executor's own bookkeeping.
func otherRows() []row {
	var rows []row
	for _, of := range [][]row{createRows(), existingRows(), subresourceRows(), bookRows(), sayRows(), foreignBookRows(), foreignLeaseEventRows()} {
		rows = append(rows, of...)
	}
	return rows
}

// none is an action kind that does not exist.
func none(name string) v1alpha1.ActionKind {
	return v1alpha1.ActionKind(strings.ReplaceAll(name, " ", ""))
}

func other(name string, target func(namespace, name string) client.Object, send request) row {
	return row{name: name, kind: none(name), target: target, send: send, want: policy.ActionKindAllowlist}
}

// custom is an object of a type that is not compiled in.
func custom(apiVersion, kind, namespace, name string, spec map[string]any) *unstructured.Unstructured {
	object := &unstructured.Unstructured{Object: map[string]any{"apiVersion": apiVersion, "kind": kind, "spec": spec}}
	object.SetNamespace(namespace)
	object.SetName(name)
	return object
}

// createRows are objects that the executor never creates.
func createRows() []row {
	about := metav1.ObjectMeta{Name: "leash-new"}
	within := metav1.ObjectMeta{Namespace: open, Name: "leash-new"}
	labels := map[string]string{"app": "leash-new"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(corev1.RestartPolicyAlways)}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	admin := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"}
	me := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: harness.Namespace, Name: executorAccount}}
	all := []rbacv1.PolicyRule{{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}}}
	hook := admissionregistrationv1.WebhookClientConfig{URL: ptr.To("https://localhost/x")}
	sideEffects := ptr.To(admissionregistrationv1.SideEffectClassNone)
	var rows []row
	for _, object := range []client.Object{
		&corev1.ConfigMap{ObjectMeta: within},
		&corev1.Secret{ObjectMeta: within},
		&corev1.ServiceAccount{ObjectMeta: within},
		&corev1.Namespace{ObjectMeta: about},
		&corev1.Node{ObjectMeta: about},
		&corev1.Pod{ObjectMeta: within, Spec: podSpec(corev1.RestartPolicyAlways)},
		&appsv1.Deployment{ObjectMeta: within, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
		&appsv1.StatefulSet{ObjectMeta: within, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		&appsv1.DaemonSet{ObjectMeta: within, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		newObject(job, open, "leash-new"),
		newObject(ingress, open, "leash-new"),
		newObject(certRequest, open, "leash-new"),
		&batchv1.CronJob{ObjectMeta: within, Spec: batchv1.CronJobSpec{Schedule: "@daily", JobTemplate: batchv1.JobTemplateSpec{
			Spec: batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: podSpec(corev1.RestartPolicyNever)}}}}},
		&rbacv1.Role{ObjectMeta: within, Rules: all},
		&rbacv1.RoleBinding{ObjectMeta: within, RoleRef: admin, Subjects: me},
		&rbacv1.ClusterRole{ObjectMeta: about, Rules: all},
		&rbacv1.ClusterRoleBinding{ObjectMeta: about, RoleRef: admin, Subjects: me},
		&schedulingv1.PriorityClass{ObjectMeta: about},
		&certificatesv1.CertificateSigningRequest{ObjectMeta: about, Spec: certificatesv1.CertificateSigningRequestSpec{
			Request: []byte(certificateSigningRequest), SignerName: "example.com/x", Usages: []certificatesv1.KeyUsage{certificatesv1.UsageClientAuth}}},
		&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: about, Webhooks: []admissionregistrationv1.ValidatingWebhook{
			{Name: "x.example.com", ClientConfig: hook, SideEffects: sideEffects, AdmissionReviewVersions: []string{"v1"}}}},
		&admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: about, Webhooks: []admissionregistrationv1.MutatingWebhook{
			{Name: "x.example.com", ClientConfig: hook, SideEffects: sideEffects, AdmissionReviewVersions: []string{"v1"}}}},
		custom("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "things.example.com", map[string]any{
			"group": "example.com", "scope": "Cluster", "names": map[string]any{"plural": "things", "kind": "Thing"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true,
				"schema": map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}}},
		}),
		custom("apiregistration.k8s.io/v1", "APIService", "", "v1.example.com", map[string]any{
			"group": "example.com", "version": "v1", "groupPriorityMinimum": int64(10), "versionPriority": int64(10), "insecureSkipTLSVerify": true,
			"service": map[string]any{"namespace": open, "name": "x"},
		}),
		newApproval(open, "approval-leash-new"),
	} {
		gvk, err := cluster.admin.GroupVersionKindFor(object)
		if err != nil {
			panic(err) // A type of this file that is not registered.
		}
		rows = append(rows, other("create a "+gvk.Kind, nil, create(object)))
	}
	return rows
}

// existingRows change and delete what the executor never does.
func existingRows() []row {
	touch := rawPatch(types.MergePatchType, `{"metadata":{"labels":{"leash":"touched"}}}`)
	targets := map[string]func(namespace, name string) client.Object{
		"ConfigMap": func(namespace, name string) client.Object {
			return &corev1.ConfigMap{ObjectMeta: metadata(namespace, name)}
		},
		"Secret": func(namespace, name string) client.Object {
			return &corev1.Secret{ObjectMeta: metadata(namespace, name)}
		},
		"ServiceAccount": func(namespace, name string) client.Object {
			return &corev1.ServiceAccount{ObjectMeta: metadata(namespace, name)}
		},
		"Namespace": func(string, string) client.Object {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: labeled}}
		},
		"Node":        func(_, name string) client.Object { return &corev1.Node{ObjectMeta: metadata("", name)} },
		"ClusterRole": func(_, name string) client.Object { return &rbacv1.ClusterRole{ObjectMeta: metadata("", name)} },
		"ReplicaSet": func(namespace, name string) client.Object {
			labels := map[string]string{"app": name}
			return &appsv1.ReplicaSet{ObjectMeta: metadata(namespace, name), Spec: appsv1.ReplicaSetSpec{
				Selector: &metav1.LabelSelector{MatchLabels: labels},
				Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: podSpec(corev1.RestartPolicyAlways)}}}
		},
		"CustomResourceDefinition": func(string, string) client.Object {
			return custom("apiextensions.k8s.io/v1", "CustomResourceDefinition", "", "approvals.ops.srenix.io", nil)
		},
		"Approval": func(namespace, name string) client.Object { return newApproval(namespace, name) },
	}
	var rows []row
	for _, kind := range slices.Sorted(maps.Keys(targets)) {
		rows = append(rows, other("change a "+kind, targets[kind], touch), other("delete a "+kind, targets[kind], deletion(func(o *client.DeleteOptions) { o.Preconditions.ResourceVersion = nil })))
	}
	for _, kind := range []v1alpha1.ActionKind{deployment, ingress} {
		target := func(namespace, name string) client.Object { return newObject(kind, namespace, name) }
		rows = append(rows,
			other("delete what is patched: "+string(kind), target, deletion(nil)),
			other("delete all that is patched: "+string(kind), target, collection(func(*client.DeleteOptions) {})))
	}
	for _, kind := range []v1alpha1.ActionKind{pod, job, certRequest} {
		target := func(namespace, name string) client.Object { return newObject(kind, namespace, name) }
		rows = append(rows, other("change what is deleted: "+string(kind), target, touch))
	}
	return append(rows, other("apply what is not there yet", nil, func(ctx context.Context, c client.Client, _ client.Object) (client.Object, error) {
		return rawPatch(types.ApplyPatchType, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"leash-applied"}}`)(
			ctx, c, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: open, Name: "leash-applied"}})
	}))
}

// subresourceRows go around the five by a subresource of their targets.
func subresourceRows() []row {
	on := func(kind v1alpha1.ActionKind) func(namespace, name string) client.Object {
		return func(namespace, name string) client.Object { return newObject(kind, namespace, name) }
	}
	rows := []row{
		other("evict a pod", on(pod), func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
			eviction := &policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: object.GetNamespace(), Name: object.GetName()},
				DeleteOptions: &metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(object.GetUID())}, DryRun: []string{metav1.DryRunAll}}}
			return nil, c.SubResource("eviction").Create(ctx, object, eviction, client.DryRunAll)
		}),
		other("add an ephemeral container", on(pod), mergeAt("ephemeralcontainers", `{"spec":{"ephemeralContainers":[{"name":"x","image":"evil:1","terminationMessagePolicy":"File","imagePullPolicy":"Always",
			"securityContext":{"runAsNonRoot":true,"allowPrivilegeEscalation":false,"capabilities":{"drop":["ALL"]},"seccompProfile":{"type":"RuntimeDefault"}}}]}}`)),
		other("resize a pod", on(pod), mergeAt("resize", `{"metadata":{"labels":{"a":"b"}}}`)),
		other("scale a Deployment", on(deployment), func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
			scale := &autoscalingv1.Scale{ObjectMeta: metav1.ObjectMeta{Namespace: object.GetNamespace(), Name: object.GetName()}}
			return nil, c.SubResource("scale").Update(ctx, object, client.WithSubResourceBody(scale), client.DryRunAll)
		}),
		other("bind a pod", func(namespace, name string) client.Object {
			object := newObject(pod, namespace, name)
			object.(*corev1.Pod).Spec.NodeName = ""
			return object
		}, subresource("binding", &corev1.Binding{Target: corev1.ObjectReference{Kind: "Node", Name: "x"}})),
		other("make a token", func(namespace, name string) client.Object {
			return &corev1.ServiceAccount{ObjectMeta: metadata(namespace, name)}
		}, subresource("token", &authenticationv1.TokenRequest{})),
		other("finalize a namespace", func(string, string) client.Object {
			return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: labeled}}
		}, func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
			return nil, c.SubResource("finalize").Update(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
		}),
	}
	for _, name := range []string{"exec", "attach", "portforward", "proxy"} {
		rows = append(rows, other("connect to a pod by "+name, on(pod), connect(name)))
	}
	rows = append(rows, other("connect to a node by proxy", func(_, name string) client.Object {
		return &corev1.Node{ObjectMeta: metadata("", name)}
	}, connect("proxy")))
	for i := range rows {
		rows[i].connects = strings.HasPrefix(rows[i].name, "connect ")
	}
	statuses := map[v1alpha1.ActionKind]string{
		pod: `{"phase":"Failed"}`, deployment: `{"replicas":7}`, job: `{"active":7}`,
		ingress: `{"loadBalancer":{"ingress":[{"ip":"192.0.2.1"}]}}`, certRequest: `{"certificate":"bm9uZQ=="}`,
	}
	for _, kind := range theFive() {
		rows = append(rows, other("write the status of a target of "+string(kind), on(kind), mergeAt("status", `{"status":`+statuses[kind]+`}`)))
	}
	return rows
}

// digestOf is a digest's form.
var digestOf = "sha256:" + strings.Repeat("0", 64)

func newApproval(namespace, name string) *opsv1alpha1.Approval {
	return &opsv1alpha1.Approval{ObjectMeta: metadata(namespace, name), Spec: opsv1alpha1.ApprovalSpec{
		Decision: v1alpha1.DecisionApprove, Token: "token",
		Proposal: opsv1alpha1.ProposalReference{Name: "fix", UID: "proposal-uid", Digest: digestOf},
		Snapshot: v1alpha1.ProposalSpec{
			Finding: v1alpha1.FindingReference{Name: "finding", UID: "finding-uid", Since: metav1.NewTime(start)},
			Tier:    v1alpha1.TierFix, ActionKind: pod, Digest: digestOf, Rationale: "because", Source: v1alpha1.SourceRule, DiagnosticClass: "WorkloadStateDrift",
			Target: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Pod", Namespace: namespace, Name: "web", UID: "uid"},
		},
	}}
}

func newAuditEvent(name string, index int64) *opsv1alpha1.AuditEvent {
	return &opsv1alpha1.AuditEvent{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: opsv1alpha1.AuditEventSpec{
		Index: index, Time: metav1.NewMicroTime(start), Component: "executor", Actor: "executor", Type: opsv1alpha1.AuditActionIntended,
		PrevHash: strings.Repeat("0", 64), Hash: digestOf,
	}}
}

func newLease(namespace, name string) *coordinationv1.Lease {
	return &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
}

// bookRows are the executor's own bookkeeping. No layer of package policy judges it.
func bookRows() []row {
	auditEvent := func(index int64) request { return create(newAuditEvent(fmt.Sprintf("%020d", index), index)) }
	return []row{
		{name: "the status of an Approval", target: func(namespace, name string) client.Object { return newApproval(namespace, name) },
			send: func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
				approval := object.DeepCopyObject().(*opsv1alpha1.Approval)
				approval.Status.Phase = opsv1alpha1.PhaseExecuting
				return nil, c.Status().Update(ctx, approval, client.DryRunAll)
			}},
		{name: "the status of an Approval in a protected namespace", in: labeled, target: func(namespace, name string) client.Object { return newApproval(namespace, name) },
			send: mergeAt("status", `{"status":{"phase":"Denied"}}`)},
		{name: "the first audit event", send: auditEvent(0)},
		{name: "an audit event under the pod's name", send: create(sayEvent(func(spec *opsv1alpha1.AuditEventSpec) { spec.Component = "executor/srenix-executor-0" }))},
		{name: "a later audit event", send: auditEvent(1234567890123)},
		{name: "an event", send: create(newEvent(open, "leash-event", executorAccount))},
		{name: "an event in the core group", send: create(oldEvent(open, "leash-event", executorAccount))},
		{name: "an event again", target: ownEvent, send: series},
		{name: "an event about the Lease", send: create(oldEvent(harness.Namespace, "leash-event", process))},
		{name: "an event about the Lease again", in: harness.Namespace,
			target: func(namespace, name string) client.Object { return oldEvent(namespace, name, process) },
			send:   countedAgain},
		{name: "an event under its own name in its own namespace", send: create(newEvent(harness.Namespace, "leash-event", executorAccount))},
		{name: "the Lease", send: create(newLease(harness.Namespace, executorAccount))},
		{name: "the Lease again", in: harness.Namespace, target: func(namespace, _ string) client.Object { return newLease(namespace, executorAccount) },
			send: put(func(lease *coordinationv1.Lease) {
				lease.Spec.RenewTime = ptr.To(metav1.NewMicroTime(start.Add(time.Second)))
			})},
		{name: "may somebody do this", send: create(&authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: "alice", ResourceAttributes: &authorizationv1.ResourceAttributes{Verb: "delete", Resource: "pods", Namespace: open}}})},
	}
}

// foreignBookRows are what only looks like that.
func foreignBookRows() []row {
	approval := func(namespace, name string) client.Object { return newApproval(namespace, name) }
	event := func(string, string) client.Object { return newAuditEvent(fmt.Sprintf("%020d", 7), 7) }
	ownLease := func(string, string) client.Object { return newLease(harness.Namespace, executorAccount) }
	return []row{
		other("annotate an Approval", approval, rawPatch(types.MergePatchType, `{"metadata":{"annotations":{"a":"b"}}}`)),
		other("give an Approval a finalizer", approval, rawPatch(types.MergePatchType, `{"metadata":{"finalizers":["example.com/x"]}}`)),
		other("delete all Approvals", approval, collection(func(*client.DeleteOptions) {})),
		other("label an audit event", event, rawPatch(types.MergePatchType, `{"metadata":{"labels":{"a":"b"}}}`)),
		other("delete an audit event", event, deletion(nil)),
		other("create an audit event of another index", nil, create(newAuditEvent(fmt.Sprintf("%020d", 8), 9))),
		other("create an audit event with fewer digits", nil, create(newAuditEvent("8", 8))),
		other("create an audit event with a name that is no number", nil, create(newAuditEvent("leash", 8))),
		other("create an audit event with a name that begins like one", nil, create(newAuditEvent(fmt.Sprintf("%020d.x", 8), 8))),
		other("create another Lease", nil, create(newLease(harness.Namespace, "leash"))),
		other("create its Lease elsewhere", nil, create(newLease(open, executorAccount))),
		other("change another Lease", func(_, name string) client.Object { return newLease(harness.Namespace, name) },
			put(func(lease *coordinationv1.Lease) { lease.Spec.HolderIdentity = ptr.To("x") })),
		other("delete its Lease", ownLease, deletion(nil)),
		other("create an event of the kubelet", nil, create(newEvent(open, "leash-event", "kubelet"))),
		other("create an event of the kubelet in the core group", nil, create(oldEvent(open, "leash-event", "kubelet"))),
		other("create an event of nobody", nil, create(&corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: open, Name: "leash-event"},
			InvolvedObject: corev1.ObjectReference{Kind: "Pod", Namespace: open, Name: "web"}, Message: "x"})),
		other("change an event of the kubelet", kubeletEvent, series),
		other("take an event of the kubelet over", func(namespace, name string) client.Object { return oldEvent(namespace, name, "kubelet") },
			put(func(event *corev1.Event) { event.ReportingController = executorAccount })),
		other("blame the kubelet for an event", func(namespace, name string) client.Object { return oldEvent(namespace, name, executorAccount) },
			put(func(event *corev1.Event) { event.ReportingController = "kubelet" })),
		other("blame the kubelet for an event, by the older name", func(namespace, name string) client.Object { return oldEvent(namespace, name, executorAccount) },
			put(func(event *corev1.Event) { event.Source.Component = "kubelet" })),
		other("delete an event", ownEvent, deletion(nil)),
	}
}

// certificateSigningRequest is a valid one, for a user whom nobody is.
const certificateSigningRequest = `-----BEGIN CERTIFICATE REQUEST-----
MIGPMEMCAQAwEDEOMAwGA1UEAwwFbGVhc2gwKjAFBgMrZXADIQDX3zJG7EqfcXrQ
Xch8/Q49UQRCAkozkO1xdQ/OqCCcvKAAMAUGAytlcANBANeSPlsbubqNFEsGg8gc
n5lVPiBIDHZOYQC2a02v4vbLyZbITXIQZcWKYxVq2wZH9QpnTGulXzOrle1+GBP9
zAA=
-----END CERTIFICATE REQUEST-----
`
