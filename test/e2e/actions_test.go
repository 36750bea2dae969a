// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/test/harness"
)

// The actions on Jobs and on what cert-manager keeps, with its real CRDs; the
// statuses are written as its controllers write them. Pods and Deployments are in
// approve_test.go.

func ago(d time.Duration) string { return time.Now().Add(-d).UTC().Format(time.RFC3339) }

// status merges a status into a custom resource, as its controller does.
func status(t *testing.T, namespace, resource, name, patch string) {
	t.Helper()
	kubectl(t, "patch", resource, name, "-n", namespace, "--subresource=status", "--type=merge", "-p", patch)
}

func certManager(t *testing.T) {
	t.Helper()
	files, err := harness.CertManager.Files()
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		kubectl(t, "apply", "--server-side", "-f", file)
	}
	kubectl(t, "wait", "--for=condition=Established", "--timeout=30s", "crd/certificates.cert-manager.io", "crd/certificaterequests.cert-manager.io", "crd/issuers.cert-manager.io")
}

// carriedOut approves a proposal and waits until it is verified.
func carriedOut(t *testing.T, user string, proposal *v1alpha1.Proposal) {
	t.Helper()
	name := approve(t, user, proposal)
	waitPhase(t, proposal.Namespace, name, opsv1alpha1.PhaseSucceeded)
	eventually(t, "the finding to be seen cleared", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "approval", name, "-n", proposal.Namespace, "-o", `jsonpath={.status.conditions[?(@.type=="Verified")].status} {.status.message}`)
		return strings.HasPrefix(have, "True"), have
	})
}

// mayAct lets an approver do by hand what they approve.
func mayAct(t *testing.T, ns, user, verb, resource string) string {
	t.Helper()
	kubeconfig := approver(t, ns, user)
	kubectl(t, "create", "role", user, "-n", ns, "--verb="+verb, "--resource="+resource)
	kubectl(t, "create", "rolebinding", user+"-does", "-n", ns, "--role="+user, "--user="+user)
	return kubeconfig
}

func certificate(ns, name, secret, host string) string {
	return fmt.Sprintf(`
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: %s, namespace: %s}
spec: {secretName: %s, dnsNames: [%s], issuerRef: {name: ca}}
`, name, ns, secret, host)
}

func ready(since, until string) string {
	return fmt.Sprintf(`{"status":{"notBefore":%q,"notAfter":%q,"conditions":[{"type":"Ready","status":"True","reason":"Ready","message":"Certificate is up to date and has not expired","lastTransitionTime":%q}]}}`, since, until, since)
}

func TestAnIngressIsPointedAtTheBetterSecret(t *testing.T) {
	certManager(t)
	ns := namespace(t)
	user := mayAct(t, ns, "tess", "patch", "ingresses.networking.k8s.io")
	apply(t, certificate(ns, "old", "old-tls", "shop.example.com")+"---"+certificate(ns, "new", "new-tls", `"*.example.com"`)+`---
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: web, namespace: `+ns+`}
spec:
  tls:
    - {secretName: other-tls, hosts: [other.example.com]}
    - {secretName: old-tls, hosts: [shop.example.com]}
  rules: [{host: shop.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`)
	status(t, ns, "certificate.cert-manager.io", "old", ready(ago(90*24*time.Hour), ago(time.Hour)))
	status(t, ns, "certificate.cert-manager.io", "new", ready(ago(time.Hour), ago(-89*24*time.Hour)))
	proposal := proposalFor(t, ns, "web")
	carriedOut(t, user, proposal)
	want := "other-tls new-tls"
	if have := kubectl(t, "get", "ingress", "web", "-n", ns, "-o", "jsonpath={.spec.tls[*].secretName}"); have != want {
		t.Errorf("the Ingress names %s, want %s", have, want)
	}
}

