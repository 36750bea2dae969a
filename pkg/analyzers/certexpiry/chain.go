// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package certexpiry

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// cause walks from a Certificate to what last went wrong: its issuer, its newest
// request, that one's order, and the order's challenges.
func cause(view *live.View, certificate *unstructured.Unstructured) (string, []v1alpha1.RelatedObject) {
	why, related := issuerTrouble(view, certificate)
	if why != "" {
		return why, related
	}
	request := newest(inputs.CertificateRequests.ByIndex(view, inputs.ByController, inputs.Controls(certificate.GetUID())))
	if request == nil {
		return "", nil
	}
	why, related = stated(request), []v1alpha1.RelatedObject{relate("request", request)}
	order := newest(inputs.Orders.ByIndex(view, inputs.ByController, inputs.Controls(request.GetUID())))
	if order == nil {
		return why, related
	}
	related = append(related, relate("order", order))
	if reason := inputs.TextAt(order, "status", "reason"); reason != "" {
		why = fmt.Sprintf("its order is %s: %s", inputs.TextAt(order, "status", "state"), inputs.Sentence(reason))
	}
	for _, challenge := range inputs.Challenges.ByIndex(view, inputs.ByController, inputs.Controls(order.GetUID())) {
		if state := inputs.TextAt(challenge, "status", "state"); state == "valid" || inputs.TextAt(challenge, "status", "reason") == "" {
			continue
		}
		related = append(related, relate("challenge", challenge))
		return fmt.Sprintf("the challenge for %s is %s: %s", inputs.TextAt(challenge, "spec", "dnsName"),
			inputs.TextAt(challenge, "status", "state"), inputs.Sentence(inputs.TextAt(challenge, "status", "reason"))), related
	}
	return why, related
}

// newest returns the object that was made last.
func newest(objects []*unstructured.Unstructured) *unstructured.Unstructured {
	var found *unstructured.Unstructured
	for _, object := range objects {
		if found == nil || found.GetCreationTimestamp().Time.Before(object.GetCreationTimestamp().Time) ||
			found.GetCreationTimestamp() == object.GetCreationTimestamp() && found.GetName() < object.GetName() {
			found = object
		}
	}
	return found
}

func stated(request *unstructured.Unstructured) string {
	for _, kind := range []string{"Denied", "InvalidRequest", "Ready"} {
		if condition, has := inputs.ConditionOf(request, kind); has && (condition.Status == "True") == (kind != "Ready") && condition.Message != "" {
			return fmt.Sprintf("its request %s says: %s", request.GetName(), inputs.Sentence(condition.Message))
		}
	}
	return ""
}

// issuerTrouble tells what is wrong with the issuer that a Certificate names.
func issuerTrouble(view *live.View, certificate *unstructured.Unstructured) (string, []v1alpha1.RelatedObject) {
	issuer, name, known := Issuer(view, certificate)
	switch {
	case !known:
		return "", nil
	case issuer == nil:
		return fmt.Sprintf("there is no %s", name), nil
	}
	ready, has := inputs.ConditionOf(issuer, "Ready")
	if !has || ready.Status != "False" {
		return "", nil
	}
	return fmt.Sprintf("%s is not Ready: %s", name, inputs.Sentence(ready.Message)), []v1alpha1.RelatedObject{relate("issuer", issuer)}
}

// Issuer returns the issuer that a Certificate or a CertificateRequest names, nil
// if it does not exist, and its kind with its name. One of another group than
// cert-manager's own, or of an unknown kind, is not known.
func Issuer(view *live.View, object *unstructured.Unstructured) (issuer *unstructured.Unstructured, name string, known bool) {
	name, kind := inputs.TextAt(object, "spec", "issuerRef", "name"), inputs.TextAt(object, "spec", "issuerRef", "kind")
	if group := inputs.TextAt(object, "spec", "issuerRef", "group"); name == "" || group != "" && group != "cert-manager.io" {
		return nil, "", false
	}
	var exists bool
	switch kind {
	case "", "Issuer":
		kind = "Issuer"
		issuer, exists = inputs.Issuers.Get(view, live.Key{Namespace: object.GetNamespace(), Name: name})
	case "ClusterIssuer":
		issuer, exists = inputs.ClusterIssuers.Get(view, live.Key{Name: name})
	default:
		return nil, "", false
	}
	if !exists {
		issuer = nil
	}
	return issuer, kind + " " + name, true
}
