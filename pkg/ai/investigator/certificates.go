// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	certManagerV1 = "cert-manager.io/v1"
	acmeV1        = "acme.cert-manager.io/v1"
)

// certificate walks from a Certificate, or from a request, down to what went wrong
// first: the issuer, the request, its order, the order's challenges.
func (q *inquiry) certificate(ref v1alpha1.ObjectReference) verdict {
	object, is := q.custom(ref)
	if !q.subject(ref, is) {
		return verdict{}
	}
	q.note(opsv1alpha1.ToolObject, name(ref), conditions(object))
	if found := q.issuer(object); found.cause != "" {
		return found
	}
	request := object
	if object.GetKind() == "Certificate" {
		requests := q.controlled(certManagerV1, "CertificateRequest", object)
		if len(requests) == 0 {
			q.lack(CauseNoKnownSign, fmt.Sprintf("Certificate %s has no request, and says no more than: %s", object.GetName(), cmp.Or(message(object, "Ready"), "nothing")))
			return verdict{}
		}
		request = requests[0]
		q.note(opsv1alpha1.ToolObject, name(reference(request)), conditions(request))
	}
	if found := q.order(request); found.cause != "" {
		return found
	}
	for _, kind := range []struct{ condition, cause, says string }{
		{"Denied", "RequestDenied", "was denied"}, {"InvalidRequest", "RequestInvalid", "is not valid"},
	} {
		if condition, has := inputs.ConditionOf(request, kind.condition); has && condition.Status == "True" {
			return verdict{kind.cause, fmt.Sprintf("CertificateRequest %s %s: %s", request.GetName(), kind.says, sentence(redaction.Mask(condition.Message)))}
		}
	}
	if ready, has := inputs.ConditionOf(request, "Ready"); has && ready.Reason == "Failed" {
		said := redaction.Mask(ready.Message)
		return verdict{signIn(said, "RequestFailed"), fmt.Sprintf("CertificateRequest %s failed: %s", request.GetName(), sentence(said))}
	}
	q.lack(CauseNoKnownSign, fmt.Sprintf("CertificateRequest %s has not failed, and says no more than: %s", request.GetName(), cmp.Or(message(request, "Ready"), "nothing")))
	return verdict{}
}

// issuer goes by how the issuer stands that a Certificate or a request names.
func (q *inquiry) issuer(object *unstructured.Unstructured) verdict {
	ref, known := issuerOf(object)
	if !known {
		return verdict{} // of another project, whose states are not known
	}
	issuer, is := q.custom(ref)
	switch is {
	case absent:
		return verdict{"IssuerMissing", fmt.Sprintf("%s %s names %s %s, which does not exist", object.GetKind(), object.GetName(), ref.Kind, ref.Name)}
	case unread:
		return verdict{}
	case present:
	}
	q.note(opsv1alpha1.ToolObject, name(ref), conditions(issuer))
	if ready, has := inputs.ConditionOf(issuer, "Ready"); has && ready.Status == "False" {
		said := redaction.Mask(ready.Message)
		return verdict{signIn(said, "IssuerNotReady"), fmt.Sprintf("%s %s is not Ready: %s", ref.Kind, ref.Name, sentence(said))}
	}
	return verdict{}
}

// issuerOf is the issuer of cert-manager that a Certificate or a request names.
func issuerOf(object *unstructured.Unstructured) (ref v1alpha1.ObjectReference, known bool) {
	ref = v1alpha1.ObjectReference{
		APIVersion: certManagerV1, Kind: cmp.Or(inputs.TextAt(object, "spec", "issuerRef", "kind"), "Issuer"),
		Namespace: object.GetNamespace(), Name: inputs.TextAt(object, "spec", "issuerRef", "name"),
	}
	if group := cmp.Or(inputs.TextAt(object, "spec", "issuerRef", "group"), "cert-manager.io"); group != "cert-manager.io" || ref.Name == "" {
		return ref, false
	}
	if ref.Kind == "ClusterIssuer" {
		ref.Namespace = ""
	}
	return ref, ref.Kind == "Issuer" || ref.Kind == "ClusterIssuer"
}

// order goes by the ACME order of a request, and its challenges.
func (q *inquiry) order(request *unstructured.Unstructured) verdict {
	orders := q.controlled(acmeV1, "Order", request)
	if len(orders) == 0 {
		return verdict{}
	}
	order := orders[0]
	state, reason := inputs.TextAt(order, "status", "state"), redaction.Mask(inputs.TextAt(order, "status", "reason"))
	q.note(opsv1alpha1.ToolObject, name(reference(order)), strings.TrimSpace("state "+cmp.Or(state, "unknown")+" "+reason))
	for _, challenge := range q.controlled(acmeV1, "Challenge", order) {
		state, reason := inputs.TextAt(challenge, "status", "state"), redaction.Mask(inputs.TextAt(challenge, "status", "reason"))
		host, kind := inputs.TextAt(challenge, "spec", "dnsName"), inputs.TextAt(challenge, "spec", "type")
		q.note(opsv1alpha1.ToolObject, name(reference(challenge)), fmt.Sprintf("%s for %s, state %s: %s", kind, host, cmp.Or(state, "unknown"), reason))
		if state == "valid" || reason == "" {
			continue
		}
		q.host(host)
		return verdict{signIn(reason, "ChallengeFailed"), fmt.Sprintf("The %s challenge for %s is %s: %s", kind, host, cmp.Or(state, "not presented"), sentence(reason))}
	}
	if reason != "" {
		return verdict{signIn(reason, "OrderFailed"), fmt.Sprintf("The order of CertificateRequest %s is %s: %s", request.GetName(), cmp.Or(state, "unknown"), sentence(reason))}
	}
	return verdict{}
}

// conditions says in a line how an object stands by its conditions.
func conditions(object *unstructured.Unstructured) string {
	var all []string
	for _, kind := range []string{"Approved", "Denied", "InvalidRequest", "Issuing", "Ready"} {
		if condition, has := inputs.ConditionOf(object, kind); has {
			all = append(all, strings.TrimSpace(fmt.Sprintf("%s=%s %s: %s", kind, condition.Status, condition.Reason, sentence(condition.Message))))
		}
	}
	if len(all) == 0 {
		return "has no conditions"
	}
	return strings.Join(all, "; ")
}

func message(object *unstructured.Unstructured, kind string) string {
	condition, _ := inputs.ConditionOf(object, kind)
	return sentence(condition.Message)
}
