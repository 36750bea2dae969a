// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/policy"
)

// row is one case of the table that both leashes are held to.
type row struct {
	name string
	// kind is what is approved. One that is none of the five is refused as such; with
	// none at all only the leash in CEL is asked.
	kind v1alpha1.ActionKind
	// in is the target's namespace; open if empty.
	in string
	// target makes one that is not the kind's own.
	target func(namespace, name string) client.Object
	// is changes the target before it is stored, and status what is stored of its status.
	is, status func(client.Object)
	// deleted has the target being deleted, within an hour if it is a Pod. It takes a
	// finalizer to stay.
	deleted bool
	// propose changes the proposal.
	propose func(*v1alpha1.ProposalSpec)
	// knows changes what else layers know.
	knows func(*policy.Input)
	// also are operations on top of the approved patch.
	also []operation
	// send is another request than the approved one.
	send request
	// connects means that the request is answered by a node, which there is not.
	connects bool
	// want is the layer that refuses; none if it is allowed.
	want policy.Layer
	// onlyGo and onlyCEL tell why only one of the two refuses.
	onlyGo, onlyCEL string
}

const (
	pod         = v1alpha1.ActionDeletePod
	deployment  = v1alpha1.ActionPatchDeploymentAnnotation
	job         = v1alpha1.ActionDeleteJob
	ingress     = v1alpha1.ActionPatchIngressTLS
	certRequest = v1alpha1.ActionDeleteCertificateRequest
)

func theFive() []v1alpha1.ActionKind {
	return []v1alpha1.ActionKind{pod, deployment, job, ingress, certRequest}
}

// table is all cases.
func table() []row {
	var rows []row
	for _, of := range [][]row{
		allowedRows(), deletionRows(), restartRows(), tlsRows(), otherRows(), namespaceRows(), markerRows(),
	} {
		rows = append(rows, of...)
	}
	for i := range rows {
		if rows[i].in == "" {
			rows[i].in = open
		}
	}
	return rows
}

// allowedRows are the five in their exact shape, on what is easily taken for something else.
func allowedRows() []row {
	var rows []row
	for _, kind := range theFive() {
		rows = append(rows,
			row{name: string(kind), kind: kind},
			row{name: string(kind) + " in a namespace labeled as not protected", kind: kind, in: unlabeled})
	}
	bare := as(func(object *appsv1.Deployment) { object.Spec.Template.Annotations = nil })
	restarted := as(func(object *appsv1.Deployment) {
		object.Spec.Template.Annotations = map[string]string{policy.RestartedAtAnnotation: "2025-01-01T00:00:00+01:00"}
	})
	twice := as(func(object *appsv1.Deployment) {
		object.Spec.Template.Annotations[policy.RestartedAtAnnotation] = start.Format("2006-01-02T15:04:05Z07:00")
	})
	return append(rows,
		row{name: "a first annotation", kind: deployment, is: bare},
		row{name: "another restart", kind: deployment, is: restarted},
		row{name: "the same restart again", kind: deployment, is: twice},
		row{name: "a Deployment with no metadata of its own", kind: deployment, is: func(object client.Object) {
			object.SetLabels(nil)
			object.SetAnnotations(nil)
		}},
		row{name: "a restart with a status beside it, which the API server drops", kind: deployment,
			also: []operation{{Op: "add", Path: "/status/replicas", Value: 7}}},
		row{name: "a pod that never ran", kind: pod, is: as(func(object *corev1.Pod) { object.Spec.NodeName = "" })},
		row{name: "a pod that has ended", kind: pod, status: as(func(object *corev1.Pod) { object.Status.Phase = corev1.PodSucceeded })},
		row{name: "a pod that has failed", kind: pod, status: as(func(object *corev1.Pod) { object.Status.Phase = corev1.PodFailed })},
		row{name: "a pod that asks for five minutes", kind: pod, is: as(func(object *corev1.Pod) { object.Spec.TerminationGracePeriodSeconds = ptr.To(int64(300)) })},
		row{name: "a pod that asks for no time", kind: pod, is: as(func(object *corev1.Pod) { object.Spec.TerminationGracePeriodSeconds = ptr.To(int64(0)) })},
		row{name: "a pod that asks for less than that", kind: pod, is: as(func(object *corev1.Pod) { object.Spec.TerminationGracePeriodSeconds = ptr.To(int64(-5)) })},
		row{name: "a pod with a finalizer", kind: pod, is: func(object client.Object) { object.SetFinalizers([]string{"example.com/hold"}) }},
		row{name: "a Job with a finalizer", kind: job, is: func(object client.Object) { object.SetFinalizers([]string{"example.com/hold"}) }},
		row{name: "an entry with two hosts", kind: ingress, is: as(func(object *networkingv1.Ingress) {
			object.Spec.TLS[1].Hosts = []string{"b.example.com", "c.example.com"}
		})},
		row{name: "an entry among ones with no hosts and no Secret", kind: ingress, is: as(func(object *networkingv1.Ingress) {
			object.Spec.TLS = append(object.Spec.TLS, networkingv1.IngressTLS{}, networkingv1.IngressTLS{Hosts: []string{"d.example.com"}})
		})},
		row{name: "the Secret that another entry has already", kind: ingress, is: as(func(object *networkingv1.Ingress) {
			object.Spec.TLS[0] = networkingv1.IngressTLS{Hosts: []string{"b.example.com"}, SecretName: "new-tls"}
		})},
	)
}

