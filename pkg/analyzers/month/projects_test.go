// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"maps"
	"math/big"
	"slices"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/test/healthy"
)

const (
	day = 24 * time.Hour
	// The lifetime of certificates, and how old they are when they are renewed.
	lifetime, renewal = 90 * day, 60 * day
)

// projects are what the controllers of other projects look after in one namespace.
type projects struct {
	*cluster
	healthy.State
}

// fill returns the objects of a file of package healthy.
func (p *projects) fill(file string) string {
	p.t.Helper()
	filled, err := p.Fill(file)
	if err != nil {
		p.t.Fatal(err)
	}
	return filled
}

// custom returns one of the custom resources.
func (p *projects) custom(group, kind, name string) *unstructured.Unstructured {
	p.t.Helper()
	return get[*unstructured.Unstructured](p.cluster, schema.GroupKind{Group: group, Kind: kind}, p.Namespace, name)
}

// change has people change the objects, but for those of some groups.
func (p *projects) change(without ...string) {
	p.t.Helper()
	p.Round++
	p.Begun = p.Now()
	for _, object := range decode(p.t, p.fill("life/objects.yaml")) {
		wanted := object.(*unstructured.Unstructured)
		if slices.Contains(without, wanted.GroupVersionKind().Group) {
			continue
		}
		key := keyOf(wanted)
		stored, exists := p.objects[key].(*unstructured.Unstructured)
		if !exists {
			p.create(wanted)
			continue
		}
		if hash(stored.Object["spec"]) != hash(wanted.Object["spec"]) {
			p.edit(stored, func() { stored.Object["spec"] = wanted.Object["spec"] })
		}
	}
}

// write has the controllers write what they do at a stage, of the objects that are meant.
func (p *projects) write(stage string, meant func(*unstructured.Unstructured) bool) {
	p.t.Helper()
	for _, object := range decode(p.t, p.fill("life/"+stage+".yaml")) {
		written := object.(*unstructured.Unstructured)
		if !meant(written) {
			continue
		}
		stored := p.objects[keyOf(written)].(*unstructured.Unstructured)
		if strings.HasSuffix(written.GroupVersionKind().Group, ".toolkit.fluxcd.io") {
			conditions, _, err := unstructured.NestedSlice(written.Object, "status", "conditions")
			if err != nil {
				p.t.Fatal(err)
			}
			for _, condition := range conditions {
				condition.(map[string]any)["observedGeneration"] = stored.GetGeneration()
			}
			if err := unstructured.SetNestedSlice(written.Object, conditions, "status", "conditions"); err != nil {
				p.t.Fatal(err)
			}
		}
		stored.Object["status"] = written.Object["status"]
		p.store(stored)
	}
}

const certManager = "cert-manager.io"

func ofCertManager(o *unstructured.Unstructured) bool {
	return o.GroupVersionKind().Group == certManager
}

func ofOthers(o *unstructured.Unstructured) bool { return !ofCertManager(o) }

// deploy is a change of everything but certificates, at a pace of its stages.
func (p *projects) deploy(pace time.Duration) {
	p.done["deployment by Git"]++
	p.change(certManager)
	for i, stage := range []string{"begun", "underway", "closing", "healthy"} {
		p.in(time.Duration(i)*pace, func() { p.write(stage, ofOthers) })
	}
}

// renew is what cert-manager does when the certificates are to be renewed.
func (p *projects) renew() {
	p.Round++
	p.Begun = p.Now()
	p.done["certificate of 90 days that was renewed"]++
	web := p.custom(certManager, "Certificate", "web")
	finish := p.request(web)
	for i, stage := range []string{"begun", "underway", "closing"} {
		p.in(time.Duration(i)*20*time.Second, func() { p.write(stage, ofCertManager) })
	}
	p.in(50*time.Second, finish)
	p.in(time.Minute, func() {
		p.write("healthy", func(o *unstructured.Unstructured) bool { return o.GetKind() == "Certificate" })
	})
}

