// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/analyzers/imagepull"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// pulls are words of registries and runtimes about a pull that fails, the more
// telling first, in lower case.
var pulls = []struct {
	cause, says string
	parts       []string
}{
	{imagepull.RateLimited, "the registry's limit of pulls is used up", []string{"toomanyrequests", "too many requests", "pull rate limit"}},
	{"RegistryHostNotFound", "the name of the registry cannot be resolved", []string{"no such host", "server misbehaving", "temporary failure in name resolution"}},
	{"RegistryCertificateInvalid", "the certificate of the registry is not trusted", []string{"x509:", "certificate signed by", "certificate has expired"}},
	{imagepull.RegistryUnreachable, "the registry cannot be reached", []string{
		"connection refused", "i/o timeout", "deadline exceeded", "connection reset", "no route to host", "network is unreachable", "tls handshake", "502 bad gateway",
		"503 service unavailable", "500 internal server error", "server gave http response",
	}},
	{imagepull.AuthenticationFailed, "the registry denies access, or has no such repository: many say the same of both", []string{
		"401 unauthorized", "403 forbidden", "authentication required", "no basic auth credentials", "access denied", "insufficient_scope", "authorization failed", "failed to authorize", "denied:",
	}},
	{"ImagePlatformMissing", "the image is not built for the node's platform", []string{"no match for platform", "no matching manifest"}},
	{imagepull.NotFound, "the registry has no such image or tag", []string{"not found", "manifest unknown", "name unknown", "no such manifest", "does not exist"}},
}

// image goes by what the kubelet says of a pull that fails.
func (q *inquiry) image(pod *corev1.Pod, ref v1alpha1.ObjectReference, container *corev1.ContainerStatus) verdict {
	image, wait := container.Image, container.State.Waiting
	begin := fmt.Sprintf("Image %s of Pod %s cannot be had: ", image, pod.Name)
	switch wait.Reason {
	case "InvalidImageName":
		return verdict{imagepull.NameInvalid, begin + "that is not the name of an image"}
	case "ErrImageNeverPull":
		return verdict{imagepull.NeverPulled, begin + "it is not on the node, and its pull policy is Never"}
	}
	texts := []string{redaction.Mask(wait.Message)}
	for _, event := range q.events(ref) {
		if event.Reason == "Failed" || event.Reason == "InspectFailed" {
			texts = append(texts, event.Message)
		}
	}
	for _, text := range texts {
		lower := strings.ToLower(strings.ReplaceAll(text, image, ""))
		for _, pull := range pulls {
			for _, part := range pull.parts {
				if strings.Contains(lower, part) {
					if strings.HasPrefix(pull.cause, "Registry") || pull.cause == imagepull.RegistryUnreachable {
						q.host(registry(image))
					}
					return verdict{pull.cause, begin + pull.says + ". The node says: " + sentence(cause(text))}
				}
			}
		}
	}
	// The analyzer may have seen words that are gone by now.
	if spec := q.finding.Spec; spec.Analyzer == imagepull.Name && spec.Reason != imagepull.PullFailed && spec.Discriminator == image {
		return verdict{spec.Reason, strings.TrimRight(spec.Message, ".") + ". The node does not say more now"}
	}
	q.lack(CauseNoKnownSign, fmt.Sprintf("neither Pod %s nor its Events say why image %s cannot be had", pod.Name, image))
	return verdict{}
}

// cause is the end of a message in which each part wraps the next, which tells most.
func cause(text string) string {
	const most = 200 // as sentence keeps
	text = strings.Join(strings.Fields(text), " ")
	for len(text) > most {
		_, inner, wraps := strings.Cut(text, ": ")
		if !wraps {
			break
		}
		text = inner
	}
	return text
}

// registry is the host that an image is pulled from, without its port.
func registry(image string) string {
	host, _, path := strings.Cut(image, "/")
	if !path || !strings.ContainsAny(host, ".:") && host != "localhost" {
		return "registry-1.docker.io"
	}
	host, _, _ = strings.Cut(host, ":")
	return host
}

// host looks at a host, where somebody wants hosts to be looked at.
func (q *inquiry) host(host string) {
	if q.Hosts == nil || host == "" {
		return
	}
	source := "Host/" + host
	var addresses []string
	err := q.read(source, func(ctx context.Context) (err error) {
		addresses, err = q.Hosts.Addresses(ctx, host)
		return err
	})
	if err != nil {
		q.note(opsv1alpha1.ToolHost, source, "cannot be resolved from here: "+err.Error())
		return
	}
	said := fmt.Sprintf("has %d addresses, as seen from here", len(addresses))
	var problem string
	err = q.read("the certificate of "+source, func(ctx context.Context) (err error) {
		problem, err = q.Hosts.Certificate(ctx, host)
		return err
	})
	switch {
	case err != nil:
		said += "; port 443 cannot be reached: " + err.Error()
	case problem != "":
		said += "; its certificate is not to be trusted: " + problem
	default:
		said += "; its certificate is valid"
	}
	q.note(opsv1alpha1.ToolHost, source, said)
}
