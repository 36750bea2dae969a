// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package month plays a month and some days of a healthy cluster to the whole catalog,
// in the time that it takes: what controllers write while workloads are rolled out,
// scaled and moved, Jobs run, nodes are upgraded, certificates are renewed and other
// projects' controllers go about their work. What test/catalog sees on a control plane
// lasts for seconds; graces of hours and days are held here.
package month

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/utils/ptr"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
	"github.com/srenix/srenix/pkg/analyzers/certexpiry"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/tlssecretmismatch"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
	"github.com/srenix/srenix/test/healthy"
)

const days = 35

// inBubble runs a test in which time goes on when there is nothing left to do.
func inBubble(t *testing.T, test func(*testing.T)) {
	t.Helper()
	// One of these sleeps since the last error, which was not in the bubble.
	handlers := utilruntime.ErrorHandlers
	utilruntime.ErrorHandlers = nil
	defer func() { utilruntime.ErrorHandlers = handlers }()
	synctest.Test(t, test)
}

// shipped is the configuration that artifacts/ have.
func shipped(t *testing.T) *config.SrenixConfiguration {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "..", "artifacts", "kustomize", "base", "config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	configuration, err := config.Decode(text)
	if err != nil {
		t.Fatal(err)
	}
	config.Default(configuration)
	return configuration
}

// asking is that, with options by which more is looked at.
func asking(t *testing.T) *config.SrenixConfiguration {
	t.Helper()
	configuration := shipped(t)
	for name, options := range map[string]string{
		certexpiry.Name: `{"tlsSecrets": true}`, tlssecretmismatch.Name: `{"tlsSecrets": true}`,
		vaultpathmissing.Name: fmt.Sprintf(`{"address": %q, "kubernetesRole": "srenix"}`, vaultAddress),
	} {
		of := configuration.Analyzers[name]
		of.Options = &runtime.RawExtension{Raw: []byte(options)}
		if configuration.Analyzers == nil {
			configuration.Analyzers = map[string]config.AnalyzerConfiguration{}
		}
		configuration.Analyzers[name] = of
	}
	return configuration
}

func newEngine(t *testing.T, memory live.Memory, configuration *config.SrenixConfiguration) *live.Engine {
	t.Helper()
	rules, err := catalog.Build(configuration, "srenix-system", func(string) string { return "" })
	if err != nil {
		t.Fatal(err)
	}
	engine := live.New(live.Options{Memory: memory, Workers: 2})
	for _, rule := range rules {
		if err := engine.AddRule(rule); err != nil {
			t.Fatal(err)
		}
	}
	return engine
}

// listener hears of each finding that comes or goes, however short its life.
type listener struct {
	began time.Time
	// told is what there ever was of each, with each severity.
	told map[string]v1alpha1.FindingSpec
	// came is how often each has come.
	came map[string]int
	log  []string
}

