// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package workloads

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
)

// exceededQuota is how the quota admission names the quota; what it counts after
// that changes (k8s.io/apiserver, pkg/admission/plugin/resourcequota).
var exceededQuota = regexp.MustCompile(`exceeded quota: ([^,]+)`)

// Refused is the part of a refusal to make a pod that stays the same: each try has
// another pod's name, and a quota counts.
func Refused(message string) string {
	if quota := exceededQuota.FindStringSubmatch(message); quota != nil {
		return fmt.Sprintf("ResourceQuota %s is used up", inputs.Sentence(quota[1]))
	}
	for _, before := range []string{" failed error: ", "Error creating: "} { // of StatefulSets; of the others
		if _, rest, is := strings.Cut(message, before); is {
			message = rest
		}
	}
	for _, before := range []string{" is forbidden: ", " is invalid: "} {
		if _, reason, is := strings.Cut(message, before); is {
			return inputs.Sentence(reason)
		}
	}
	return inputs.Sentence(message)
}

// Refusal is why the controller of an object could not make its pods, as its last
// event about that says; empty if there is none. Events are dropped and forgotten, so
// none means nothing.
func Refusal(view *live.View, uid types.UID) string {
	var last *corev1.Event
	for _, event := range inputs.Events.ByIndex(view, inputs.ByInvolved, string(uid)) {
		if event.Reason != inputs.FailedCreate {
			continue
		}
		if last == nil || inputs.LastSeen(event).After(inputs.LastSeen(last)) {
			last = event
		}
	}
	if last == nil {
		return ""
	}
	return Refused(last.Message)
}