// namespaceRows are the protected namespaces and what is being deleted, with an action of
// each sort.
func namespaceRows() []row {
	// A Pod that is being deleted is not asked about unless it would be gone sooner.
	shortens := map[v1alpha1.ActionKind]request{pod: deletion(func(o *client.DeleteOptions) { o.GracePeriodSeconds = ptr.To(int64(30)) })}
	var rows []row
	for _, kind := range theFive() {
		for _, name := range append(protected(), labeled) {
			rows = append(rows, row{name: string(kind) + " in " + name, kind: kind, in: name, want: policy.NamespaceProtection})
		}
		rows = append(rows,
			row{name: string(kind) + " of what is being deleted", kind: kind, deleted: true, want: policy.TargetScope, send: shortens[kind],
				is: func(object client.Object) { object.SetFinalizers([]string{"example.com/hold"}) }},
			row{name: string(kind) + " in a terminating namespace", kind: kind, in: terminating, want: policy.NamespaceProtection},
			row{name: string(kind) + " in a namespace that the configuration protects", kind: kind, in: byConfigured, want: policy.NamespaceProtection,
				knows:  func(in *policy.Input) { in.Config.ProtectedNamespaces = []string{byConfigured} },
				onlyGo: "the policy of artifacts/ knows no configuration: who adds a namespace there can label it, which both see"})
	}
	return rows
}

// markerRows are objects that a GitOps tool manages, and ones that only look so.
func markerRows() []row {
	var rows []row
	add := func(kind v1alpha1.ActionKind, is func(client.Object), want policy.Layer, format string, arguments ...any) {
		rows = append(rows, row{name: string(kind) + " with " + fmt.Sprintf(format, arguments...), kind: kind, is: is, want: want})
	}
	for _, kind := range theFive() {
		for _, key := range markerAnnotations() {
			add(kind, withAnnotation(key, "shop"), policy.GitOpsManaged, "annotation %s", key)
			add(kind, withAnnotation(key, ""), "", "empty annotation %s", key)
		}
		for _, key := range markerLabels() {
			add(kind, withLabel(key, "shop"), policy.GitOpsManaged, "label %s", key)
			add(kind, withLabel(key, ""), "", "empty label %s", key)
		}
		for _, by := range managers() {
			for _, value := range []string{by, strings.ToUpper(by), strings.ToUpper(by[:1]) + by[1:]} {
				add(kind, withLabel("app.kubernetes.io/managed-by", value), policy.GitOpsManaged, "managed-by %s", value)
			}
		}
		for _, value := range []string{"", "kubectl", "helmfile", "not-helm"} {
			add(kind, withLabel("app.kubernetes.io/managed-by", value), "", "managed-by %q", value)
		}
		add(kind, withLabel("app.kubernetes.io/instance", "shop"), "", "app.kubernetes.io/instance alone")
		add(kind, withAnnotation("app.kubernetes.io/managed-by", "Helm"), "", "managed-by as an annotation")
		add(kind, withLabel("kustomize.toolkit.fluxcd.io/namespace", "shop"), "", "a label that marks only as an annotation")
		rows = append(rows, row{name: string(kind) + " with a marker that the configuration adds", kind: kind, want: policy.GitOpsManaged,
			is: withLabel("example.com/managed", "yes"),
			knows: func(in *policy.Input) {
				in.Config.GitOpsMarkers = config.GitOpsMarkers{Labels: []string{"example.com/managed"}}
			},
			onlyGo: "the policy of artifacts/ knows no configuration"})
	}
	owner := metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web", UID: "replicaset-uid", Controller: ptr.To(true)}
	owned := func(object client.Object) { object.SetOwnerReferences([]metav1.OwnerReference{owner}) }
	chain := func(labels map[string]string) func(in *policy.Input) {
		return func(in *policy.Input) {
			in.Owners = []policy.Owner{{APIVersion: owner.APIVersion, Kind: owner.Kind, ObjectMeta: metav1.ObjectMeta{
				Namespace: in.Proposal.Namespace, Name: owner.Name, UID: owner.UID, Labels: labels,
			}}}
		}
	}
	return append(rows,
		row{name: "a pod of a ReplicaSet that nothing manages", kind: pod, is: owned, knows: chain(nil)},
		row{name: "a pod of a ReplicaSet that Helm manages", kind: pod, is: owned, want: policy.GitOpsManaged,
			knows:  chain(map[string]string{"app.kubernetes.io/managed-by": "Helm"}),
			onlyGo: "admission sees the target and not its owners"},
		row{name: "a pod whose ReplicaSet cannot be read", kind: pod, is: owned, want: policy.GitOpsManaged,
			onlyGo: "admission sees the target and not its owners"},
		row{name: "a pod template with a marker, which is no marker of the Deployment", kind: deployment,
			is: as(func(object *appsv1.Deployment) {
				object.Spec.Template.Annotations["meta.helm.sh/release-name"] = "shop"
			})},
	)
}

