// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/certificates"
	"github.com/srenix/srenix/pkg/hostname"
)

// secretNamePath has the index without leading zeros, so that each entry has one spelling.
var secretNamePath = regexp.MustCompile(`^/spec/tls/(0|[1-9][0-9]{0,3})/secretName$`)

// tlsPatch is what a JSON patch of PatchIngressTLS says.
type tlsPatch struct {
	index                int
	oldSecret, newSecret string
}

// parseTLSPatch accepts one grammar: a test of the old and a replace with the
// new name, both at the same entry's secretName.
func parseTLSPatch(operations []v1alpha1.JSONPatchOperation) (tlsPatch, error) {
	if len(operations) != 2 || operations[0].Op != "test" || operations[1].Op != "replace" {
		return tlsPatch{}, errors.New("the patch must be one test and one replace")
	}
	test, replace := operations[0], operations[1]
	match := secretNamePath.FindStringSubmatch(replace.Path)
	if match == nil || test.Path != replace.Path {
		return tlsPatch{}, errors.New("both operations must be at the same /spec/tls/<i>/secretName")
	}
	index, err := strconv.Atoi(match[1])
	if err != nil {
		return tlsPatch{}, fmt.Errorf("reading the index of the TLS entry: %w", err)
	}
	if problems := validation.IsDNS1123Subdomain(replace.Value); len(problems) > 0 {
		return tlsPatch{}, fmt.Errorf("the new Secret's name is not one: %s", problems[0])
	}
	if test.Value == replace.Value {
		return tlsPatch{}, errors.New("the patch changes nothing")
	}
	return tlsPatch{index: index, oldSecret: test.Value, newSecret: replace.Value}, nil
}

// tlsVerdict tells whether the Ingress is as the patch expects it, and whether
// the new Secret belongs to a Ready Certificate that covers the entry's hosts and is
// of the issuer whose certificate is served now: clients that trust that one need not
// trust another.
func tlsVerdict(ingress *networkingv1.Ingress, spec *v1alpha1.ProposalSpec, all []unstructured.Unstructured) (v1alpha1.Verdict, bool) {
	patch, err := parseTLSPatch(spec.Patch.JSONPatch)
	if err != nil {
		return denied(err.Error(), defect), false
	}
	again := "look at the proposals again"
	if patch.index >= len(ingress.Spec.TLS) {
		return denied(fmt.Sprintf("the Ingress has no TLS entry %d any more", patch.index), again), false
	}
	entry := ingress.Spec.TLS[patch.index]
	if entry.SecretName != patch.oldSecret {
		return denied(fmt.Sprintf("TLS entry %d names Secret %q now, and not %q", patch.index, entry.SecretName, patch.oldSecret), again), false
	}
	if len(entry.Hosts) == 0 {
		return denied(fmt.Sprintf("TLS entry %d names no hosts, so no Certificate can be said to cover it", patch.index), "name its hosts"), false
	}
	covered := false
	for i := range all {
		if !issues(&all[i], ingress.Namespace, patch.newSecret, entry.Hosts) {
			continue
		}
		if ofOneIssuer(&all[i], writersOf(all, ingress.Namespace, patch.oldSecret)) {
			return v1alpha1.Verdict{}, true
		}
		covered = true
	}
	if covered {
		return denied(fmt.Sprintf("the Certificate that writes Secret %q does not name the issuer of the one that writes Secret %q, so it may be one that clients do not trust", patch.newSecret, patch.oldSecret),
			"have both Certificates name one issuer"), false
	}
	return denied(fmt.Sprintf("no Ready Certificate in namespace %s writes Secret %q and covers %s", ingress.Namespace, patch.newSecret, strings.Join(entry.Hosts, ", ")),
		"wait for the Certificate to become Ready"), false
}

// issues tells whether a Certificate is Ready, writes the Secret and covers the hosts.
func issues(certificate *unstructured.Unstructured, namespace, secret string, hosts []string) bool {
	if certificate.GetNamespace() != namespace {
		return false
	}
	if !writes(certificate, secret) {
		return false
	}
	names, _, err := unstructured.NestedStringSlice(certificate.Object, "spec", "dnsNames")
	if err != nil || !isReady(certificate) {
		return false
	}
	return hostname.CoversAll(names, hosts)
}

func writes(certificate *unstructured.Unstructured, secret string) bool {
	name, found, _ := unstructured.NestedString(certificate.Object, "spec", "secretName")
	return found && name == secret // What is no string is not found.
}

// writersOf returns the Certificates of a namespace that write a Secret.
func writersOf(all []unstructured.Unstructured, namespace, secret string) []*unstructured.Unstructured {
	var writers []*unstructured.Unstructured
	for i := range all {
		if all[i].GetNamespace() == namespace && writes(&all[i], secret) {
			writers = append(writers, &all[i])
		}
	}
	return writers
}

// ofOneIssuer tells whether a Certificate names the issuer of all others, of which
// there is one at least.
func ofOneIssuer(certificate *unstructured.Unstructured, others []*unstructured.Unstructured) bool {
	return len(others) > 0 && !slices.ContainsFunc(others, func(other *unstructured.Unstructured) bool {
		return !certificates.SameIssuer(certificate, other)
	})
}

// isReady tells whether the Certificate is Ready as it stands: a condition that
// says which generation it is of counts only for the present one.
func isReady(certificate *unstructured.Unstructured) bool {
	conditions, _, err := unstructured.NestedSlice(certificate.Object, "status", "conditions")
	if err != nil {
		return false
	}
	for _, condition := range conditions {
		if fields, ok := condition.(map[string]any); ok && fields["type"] == "Ready" {
			return fields["status"] == "True" && isCurrent(fields, certificate.GetGeneration())
		}
	}
	return false
}

// isCurrent tells whether a condition is of this generation or a later one; one
// that does not say counts, as of controllers that never say.
func isCurrent(condition map[string]any, generation int64) bool {
	switch observed := condition["observedGeneration"].(type) {
	case nil:
		return true
	case int64:
		return observed >= generation
	case float64: // As encoding/json reads numbers.
		return observed >= float64(generation)
	}
	return false
}
