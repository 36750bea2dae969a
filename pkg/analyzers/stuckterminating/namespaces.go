// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package stuckterminating

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// The messages of the namespace controller (k8s.io/kubernetes,
// pkg/controller/namespace/deletion) count what is left: the names stay the same.
var (
	groupVersion = regexp.MustCompile(`([a-z0-9.-]+)/(v[0-9]+(?:(?:alpha|beta)[0-9]+)?): `)
	remaining    = regexp.MustCompile(`([a-z0-9./-]+) has [0-9]+ resource instances`)
	promised     = regexp.MustCompile(`([A-Za-z0-9._/-]+) in [0-9]+ resource instances`)
)

// namespace tells what of a namespace does not go: pods, or itself.
func (a analyzer) namespace(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	namespace, exists := inputs.Namespaces.Get(view, subject)
	if !exists {
		return nil, nil
	}
	return append(leftIn(view, namespace.Name), a.terminating(view, namespace)...), nil
}

// terminating tells why a namespace cannot be emptied, in the order in which one
// cause hides the next.
func (a analyzer) terminating(view *live.View, namespace *corev1.Namespace) []v1alpha1.FindingSpec {
	if !a.past(view, namespace) {
		return nil
	}
	why, remediation := a.emptying(view, namespace)
	if why == "" {
		return nil
	}
	remediation.Commands = append([]string{fmt.Sprintf("kubectl get namespace %s -o jsonpath='{.status.conditions}'", namespace.Name)}, remediation.Commands...)
	return []v1alpha1.FindingSpec{{
		Reason: NamespaceStuck, Severity: v1alpha1.SeverityWarning,
		Subject:     v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: namespace.Name, UID: namespace.UID},
		Message:     fmt.Sprintf("Namespace %s is being deleted and does not go: %s.", namespace.Name, why),
		Remediation: remediation, Since: *namespace.DeletionTimestamp,
	}}
}

func (a analyzer) emptying(view *live.View, namespace *corev1.Namespace) (why string, remediation v1alpha1.Remediation) {
	if condition, is := failing(namespace, corev1.NamespaceDeletionDiscoveryFailure); is {
		return discovery(condition)
	}
	for _, kind := range []corev1.NamespaceConditionType{corev1.NamespaceDeletionGVParsingFailure, corev1.NamespaceDeletionContentFailure} {
		if condition, is := failing(namespace, kind); is {
			return fmt.Sprintf("%s: %s", kind, inputs.Sentence(afterCount(condition.Message))), v1alpha1.Remediation{
				Text: "The API server refuses to list or delete what is left, for the reason that the condition has. Mend that: an admission webhook that refuses or does not answer, and a conversion webhook of a CRD that is gone, are the usual ones.",
				Commands: []string{
					"kubectl get validatingwebhookconfigurations,mutatingwebhookconfigurations",
					"kubectl get customresourcedefinitions -o custom-columns=NAME:.metadata.name,CONVERSION:.spec.conversion.webhook.clientConfig.service.name",
				},
			}
		}
	}
	if a.ending(view, namespace.Name) {
		return "", remediation
	}
	if condition, is := failing(namespace, corev1.NamespaceFinalizersRemaining); is {
		names := found(promised, condition.Message)
		return fmt.Sprintf("%s: what is left waits for %s", condition.Type, waitsFor(names)), left(namespace, "A finalizer is a piece of work that somebody has promised to do first. "+whose(names)+" See whether that controller still runs, and may do it: one that was uninstalled before its objects never will, so install it again, let it finish, and uninstall it last. What is removed by hand leaves that work undone for good: a volume, a DNS record or a load balancer stays and is paid for.")
	}
	if condition, is := failing(namespace, corev1.NamespaceContentRemaining); is {
		return fmt.Sprintf("%s: %s are left", condition.Type, listed(found(remaining, condition.Message))),
			left(namespace, "See what is left and why it does not go. Something may also make it anew all the time.")
	}
	// Pods go before all else, and until they have the namespace controller says nothing
	// of what is left (KEP-5080).
	if pods := inputs.Pods.List(view, namespace.Name, nil); len(pods) > 0 {
		var names []string
		for _, pod := range pods {
			names = append(names, pod.Name)
		}
		return "its pods are to go first, and these are left: " + listed(names), v1alpha1.Remediation{
			Text:     "See what holds each of them: a finalizer, its kubelet, or a grace that is not over. Another finding tells of those that should have been gone.",
			Commands: []string{fmt.Sprintf("kubectl get pods -n %s -o custom-columns=NAME:.metadata.name,NODE:.spec.nodeName,DELETED:.metadata.deletionTimestamp,FINALIZERS:.metadata.finalizers", namespace.Name)},
		}
	}
	own := slices.Clone(namespace.Finalizers)
	for _, finalizer := range namespace.Spec.Finalizers {
		own = append(own, string(finalizer))
	}
	if others := slices.DeleteFunc(own, func(name string) bool { return name == string(corev1.FinalizerKubernetes) }); len(others) > 0 {
		return "it waits for " + waitsFor(others), v1alpha1.Remediation{
			Text:     "It is empty, and somebody has promised a piece of work first. " + whose(others) + " See why that does not run or does not get on.",
			Commands: []string{fmt.Sprintf("kubectl get namespace %s -o yaml", namespace.Name)},
		}
	}
	return "the namespace controller says nothing about it", v1alpha1.Remediation{
		Text:     "See whether kube-controller-manager runs: it empties namespaces.",
		Commands: []string{"kubectl get lease kube-controller-manager -n kube-system -o yaml"},
	}
}

