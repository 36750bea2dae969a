// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package offline

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/encoding/unicode"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/configdrift"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// A pod whose container goes down, one that is well, and the node that they are on.
const (
	webPod = `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: web, uid: web-uid, resourceVersion: "10", creationTimestamp: "2026-03-10T08:00:00Z"}
spec:
  nodeName: node-1
  containers:
  - name: app
    image: example/web:1
    command: ["sh", "-c"]
    args:
    - |
      # a script
      - run
      items:
      - more
status:
  phase: Running
  startTime: "2026-03-10T08:00:00Z"
  conditions: [{type: Ready, status: "False", lastTransitionTime: "2026-03-10T08:00:05Z"}]
  containerStatuses:
  - name: app
    image: example/web:1
    imageID: example/web@sha256:1
    restartCount: 9
    state: {waiting: {reason: CrashLoopBackOff, message: back-off 5m0s restarting failed container}}
    lastState: {terminated: {exitCode: 1, reason: Error, startedAt: "2026-03-10T08:50:00Z", finishedAt: "2026-03-10T08:50:01Z"}}
`
	wellPod = `
apiVersion: v1
kind: Pod
metadata: {namespace: shop, name: well, uid: well-uid, resourceVersion: "11", creationTimestamp: "2026-03-10T08:00:00Z"}
spec: {nodeName: node-1, containers: [{name: app, image: example/web:1}]}
status: {phase: Running, startTime: "2026-03-10T08:00:00Z", containerStatuses: [{name: app, ready: true, state: {running: {startedAt: "2026-03-10T08:00:01Z"}}}]}
`
	lostNode = `
apiVersion: v1
kind: Node
metadata: {name: node-1, uid: node-uid, resourceVersion: "5", creationTimestamp: "2026-03-01T00:00:00Z"}
status:
  conditions:
  - {type: Ready, status: "False", reason: KubeletNotReady, message: it is not, lastHeartbeatTime: "2026-03-10T09:00:00Z", lastTransitionTime: "2026-03-10T08:00:00Z"}
`
	shopNamespace = `
apiVersion: v1
kind: Namespace
metadata: {name: shop, uid: shop-uid, resourceVersion: "1", creationTimestamp: "2026-03-01T00:00:00Z"}
status: {phase: Active}
`
)

// shop are the files of a cluster with two troubles.
func shop(t testing.TB) files {
	t.Helper()
	return empty(t).with(files{
		"pods.yaml":       list(t, object(t, webPod), object(t, wellPod)),
		"nodes.yaml":      list(t, object(t, lostNode)),
		"namespaces.yaml": list(t, object(t, shopNamespace)),
	})
}

// troubles are what is found in shop.
func troubles(t testing.TB) []string {
	t.Helper()
	have := found(read(t, shop(t).folder(t)))
	for _, reason := range []string{"ContainerCrashing", "NodeNotReady"} {
		if !slices.ContainsFunc(have, func(line string) bool { return strings.HasPrefix(line, reason+" ") }) {
			t.Fatalf("no %s is found: %v", reason, have)
		}
	}
	return have
}

