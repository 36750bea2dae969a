// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package imagepull

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
)

// waits are what containers wait for while an image cannot be had, with the reason
// where the wait alone tells it (k8s.io/kubernetes, pkg/kubelet/images; k8s.io/cri-api,
// pkg/errors).
var waits = map[string]string{
	"ErrImagePull": "", "ImagePullBackOff": "", "ImageInspectError": "", "SignatureValidationFailed": PullFailed,
	"InvalidImageName": NameInvalid, "ErrImageNeverPull": NeverPulled, "RegistryUnavailable": RegistryUnreachable,
}

// order is which cause counts when pods of a workload have several. The last is that
// of which nothing is known.
var order = []string{AuthenticationFailed, NotFound, NameInvalid, NeverPulled, RateLimited, RegistryUnreachable, PullFailed}

// signs are parts of what container runtimes and registries say (containerd, CRI-O,
// Docker's distribution; RFC 9110 for the status codes), in lower case. The first that
// fits counts: a limit speaks of authentication, and an authority that cannot be
// reached of authorization.
var signs = []struct {
	reason string
	parts  []string
}{
	{RateLimited, []string{"toomanyrequests", "too many requests", "pull rate limit", "rate exceeded"}},
	{RegistryUnreachable, []string{
		"no such host", "server misbehaving", "i/o timeout", "connection refused", "connection reset", "network is unreachable",
		"no route to host", "tls handshake", "deadline exceeded", "x509:", "certificate", "proxyconnect", ": eof",
		"500 internal server error", "502 bad gateway", "503 service unavailable", "504 gateway", "server gave http response to https client",
	}},
	{AuthenticationFailed, []string{
		"401 unauthorized", "403 forbidden", "unauthorized", "authentication required", "no basic auth credentials", "access denied",
		"insufficient_scope", "authorization failed", "failed to authorize", "requested access to the resource is denied", "denied:",
	}},
	{NotFound, []string{"not found", "manifest unknown", "manifest_unknown", "name unknown", "name_unknown", "no such manifest", "does not exist"}},
}

// throttled is what the kubelet says when it pulls too much at a time: its own
// limit, which passes.
const throttled = "pull QPS exceeded"

// reasonOf tells what a text about an image says; empty if it does not tell. The name of
// the image is taken out, because it may have any word in it.
func reasonOf(text, image string) string {
	if strings.ContainsAny(image, "/:") {
		text = strings.ReplaceAll(text, image, "")
	}
	text = strings.ToLower(text)
	for _, sign := range signs {
		if slices.ContainsFunc(sign.parts, func(part string) bool { return strings.Contains(text, part) }) {
			return sign.reason
		}
	}
	return ""
}

// cause is why an image cannot be had, with the words that tell so.
type cause struct{ reason, text string }

// causeOf tells why a container has no image: by what it waits with, else by the
// newest event about it that tells. While the kubelet backs off, older ones say only
// that they do.
func causeOf(wait *corev1.ContainerStateWaiting, image string, events []*corev1.Event) cause {
	if reason := waits[wait.Reason]; reason != "" {
		return cause{reason, wait.Message}
	}
	if reason := reasonOf(wait.Message, image); reason != "" {
		return cause{reason, wait.Message}
	}
	told := cause{PullFailed, ""}
	var newest *corev1.Event
	for _, event := range events {
		about := strings.Contains(event.Message, `"`+image+`"`) || strings.Contains(event.Message, `"`+image+`:latest"`)
		if event.Reason != "Failed" && event.Reason != "InspectFailed" || !about || newest != nil && !inputs.LastSeen(event).After(inputs.LastSeen(newest)) {
			continue
		}
		if reason := reasonOf(event.Message, image); reason != "" {
			told, newest = cause{reason, event.Message}, event
		}
	}
	return told
}

// String says in the rest of a sentence why the image cannot be had.
func (c cause) String() string {
	text := strings.ToLower(c.text)
	switch c.reason {
	case AuthenticationFailed:
		if strings.Contains(text, "does not exist or may require authorization") {
			return "the registry denies access, or has no such repository: it says the same of both"
		}
		return "the registry denies access"
	case NotFound:
		return "the registry has no such image or tag"
	case RateLimited:
		return "the registry's limit of pulls is used up"
	case NameInvalid:
		return "that is not the name of an image"
	case NeverPulled:
		return "it is not on the node, and its pull policy is Never"
	case RegistryUnreachable:
		switch {
		case strings.Contains(text, "x509:") || strings.Contains(text, "certificate"):
			return "the certificate of the registry is not trusted"
		case strings.Contains(text, "no such host") || strings.Contains(text, "server misbehaving"):
			return "the name of the registry cannot be resolved"
		}
		return "the registry cannot be reached"
	}
	return "the node does not say why in words that srenix knows"
}
