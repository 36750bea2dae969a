// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package month

import (
	"context"
	"fmt"
	"maps"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

// An hour's certificate is renewed five minutes before its end, as late as cert-manager
// lets anybody have it, and so spends some time of its life in the last tenth of it.
const hourly, fresh = time.Hour, 55 * time.Minute

// lobby has a certificate for an hour, with its Secret, and an Ingress that serves it.
func (p *projects) lobby() {
	p.create(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: "lobby-tls"}, Type: corev1.SecretTypeTLS, Data: p.pair()})
	at := now().UTC()
	certificate := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": certManager + "/v1", "kind": "Certificate",
		"metadata": map[string]any{"name": "lobby", "namespace": p.Namespace},
		"spec": map[string]any{
			"secretName": "lobby-tls", "duration": hourly.String(), "renewBefore": (hourly - fresh).String(),
			"dnsNames": []any{"lobby.example.com"}, "issuerRef": map[string]any{"name": "house"},
		},
		"status": map[string]any{
			"revision": int64(1), "notBefore": at.Format(time.RFC3339), "notAfter": at.Add(hourly).Format(time.RFC3339), "renewalTime": at.Add(fresh).Format(time.RFC3339),
			"conditions": []any{p.said("Ready", "True", "Ready", "Certificate is up to date and has not expired")},
		},
	}}
	p.create(certificate)
	p.apply(p.Namespace, `
apiVersion: networking.k8s.io/v1
kind: Ingress
metadata: {name: lobby}
spec:
  tls: [{hosts: [lobby.example.com], secretName: lobby-tls}]
  rules: [{host: lobby.example.com, http: {paths: [{path: /, pathType: Prefix, backend: {service: {name: web, port: {number: 80}}}}]}}]
`)
}

// pair is what cert-manager writes into a Secret of an hour's certificate.
func (p *projects) pair() map[string][]byte {
	return map[string][]byte{corev1.TLSCertKey: authority(p.cluster, time.Now(), hourly), corev1.TLSPrivateKeyKey: []byte("any"), "ca.crt": []byte("any")}
}

// inVault is what is kept in a Vault.
type inVault struct{ keys map[vault.Path]map[string]any }

var app = vault.Path{Mount: "secret", Path: "shop/app"}

// Look implements vault.Looker.
func (v *inVault) Look(_ context.Context, paths []vault.Path) (map[vault.Path]vault.Seen, error) {
	seen := map[vault.Path]vault.Seen{}
	for _, path := range paths {
		seen[path] = vault.Seen{State: vault.Missing}
		if keys, has := v.keys[path]; has {
			seen[path] = vault.Seen{State: vault.Exists, Keys: maps.Clone(keys)}
		}
	}
	return seen, nil
}

// source is what an engine reads: the cluster, and what a poller of its own sees in Vault.
func (c *cluster) source() live.Source {
	wanted := func(context.Context) ([]vault.Path, error) { return []vault.Path{app}, nil }
	c.poller = vault.NewPoller(&c.vault, wanted, 10*time.Minute, clock.RealClock{})
	return c.poller.Source(c.served)
}

// keep has a Vault keep what an ExternalSecret refers to.
func (p *projects) keep() {
	p.vault.keys = map[vault.Path]map[string]any{app: {"token": nil}}
	ready := func(message, reason string) map[string]any {
		return map[string]any{"conditions": []any{p.said("Ready", "True", reason, message)}, "refreshTime": p.Now()}
	}
	p.secrets(p.Namespace, map[string][]string{"app": {"token"}})
	p.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "external-secrets.io/v1", "kind": "SecretStore", "metadata": map[string]any{"name": "vault", "namespace": p.Namespace},
		"spec":   map[string]any{"provider": map[string]any{"vault": map[string]any{"server": vaultAddress, "path": app.Mount, "version": "v2"}}},
		"status": ready("store validated", "Valid"),
	}})
	p.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": map[string]any{"name": "app", "namespace": p.Namespace},
		"spec": map[string]any{
			"refreshInterval": "15m0s", "secretStoreRef": map[string]any{"kind": "SecretStore", "name": "vault"},
			"target": map[string]any{"name": "app"}, "data": []any{taking("token")},
		},
		"status": ready("secret synced", "SecretSynced"),
	}})
}

const vaultAddress = "https://vault.example.com:8200"

func taking(property string) any {
	return map[string]any{"secretKey": property, "remoteRef": map[string]any{"key": app.Path, "property": property}}
}

