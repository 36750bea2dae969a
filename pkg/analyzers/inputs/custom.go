// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"maps"
	"regexp"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/live"
)

// CustomOptions say how custom resources are kept.
type CustomOptions struct {
	// Versions are read where the cluster does not serve the resource's own.
	Versions []string
	// Indexes beside ByController.
	Indexes map[string]func(*unstructured.Unstructured) []string
	// Without are the paths of fields that nobody reads.
	Without [][]string
	// Trim, if there is one, takes out what no path can name.
	Trim func(*unstructured.Unstructured)
}

// NewCustom declares a kind of custom resources, which may be absent from the
// cluster. They are found by their controller, and kept without managedFields.
func NewCustom(resource schema.GroupVersionResource, options CustomOptions) live.Kind[*unstructured.Unstructured] {
	indexes := byController[*unstructured.Unstructured]()
	maps.Copy(indexes, options.Indexes)
	return live.NewInput(resource, live.InputOptions[*unstructured.Unstructured]{
		Optional: true, Versions: options.Versions, Indexes: indexes,
		Trim: func(in *unstructured.Unstructured) *unstructured.Unstructured {
			unstructured.RemoveNestedField(in.Object, "metadata", "managedFields")
			unstructured.RemoveNestedField(in.Object, "metadata", "annotations", lastApplied)
			for _, path := range options.Without {
				unstructured.RemoveNestedField(in.Object, path...)
			}
			if options.Trim != nil {
				options.Trim(in)
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
	// ObservedGeneration is what it was set for; 0 where that is not told.
	ObservedGeneration int64
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
		return Condition{
			Type: kind, Status: text("status"), Reason: text("reason"), Message: text("message"), LastTransition: at,
			ObservedGeneration: number(fields["observedGeneration"]),
		}, true
	}
	return Condition{}, false
}

// Untold tells whether an object has no conditions at all, so that no controller has
// looked at it. What cannot be read as conditions tells nothing either way.
func Untold(object *unstructured.Unstructured) bool {
	if status, has := object.Object["status"]; has {
		if _, is := status.(map[string]any); !is {
			return false
		}
	}
	conditions, _, err := unstructured.NestedFieldNoCopy(object.Object, "status", "conditions")
	if err != nil || conditions == nil {
		return err == nil
	}
	list, is := conditions.([]any)
	return is && len(list) == 0
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
	return number(value)
}

func number(value any) int64 {
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

// What is another one in each try of the same thing: the directory that a controller
// works in, the port that it calls from, and the ID of its request.
var (
	temporary = regexp.MustCompile(`/tmp/[^/\s'":]+`)
	calledBy  = regexp.MustCompile(`[^\s"'(]+:\d+->`)
	requestID = regexp.MustCompile(`(?i)\b((?:request|host|trace|correlation|activity)[ _-]?id["']?[:= ]+["']?)[\w+/=-]{8,}`)
)

// Sentence cuts a controller's own message to the length of one, between runes, without
// what is another one in each try.
func Sentence(text string) string {
	const most = 200
	text = strings.Join(strings.Fields(text), " ")
	text = temporary.ReplaceAllString(text, "/tmp/...")
	text = calledBy.ReplaceAllString(text, "")
	text = requestID.ReplaceAllString(text, "${1}...")
	if runes := []rune(text); len(runes) > most {
		return string(runes[:most]) + "..."
	}
	return strings.TrimRight(text, ".")
}
