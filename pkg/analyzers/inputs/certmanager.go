// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

var (
	certManager = schema.GroupVersion{Group: "cert-manager.io", Version: "v1"}
	acme        = schema.GroupVersion{Group: "acme.cert-manager.io", Version: "v1"}
)

// BySecret finds Certificates by "NAMESPACE/NAME" of the Secret that they write.
const BySecret = "secret"

// What cert-manager keeps, where it is installed.
var (
	Certificates = custom(certManager.WithResource("certificates"), BySecret, func(in *unstructured.Unstructured) []string {
		if secret := TextAt(in, "spec", "secretName"); secret != "" {
			return []string{in.GetNamespace() + "/" + secret}
		}
		return nil
	})
	CertificateRequests = custom(certManager.WithResource("certificaterequests"), "", nil)
	Issuers             = custom(certManager.WithResource("issuers"), "", nil)
	ClusterIssuers      = custom(certManager.WithResource("clusterissuers"), "", nil)
	Orders              = custom(acme.WithResource("orders"), "", nil)
	Challenges          = custom(acme.WithResource("challenges"), "", nil)
)

// custom declares a kind of custom resources, found also by its controller. The
// request and the certificate that some of them carry are nobody's business here.
func custom(resource schema.GroupVersionResource, index string, values func(*unstructured.Unstructured) []string) live.Kind[*unstructured.Unstructured] {
	indexes := byController[*unstructured.Unstructured]()
	if index != "" {
		indexes[index] = values
	}
	return live.NewInput(resource, live.InputOptions[*unstructured.Unstructured]{
		Optional: true, Indexes: indexes,
		Trim: func(in *unstructured.Unstructured) *unstructured.Unstructured {
			unstructured.RemoveNestedField(in.Object, "metadata", "managedFields")
			unstructured.RemoveNestedField(in.Object, "metadata", "annotations", lastApplied)
			unstructured.RemoveNestedField(in.Object, "spec", "request")
			for _, field := range []string{"certificate", "ca"} {
				unstructured.RemoveNestedField(in.Object, "status", field)
			}
			return in
		},
	})
}

// Condition is one of status.conditions of a custom resource. What is missing,
// or of another type than it should be, is empty.
type Condition struct {
	Type, Status, Reason, Message string
	LastTransition                time.Time
}

// ConditionOf returns the condition of a type, and whether there is one.
func ConditionOf(object *unstructured.Unstructured, kind string) (Condition, bool) {
	conditions, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return Condition{}, false
	}
	for _, item := range conditions {
		fields, ok := item.(map[string]any)
		if !ok || fields["type"] != kind {
			continue
		}
		text := func(name string) string { value, _ := fields[name].(string); return value }
		at, _ := time.Parse(time.RFC3339, text("lastTransitionTime"))
		return Condition{Type: kind, Status: text("status"), Reason: text("reason"), Message: text("message"), LastTransition: at}, true
	}
	return Condition{}, false
}

// TextAt returns the string at a path of fields; empty if there is none.
func TextAt(object *unstructured.Unstructured, path ...string) string {
	text, _, err := unstructured.NestedString(object.Object, path...)
	if err != nil {
		return ""
	}
	return text
}

// TimeAt returns the time at a path of fields; zero if there is none.
func TimeAt(object *unstructured.Unstructured, path ...string) time.Time {
	at, err := time.Parse(time.RFC3339, TextAt(object, path...))
	if err != nil {
		return time.Time{}
	}
	return at
}

// NumberAt returns the whole number at a path of fields, which may have been
// decoded as either kind of number; 0 if there is none.
func NumberAt(object *unstructured.Unstructured, path ...string) int64 {
	value, _, err := unstructured.NestedFieldNoCopy(object.Object, path...)
	if err != nil {
		return 0
	}
	switch number := value.(type) {
	case int64:
		return number
	case float64:
		return int64(number)
	}
	return 0
}

// TextsAt returns the list of strings at a path of fields.
func TextsAt(object *unstructured.Unstructured, path ...string) []string {
	texts, _, err := unstructured.NestedStringSlice(object.Object, path...)
	if err != nil {
		return nil
	}
	return texts
}

// Sentence cuts a controller's own message to the length of one, between runes.
func Sentence(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return strings.TrimRight(text, ".")
}