// discovery names the aggregated APIs that cannot be asked what they have.
func discovery(condition corev1.NamespaceCondition) (string, v1alpha1.Remediation) {
	remediation := v1alpha1.Remediation{
		Text:     "Nothing can be deleted for certain while an aggregated API does not answer. Bring the Service behind it back; if it was uninstalled, delete the APIService that it left behind.",
		Commands: []string{"kubectl get apiservices"},
	}
	var versions []string
	for _, match := range groupVersion.FindAllStringSubmatch(condition.Message, -1) {
		versions = append(versions, match[1]+"/"+match[2])
		if describe := fmt.Sprintf("kubectl describe apiservice %s.%s", match[2], match[1]); !slices.Contains(remediation.Commands, describe) {
			remediation.Commands = append(remediation.Commands, describe)
		}
	}
	if len(versions) == 0 {
		return fmt.Sprintf("%s: %s", condition.Type, inputs.Sentence(condition.Message)), remediation
	}
	return fmt.Sprintf("%s: the aggregated API %s does not answer", condition.Type, listed(versions)), remediation
}

// left is what to do about content.
func left(namespace *corev1.Namespace, text string) v1alpha1.Remediation {
	remediation := v1alpha1.Remediation{Text: text}
	condition, _ := failing(namespace, corev1.NamespaceContentRemaining)
	for _, resource := range found(remaining, condition.Message) {
		remediation.Commands = append(remediation.Commands, fmt.Sprintf("kubectl get %s -n %s -o custom-columns=NAME:.metadata.name,DELETED:.metadata.deletionTimestamp,FINALIZERS:.metadata.finalizers", resource, namespace.Name))
	}
	return remediation
}

// ending tells whether pods of a namespace still have time to end by themselves:
// the namespace waits for the one that has most.
func (a analyzer) ending(view *live.View, namespace string) bool {
	ending := false
	for _, pod := range inputs.Pods.List(view, namespace, nil) {
		if pod.DeletionTimestamp != nil && !a.past(view, pod) {
			ending = true
		}
	}
	return ending
}

func failing(namespace *corev1.Namespace, kind corev1.NamespaceConditionType) (corev1.NamespaceCondition, bool) {
	for _, condition := range namespace.Status.Conditions {
		if condition.Type == kind && condition.Status == corev1.ConditionTrue {
			return condition, true
		}
	}
	return corev1.NamespaceCondition{}, false
}

// found are the names that a message has, as kubectl takes them.
func found(names *regexp.Regexp, message string) []string {
	var all []string
	for _, match := range names.FindAllStringSubmatch(message, -1) {
		all = append(all, strings.TrimSuffix(match[1], ".")) // of the core group
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// afterCount leaves out how many resources could not be deleted.
func afterCount(message string) string {
	if _, after, counted := strings.Cut(message, " remaining: "); counted {
		return after
	}
	return message
}