func listen(t *testing.T, engine *live.Engine) *listener {
	t.Helper()
	l := &listener{began: time.Now(), told: map[string]v1alpha1.FindingSpec{}, came: map[string]int{}}
	hear := func(name string, old, new *v1alpha1.FindingSpec) {
		after := time.Since(l.began)
		at := fmt.Sprintf("day %d, %s", after/day, (after % day).Round(time.Second))
		switch {
		case new == nil:
			l.log = append(l.log, fmt.Sprintf("%s: %s has gone", at, name))
			return
		case old == nil:
			l.came[name]++
		}
		l.told[name+" "+string(new.Severity)] = *new
		l.log = append(l.log, fmt.Sprintf("%s: %s %s: %s", at, new.Severity, name, new.Message))
	}
	err := live.Subscribe(engine, analyzers.DetectedFindings, func(old, new *v1alpha1.Finding) {
		switch {
		case new == nil:
			hear(old.Namespace+"/"+old.Name, &old.Spec, nil)
		case old == nil:
			hear(new.Namespace+"/"+new.Name, nil, &new.Spec)
		default:
			hear(new.Namespace+"/"+new.Name, &old.Spec, &new.Spec)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	err = live.Subscribe(engine, analyzers.DetectedClusterFindings, func(old, new *v1alpha1.ClusterFinding) {
		switch {
		case new == nil:
			hear(old.Name, &old.Spec, nil)
		case old == nil:
			hear(new.Name, nil, &new.Spec)
		default:
			hear(new.Name, &old.Spec, &new.Spec)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// play plays the month to an engine, and returns what was heard.
func play(t *testing.T, configuration *config.SrenixConfiguration, after func(*cluster, *live.Engine, live.Memory)) *listener {
	t.Helper()
	time.Sleep(time.Until(time.Date(2026, 2, 1, 9, 0, 0, 0, time.UTC)))
	c := newCluster(t)
	p := c.prepare()
	memory := &livetest.Memory{}
	engine := newEngine(t, memory, configuration)
	livetest.Run(t, engine, c.source())
	synctest.Wait() // what tells that inputs are being read goes a moment after they are
	l := listen(t, engine)
	c.plan(p)
	for range days {
		c.run(day)
		c.expire()
	}
	synctest.Wait()
	after(c, engine, memory)
	return l
}

// prepare has the cluster be as it is before anybody looks.
func (c *cluster) prepare() *projects {
	c.t.Helper()
	for i := range 3 {
		c.node(fmt.Sprintf("node-%d", i+1))
	}
	p := &projects{cluster: c, State: healthy.State{Namespace: "shop"}}
	for _, namespace := range []string{"default", "kube-system", "kube-public", "kube-node-lease", "argocd", "cert-manager", "cnpg-system", "external-secrets", "flux-system", p.Namespace} {
		c.namespace(namespace)
	}
	// What an init container, an injector or an operator writes.
	c.secrets("argocd", map[string][]string{"argocd-redis": {"auth"}})
	c.secrets("cnpg-system", map[string][]string{"cnpg-webhook-cert": {"tls.crt", "tls.key"}, "cnpg-ca-secret": {"ca.crt", "ca.key"}})
	c.secrets("external-secrets", map[string][]string{"external-secrets-webhook": {"tls.crt", "tls.key", "ca.crt"}})
	c.secrets(p.Namespace, map[string][]string{
		"house-authority": {"tls.crt", "tls.key"}, "web-tls": {"tls.crt", "tls.key", "ca.crt"}, "api-tls": {"tls.crt", "tls.key", "ca.crt"},
		"mesh-tls": {"tls.crt", "tls.key", "ca.crt"}, "payment": {"token"},
	})
	p.change()
	p.write("healthy", func(*unstructured.Unstructured) bool { return true })
	time.Sleep(renewal - 31*day)
	installs, err := healthy.Installs()
	if err != nil {
		c.t.Fatal(err)
	}
	for _, install := range installs {
		c.apply(install.Namespace, install.Objects)
	}
	c.apply(p.Namespace, p.fill("ordinary.yaml"))
	c.apply(p.Namespace, p.fill("calendar.yaml"))
	p.lobby()
	p.keep()
	const cnpg = "cnpg-%s-webhook-configuration"
	c.bundle(60*day, lifetime, fmt.Sprintf(cnpg, "validating"), fmt.Sprintf(cnpg, "mutating"))
	c.bundle(40*day, lifetime, "rules")
	c.run(10 * time.Minute)
	return p
}

// plan says what happens on which day.
func (c *cluster) plan(p *projects) {
	const cnpg = "cnpg-%s-webhook-configuration"
	web := get[*appsv1.Deployment](c, deploymentKind, p.Namespace, "web")
	batch := get[*appsv1.Deployment](c, deploymentKind, p.Namespace, "batch")
	db := get[*appsv1.StatefulSet](c, statefulSetKind, p.Namespace, "db")
	agent := get[*appsv1.DaemonSet](c, daemonSetKind, p.Namespace, "agent")
	search := get[*appsv1.StatefulSet](c, statefulSetKind, p.Namespace, "search")
	engine := get[*appsv1.Deployment](c, deploymentKind, p.Namespace, "engine")
	settings := get[*corev1.ConfigMap](c, schema.GroupKind{Kind: "ConfigMap"}, p.Namespace, "settings")
	image := func(object live.Object, template *corev1.PodTemplateSpec, version int) {
		c.edit(object, func() { template.Spec.Containers[0].Image = fmt.Sprintf("example/%s:%d", object.GetName(), version) })
		c.in(300*time.Millisecond, func() { c.queue(object.GetUID()) })
	}
	scale := func(replicas int32) {
		c.edit(web, func() { web.Spec.Replicas = &replicas })
		c.in(300*time.Millisecond, func() { c.queue(web.UID) })
	}
	c.daily(1*time.Hour, func(int) { scale(6) }) // a HorizontalPodAutoscaler by load
	c.daily(4*time.Hour, func(int) { scale(9) })
	c.daily(10*time.Hour, func(int) { scale(4) })
	c.daily(2*time.Hour, func(day int) { image(web, &web.Spec.Template, day+2) })
	c.daily(3*time.Hour, func(day int) {
		switch day % 7 {
		case 1:
			image(db, &db.Spec.Template, day+2)
		case 2:
			image(agent, &agent.Spec.Template, day+2)
		case 3:
			image(batch, &batch.Spec.Template, day+2)
		case 4: // configuration, and a rollout that takes it up
			settings.Data["round"] = fmt.Sprint(day)
			c.touch(settings)
			c.in(2*time.Minute, func() {
				c.edit(web, func() {
					web.Spec.Template.Annotations = map[string]string{"kubectl.kubernetes.io/restartedAt": now().Format(time.RFC3339)}
				})
				c.in(300*time.Millisecond, func() { c.queue(web.UID) })
			})
		case 5:
			p.deploy([]time.Duration{time.Minute, 2 * time.Minute}[day/7%2])
		case 6:
			p.switchover()
		case 0:
			image(search, &search.Spec.Template, day+2)
			image(engine, &engine.Spec.Template, day+2)
		}
	})
	c.daily(5*time.Hour, func(day int) { // a node for its firmware; by turns
		if day%3 == 0 {
			node := c.nodes[day/3%len(c.nodes)]
			c.drain(node)
			c.in(90*time.Minute, func() { c.uncordon(node) })
		}
	})
	c.daily(12*time.Hour, func(day int) {
		if day%7 == 1 {
			c.upgradeOfWeek(day / 7)
		}
	})
	c.daily(6*time.Hour, func(day int) {
		if day%10 == 4 {
			for _, set := range c.replicaSetsOf(web) {
				if pods := c.staying(set.UID); len(pods) > 0 {
					c.evicted(pods[0])
				}
			}
		}
	})
	c.every(13*time.Hour, func() { // a leak
		for _, pod := range c.pods[search.UID] {
			if pod.Name == "search-1" {
				c.kill(pod)
			}
		}
	})
	c.daily(7*time.Hour, p.preview)
	c.daily(8*time.Hour, func(day int) {
		if day%7 == 2 {
			p.outages()
		}
	})
	c.daily(16*time.Hour+30*time.Minute, func(int) { p.backup() })
	c.in(23*day, func() {
		c.bundle(0, lifetime, fmt.Sprintf(cnpg, "validating"), fmt.Sprintf(cnpg, "mutating"))
	})
	c.in(20*day, func() { c.bundle(0, lifetime, "rules") })
	born := p.custom(certManager, "Certificate", "web").GetCreationTimestamp()
	c.at(born.Add(renewal), func() {
		authority := get[*corev1.Secret](c, schema.GroupKind{Kind: "Secret"}, p.Namespace, "api-tls")
		c.remove(authority)
		p.renew()
		c.in(58*time.Second, func() { c.secrets(p.Namespace, map[string][]string{"api-tls": {"tls.crt", "tls.key", "ca.crt"}}) })
	})
	p.renewOften("mesh", day, 16*time.Hour, func() {})
	p.renewOften("lobby", hourly, fresh, func() {
		secret := get[*corev1.Secret](c, schema.GroupKind{Kind: "Secret"}, p.Namespace, "lobby-tls")
		secret.Data = p.pair()
		c.store(secret)
	})
	c.every(15*time.Minute, p.rotate)
	c.daily(9*time.Hour, func(day int) {
		if day%3 == 1 {
			p.refer(day / 3)
		}
		if day%5 == 2 {
			p.shards(day)
		}
	})
	c.every(10*time.Minute, p.reconcile)
	c.every(time.Hour, p.refresh)
}

// touch stores a ConfigMap of which somebody has changed the data.
func (c *cluster) touch(configMap *corev1.ConfigMap) {
	var keys []string
	for key := range configMap.Data {
		keys = append(keys, key)
	}
	configMap.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kubectl", Operation: metav1.ManagedFieldsOperationApply, APIVersion: "v1", Time: ptr.To(now()),
		FieldsType: "FieldsV1", FieldsV1: inputs.KeyFields(keys),
	}}
	c.store(configMap)
}

func said(t *testing.T, engine *live.Engine) map[string]string {
	t.Helper()
	all := map[string]string{}
	add := func(object live.Object) {
		content, err := json.MarshalIndent(object, "", " ")
		if err != nil {
			t.Fatal(err)
		}
		all[object.GetNamespace()+"/"+object.GetName()] = string(content)
	}
	for _, finding := range live.List(engine, analyzers.DetectedFindings) {
		add(finding)
	}
	for _, finding := range live.List(engine, analyzers.DetectedClusterFindings) {
		add(finding)
	}
	return all
}

// Nothing above Info is told of a healthy cluster, at no moment of a month; what is
// worth knowing comes once; and what is there at the end is what a server says that has
// just started.
func TestAHealthyMonthIsQuiet(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		l := play(t, asking(t), func(c *cluster, engine *live.Engine, memory live.Memory) {
			c.check()
			fresh := newEngine(t, memory.(*livetest.Memory).Copy(), asking(t))
			livetest.Run(t, fresh, c.source())
			synctest.Wait()
			if diff := cmp.Diff(said(t, fresh), said(t, engine)); diff != "" {
				t.Errorf("afresh and after the month (-want +got):\n%s", diff)
			}
		})
		for _, name := range slices.Sorted(maps.Keys(l.told)) {
			if spec := l.told[name]; spec.Severity != v1alpha1.SeverityInfo {
				t.Errorf("cried wolf: %s: %s", name, spec.Message)
			}
		}
		for name, times := range l.came {
			if times > 1 {
				t.Errorf("%s came %d times", name, times)
			}
		}
		if t.Failed() || testing.Verbose() {
			for _, line := range l.log {
				t.Log(line)
			}
		}
	})
}

// least is what there must have been of each thing that happens, at least: a play in which
// nothing happens would be quiet too.
var least = map[string]int{
	"rollout of a Deployment": 50, "rollout of a StatefulSet": 10, "rollout of a DaemonSet, or a node that got its pod": 5,
	"node that was restarted": 9, "node that was replaced": 6, "pod that its node evicted": 4,
	"Job that succeeded": 500, "Job that failed": 20, "pod of a Job that failed": 30,
	"pod that waits for room": 20, "volume that is attached elsewhere": 20, "image that is pulled at the second attempt": 10,
	"wait for a Secret": 30, "container that is restarted at its start": 20, "OOM kill": 50,
	"certificate of 90 days that was renewed": 1, "certificate of 24h0m0s that was renewed": 50, "certificate of 1h0m0s that was renewed": 800,
	"refresh from Vault": 3000, "property in Vault": 10, "Indexed Job, of which an index was tried again": 6,
	"deployment by Git": 5, "switchover": 5, "outage": 5, "preview": days,
}

// check fails the test if the cluster has not lived through the month, in good order.
func (c *cluster) check() {
	c.t.Helper()
	for what, times := range least {
		if c.done[what] < times {
			c.t.Errorf("%s: there were %d, want at least %d", what, c.done[what], times)
		}
	}
	for key, object := range c.objects {
		var have, want int32
		switch o := object.(type) {
		case *appsv1.Deployment:
			have, want = o.Status.AvailableReplicas, *o.Spec.Replicas
		case *appsv1.StatefulSet:
			have, want = o.Status.AvailableReplicas, *o.Spec.Replicas
		case *appsv1.DaemonSet:
			have, want = o.Status.NumberAvailable, int32(len(c.nodes))
		}
		if have != want {
			c.t.Errorf("%s has %d available pods at the end, want %d", key, have, want)
		}
	}
}

// impatient are options that make other times too short as well.
var impatient = map[string]string{
	"GitOpsDrift": `{"syncTimeout": "1m"}`, "Nodes": `{"maintenance": "4m"}`, "OOMKill": `{"window": "27h"}`,
}

// withoutGraces are reasons that come about in the month if no analyzer has a grace: what
// the month holds them to. Others come with what is seen of one change before the other.
var withoutGraces = []string{
	"CertExpiry CertificateNotReady",
	"Endpoints NoReadyEndpoint", "Endpoints ServiceMissing",
	"FailedMounts VolumeInUse",
	"FailedPods JobPodsFailed",
	"FailingExternalSecrets ExternalSecretNotReady", "FailingExternalSecrets StoreNotReady",
	"GitOpsDrift ApplicationMissing", "GitOpsDrift ApplicationOutOfSync", "GitOpsDrift ApplicationSyncStuck", "GitOpsDrift ReconcileNotReady",
	"ImagePull ImageRegistryUnreachable",
	"Nodes NodeNotReady",
	"OOMKill RepeatedOOMKills",
	"PendingPods InsufficientResources", "PendingPods PodUnschedulable",
	"ProactiveSecretKeyCheck ReferencedObjectMissing",
	"RBACDrift BoundAccountMissing", "RBACDrift BoundRoleMissing",
	"SecretKeyMissing ObjectMissing",
	"StuckJobs CronJobOverdue", "StuckJobs JobPodsNotCreated",
	"StuckRollout GenerationUnobserved", "StuckRollout RolloutStuck",
	"StuckTerminating NamespaceStuckTerminating",
	"VaultPathMissing VaultPropertyMissing",
	"WorkloadStateDrift OrdinalZeroMissing",
	"WorkloadStateDrift PostgresClusterNotHealthy", "WorkloadStateDrift PostgresSwitchoverStuck",
}

// Without graces the month is not quiet: each of these has something in it to wait for.
func TestAMonthHoldsGraces(t *testing.T) {
	inBubble(t, func(t *testing.T) {
		configuration := asking(t)
		for _, entry := range catalog.All() {
			of := configuration.Analyzers[entry.Name]
			of.Grace = &metav1.Duration{}
			if options := impatient[entry.Name]; options != "" {
				of.Options = &runtime.RawExtension{Raw: []byte(options)}
			}
			configuration.Analyzers[entry.Name] = of
		}
		l := play(t, configuration, func(*cluster, *live.Engine, live.Memory) {})
		reasons := map[string]bool{}
		for _, spec := range l.told {
			if spec.Severity != v1alpha1.SeverityInfo {
				reasons[spec.Analyzer+" "+spec.Reason] = true
			}
		}
		for _, reason := range withoutGraces {
			if !reasons[reason] {
				t.Errorf("without graces, nothing was told of %s", reason)
			}
		}
	})
}