func archive(t testing.TB, all files, compress bool) string {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, content := range all {
		if err := w.WriteHeader(&tar.Header{Name: "dump/" + name, Typeflag: tar.TypeReg, Size: int64(len(content)), Mode: 0o600}); err != nil {
			t.Fatal(err)
		}
		if _, err := w.Write([]byte(content)); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(t.TempDir(), "dump")
	content := out.String()
	if compress {
		content = zipped(t, content)
	}
	if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return name
}

func zipped(t testing.TB, content string) string {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	if _, err := w.Write([]byte(content)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// TestForms has the same found in whatever form the objects are.
func TestForms(t *testing.T) {
	want := troubles(t)
	all := shop(t)
	pods := []any{object(t, webPod), object(t, wellPod)}
	bare := func(of map[string]any) map[string]any { delete(of, "apiVersion"); delete(of, "kind"); return of }
	indented := "apiVersion: v1\nkind: List\nitems:\n\n  # the first\n"
	for _, pod := range []string{webPod, wellPod} {
		indented += "  -\n" + strings.ReplaceAll(pod, "\n", "\n     ") + "\n"
	}
	windows, err := unicode.UTF16(unicode.LittleEndian, unicode.UseBOM).NewEncoder().String(all["pods.yaml"])
	if err != nil {
		t.Fatal(err)
	}
	for name, path := range map[string]func(t *testing.T) string{
		"a tar":    func(t *testing.T) string { return archive(t, all, false) },
		"a tar.gz": func(t *testing.T) string { return archive(t, all, true) },
		"a gzipped file": func(t *testing.T) string {
			return all.without("pods.yaml").with(files{"p.yaml.gz": zipped(t, all["pods.yaml"])}).folder(t)
		},
		"a file of a Windows shell": func(t *testing.T) string { return all.with(files{"pods.yaml": windows}).folder(t) },
		"many documents": func(t *testing.T) string {
			return all.with(files{"pods.yaml": "# pods\n---" + webPod + "---  # next" + wellPod + "...\n"}).folder(t)
		},
		"a file for each": func(t *testing.T) string {
			return all.without("pods.yaml").with(files{"a/web.yml": webPod, "a/well.yaml": wellPod}).folder(t)
		},
		"JSON": func(t *testing.T) string {
			return all.with(files{"pods.yaml": " \n" + asJSON(t, map[string]any{"kind": "List", "apiVersion": "v1", "items": pods})}).folder(t)
		},
		"JSON documents": func(t *testing.T) string {
			return all.with(files{"pods.json": asJSON(t, pods[0]) + asJSON(t, pods[1])}).folder(t)
		},
		"a PodList whose items are bare, in YAML": func(t *testing.T) string {
			items := strings.Replace(list(t, bare(object(t, webPod)), bare(object(t, wellPod))), "kind: List", "kind: PodList", 1)
			return all.with(files{"pods.yaml": items}).folder(t)
		},
		"a PodList whose items are bare, in JSON": func(t *testing.T) string {
			return all.with(files{"pods.yaml": asJSON(t, map[string]any{"kind": "PodList", "apiVersion": "v1", "items": []any{bare(object(t, webPod)), bare(object(t, wellPod))}})}).folder(t)
		},
		"a List written otherwise": func(t *testing.T) string { return all.with(files{"pods.yaml": indented}).folder(t) },
		"a List in one line": func(t *testing.T) string {
			return all.with(files{"pods.yaml": "{a: b}\n---\nkind: List\napiVersion: v1\nitems: " + asJSON(t, pods)}).folder(t)
		},
		"the layout of must-gather": func(t *testing.T) string {
			moved := files{"must-gather/timestamp": "now", "must-gather/namespaces/shop/pods/web/app/logs/current.log": "- x"}
			for name, content := range all {
				resource := schema.ParseGroupResource(strings.TrimSuffix(name, ".yaml"))
				group := resource.Group
				if group == "" {
					group = "core"
				}
				moved["must-gather/namespaces/shop/"+group+"/"+resource.Resource+".yaml"] = content
			}
			moved["must-gather/namespaces/shop/pods/web/web.yaml"] = "---\n" + webPod
			moved["must-gather/etcd_info/endpoint_status.json"] = `[{"Endpoint": "https://192.0.2.1:2379"}]`
			return moved.folder(t)
		},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := read(t, path(t))
			if diff := cmp.Diff(want, found(cluster)); diff != "" || broken(cluster) != "" {
				t.Errorf("(-want +found)\n%s\n%s", diff, broken(cluster))
			}
			if len(degraded(cluster)) > 0 {
				t.Errorf("something is not read: %v", degraded(cluster))
			}
		})
	}
}

// TestWhatIsNotInTheFiles leaves out one kind after the other: who reads it cannot see,
// and says what to add.
func TestWhatIsNotInTheFiles(t *testing.T) {
	all := shop(t)
	readers := map[schema.GroupResource][]string{}
	optional := map[schema.GroupResource]bool{}
	for _, rule := range rules(t) {
		for _, kind := range append(slices.Clone(rule.Reads), rule.Subject) {
			resource := kind.Resource().GroupResource()
			readers[resource] = append(readers[resource], rule.Group)
			optional[resource] = kind.Optional()
		}
	}
	for _, resource := range wantedResources(t) {
		if resource == definitions || optional[resource] && resource.Resource != "applications" && resource.Resource != "approvals" {
			continue // two stand for the others
		}
		t.Run(resource.String(), func(t *testing.T) {
			less := all.without(resource.String() + ".yaml")
			if optional[resource] {
				less["customresourcedefinitions.apiextensions.k8s.io.yaml"] = list(t, object(t, fmt.Sprintf(
					"{apiVersion: apiextensions.k8s.io/v1, kind: CustomResourceDefinition, metadata: {name: %s, uid: x, resourceVersion: '1', creationTimestamp: '2026-03-01T00:00:00Z'}}", resource)))
			}
			blind := degraded(read(t, less.folder(t)))
			for _, analyzer := range readers[resource] {
				spec := blind[analyzer]
				if spec == nil {
					t.Errorf("%s is not degraded", analyzer)
					continue
				}
				command := fmt.Sprintf("kubectl get %s -A -o yaml --show-managed-fields > %s.yaml", resource, resource)
				if !strings.Contains(spec.Message, resource.String()) || !strings.Contains(spec.Message, "(InputNotRead)") || !slices.Equal(spec.Remediation.Commands, []string{command}) {
					t.Errorf("%s: %s\n%q", analyzer, spec.Message, spec.Remediation.Commands)
				}
			}
			for analyzer := range blind {
				if !slices.Contains(readers[resource], analyzer) {
					t.Errorf("%s is degraded, which does not read it", analyzer)
				}
			}
		})
	}
}

// TestWhatIsNotInstalled is told by the definitions only.
func TestWhatIsNotInstalled(t *testing.T) {
	bare := shop(t)
	for name := range bare {
		if strings.Contains(name, "argoproj.io") {
			delete(bare, name)
		}
	}
	if blind := degraded(read(t, bare.folder(t))); len(blind) > 0 {
		t.Errorf("without its definition: %v", blind)
	}
	blind := degraded(read(t, bare.without(definitions.String()+".yaml").folder(t)))
	spec := blind["GitOpsDrift"]
	if spec == nil || !strings.Contains(strings.Join(spec.Remediation.Commands, "\n"), "kubectl get "+definitions.String()) {
		t.Errorf("without any definitions: %+v", spec)
	}
}

func TestAsOf(t *testing.T) {
	all := shop(t)
	given := time.Date(2026, 3, 10, 8, 0, 30, 0, time.UTC)
	for name, test := range map[string]struct {
		files files
		asOf  time.Time
		want  string
	}{
		"the newest time": {files: all, want: "2026-03-10T09:00:00Z of Node node-1"},
		"of kinds that nothing reads": {
			files: all.with(files{"leases.yaml": "{apiVersion: coordination.k8s.io/v1, kind: Lease, metadata: {namespace: kube-node-lease, name: node-1}, spec: {renewTime: '2026-03-10T09:00:07.123456Z'}}"}),
			want:  "2026-03-10T09:00:07.123456Z of Lease kube-node-lease/node-1",
		},
		"not what is to come": {
			files: all.with(files{"x.yaml": "{apiVersion: x.example/v1, kind: X, metadata: {name: x}, spec: {startTime: '2026-03-10T10:00:00Z'}, status: {notAfter: '2026-03-10T10:00:00Z', startTime: '2999-01-01T00:00:00Z'}}"}),
			want:  "2026-03-10T09:00:00Z of Node node-1",
		},
		"that is given": {files: all, asOf: given, want: "2026-03-10T08:00:30Z of "},
	} {
		t.Run(name, func(t *testing.T) {
			cluster := read(t, test.files.folder(t), func(o *Options) { o.AsOf = test.asOf })
			if have := cluster.AsOf.Format(time.RFC3339Nano) + " of " + cluster.DatedBy; have != test.want {
				t.Errorf("as of %s, want %s", have, test.want)
			}
		})
	}
	// A grace is judged by it: the node was not Ready for half a minute only.
	if early := found(read(t, all.folder(t), func(o *Options) { o.AsOf = given })); slices.ContainsFunc(early, func(line string) bool { return strings.HasPrefix(line, "NodeNotReady") }) {
		t.Errorf("a grace that is not over: %v", early)
	}
}

// TestWhatNoFileDates is a Service whose pods are not ready: nothing tells since when.
func TestWhatNoFileDates(t *testing.T) {
	service := "{apiVersion: v1, kind: Service, metadata: {namespace: shop, name: web, uid: s, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z'}, spec: {selector: {app: web}, clusterIP: 192.0.2.1, ports: [{port: 80}]}}"
	ingress := "{apiVersion: networking.k8s.io/v1, kind: Ingress, metadata: {namespace: shop, name: web, uid: i, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z'}, spec: {defaultBackend: {service: {name: web, port: {number: 80}}}}}"
	slice := "{apiVersion: discovery.k8s.io/v1, kind: EndpointSlice, metadata: {namespace: shop, name: web-1, uid: e, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z', labels: {kubernetes.io/service-name: web}}, addressType: IPv4, endpoints: []}"
	cluster := read(t, shop(t).with(files{"services.yaml": service, "ingresses.networking.k8s.io.yaml": ingress, "endpointslices.discovery.k8s.io.yaml": slice}).folder(t))
	for _, line := range found(cluster) {
		if strings.Contains(line, "Service/web") {
			t.Fatalf("it has a grace that began with the files: %s", line)
		}
	}
	if !slices.Contains(cluster.Undated["Endpoints"], "services shop/web") {
		t.Errorf("it is not said to be undated: %v", cluster.Undated)
	}
}

const hidden = "s3cr3t-value"

// TestNoValueLeavesTheDecoder looks for the values of Secrets and ConfigMaps in all that
// is kept and said.
func TestNoValueLeavesTheDecoder(t *testing.T) {
	encoded := base64.StdEncoding.EncodeToString([]byte(hidden))
	secret := fmt.Sprintf("{apiVersion: v1, kind: Secret, type: Opaque, metadata: {namespace: shop, name: db, uid: u, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z', annotations: {kubectl.kubernetes.io/last-applied-configuration: '%s'}}, data: {password: %s, other: '<redacted>'}, stringData: {notBefore: %s}, extra: %s}",
		hidden, encoded, hidden, hidden)
	config := fmt.Sprintf("{apiVersion: v1, kind: ConfigMap, metadata: {namespace: shop, name: db, uid: u, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z'}, data: {key: %s}}", hidden)
	all := shop(t).with(files{
		"secrets.yaml": secret, "configmaps.yaml": config,
		"a.yaml": "apiVersion: v1\nkind: Secret\ndata: *" + hidden + "\n", "b.json": `{"kind": "Secret", "data": {"x": "` + hidden + `" ` + hidden, "c.yaml": "kind: Secret\n" + hidden + ": a\n" + hidden + ": b\n",
		"d.yaml": "apiVersion: v1\nkind: Secret\nmetadata: {name: x, namespace: shop}\ndata: {x: " + hidden + "}\n",
	})
	cluster := read(t, all.folder(t))
	told := broken(cluster) + asJSON(t, cluster.Findings) + asJSON(t, cluster.ClusterFindings)
	for _, objects := range cluster.dump.objects {
		for _, object := range objects {
			told += string(object.raw)
		}
	}
	for _, value := range []string{hidden, encoded, "redacted"} {
		if strings.Contains(told, value) {
			t.Errorf("%s is told", value)
		}
	}
	for _, key := range []string{"f:password", "f:other", "f:notBefore", "f:key"} {
		if !strings.Contains(told, `"`+key+`"`) {
			t.Errorf("key %s is not known", key)
		}
	}
	if len(cluster.Broken) != 4 {
		t.Errorf("want four files that cannot be read:\n%s", broken(cluster))
	}
	spec := degraded(cluster)[configdrift.Name]
	if spec == nil || !strings.Contains(spec.Message, "1 configmaps and 1 secrets have none") || !strings.Contains(spec.Remediation.Commands[0], "--show-managed-fields") {
		t.Errorf("that nothing tells when they changed: %+v", spec)
	}
}

// TestSilencesAndProposals has what people have noted in the files count.
func TestSilencesAndProposals(t *testing.T) {
	silence := "{apiVersion: ops.srenix.io/v1alpha1, kind: Silence, metadata: {namespace: shop, name: known, uid: u, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z'}, spec: {owner: rita, reason: it is known, expires: '2026-03-11T00:00:00Z', match: {subjects: [{kind: Pod, name: web}]}}}"
	all := shop(t).with(files{"silences.ops.srenix.io.yaml": silence})
	cluster := read(t, all.folder(t))
	if len(cluster.Silences) != 1 || cluster.Silences[0].Spec.Owner != "rita" {
		t.Fatalf("%+v", cluster.Silences)
	}
	var finding *v1alpha1.Finding
	for _, one := range cluster.Findings {
		if one.Spec.Reason == "ContainerCrashing" {
			finding = one
		}
	}
	if finding == nil || finding.Status.SilencedBy != "known" || finding.Labels[analyzers.SilencedLabel] != "true" {
		t.Errorf("it is not silenced: %+v", finding)
	}
}

// A cluster may have an object without managedFields, and its files others with.
func TestOneWithoutManagedFieldsIsNoDumpWithoutThem(t *testing.T) {
	const of = "{apiVersion: v1, kind: ConfigMap, metadata: {namespace: shop, name: %s, uid: %[1]s, resourceVersion: '3', creationTimestamp: '2026-03-01T00:00:00Z'%s}, data: {key: value}}"
	with := fmt.Sprintf(of, "with", ", managedFields: [{manager: kubectl, operation: Update, apiVersion: v1, time: '2026-03-01T00:00:00Z', fieldsType: FieldsV1, fieldsV1: {'f:data': {'f:key': {}}}}]")
	for name, test := range map[string]struct {
		content string
		blind   bool
	}{
		"one has none":  {with + "\n---\n" + fmt.Sprintf(of, "without", ""), false},
		"none has some": {fmt.Sprintf(of, "without", ""), true},
	} {
		t.Run(name, func(t *testing.T) {
			spec := degraded(read(t, shop(t).with(files{"configmaps.yaml": test.content}).folder(t)))[configdrift.Name]
			if blind := spec != nil && strings.Contains(spec.Message, "have none in the files"); blind != test.blind {
				t.Errorf("have %+v", spec)
			}
		})
	}
}