func TestAFailedCertificateRequestIsDeleted(t *testing.T) {
	certManager(t)
	ns := namespace(t)
	user := mayAct(t, ns, "cora", "delete", "certificaterequests.cert-manager.io")
	apply(t, certificate(ns, "web", "web-tls", "shop.example.com")+`---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: ca, namespace: `+ns+`}
spec: {ca: {secretName: ca}}
`)
	uid := kubectl(t, "get", "certificate.cert-manager.io", "web", "-n", ns, "-o", "jsonpath={.metadata.uid}")
	apply(t, `
apiVersion: cert-manager.io/v1
kind: CertificateRequest
metadata:
  name: web-1
  namespace: `+ns+`
  ownerReferences: [{apiVersion: cert-manager.io/v1, kind: Certificate, name: web, uid: `+uid+`, controller: true, blockOwnerDeletion: true}]
spec: {request: bm90aGluZw==, issuerRef: {name: ca, kind: Issuer, group: cert-manager.io}}
`)
	status(t, ns, "issuer.cert-manager.io", "ca", `{"status":{"conditions":[{"type":"Ready","status":"True","reason":"KeyPairVerified","message":"Signing CA verified","lastTransitionTime":"`+ago(time.Hour)+`"}]}}`)
	status(t, ns, "certificate.cert-manager.io", "web", `{"status":{"failedIssuanceAttempts":2,"conditions":[{"type":"Issuing","status":"True","reason":"Renewing","message":"Renewing certificate","lastTransitionTime":"`+ago(3*time.Hour)+`"}]}}`)
	failed := func(at string) {
		status(t, ns, "certificaterequest.cert-manager.io", "web-1", `{"status":{"failureTime":"`+at+`","conditions":[{"type":"Ready","status":"False","reason":"Failed","message":"the CA said no","lastTransitionTime":"`+at+`"}]}}`)
	}
	// After a second failure it is left alone for two hours.
	failed(ago(90 * time.Minute))
	eventually(t, "the finding", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "jsonpath={.items[*].spec.reason}")
		return have == "CertificateRequestFailed", have
	})
	if have := kubectl(t, "get", "proposals", "-n", ns, "-o", "name"); have != "" {
		t.Errorf("it is proposed to try again at once: %s", have)
	}
	failed(ago(150 * time.Minute))
	carriedOut(t, user, proposalFor(t, ns, "web-1"))
	if have := kubectl(t, "get", "certificaterequests.cert-manager.io", "-n", ns, "-o", "name"); have != "" {
		t.Errorf("there still is %s", have)
	}
}

func TestAStuckJobIsDeletedOnceItsTemplateIsCorrected(t *testing.T) {
	ns := namespace(t)
	user := mayAct(t, ns, "jona", "delete", "jobs.batch")
	cron := func(image string) string {
		return `
apiVersion: batch/v1
kind: CronJob
metadata: {name: report, namespace: ` + ns + `}
spec:
  schedule: "0 0 1 1 *"
  concurrencyPolicy: Forbid
  jobTemplate:
    spec:
      template:
        metadata:
          annotations: {controlplane.srenix.io/waiting: ImagePullBackOff}
        spec:
          restartPolicy: Never
          containers: [{name: report, image: "` + image + `"}]
`
	}
	apply(t, cron("example/report:missing"))
	kubectl(t, "create", "job", "report-1", "-n", ns, "--from=cronjob/report")
	eventually(t, "the finding", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "jsonpath={.items[*].spec.analyzer}")
		return have == "ImagePull", have
	})
	// With the same template the next Job would wait just the same.
	if have := kubectl(t, "get", "proposals", "-n", ns, "-o", "name"); have != "" {
		t.Errorf("it is proposed to make the same again: %s", have)
	}
	apply(t, cron("example/report:1"))
	eventually(t, "the finding to be about the Job", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", ns, "-o", "jsonpath={.items[*].spec.reason}")
		return have == "JobCannotStart", have
	})
	carriedOut(t, user, proposalFor(t, ns, "report-1"))
	eventually(t, "the Job to go", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "jobs", "-n", ns, "-o", "name")
		return have == "", have
	})
}