// rotate is what External Secrets does with what Vault has, each quarter of an hour.
func (p *projects) rotate() {
	p.done["refresh from Vault"]++
	secret := p.custom("external-secrets.io", "ExternalSecret", "app")
	secret.Object["status"].(map[string]any)["refreshTime"] = p.Now()
	p.store(secret)
}

// refer has somebody write one more property to Vault and refer to it at once, or the
// other way round, a minute and a half later.
func (p *projects) refer(round int) {
	property := fmt.Sprintf("round-%d", round)
	write := func() { p.vault.keys[app][property] = nil }
	secret := p.custom("external-secrets.io", "ExternalSecret", "app")
	status := secret.Object["status"].(map[string]any)
	take := func() {
		spec := secret.Object["spec"].(map[string]any)
		p.edit(secret, func() { spec["data"] = append(spec["data"].([]any), taking(property)) })
		p.poller.Changed(app)
	}
	p.done["property in Vault"]++
	if round%2 == 0 {
		write()
		take()
		return
	}
	take()
	p.in(2*time.Second, func() {
		status["conditions"] = []any{p.said("Ready", "False", "SecretSyncedError", "could not get secret data from provider")}
		p.store(secret)
	})
	p.in(90*time.Second, write)
	p.in(100*time.Second, func() {
		status["conditions"] = []any{p.said("Ready", "True", "SecretSynced", "secret synced")}
		p.rotate()
		p.poller.Changed(app)
	})
}

// shards is an Indexed Job that somebody runs. One of its indexes fails the first time,
// and is tried again.
func (p *projects) shards(day int) {
	const indexes, broken = 4, 2
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: p.Namespace, Name: fmt.Sprintf("shards-%d", day)},
		Spec: batchv1.JobSpec{
			CompletionMode: ptr.To(batchv1.IndexedCompletion), Completions: ptr.To[int32](indexes), Parallelism: ptr.To[int32](indexes),
			BackoffLimitPerIndex: ptr.To[int32](1), BackoffLimit: ptr.To[int32](1<<31 - 1), Suspend: ptr.To(false),
			Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: []corev1.Container{{Name: "shard", Image: "example/shard:1"}}}},
		},
	}
	p.create(job)
	attempt := func(index, failed int) {
		ends := end{after: 10 * time.Minute}
		if index == broken && failed == 0 {
			ends = end{after: time.Minute, code: 3}
		}
		template := job.Spec.Template.DeepCopy()
		template.Annotations = map[string]string{batchv1.JobCompletionIndexAnnotation: fmt.Sprint(index)}
		p.uids++
		p.pod(job, fmt.Sprintf("%s-%d-%05d", job.Name, index, p.uids), template, map[string]string{batchv1.JobNameLabel: job.Name, batchv1.ControllerUidLabel: string(job.UID)}, "", &ends)
	}
	p.in(toSync, func() {
		job.Status.StartTime, job.Status.Active, job.Status.FailedIndexes = ptr.To(now()), indexes, ptr.To("")
		p.store(job)
		for index := range indexes {
			attempt(index, 0)
		}
	})
	tried := false
	p.sync[job.UID] = func() {
		var active, failed, succeeded int32
		for _, pod := range p.pods[job.UID] {
			switch pod.Status.Phase {
			case corev1.PodSucceeded:
				succeeded++
			case corev1.PodFailed:
				failed++
			default:
				active++
			}
		}
		job.Status.Active, job.Status.Failed, job.Status.Succeeded = active, failed, succeeded
		if failed > 0 && !tried {
			tried = true
			p.in(10*time.Second, func() { attempt(broken, 1) })
		}
		p.store(job)
		if succeeded < indexes || len(job.Status.Conditions) > 0 {
			return
		}
		p.done["Indexed Job, of which an index was tried again"]++
		complete := func(kind batchv1.JobConditionType) {
			job.Status.Conditions = append(job.Status.Conditions, batchv1.JobCondition{
				Type: kind, Status: corev1.ConditionTrue, Reason: batchv1.JobReasonCompletionsReached, LastProbeTime: now(), LastTransitionTime: now(),
			})
		}
		complete(batchv1.JobSuccessCriteriaMet)
		p.store(job)
		p.in(time.Second, func() {
			complete(batchv1.JobComplete)
			job.Status.CompletionTime = ptr.To(now())
			p.store(job)
		})
		p.in(24*time.Hour, func() { p.clearJob(job) })
	}
}