// restartRows are writes of a Deployment that are not, or not only, a restart.
func restartRows() []row {
	var rows []row
	refused := func(name string, operations ...operation) {
		rows = append(rows, row{name: "restart and " + name, kind: deployment, also: operations, want: policy.TargetScope})
	}
	template := "/spec/template"
	refused("another annotation", operation{"add", annotationPath("a"), "b"})
	refused("an annotation changed", operation{"replace", annotationPath("example.com/note"), "lost"})
	refused("an annotation emptied", operation{"replace", annotationPath("example.com/note"), ""})
	refused("an annotation removed", operation{"remove", annotationPath("example.com/note"), nil})
	refused("a label of the template", operation{"add", template + "/metadata/labels/a", "b"})
	refused("a finalizer of the template", operation{"add", template + "/metadata/finalizers", []string{"example.com/x"}})
	refused("a name of the template", operation{"add", template + "/metadata/name", "x"})
	refused("an owner of the template", operation{"add", template + "/metadata/ownerReferences", []any{
		map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}}})
	refused("an image", operation{"replace", template + "/spec/containers/0/image", "evil/web:1"})
	refused("a command", operation{"add", template + "/spec/containers/0/command", []string{"sh"}})
	refused("an environment", operation{"add", template + "/spec/containers/0/env", []any{map[string]any{"name": "A", "value": "b"}}})
	refused("a second container", operation{"add", template + "/spec/containers/-", map[string]any{"name": "x", "image": "evil:1"}})
	refused("an init container", operation{"add", template + "/spec/initContainers", []any{map[string]any{"name": "x", "image": "evil:1"}}})
	refused("a service account", operation{"add", template + "/spec/serviceAccountName", "admin"})
	refused("the host's network", operation{"add", template + "/spec/hostNetwork", true})
	refused("a volume", operation{"add", template + "/spec/volumes", []any{map[string]any{"name": "x", "hostPath": map[string]any{"path": "/"}}}})
	refused("a node", operation{"add", template + "/spec/nodeName", "x"})
	refused("replicas", operation{"replace", "/spec/replicas", 9})
	refused("no replicas", operation{"replace", "/spec/replicas", 0})
	refused("a pause", operation{"add", "/spec/paused", true})
	refused("a strategy", operation{"replace", "/spec/strategy", map[string]any{"type": "Recreate"}})
	refused("minReadySeconds", operation{"add", "/spec/minReadySeconds", 9})
	refused("progressDeadlineSeconds", operation{"replace", "/spec/progressDeadlineSeconds", 9})
	refused("revisionHistoryLimit", operation{"replace", "/spec/revisionHistoryLimit", 0})
	rows = append(rows, metadataRows(deployment)...)

	at := func(value string) []operation {
		return []operation{{"add", annotationPath(policy.RestartedAtAnnotation), value}}
	}
	for _, value := range []string{"", "now", "1772366400", "2026-03-01 12:00:00Z", "2026-03-01T13:00:00+01:00", "2026-03-01T12:00:00.5Z",
		"x2026-03-01T12:00:00Z", "2026-03-01T12:00:00Zx", "2026-03-01T12:00:00Z\n"} {
		rows = append(rows, row{name: fmt.Sprintf("a restart at %q", value), kind: deployment, also: at(value), want: policy.TargetScope})
	}
	paused := as(func(object *appsv1.Deployment) { object.Spec.Paused = true })
	return append(rows,
		row{name: "a restart at another time than the token's", kind: deployment, also: at("2026-03-01T12:00:01Z"), want: policy.TargetScope,
			onlyGo: "admission does not see the token; any time is a restart like any other"},
		row{name: "a restart at a time that there is not", kind: deployment, also: at("2026-13-41T25:61:61Z"), want: policy.TargetScope,
			onlyGo: "admission does not see the token; it only keeps other things out of the annotation"},
		row{name: "a paused Deployment", kind: deployment, is: paused, want: policy.TargetScope},
		row{name: "a paused Deployment that is resumed", kind: deployment, is: paused, want: policy.TargetScope, also: []operation{{"remove", "/spec/paused", nil}}},
		row{name: "no restart at all", kind: deployment, want: policy.TargetScope, send: jsonPatch()},
		row{name: "another annotation in its place", kind: deployment, want: policy.TargetScope, send: jsonPatch(operation{"add", annotationPath("a"), "b"})},
		row{name: "a proposal of another annotation", kind: deployment, want: policy.TargetScope,
			propose: func(spec *v1alpha1.ProposalSpec) { spec.Patch.SetAnnotation.Name = "a" },
			send:    jsonPatch(operation{"add", annotationPath("a"), "b"})},
		row{name: "restartedAt on the Deployment itself", kind: deployment, want: policy.TargetScope,
			send: rawPatch(types.MergePatchType, `{"metadata":{"annotations":{"kubectl.kubernetes.io/restartedAt":"2026-03-01T12:00:00Z"}}}`)},
		row{name: "restartedAt taken away", kind: deployment, want: policy.TargetScope,
			is: as(func(object *appsv1.Deployment) {
				object.Spec.Template.Annotations[policy.RestartedAtAnnotation] = "2025-01-01T00:00:00Z"
			}),
			send: jsonPatch(operation{"remove", annotationPath(policy.RestartedAtAnnotation), nil})},
		row{name: "all annotations taken away", kind: deployment, want: policy.TargetScope,
			send: rawPatch(types.MergePatchType, `{"spec":{"template":{"metadata":{"annotations":null}}}}`)},
		row{name: "an image by a strategic merge", kind: deployment, want: policy.TargetScope,
			send: rawPatch(types.StrategicMergePatchType, `{"spec":{"template":{"spec":{"containers":[{"name":"web","image":"evil:1"}]}}}}`)},
		row{name: "an image by replacing the whole", kind: deployment, want: policy.TargetScope,
			send: put(func(object *appsv1.Deployment) { object.Spec.Template.Spec.Containers[0].Image = "evil:1" })},
	)
}