// request makes the CertificateRequest of a renewal, and returns what issues it. The one
// before goes (revisionHistoryLimit).
func (p *projects) request(of *unstructured.Unstructured) (issue func()) {
	revision, _, err := unstructured.NestedInt64(of.Object, "status", "revision")
	if err != nil {
		p.t.Fatal(err)
	}
	request := func(n int64) string { return fmt.Sprintf("%s-%d", of.GetName(), n) }
	if before, is := p.objects[fmt.Sprintf("CertificateRequest.%s %s/%s", certManager, p.Namespace, request(revision))].(*unstructured.Unstructured); is {
		p.remove(before)
	}
	made := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": certManager + "/v1", "kind": "CertificateRequest",
		"metadata": map[string]any{"name": request(revision + 1), "namespace": p.Namespace, "annotations": map[string]any{
			"cert-manager.io/certificate-name": of.GetName(), "cert-manager.io/certificate-revision": fmt.Sprint(revision + 1),
		}},
		"spec": map[string]any{"request": "eA==", "issuerRef": map[string]any{"name": "house"}},
	}}
	made.SetOwnerReferences(ownedBy(of))
	p.create(made)
	said := func(kind, status, reason, message string) any {
		return map[string]any{"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": now().UTC().Format(time.RFC3339)}
	}
	approved := said("Approved", "True", "cert-manager.io", "Certificate request has been approved by cert-manager.io")
	p.in(time.Second, func() {
		made.Object["status"] = map[string]any{"conditions": []any{approved, said("Ready", "False", "Pending", "Waiting for the issuer")}}
		p.store(made)
	})
	return func() {
		made.Object["status"] = map[string]any{"conditions": []any{approved, said("Ready", "True", "Issued", "Certificate fetched from issuer successfully")}}
		p.store(made)
	}
}

// renewOften is what cert-manager does with a certificate that lives for a day or less,
// each time that it has some age, but for what it writes into the Secret.
func (p *projects) renewOften(name string, lives, age time.Duration, write func()) {
	mesh := p.custom(certManager, "Certificate", name)
	status := mesh.Object["status"].(map[string]any)
	due, err := time.Parse(time.RFC3339, status["renewalTime"].(string))
	if err != nil {
		p.t.Fatal(err)
	}
	p.at(due, func() {
		conditions, stamp := status["conditions"].([]any), now().UTC()
		status["conditions"] = append(conditions, map[string]any{
			"type": "Issuing", "status": "True", "reason": "Renewing", "message": fmt.Sprintf("Renewing certificate as renewal was scheduled at %s", status["renewalTime"]),
			"lastTransitionTime": stamp.Format(time.RFC3339), "observedGeneration": mesh.GetGeneration(),
		})
		p.store(mesh)
		p.done[fmt.Sprintf("certificate of %s that was renewed", lives)]++
		issue := p.request(mesh)
		p.in(3*time.Second, issue)
		p.in(4*time.Second, func() {
			write()
			status["conditions"] = conditions
			status["revision"] = status["revision"].(int64) + 1
			status["notBefore"], status["notAfter"] = stamp.Format(time.RFC3339), stamp.Add(lives).Format(time.RFC3339)
			status["renewalTime"] = stamp.Add(age).Format(time.RFC3339)
			p.store(mesh)
			p.renewOften(name, lives, age, write)
		})
	})
}

// reconcile is what Flux and Argo CD write at each interval though nothing has changed.
func (p *projects) reconcile() {
	flux := func(name, message string) {
		object := p.custom("kustomize.toolkit.fluxcd.io", "Kustomization", name)
		said := func(kind, status, reason, message string) map[string]any {
			return map[string]any{"type": kind, "status": status, "reason": reason, "message": message,
				"lastTransitionTime": p.Now(), "observedGeneration": object.GetGeneration()}
		}
		status := object.Object["status"].(map[string]any)
		before := status["conditions"].([]any)
		if before[0].(map[string]any)["status"] != "True" {
			return // it is at a change
		}
		status["conditions"] = append([]any{said("Reconciling", "True", "Progressing", message), said("Ready", "Unknown", "Progressing", "Reconciliation in progress")}, before[1:]...)
		p.store(object)
		p.in(4*time.Second, func() {
			if status["conditions"].([]any)[0].(map[string]any)["type"] != "Reconciling" {
				return
			}
			status["conditions"] = append([]any{said("Ready", "True", "ReconciliationSucceeded", before[0].(map[string]any)["message"].(string))}, before[1:]...)
			p.store(object)
		})
	}
	flux("infra", "Fetching manifests for revision main@sha1:"+p.Revision()+" with a timeout of 4m30s")
	p.in(time.Minute, func() {
		flux("shop", "Fetching manifests for revision main@sha1:"+p.Revision()+" with a timeout of 9m30s")
	})
	for _, name := range []string{"shop", "by-hand"} {
		application := p.custom("argoproj.io", "Application", name)
		application.Object["status"].(map[string]any)["reconciledAt"] = p.Now()
		p.store(application)
	}
}

