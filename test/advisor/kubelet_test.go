// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// kubelet serves logs where kube-apiserver asks a node for them: kwok has none. It
// answers for what logs has, by "NAMESPACE/POD PREFIX/CONTAINER", of containers before
// their last restart.
type kubelet struct{ logs map[string]string }

func (k kubelet) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	parts := strings.Split(strings.TrimPrefix(r.URL.Path, "/containerLogs/"), "/")
	if len(parts) != 3 || r.URL.Query().Get("previous") != "true" {
		http.Error(w, "there is no such log", http.StatusNotFound)
		return
	}
	for key, text := range k.logs {
		of := strings.Split(key, "/")
		if parts[0] == of[0] && strings.HasPrefix(parts[1], of[1]) && parts[2] == of[2] {
			_, _ = w.Write([]byte(text))
			return
		}
	}
	http.Error(w, "there is no such log", http.StatusNotFound)
}

// serveLogs has all nodes be where the logs are.
func (s shop) serveLogs(logs map[string]string) {
	s.Helper()
	server := httptest.NewTLSServer(kubelet{logs})
	s.Cleanup(server.Close)
	at, err := url.Parse(server.URL)
	if err != nil {
		s.Fatal(err)
	}
	port := json.Number(at.Port())
	patch, err := json.Marshal(map[string]any{"status": map[string]any{
		"addresses":       []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: at.Hostname()}},
		"daemonEndpoints": map[string]any{"kubeletEndpoint": map[string]any{"Port": port}},
	}})
	if err != nil {
		s.Fatal(err)
	}
	for node := range strings.FieldsSeq(s.kubectl("get", "nodes", "-o", "jsonpath={.items[*].metadata.name}")) {
		s.kubectl("patch", "node", node, "--subresource=status", "--type=merge", "-p", string(patch))
	}
}

func TestTheKubeletKnowsItsLogs(t *testing.T) {
	k := kubelet{map[string]string{"shop/crash-/app": "boom"}}
	for path, want := range map[string]int{
		"/containerLogs/shop/crash-7d9/app?previous=true": http.StatusOK,
		"/containerLogs/shop/crash-7d9/app":               http.StatusNotFound,
		"/containerLogs/bank/crash-7d9/app?previous=true": http.StatusNotFound,
		"/containerLogs/shop/web-7d9/app?previous=true":   http.StatusNotFound,
		"/containerLogs/shop/crash-7d9?previous=true":     http.StatusNotFound,
	} {
		answer := httptest.NewRecorder()
		k.ServeHTTP(answer, httptest.NewRequest(http.MethodGet, path, nil))
		if answer.Code != want {
			t.Errorf("%s: %d, want %d", path, answer.Code, want)
		}
	}
}
