// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package chart

import (
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	"helm.sh/helm/v4/pkg/chart/v2/lint"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"sigs.k8s.io/yaml"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/catalog"
)

// toggle sets a value and says what that changes.
type toggle struct {
	path, to string
	// with are other values, in YAML, that it takes to see the change.
	with string
	// gains and loses are what stands more, or less, often among objects and hooks.
	gains, loses string
}

// advised are values with the advisor.
const advised = "advisor: {enabled: true}"

// modeled are values with an advisor that asks a model.
const modeled = "advisor: {enabled: true, model: {baseURL: http://model.example/v1, name: m}}"

// toggles has every value of the chart but those of analyzers, which the catalog has.
var toggles = []toggle{
	{path: "image.repository", to: "example.com/srenix", gains: "image: example.com/srenix:dev", loses: "image: srenix:dev"},
	{path: "image.tag", to: "v9", gains: "image: srenix:v9", loses: "image: srenix:dev"},
	{path: "image.digest", to: "sha256:" + strings.Repeat("a", 64), gains: "image: srenix@sha256:a", loses: "image: srenix:dev"},
	{path: "image.pullPolicy", to: "Always", gains: "imagePullPolicy: Always"},
	{path: "image.pullSecrets", to: "[{name: mine}]", gains: "imagePullSecrets:\n *- name: mine"},

	{path: "apiserver.replicas", to: "3", gains: "replicas: 3", loses: "replicas: 2"},
	{path: "apiserver.resources", to: "{requests: {memory: 1Gi}}", gains: "memory: 1Gi", loses: "memory: 256Mi"},
	{path: "apiserver.priorityClassName", to: `""`, loses: "priorityClassName: system-cluster-critical"},
	{path: "apiserver.topologySpreadConstraints", to: "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {matchLabels: {a: b}}}]",
		gains: `labelSelector:\n *matchLabels:\n *a: b`, loses: "whenUnsatisfiable: ScheduleAnyway"},
	{path: "apiserver.podDisruptionBudget.enabled", to: "false", loses: "kind: PodDisruptionBudget"},
	{path: "apiserver.podDisruptionBudget.maxUnavailable", to: `"34%"`, gains: "maxUnavailable: 34%", loses: "maxUnavailable: 1"},
	{path: "apiserver.nodeSelector", to: "{disk: fast}", gains: "disk: fast"},
	{path: "apiserver.tolerations", to: "[{operator: Exists}]", gains: "operator: Exists"},
	{path: "apiserver.affinity", to: "{podAntiAffinity: {}}", gains: "podAntiAffinity"},
	{path: "apiserver.podAnnotations", to: "{a: b}", gains: "a: b"},
	{path: "apiserver.podLabels", to: "{a: b}", gains: "a: b"},
	{path: "apiserver.extraArgs", to: "[--v=4]", gains: "--v=4"},
	{path: "apiserver.extraEnv", to: "[{name: A, value: b}]", gains: "name: A"},
	{path: "apiserver.extraVolumes", to: "[{name: vault, secret: {secretName: vault}}]", gains: "secretName: vault"},
	{path: "apiserver.extraVolumeMounts", to: "[{name: vault, mountPath: /etc/vault}]", gains: "mountPath: /etc/vault"},

	{path: "executor.replicas", to: "1", gains: "replicas: 1", loses: "replicas: 2"},
	{path: "executor.resources", to: "{limits: {memory: 1Gi}}", gains: "limits:\n *memory: 1Gi"},
	{path: "executor.priorityClassName", to: "mine", gains: "priorityClassName: mine"},
	{path: "executor.topologySpreadConstraints", to: "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]",
		gains: `- labelSelector:\n *matchLabels:\n *app.kubernetes.io/name: srenix-executor`},
	{path: "executor.podDisruptionBudget.enabled", to: "true", gains: "kind: PodDisruptionBudget"},
	{path: "executor.podDisruptionBudget.maxUnavailable", to: "0", with: "executor: {podDisruptionBudget: {enabled: true}}", gains: "maxUnavailable: 0", loses: "maxUnavailable: 1"},
	{path: "executor.nodeSelector", to: "{disk: fast}", gains: "disk: fast"},
	{path: "executor.tolerations", to: "[{operator: Exists}]", gains: "operator: Exists"},
	{path: "executor.affinity", to: "{podAntiAffinity: {}}", gains: "podAntiAffinity"},
	{path: "executor.podAnnotations", to: "{a: b}", gains: "a: b"},
	{path: "executor.podLabels", to: "{a: b}", gains: "a: b"},
	{path: "executor.extraArgs", to: "[--v=4]", gains: "--v=4"},
	{path: "executor.extraEnv", to: "[{name: A, value: b}]", gains: "name: A"},
	{path: "executor.extraVolumes", to: "[{name: more, emptyDir: {}}]", gains: "name: more"},
	{path: "executor.extraVolumeMounts", to: "[{name: more, mountPath: /more}]", gains: "mountPath: /more"},

	{path: "advisor.enabled", to: "true", gains: `command: \["/advisor"\]`},
	{path: "advisor.automaticSeverity", to: "None", with: advised, gains: "--automatic-severity=None", loses: "--automatic-severity=Critical"},
	{path: "advisor.model.baseURL", to: "http://model.example/v1", with: "advisor: {enabled: true, model: {name: m}}",
		gains: "- --model-base-url=http://model.example/v1\n *- --model-name=m\n *- --pseudonym-key-file=/etc/srenix/model/pseudonym-key\n"},
	{path: "advisor.model.name", to: "other", with: modeled, gains: "--model-name=other", loses: "--model-name=m\n"},
	{path: "advisor.model.secretName", to: "mine", with: modeled, gains: "secretName: mine", loses: "secretName: srenix-model"},
	{path: "advisor.model.keyFile", to: `""`, with: modeled, loses: "--model-key-file=/etc/srenix/model/api-key"},
	{path: "advisor.model.caFile", to: "/etc/srenix/model/ca.crt", with: modeled, gains: "--model-ca-file=/etc/srenix/model/ca.crt"},
	{path: "advisor.model.makePlans", to: "true", with: modeled, gains: "--model-makes-plans"},
	{path: "advisor.model.chooseFixes", to: "true", with: modeled, gains: "--model-chooses-fixes"},
	{path: "advisor.model.investigate", to: "true", with: modeled, gains: "--model-investigates"},
	{path: "advisor.model.draftRunbooks", to: "true", with: modeled, gains: "--model-drafts-runbooks"},
	{path: "advisor.model.timeout", to: "1m", with: modeled, gains: "--model-timeout=1m", loses: "--model-timeout=30s"},
	{path: "advisor.model.concurrency", to: "4", with: modeled, gains: "--model-concurrency=4", loses: "--model-concurrency=2"},
	{path: "advisor.model.promptTokens", to: "4000", with: modeled, gains: "--model-prompt-tokens=4000", loses: "--model-prompt-tokens=8000"},
	{path: "advisor.model.answerTokens", to: "3000", with: modeled, gains: "--model-answer-tokens=3000", loses: "--model-answer-tokens=1000"},
	{path: "advisor.model.hourlyTokens", to: "2000000", with: modeled, gains: "--model-hourly-tokens=2000000", loses: "--model-hourly-tokens=200000\n"},
	{path: "advisor.replicas", to: "4", with: advised, gains: "replicas: 4", loses: "replicas: 1"},
	{path: "advisor.resources", to: "{limits: {memory: 1Gi}}", with: advised, gains: "limits:\n *memory: 1Gi"},
	{path: "advisor.priorityClassName", to: "mine", with: advised, gains: "priorityClassName: mine"},
	{path: "advisor.topologySpreadConstraints", to: "[{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}]", with: advised,
		gains: `- labelSelector:\n *matchLabels:\n *app.kubernetes.io/name: srenix-advisor`},
	{path: "advisor.nodeSelector", to: "{disk: fast}", with: advised, gains: "disk: fast"},
	{path: "advisor.tolerations", to: "[{operator: Exists}]", with: advised, gains: "operator: Exists"},
	{path: "advisor.affinity", to: "{podAntiAffinity: {}}", with: advised, gains: "podAntiAffinity"},
	{path: "advisor.podAnnotations", to: "{a: b}", with: advised, gains: "a: b"},
	{path: "advisor.podLabels", to: "{a: b}", with: advised, gains: "a: b"},
	{path: "advisor.extraArgs", to: "[--v=4]", with: advised, gains: "--v=4"},
	{path: "advisor.extraEnv", to: "[{name: A, value: b}]", with: advised, gains: "name: A"},
	{path: "advisor.extraVolumes", to: "[{name: more, emptyDir: {}}]", with: advised, gains: "name: more"},
	{path: "advisor.extraVolumeMounts", to: "[{name: more, mountPath: /more}]", with: advised, gains: "mountPath: /more"},

	{path: "configuration", to: "{policy: {approvalsPerHour: 3}}", gains: "approvalsPerHour: 3"},

	{path: "certificates.mode", to: "certManager", gains: "--tls-cert-file=/etc/srenix-tls/tls.crt"},
	{path: "certificates.certManager.issuerRef", to: "{kind: ClusterIssuer, name: site}", with: "certificates: {mode: certManager}", gains: "name: site", loses: "kind: Issuer"},
	{path: "certificates.certManager.duration", to: "48h", with: "certificates: {mode: certManager}", gains: "duration: 48h", loses: "duration: 2160h"},
	{path: "certificates.provided.secretName", to: "mine", with: "certificates: {mode: provided, provided: {secretName: first, caBundle: PEM}}", gains: "secretName: mine", loses: "secretName: first"},
	{path: "certificates.provided.caBundle", to: "OTHER", with: "certificates: {mode: provided, provided: {secretName: first, caBundle: PEM}}", gains: "caBundle: T1RIRVI=", loses: "caBundle: UEVN"},

	{path: "rbac.secrets", to: "false", loses: "kind: ClusterRoleBinding\nmetadata:\n  name: srenix-apiserver-secrets-reader"},
	{path: "rbac.people", to: "false", loses: "name: srenix-approver"},
	{path: "crds.install", to: "false", loses: "kind: CustomResourceDefinition"},
	{path: "crds.keep", to: "true", gains: "helm.sh/resource-policy: keep"},
	{path: "uninstall.deregister", to: "false", loses: "name: srenix-deregister"},

	{path: "approvalPage.enabled", to: "true", gains: "--approval-page-bind-port=8443"},
	{path: "networkPolicy.enabled", to: "true", gains: "kind: NetworkPolicy"},
	{path: "networkPolicy.metricsFrom", to: "[{podSelector: {matchLabels: {app: prometheus}}}]", with: "networkPolicy: {enabled: true}", gains: "app: prometheus"},
	{path: "networkPolicy.egress", to: "[{ports: [{port: 6443}]}]", with: "networkPolicy: {enabled: true}", gains: `"Egress"`},

	{path: "tracing.endpoint", to: "http://collector.example:4317", gains: `name: OTEL_EXPORTER_OTLP_ENDPOINT\n *value: "http://collector.example:4317"`},

	{path: "metrics.serviceMonitor.enabled", to: "true", gains: "kind: ServiceMonitor"},
	{path: "metrics.serviceMonitor.interval", to: "15s", with: "metrics: {serviceMonitor: {enabled: true}}", gains: "interval: 15s"},
	{path: "metrics.serviceMonitor.labels", to: "{team: sre}", with: "metrics: {serviceMonitor: {enabled: true}}", gains: "team: sre"},
	{path: "metrics.prometheusRule.enabled", to: "true", gains: "kind: PrometheusRule"},
	{path: "metrics.prometheusRule.labels", to: "{team: sre}", with: "metrics: {prometheusRule: {enabled: true}}", gains: "team: sre"},
	{path: "metrics.dashboard.enabled", to: "true", gains: "name: srenix-dashboard"},
	{path: "metrics.dashboard.labels", to: "{load: me}", with: "metrics: {dashboard: {enabled: true}}", gains: "load: me"},
	{path: "metrics.dashboard.annotations", to: "{grafana_folder: SRE}", with: "metrics: {dashboard: {enabled: true}}", gains: "grafana_folder: SRE"},
	{path: "metrics.prometheusRule.runbookURL", to: "https://wiki.example.com/srenix", with: "metrics: {prometheusRule: {enabled: true}}", gains: "runbook_url: https://wiki.example.com/srenix#srenixapiunavailable"},
}

