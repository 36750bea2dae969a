// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"

	"github.com/srenix/srenix/pkg/analyzers/workloadstatedrift"
	"github.com/srenix/srenix/test/harness"
	"github.com/srenix/srenix/test/plane"
)

// controller runs another project's program against the plane until the test ends, in
// a directory that is the test's own.
func controller(t *testing.T, directory string, environment []string, program string, arguments ...string) {
	t.Helper()
	harness.Controller(t, srenix.Plane, directory, environment, program, arguments...)
}

// Flux's kustomize-controller says itself what is wrong with a Kustomization.
func TestWhatFluxWritesIsFound(t *testing.T) {
	kubectl(t, "create", "namespace", "flux-apps")
	controller(t, t.TempDir(), []string{"RUNTIME_NAMESPACE=flux-system"}, "kustomize-controller", "--watch-all-namespaces", "--enable-leader-election=false",
		"--metrics-addr=127.0.0.1:0", "--health-addr=127.0.0.1:0")
	apply(t, `
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: shop, namespace: flux-apps}
spec: {interval: 1m, retryInterval: 1m, prune: true, path: ./deploy, sourceRef: {kind: GitRepository, name: shop}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: parked, namespace: flux-apps}
spec: {interval: 1m, prune: true, suspend: true, path: ./deploy, sourceRef: {kind: GitRepository, name: shop}}
---
apiVersion: kustomize.toolkit.fluxcd.io/v1
kind: Kustomization
metadata: {name: fleet, namespace: flux-apps}
spec: {interval: 1m, retryInterval: 1m, prune: true, path: ./deploy, sourceRef: {kind: GitRepository, name: fleet}}
---
apiVersion: source.toolkit.fluxcd.io/v1
kind: GitRepository
metadata: {name: fleet, namespace: flux-apps}
spec: {interval: 1m, url: "https://git.example.com/fleet"}
`)
	// source-controller is not in reach of a module proxy: what it says of a source is ours.
	kubectl(t, "patch", "gitrepositories.source.toolkit.fluxcd.io", "fleet", "-n", "flux-apps", "--subresource=status", "--type=merge", "-p",
		`{"status":{"conditions":[{"type":"Ready","status":"False","reason":"GitOperationFailed","message":"authentication required","lastTransitionTime":"`+
			time.Now().UTC().Format(time.RFC3339)+`"}]}}`)
	eventually(t, "the controller to speak", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "kustomizations.kustomize.toolkit.fluxcd.io", "shop", "-n", "flux-apps", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")]}`)
		return strings.Contains(have, `"status":"False"`), have
	})
	reason := kubectl(t, "get", "kustomizations.kustomize.toolkit.fluxcd.io", "shop", "-n", "flux-apps", "-o", `jsonpath={.status.conditions[?(@.type=="Ready")].reason}`)
	message := foundAbout(t, "flux-apps", "GitOpsDrift", "shop")
	if !strings.Contains(message, "shop") {
		t.Errorf("the controller says %s; the finding says: %s", reason, message)
	}
	t.Logf("the controller says %s; the finding says: %s", reason, message)
	// What waits for a source that is not Ready is found once, with the source.
	const source = "GitRepository fleet is not Ready (GitOperationFailed): authentication required. Not Ready for want of it: Kustomization fleet."
	eventually(t, "the source to be found, with what waits for it", func(context.Context) (bool, string) {
		message := foundAbout(t, "flux-apps", "GitOpsDrift", "fleet")
		return message == source, message
	})
	kubectl(t, "delete", "kustomizations.kustomize.toolkit.fluxcd.io", "shop", "-n", "flux-apps", "--wait=false")
	eventually(t, "the finding to clear", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "findings.srenix.io", "-n", "flux-apps", "-l", "srenix.io/analyzer=GitOpsDrift", "--field-selector", "spec.subject.name=shop", "-o", "name")
		return have == "", have
	})
}

// foundAbout waits for a finding of an analyzer about a subject, and returns its message.
func foundAbout(t *testing.T, namespace, analyzer, subject string) string {
	t.Helper()
	var message string
	eventually(t, analyzer+" about "+subject, func(context.Context) (bool, string) {
		message = kubectl(t, "get", "findings.srenix.io", "-n", namespace, "-l", "srenix.io/analyzer="+analyzer,
			"--field-selector", "spec.subject.name="+subject, "-o", "jsonpath={.items[*].spec.message}")
		return message != "", kubectl(t, "get", "findings.srenix.io,clusterfindings", "-n", namespace, "-o", "wide")
	})
	return message
}