// refresh is what External Secrets does each hour.
func (p *projects) refresh() {
	secret := p.custom("external-secrets.io", "ExternalSecret", "payment")
	secret.Object["status"].(map[string]any)["refreshTime"] = p.Now()
	p.store(secret)
}

// backup is what CloudNativePG writes of a backup that is done.
func (p *projects) backup() {
	cluster := p.custom("postgresql.cnpg.io", "Cluster", "db")
	status := cluster.Object["status"].(map[string]any)
	status["firstRecoverabilityPoint"], status["lastSuccessfulBackup"] = p.Now(), p.Now()
	p.store(cluster)
}

// switchover is one that somebody asked for, and nothing else.
func (p *projects) switchover() {
	p.done["switchover"]++
	cluster := p.custom("postgresql.cnpg.io", "Cluster", "db")
	status := cluster.Object["status"].(map[string]any)
	before, next := status["currentPrimary"], "db-3"
	if before == next {
		next = "db-2"
	}
	set := func(fields map[string]any) {
		for name, value := range fields {
			status[name] = value
		}
		p.store(cluster)
	}
	set(map[string]any{"targetPrimary": next, "targetPrimaryTimestamp": p.Micro(), "phase": "Switchover in progress", "phaseReason": fmt.Sprintf("Switching over to %s", next)})
	p.in(20*time.Second, func() { set(map[string]any{"readyInstances": int64(2)}) })
	p.in(50*time.Second, func() { set(map[string]any{"currentPrimary": next, "currentPrimaryTimestamp": p.Micro()}) })
	p.in(90*time.Second, func() {
		set(map[string]any{"readyInstances": int64(3), "phase": "Cluster in healthy state", "phaseReason": ""})
	})
}

// outages are short ones: of what secrets come from, and of a Git server.
func (p *projects) outages() {
	conditionsOf := func(object *unstructured.Unstructured, conditions ...any) {
		object.Object["status"].(map[string]any)["conditions"] = conditions
		p.store(object)
	}
	store, secret := p.custom("external-secrets.io", "SecretStore", "house"), p.custom("external-secrets.io", "ExternalSecret", "payment")
	conditionsOf(store, p.said("Ready", "False", "InvalidProviderConfig", "unable to validate store"))
	p.in(10*time.Second, func() {
		conditionsOf(secret, p.said("Ready", "False", "SecretSyncedError", "could not get secret data from provider"))
	})
	p.in(100*time.Second, func() { conditionsOf(store, p.said("Ready", "True", "Valid", "store validated")) })
	p.in(110*time.Second, func() {
		conditionsOf(secret, p.said("Ready", "True", "SecretSynced", "secret synced"))
		p.refresh()
	})
	git := p.custom("source.toolkit.fluxcd.io", "GitRepository", "shop")
	before, _, err := unstructured.NestedSlice(git.Object, "status", "conditions")
	if err != nil {
		p.t.Fatal(err)
	}
	failed := "failed to checkout and determine revision: unable to list remote for 'https://git.example.com/shop.git': dial tcp: i/o timeout"
	conditionsOf(git, p.said("FetchFailed", "True", "GitOperationFailed", failed), p.said("Ready", "False", "GitOperationFailed", failed), before[1])
	p.in(8*time.Minute, func() {
		ready := before[0].(map[string]any)
		ready["lastTransitionTime"] = p.Now()
		conditionsOf(git, before...)
	})
	p.done["outage"]++
}

// said is a condition as of now.
func (p *projects) said(kind, status, reason, message string) any {
	return map[string]any{
		"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": p.Now(), "observedGeneration": int64(1),
	}
}