// set returns values in YAML, with one more.
func set(t *testing.T, values, path, to string) string {
	t.Helper()
	given := map[string]any{}
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	var value any
	if err := yaml.Unmarshal([]byte(to), &value); err != nil {
		t.Fatal(err)
	}
	keys := strings.Split(path, ".")
	at := given
	for _, key := range keys[:len(keys)-1] {
		if _, is := at[key].(map[string]any); !is {
			at[key] = map[string]any{}
		}
		at = at[key].(map[string]any)
	}
	at[keys[len(keys)-1]] = value
	out, err := yaml.Marshal(given)
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

// all returns objects and hooks as text, when each is what its kind says.
func all(t *testing.T, values string) string {
	t.Helper()
	rendered, err := Render(Namespace, values)
	if err != nil {
		t.Fatalf("with\n%s\n%v", values, err)
	}
	text := rendered.Manifest
	for _, hook := range rendered.Hooks {
		text += "\n---\n" + hook.Manifest
	}
	strict(t, text)
	return text
}

// scheme has the kinds that the chart makes, except those of cert-manager.
var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		clientgoscheme.AddToScheme, apiextensionsv1.AddToScheme, apiregistrationv1.AddToScheme, monitoringv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			panic(err)
		}
	}
	return scheme
}()

// strict fails where an object has a field that its kind has not.
func strict(t *testing.T, manifest string) {
	t.Helper()
	objects, err := Decode(manifest)
	if err != nil {
		t.Fatal(err)
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	for _, object := range objects {
		if object.GroupVersionKind().Group == "cert-manager.io" {
			continue // The plane judges them, by their CustomResourceDefinitions.
		}
		content, err := object.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		if _, _, err := decoder.Decode(content, nil, nil); err != nil {
			t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
		}
	}
}

func TestEveryValueChangesWhatItSays(t *testing.T) {
	for _, toggle := range toggles {
		t.Run(toggle.path, func(t *testing.T) {
			before, after := all(t, toggle.with), all(t, set(t, toggle.with, toggle.path, toggle.to))
			count := func(pattern, text string) int { return len(regexp.MustCompile(pattern).FindAllString(text, -1)) }
			if toggle.gains == "" && toggle.loses == "" {
				t.Fatal("nothing is said of what it changes")
			}
			if toggle.gains != "" && count(toggle.gains, after) <= count(toggle.gains, before) {
				t.Errorf("there is no more of %q than before", toggle.gains)
			}
			if toggle.loses != "" && count(toggle.loses, after) >= count(toggle.loses, before) {
				t.Errorf("there is no less of %q than before", toggle.loses)
			}
		})
	}
}

// leaves returns the paths of values that are no maps, or maps that are empty.
func leaves(prefix string, values map[string]any) []string {
	var paths []string
	for key, value := range values {
		if held, is := value.(map[string]any); is && len(held) > 0 {
			paths = append(paths, leaves(prefix+key+".", held)...)
		} else {
			paths = append(paths, prefix+key)
		}
	}
	return paths
}

func TestNoValueIsForgotten(t *testing.T) {
	chart, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	tried := map[string]bool{}
	for _, toggle := range toggles {
		tried[toggle.path] = true
	}
	for _, leaf := range leaves("", chart.Values) {
		whole := func(path string) bool { return leaf == path || strings.HasPrefix(leaf, path+".") }
		if !strings.HasPrefix(leaf, "analyzers.") && !slices.ContainsFunc(slices.Collect(maps.Keys(tried)), whole) {
			t.Errorf("no test sets %s", leaf)
		}
	}
}

// lowerCamel is the name that the chart has for an analyzer.
func lowerCamel(name string) string {
	words := strings.Split(strings.ToLower(analyzers.UpperSnake(name)), "_")
	for i := range words[1:] {
		words[i+1] = strings.ToUpper(words[i+1][:1]) + words[i+1][1:]
	}
	return strings.Join(words, "")
}

func TestEachAnalyzerIsSwitchedOffByItsVariable(t *testing.T) {
	chart, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	if lowerCamel("GitOpsDrift") != "gitopsDrift" || lowerCamel("OOMKill") != "oomKill" {
		t.Fatal("names are not in lower camel case")
	}
	var want []string
	for _, entry := range catalog.All() {
		name := lowerCamel(entry.Name)
		want = append(want, name)
		pattern := regexp.MustCompile(`name: (SRENIX_ANALYZER_\w+)\n *value: "off"`)
		for enabled, expected := range map[string][]string{"true": nil, "false": {catalog.Variable(entry.Name)}} {
			var found []string
			for _, match := range pattern.FindAllStringSubmatch(all(t, "analyzers: {"+name+": {enabled: "+enabled+"}}"), -1) {
				found = append(found, match[1])
			}
			if !slices.Equal(found, expected) {
				t.Errorf("analyzers.%s.enabled: %s switches off %v, must be %v", name, enabled, found, expected)
			}
		}
	}
	have := slices.Sorted(maps.Keys(chart.Values["analyzers"].(map[string]any)))
	slices.Sort(want)
	if !slices.Equal(have, want) {
		t.Errorf("values.yaml has analyzers\n%v, and the catalog\n%v", have, want)
	}
}

func TestTheSchemaRefuses(t *testing.T) {
	for name, test := range map[string]struct{ values, says string }{
		"an unknown value":                  {"apiServer: {replicas: 3}", "apiServer"},
		"an unknown value further down":     {"apiserver: {replica: 3}", "replica"},
		"an analyzer that there is not":     {"analyzers: {gitOpsDrift: {enabled: false}}", "gitOpsDrift"},
		"something else of an analyzer":     {"analyzers: {nodes: {grace: 5m}}", "grace"},
		"a text where a number belongs":     {"apiserver: {replicas: two}", "replicas"},
		"a text where a truth belongs":      {`crds: {keep: "yes"}`, "keep"},
		"fewer replicas than none":          {"executor: {replicas: -1}", "replicas"},
		"a model without a name":            {"advisor: {enabled: true, model: {baseURL: http://model.example/v1}}", "advisor.model.name"},
		"a password in the model's URL":     {"advisor: {model: {baseURL: 'http://a:b@model.example/v1'}}", "baseURL"},
		"a severity that there is not":      {"advisor: {automaticSeverity: High}", "automaticSeverity"},
		"a mode that there is not":          {"certificates: {mode: manual}", "mode"},
		"a digest that is none":             {"image: {digest: latest}", "digest"},
		"an unknown policy":                 {"configuration: {policy: {allowEverything: true}}", "allowEverything"},
		"no actions at all":                 {"configuration: {policy: {allowedActionKinds: []}}", "allowedActionKinds"},
		"the kind of the configuration":     {"configuration: {kind: Other}", "kind"},
		"a duration without a unit":         {`configuration: {audit: {retention: "90"}}`, "retention"},
		"an argument that is no flag":       {"apiserver: {extraArgs: [serve]}", "extraArgs"},
		"runbooks that are not at a server": {"metrics: {prometheusRule: {runbookURL: alerts.md}}", "runbookURL"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(Namespace, test.values)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it is refused with %v, which does not name %s", err, test.says)
			}
		})
	}
	for name, test := range map[string]struct{ values, says string }{
		"a Secret of one's own that is not named": {"certificates: {mode: provided, provided: {caBundle: PEM}}", "certificates.provided.secretName"},
		"an authority that is missing":            {"certificates: {mode: provided, provided: {secretName: mine}}", "certificates.provided.caBundle"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Render(Namespace, test.values)
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("it is refused with %v, which does not name %s", err, test.says)
			}
		})
	}
}