// cert-manager issues, fails to issue, and renews; its own controllers do.
func TestWhatCertManagerWritesIsFound(t *testing.T) {
	kubectl(t, "create", "namespace", "cert-manager")
	kubectl(t, "create", "namespace", "certs")
	controller(t, t.TempDir(), nil, "certmanager-controllers", "--kubeconfig="+srenix.Plane.Kubeconfig())
	apply(t, `
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: self, namespace: certs}
spec: {selfSigned: {}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: good, namespace: certs}
spec: {secretName: good-tls, dnsNames: [good.example.com], issuerRef: {name: self}}
---
apiVersion: cert-manager.io/v1
kind: Issuer
metadata: {name: broken, namespace: certs}
spec: {ca: {secretName: no-such-authority}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: bad, namespace: certs}
spec: {secretName: bad-tls, dnsNames: [bad.example.com], issuerRef: {name: broken}}
---
apiVersion: cert-manager.io/v1
kind: Certificate
metadata: {name: orphan, namespace: certs}
spec: {secretName: orphan-tls, dnsNames: [orphan.example.com], issuerRef: {name: no-such-issuer}}
`)
	kubectl(t, "wait", "--for=condition=Ready", "--timeout=60s", "-n", "certs", "certificate/good")
	for subject, cause := range map[string]string{"bad": "broken", "orphan": "no-such-issuer"} {
		message := found(t, "certs", "CertificateNotReady", subject)
		if !strings.Contains(message, cause) {
			t.Errorf("the finding about %s does not name %s: %s", subject, cause, message)
		}
		t.Log(message)
	}
	if have := kubectl(t, "get", "findings.srenix.io", "-n", "certs", "--field-selector", "spec.subject.name=good", "-o", "name"); have != "" {
		t.Errorf("a good certificate has %s", have)
	}
	// Mended, as a person would: the authority that the issuer names.
	key, certificate := authority(t)
	kubectl(t, "create", "secret", "tls", "no-such-authority", "-n", "certs", "--cert="+certificate, "--key="+key)
	cleared(t, "certs", "CertificateNotReady", "bad")
	// A renewal takes its course without a word.
	end := time.Now().Add(2 * grace)
	before := kubectl(t, "get", "certificate", "good", "-n", "certs", "-o", "jsonpath={.status.revision}")
	kubectl(t, "delete", "secret", "good-tls", "-n", "certs")
	eventually(t, "the renewal", func(context.Context) (bool, string) {
		have := kubectl(t, "get", "certificate", "good", "-n", "certs", "-o", "jsonpath={.status.revision}")
		return have != before, have
	})
	kubectl(t, "wait", "--for=condition=Ready", "--timeout=60s", "-n", "certs", "certificate/good")
	eventually(t, "twice the grace to pass", func(context.Context) (bool, string) {
		if have := kubectl(t, "get", "findings.srenix.io", "-n", "certs", "--field-selector", "spec.subject.name=good", "-o", "name"); have != "" {
			t.Errorf("a certificate that is renewed has %s", have)
		}
		return time.Now().After(end), ""
	})
}

// CloudNativePG's manager says what keeps it from a cluster that it is to make, and
// sets up another, which takes the time that it takes.
func TestWhatCloudNativePGWritesIsFound(t *testing.T) {
	kubectl(t, "create", "namespace", "cnpg-system")
	kubectl(t, "create", "namespace", "databases")
	port, _, err := harness.FreePorts()
	if err != nil {
		t.Fatal(err)
	}
	certificates := t.TempDir()
	certificate, key, err := cert.GenerateSelfSignedCertKey("localhost", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"apiserver.crt": certificate, "apiserver.key": key} {
		if err := os.WriteFile(filepath.Join(certificates, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	// It hands itself on to the instances, and looks for the program beside itself.
	directory := t.TempDir()
	manager, err := plane.Binary("cloudnative-pg")
	if err != nil {
		t.Fatalf("%v (make controllers)", err)
	}
	if err := os.Mkdir(filepath.Join(directory, "operator"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(manager, filepath.Join(directory, "operator", "manager_"+runtime.GOARCH)); err != nil {
		t.Fatal(err)
	}
	controller(t, directory, []string{"OPERATOR_NAMESPACE=cnpg-system", "WEBHOOK_CERT_DIR=" + certificates}, "cloudnative-pg",
		"controller", "--leader-elect=false", "--metrics-bind-address=127.0.0.1:0", "--webhook-port="+strconv.Itoa(port))
	apply(t, `
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: orders, namespace: databases}
spec:
  instances: 1
  imageCatalogRef: {apiGroup: postgresql.cnpg.io, kind: ImageCatalog, name: postgresql, major: 17}
  storage: {size: 1Gi}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: carts, namespace: databases}
spec:
  instances: 1
  imageName: ghcr.io/cloudnative-pg/postgresql:17.5
  plugins: [{name: backup.example.com}]
  storage: {size: 1Gi}
---
apiVersion: postgresql.cnpg.io/v1
kind: Cluster
metadata: {name: users, namespace: databases}
spec:
  instances: 1
  imageName: ghcr.io/cloudnative-pg/postgresql:17.5
  storage: {size: 1Gi}
`)
	phase := func(name string) string {
		return kubectl(t, "get", "clusters.postgresql.cnpg.io", name, "-n", "databases", "-o", "jsonpath={.status.phase}")
	}
	for subject, cause := range map[string]string{"orders": "image catalog", "carts": "plugin"} {
		message := found(t, "databases", workloadstatedrift.ClusterNotHealthy, subject)
		if !strings.Contains(message, cause) {
			t.Errorf("the operator says %q; the finding about %s: %s", phase(subject), subject, message)
		}
		t.Log(message)
	}
	// Mended, as a person would: the catalog that the cluster names.
	apply(t, `
apiVersion: postgresql.cnpg.io/v1
kind: ImageCatalog
metadata: {name: postgresql, namespace: databases}
spec: {images: [{major: 17, image: "ghcr.io/cloudnative-pg/postgresql:17.5"}]}
`)
	cleared(t, "databases", workloadstatedrift.ClusterNotHealthy, "orders")
	if have := kubectl(t, "get", "findings.srenix.io", "-n", "databases", "--field-selector", "spec.subject.name=users", "-o", "name"); have != "" {
		t.Errorf("a cluster in phase %q has %s", phase("users"), have)
	}
	t.Logf("meanwhile the operator says of the others: %q and %q", phase("orders"), phase("users"))
	kubectl(t, "delete", "clusters.postgresql.cnpg.io", "--all", "-n", "databases")
}