// preview has an environment come and go: what refers to something often comes before it.
func (p *projects) preview(day int) {
	namespace := fmt.Sprintf("preview-%d", day)
	p.namespace(namespace)
	filled, err := healthy.State{Namespace: namespace}.Fill("preview.yaml")
	if err != nil {
		p.t.Fatal(err)
	}
	objects := decode(p.t, filled)
	for i, object := range objects {
		p.in(time.Duration(i)*3*time.Second, func() {
			p.create(object)
			p.control(object)
		})
	}
	kind := func(of string) live.Object {
		for _, object := range objects {
			if kindOf(object).Kind == of {
				return object
			}
		}
		p.t.Fatalf("a preview has no %s", of)
		return nil
	}
	certificate := kind("Certificate").(*unstructured.Unstructured)
	p.in(12*time.Second, func() {
		why := "Issuing certificate as Secret does not exist"
		certificate.Object["status"] = map[string]any{"conditions": []any{p.said("Ready", "False", "DoesNotExist", why), p.said("Issuing", "True", "DoesNotExist", why)}}
		p.store(certificate)
	})
	p.in(9*time.Minute, func() { // a challenge by DNS takes its time
		p.secrets(namespace, map[string][]string{"preview-tls": {"tls.crt", "tls.key"}})
		at := now().UTC()
		certificate.Object["status"] = map[string]any{
			"revision": int64(1), "notBefore": at.Format(time.RFC3339), "notAfter": at.Add(lifetime).Format(time.RFC3339), "renewalTime": at.Add(renewal).Format(time.RFC3339),
			"conditions": []any{p.said("Ready", "True", "Ready", "Certificate is up to date and has not expired")},
		}
		p.store(certificate)
	})
	p.in(6*time.Hour, func() { p.terminate(namespace) })
	p.done["preview"]++
}

// terminate has a namespace go, with what is in it.
func (c *cluster) terminate(name string) {
	namespace := get[*corev1.Namespace](c, schema.GroupKind{Kind: "Namespace"}, "", name)
	namespace.DeletionTimestamp, namespace.Status.Phase = ptr.To(now()), corev1.NamespaceTerminating
	c.store(namespace)
	c.in(time.Second, func() {
		for _, key := range slices.Sorted(maps.Keys(c.objects)) {
			object := c.objects[key]
			if object == nil || object.GetNamespace() != name {
				continue
			}
			delete(c.sync, object.GetUID())
			if pod, is := object.(*corev1.Pod); is {
				c.delete(pod)
				continue
			}
			if service, is := object.(*corev1.Service); is {
				c.services = slices.DeleteFunc(c.services, func(s *corev1.Service) bool { return s == service })
			}
			c.remove(object)
		}
		remaining := corev1.NamespaceCondition{
			Type: corev1.NamespaceContentRemaining, Status: corev1.ConditionTrue, LastTransitionTime: now(), Reason: "SomeResourcesRemain",
			Message: "Some resources are remaining: pods. has 1 resource instances",
		}
		namespace.Status.Conditions = []corev1.NamespaceCondition{remaining}
		c.store(namespace)
	})
	c.in(20*time.Second, func() { c.remove(namespace) })
}

// bundle has an authority of some age be the caBundle of webhooks.
func (c *cluster) bundle(age, validFor time.Duration, configurations ...string) {
	bundle := authority(c, time.Now().Add(-age), validFor)
	for _, name := range configurations {
		for _, kind := range []string{"Validating", "Mutating"} {
			switch o := c.objects[fmt.Sprintf("%sWebhookConfiguration.admissionregistration.k8s.io /%s", kind, name)].(type) {
			case *admissionregistrationv1.ValidatingWebhookConfiguration:
				c.edit(o, func() {
					for i := range o.Webhooks {
						o.Webhooks[i].ClientConfig.CABundle = bundle
					}
				})
			case *admissionregistrationv1.MutatingWebhookConfiguration:
				c.edit(o, func() {
					for i := range o.Webhooks {
						o.Webhooks[i].ClientConfig.CABundle = bundle
					}
				})
			}
		}
	}
}

// authority makes the certificate of an authority.
func authority(c *cluster, from time.Time, validFor time.Duration) []byte {
	c.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		c.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "webhooks"}, NotBefore: from, NotAfter: from.Add(validFor),
		IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		c.t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

// secrets are those that the controllers of other projects write in a namespace.
func (c *cluster) secrets(namespace string, keysOf map[string][]string) {
	for name, keys := range keysOf {
		secret := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Data: map[string][]byte{}}
		for _, key := range keys {
			secret.Data[key] = []byte("any")
		}
		c.create(secret)
	}
}
