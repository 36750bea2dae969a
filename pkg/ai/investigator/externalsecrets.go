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

// lacking are words of providers for what they do not have, in lower case.
var lacking = []string{"does not exist", "not found", "nosuchkey", "code: 404", "cannot find", "no secret exists"}

// externalSecret walks from what the External Secrets Operator cannot do to the store
// that it asks.
func (q *inquiry) externalSecret(ref v1alpha1.ObjectReference) verdict {
	object, is := q.custom(ref)
	if !q.subject(ref, is) {
		return verdict{}
	}
	ref.UID = object.GetUID()
	q.note(opsv1alpha1.ToolObject, name(ref), conditions(object))
	for _, store := range storesOf(object) {
		if found := q.store(object, store); found.cause != "" {
			return found
		}
	}
	texts := []string{}
	for _, event := range q.events(ref) {
		texts = append(texts, event.Message)
	}
	if ready, has := inputs.ConditionOf(object, "Ready"); has && ready.Status == "False" {
		texts = append(texts, redaction.Mask(ready.Message))
	}
	for _, text := range texts {
		if is := asked(text); is != "" {
			return verdict{is, fmt.Sprintf("%s %s is not Ready, because the provider answers: %s", object.GetKind(), object.GetName(), sentence(cause(text)))}
		}
	}
	if len(texts) == 0 {
		q.lack(CauseNoKnownSign, fmt.Sprintf("%s says nothing of why it is not Ready", name(ref)))
		return verdict{}
	}
	q.lack(CauseNoKnownSign, fmt.Sprintf("%s says no more than: %s", name(ref), sentence(texts[0])))
	return verdict{}
}

// asked is the cause that an answer of a provider names, or nothing.
func asked(text string) string {
	if is := signIn(text, ""); is != "" {
		return is
	}
	lower := strings.ToLower(text)
	for _, part := range lacking {
		if strings.Contains(lower, part) {
			return "RemoteKeyMissing"
		}
	}
	return ""
}

// storesOf are the stores that an object names.
func storesOf(of *unstructured.Unstructured) []v1alpha1.ObjectReference {
	var all []v1alpha1.ObjectReference
	for _, named := range inputs.StoresOf(of) { // as inputs.StoreRef has it
		parts := strings.SplitN(named, "/", 3)
		ref := v1alpha1.ObjectReference{APIVersion: of.GetAPIVersion(), Kind: parts[0], Namespace: parts[1], Name: parts[2]}
		if of.GetKind() == "PushSecret" { // is of another version than stores are
			ref.APIVersion = inputs.ExternalSecretsGroup + "/v1"
		}
		all = append(all, ref)
	}
	return all
}

// store goes by how a store stands that an object names.
func (q *inquiry) store(of *unstructured.Unstructured, ref v1alpha1.ObjectReference) verdict {
	store, is := q.custom(ref)
	switch is {
	case absent:
		return verdict{"StoreMissing", fmt.Sprintf("%s %s names %s %s, which does not exist", of.GetKind(), of.GetName(), ref.Kind, ref.Name)}
	case unread:
		return verdict{}
	case present:
	}
	ref.UID = store.GetUID()
	q.note(opsv1alpha1.ToolObject, name(ref), conditions(store))
	ready, has := inputs.ConditionOf(store, "Ready")
	if !has || ready.Status != "False" {
		return verdict{}
	}
	said := redaction.Mask(ready.Message)
	for _, event := range q.events(ref) {
		if signIn(event.Message, "") != "" {
			said = event.Message
			break
		}
	}
	return verdict{signIn(said, "StoreNotReady"), fmt.Sprintf("%s %s, which %s %s asks, is not Ready: %s", ref.Kind, ref.Name, of.GetKind(), of.GetName(), cmp.Or(sentence(cause(said)), "it does not say why"))}
}