// metadataRows are changes of the target's own metadata beside an approved patch.
func metadataRows(kind v1alpha1.ActionKind) []row {
	var rows []row
	additions := map[string]operation{
		"a label":                     {"add", "/metadata/labels/a", "b"},
		"a marker":                    {"add", "/metadata/labels/app.kubernetes.io~1managed-by", "Helm"},
		"a label removed":             {"remove", "/metadata/labels/app", nil},
		"an own annotation":           {"add", "/metadata/annotations/a", "b"},
		"an own annotation's removal": {"remove", "/metadata/annotations/example.com~1note", nil},
		"a finalizer":                 {"add", "/metadata/finalizers", []string{"example.com/x"}},
		"a generateName":              {"add", "/metadata/generateName", "x"},
		"an owner": {"add", "/metadata/ownerReferences", []any{
			map[string]any{"apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "x"}}},
	}
	for _, name := range slices.Sorted(maps.Keys(additions)) {
		rows = append(rows, row{name: string(kind) + " and " + name, kind: kind, also: []operation{additions[name]}, want: policy.TargetScope})
	}
	hold := func(object client.Object) { object.SetFinalizers([]string{"example.com/hold"}) }
	return append(rows,
		row{name: string(kind) + " and a finalizer removed", kind: kind, is: hold, also: []operation{{"remove", "/metadata/finalizers", nil}}, want: policy.TargetScope},
		row{name: string(kind) + " of what has a finalizer", kind: kind, is: hold})
}

// tlsRows are writes of an Ingress that are not, or not only, one entry's Secret.
func tlsRows() []row {
	var rows []row
	refused := func(name string, operations ...operation) {
		rows = append(rows, row{name: "TLS and " + name, kind: ingress, also: operations, want: policy.TargetScope})
	}
	refused("another class", operation{"replace", "/spec/ingressClassName", "x"})
	refused("another default backend", operation{"replace", "/spec/defaultBackend/service/name", "x"})
	refused("no default backend", operation{"remove", "/spec/defaultBackend", nil})
	refused("a rule's host", operation{"replace", "/spec/rules/0/host", "evil.example.com"})
	refused("another rule", operation{"add", "/spec/rules/-", map[string]any{"host": "evil.example.com"}})
	refused("no rules", operation{"remove", "/spec/rules", nil})
	refused("a host of the entry", operation{"replace", "/spec/tls/1/hosts/0", "evil.example.com"})
	refused("a host of another entry", operation{"replace", "/spec/tls/0/hosts/0", "evil.example.com"})
	refused("one host more", operation{"add", "/spec/tls/1/hosts/-", "c.example.com"})
	refused("no hosts", operation{"remove", "/spec/tls/1/hosts", nil})
	refused("a second entry's Secret", operation{"replace", "/spec/tls/0/secretName", "new-tls"})
	refused("an entry more", operation{"add", "/spec/tls/-", map[string]any{"hosts": []string{"c.example.com"}, "secretName": "c-tls"}})
	refused("an empty entry more", operation{"add", "/spec/tls/-", map[string]any{}})
	refused("an entry less", operation{"remove", "/spec/tls/0", nil})
	rows = append(rows, metadataRows(ingress)...)
	secret := func(name string) func(*v1alpha1.ProposalSpec) {
		return func(spec *v1alpha1.ProposalSpec) { spec.Patch.JSONPatch[1].Value = name }
	}
	return append(rows,
		row{name: "no Secret", kind: ingress, propose: secret(""), want: policy.TargetScope,
			send: jsonPatch(operation{"replace", "/spec/tls/1/secretName", ""})},
		row{name: "the Secret that it has", kind: ingress, propose: secret("old-tls"), want: policy.TargetScope},
		row{name: "a Secret that no Ready Certificate writes", kind: ingress, propose: secret("other-tls"), want: policy.TargetScope,
			onlyGo: "admission does not see Certificates"},
		row{name: "no change at all", kind: ingress, send: jsonPatch(), want: policy.TargetScope},
		row{name: "only another host", kind: ingress, want: policy.TargetScope, send: jsonPatch(operation{"replace", "/spec/tls/1/hosts/0", "evil.example.com"})},
		row{name: "two Secrets swapped", kind: ingress, want: policy.TargetScope, send: jsonPatch(
			operation{"replace", "/spec/tls/0/secretName", "old-tls"}, operation{"replace", "/spec/tls/1/secretName", "a-tls"})},
		row{name: "all TLS taken away", kind: ingress, want: policy.TargetScope, send: jsonPatch(operation{"remove", "/spec/tls", nil})},
		row{name: "an entry that names no hosts", kind: ingress, want: policy.TargetScope,
			is: as(func(object *networkingv1.Ingress) { object.Spec.TLS[1].Hosts = nil })},
		row{name: "another entry than was approved", kind: ingress, want: policy.TargetScope,
			send:   jsonPatch(operation{"replace", "/spec/tls/0/secretName", "new-tls"}),
			onlyGo: "admission does not see which entry was approved"},
		row{name: "a rule by a strategic merge", kind: ingress, want: policy.TargetScope,
			send: rawPatch(types.StrategicMergePatchType, `{"spec":{"rules":[{"host":"evil.example.com"}]}}`)},
		row{name: "the whole replaced by an Ingress with another class", kind: ingress, want: policy.TargetScope,
			send: put(func(object *networkingv1.Ingress) { object.Spec.IngressClassName = ptr.To("x") })},
	)
}

// deletionRows are deletions in another way than the executor's.
func deletionRows() []row {
	const oneWay = "how a deletion is sent is no part of a decision: package executor has one way, and this is another"
	var rows []row
	ways := map[string]func(*client.DeleteOptions){
		"without preconditions":                    func(o *client.DeleteOptions) { o.Preconditions = nil },
		"with the resourceVersion as precondition": func(o *client.DeleteOptions) { o.Preconditions.UID = nil },
		"with its dependents orphaned":             func(o *client.DeleteOptions) { o.PropagationPolicy = ptr.To(metav1.DeletePropagationOrphan) },
		"in the foreground":                        func(o *client.DeleteOptions) { o.PropagationPolicy = ptr.To(metav1.DeletePropagationForeground) },
		"with its dependents orphaned, as in old times": func(o *client.DeleteOptions) {
			o.PropagationPolicy, o.Raw = nil, &metav1.DeleteOptions{OrphanDependents: ptr.To(true)} //nolint:staticcheck // Deprecated, and taken by the API server.
		},
	}
	for _, kind := range []v1alpha1.ActionKind{pod, job, certRequest} {
		for _, name := range slices.Sorted(maps.Keys(ways)) {
			rows = append(rows, row{name: string(kind) + " " + name, kind: kind, send: deletion(ways[name]), want: policy.TargetScope, onlyCEL: oneWay})
		}
		rows = append(rows,
			row{name: string(kind) + " with only the UID as precondition", kind: kind, send: deletion(func(o *client.DeleteOptions) { o.Preconditions.ResourceVersion = nil })},
			row{name: string(kind) + " of a whole collection", kind: kind, want: policy.TargetScope, onlyCEL: oneWay, send: collection(func(*client.DeleteOptions) {})},
			row{name: string(kind) + " of a collection that has the UID", kind: kind, want: policy.TargetScope, onlyCEL: oneWay, send: collection(func(o *client.DeleteOptions) {
				o.PropagationPolicy = ptr.To(metav1.DeletePropagationBackground)
			})})
	}
	for _, seconds := range []int64{0, 1, 29, 3600} {
		rows = append(rows, row{name: fmt.Sprintf("a pod within %d s", seconds), kind: pod, want: policy.TargetScope, onlyCEL: oneWay,
			send: deletion(func(o *client.DeleteOptions) { o.GracePeriodSeconds = ptr.To(seconds) })})
	}
	unset := deletion(func(o *client.DeleteOptions) { o.PropagationPolicy = nil })
	return append(rows,
		row{name: "a pod with no propagation policy", kind: pod, send: unset},
		row{name: "a CertificateRequest with no propagation policy", kind: certRequest, send: unset},
		row{name: "a Job with no propagation policy, which orphans its pods", kind: job, send: unset, want: policy.TargetScope, onlyCEL: oneWay},
		row{name: "a pod within 30 s, its own grace period", kind: pod, send: deletion(func(o *client.DeleteOptions) { o.GracePeriodSeconds = ptr.To(int64(30)) })},
		row{name: "a Job within 0 s, which means nothing to a Job", kind: job, send: deletion(func(o *client.DeleteOptions) { o.GracePeriodSeconds = ptr.To(int64(0)) })},
	)
}

// collection deletes all objects like one: those of its name.
func collection(change func(*client.DeleteOptions)) request {
	return func(ctx context.Context, c client.Client, object client.Object) (client.Object, error) {
		options := &client.DeleteAllOfOptions{
			ListOptions:   client.ListOptions{Namespace: object.GetNamespace()},
			DeleteOptions: client.DeleteOptions{Preconditions: &metav1.Preconditions{UID: ptr.To(object.GetUID())}, DryRun: []string{metav1.DryRunAll}},
		}
		client.MatchingLabels{"app": object.GetName()}.ApplyToDeleteAllOf(options)
		change(&options.DeleteOptions)
		return nil, c.DeleteAllOf(ctx, object.DeepCopyObject().(client.Object), options)
	}
}
