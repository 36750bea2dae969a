// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package vaulttest stands in for a Vault in tests: a server that answers the requests
// for names as Vault does, over what a test puts in, and that can be broken.
package vaulttest

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
)

// Value is in every answer that would tell values.
const Value = "value-that-must-not-be-read"

// Fake answers as Vault does (API documentation: KV secrets engine versions 1 and 2,
// sys/internal/ui/mounts, Kubernetes auth method), over what a test puts in.
type Fake struct {
	*httptest.Server

	mu sync.Mutex
	// Tokens that it takes, and the version of KV by mount.
	Tokens   map[string]bool
	Mounts   map[string]string         // version by mount
	Secrets  map[string]map[string]any // subkeys by mount and path
	Versions map[string]map[string]any // the newest version's metadata, where it is not alive
	Denied   []string                  // prefixes
	Broken   func(http.ResponseWriter, *http.Request) bool
	Asked    []string
	Revoked  int
	// Lease is for how long a token of a role is good, in whole seconds.
	Lease time.Duration
}

// New starts one, with the token "root", until the test ends.
func New(t *testing.T) *Fake {
	t.Helper()
	f := &Fake{
		Lease: time.Hour, Tokens: map[string]bool{"root": true}, Mounts: map[string]string{"secret": "2", "team/kv": "2", "old": "1"},
		Secrets: map[string]map[string]any{}, Versions: map[string]map[string]any{},
	}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	return f
}

// Change changes what it has while it may be asked.
func (f *Fake) Change(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

func answer(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// Refuse answers with an error.
func Refuse(w http.ResponseWriter, status int, message string) {
	answer(w, status, map[string]any{"errors": []string{message}})
}

func (f *Fake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	defer f.mu.Unlock()
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	f.Asked = append(f.Asked, r.Header.Get("X-Vault-Namespace")+" "+path)
	if f.Broken != nil && f.Broken(w, r) {
		return
	}
	switch {
	case path == "auth/kubernetes/login":
		f.login(w, r)
	case !f.Tokens[r.Header.Get("X-Vault-Token")]:
		Refuse(w, http.StatusForbidden, "permission denied")
	case path == "auth/token/lookup-self":
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"policies": []string{"names"}}})
	case path == "auth/token/revoke-self":
		f.Revoked++
		delete(f.Tokens, r.Header.Get("X-Vault-Token"))
		w.WriteHeader(http.StatusNoContent)
	case f.denies(path):
		Refuse(w, http.StatusForbidden, "1 error occurred: permission denied")
	case strings.HasPrefix(path, "sys/internal/ui/mounts/"):
		f.mount(w, strings.TrimPrefix(path, "sys/internal/ui/mounts/"))
	default:
		f.kv(w, r, path)
	}
}

func (f *Fake) denies(path string) bool {
	for _, prefix := range f.Denied {
		if strings.HasPrefix(path, prefix) {
			return true
		}
	}
	return false
}

func (f *Fake) login(w http.ResponseWriter, r *http.Request) {
	var body struct{ Role, JWT string }
	_ = json.NewDecoder(r.Body).Decode(&body)
	if body.Role != "srenix" || body.JWT != "pod-token" {
		Refuse(w, http.StatusForbidden, "permission denied: "+Value)
		return
	}
	f.Tokens["of-a-role"] = true
	answer(w, http.StatusOK, map[string]any{"auth": map[string]any{"client_token": "of-a-role", "lease_duration": int(f.Lease.Seconds())}})
}

// at is the mount that a path is in, and what comes after it.
func (f *Fake) at(path string) (mount, rest string) {
	for candidate := range f.Mounts {
		if after, is := strings.CutPrefix(path+"/", candidate+"/"); is && len(candidate) > len(mount) {
			mount, rest = candidate, strings.Trim(after, "/")
		}
	}
	return mount, rest
}

func (f *Fake) mount(w http.ResponseWriter, path string) {
	mount, _ := f.at(path)
	if mount == "" {
		Refuse(w, http.StatusForbidden, "preflight capability check returned 403, please ensure client's policies grant access to path \""+path+"/\"")
		return
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"path": mount + "/", "type": "kv", "options": map[string]any{"version": f.Mounts[mount]}}})
}

func (f *Fake) kv(w http.ResponseWriter, r *http.Request, path string) {
	mount, rest := f.at(path)
	if mount == "" {
		Refuse(w, http.StatusNotFound, "no handler for route \""+path+"\"")
		return
	}
	if f.Mounts[mount] == "1" {
		f.version1(w, r, mount, rest)
		return
	}
	kind, name, _ := strings.Cut(rest, "/")
	subkeys, exists := f.Secrets[mount+"/"+name]
	dead := f.Versions[mount+"/"+name]
	switch {
	case kind == "data":
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"data": map[string]any{"subkeys": map[string]any{"k": Value}}}})
	case kind == "subkeys" && exists && dead == nil:
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"subkeys": subkeys, "metadata": map[string]any{"version": 2}}})
	case kind == "subkeys" && exists:
		answer(w, http.StatusNotFound, map[string]any{"data": map[string]any{"subkeys": nil, "metadata": dead}})
	case kind == "metadata" && exists:
		newest := dead
		if newest == nil {
			newest = map[string]any{"deletion_time": "", "destroyed": false}
		}
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"current_version": 2, "versions": map[string]any{"1": map[string]any{}, "2": newest}}})
	default:
		answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
	}
}

func (f *Fake) version1(w http.ResponseWriter, r *http.Request, mount, folder string) {
	if r.Method != "LIST" && r.URL.Query().Get("list") != "true" {
		answer(w, http.StatusOK, map[string]any{"data": map[string]any{"k": Value}})
		return
	}
	var names []string
	for path := range f.Secrets {
		if name, in := strings.CutPrefix(path, strings.Trim(mount+"/"+folder, "/")+"/"); in && !strings.Contains(name, "/") {
			names = append(names, name)
		}
	}
	if names == nil {
		answer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
		return
	}
	answer(w, http.StatusOK, map[string]any{"data": map[string]any{"keys": names}})
}