// A value that the schema lets pass is one that values.yaml has, so that none is
// accepted and does nothing.
func TestTheSchemaKnowsNoOtherValues(t *testing.T) {
	chart, err := Load()
	if err != nil {
		t.Fatal(err)
	}
	type node struct {
		Properties           map[string]*node
		AdditionalProperties any
	}
	var schema node
	if err := yaml.Unmarshal(chart.Schema, &schema); err != nil {
		t.Fatal(err)
	}
	var compare func(path string, schema *node, values map[string]any)
	compare = func(path string, schema *node, values map[string]any) {
		if schema.AdditionalProperties != false {
			t.Errorf("%s: the schema lets anything pass", path)
		}
		for key, of := range schema.Properties {
			value, has := values[key]
			if !has {
				if path+key != "global" { // Helm adds it.
					t.Errorf("values.yaml lacks %s", path+key)
				}
				continue
			}
			if held, is := value.(map[string]any); is && len(held) > 0 && of.Properties != nil && !strings.HasSuffix(path+key, ".resources") {
				compare(path+key+".", of, held)
			}
		}
	}
	compare("", &schema, chart.Values)
}

func TestHelmLints(t *testing.T) {
	dir, err := Dir()
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]any{}
	if err := yaml.Unmarshal([]byte("networkPolicy: {enabled: true}\nadvisor: {enabled: true}\nmetrics: {serviceMonitor: {enabled: true}, prometheusRule: {enabled: true}}\ncertificates: {mode: certManager}\n"), &values); err != nil {
		t.Fatal(err)
	}
	for _, given := range []map[string]any{nil, values} {
		for _, message := range lint.RunAll(filepath.Clean(dir), given, Namespace).Messages {
			t.Logf("%s", message)
			if message.Severity > 1 {
				t.Errorf("%s", message)
			}
		}
	}
}
