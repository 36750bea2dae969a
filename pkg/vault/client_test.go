// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	testingclock "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/vault/vaulttest"
)

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func clientOf(t *testing.T, f *vaulttest.Fake, change func(*Options)) *Client {
	t.Helper()
	options := Options{Address: f.URL, TokenFile: file(t, "root\n"), Timeout: 5 * time.Second, RequestsPerSecond: 10000}
	if change != nil {
		change(&options)
	}
	client, err := New(options)
	if err != nil {
		t.Fatal(err)
	}
	return client
}

func in(mount, path string) Path { return Path{Mount: mount, Path: path} }

func TestWhatVaultHas(t *testing.T) {
	f := vaulttest.New(t)
	f.Secrets["secret/shop/db"] = map[string]any{"user": nil, "tls": map[string]any{"ca": nil}}
	f.Secrets["secret/shop/deleted"], f.Versions["secret/shop/deleted"] = map[string]any{}, map[string]any{"deletion_time": "2026-01-01T00:00:00Z", "destroyed": false}
	f.Secrets["secret/shop/destroyed"], f.Versions["secret/shop/destroyed"] = map[string]any{}, map[string]any{"deletion_time": "", "destroyed": true}
	f.Secrets["team/kv/a"] = map[string]any{"k": nil}
	f.Secrets["old/shop/db"], f.Secrets["old/top"] = map[string]any{}, map[string]any{}
	f.Secrets["secret/private"] = map[string]any{"k": nil}
	f.Secrets["secret/half"] = map[string]any{"k": nil}
	f.Denied = []string{"secret/subkeys/private", "secret/metadata/private", "secret/subkeys/half"}
	want := map[Path]Seen{
		in("secret", "shop/db"):                  {State: Exists, Keys: map[string]any{"user": nil, "tls": map[string]any{"ca": nil}}},
		in("secret", "shop/nothing"):             {State: Missing},
		in("secret", "shop/deleted"):             {State: Deleted},
		in("secret", "shop/destroyed"):           {State: Deleted},
		in("secret", "private"):                  {State: Hidden},
		in("secret", "half"):                     {State: Exists},
		in("team/kv", "a"):                       {State: Exists, Keys: map[string]any{"k": nil}},
		in("old", "shop/db"):                     {State: Exists},
		in("old", "top"):                         {State: Exists},
		in("old", "shop/nothing"):                {State: Missing},
		in("old", "nowhere/nothing"):             {State: Missing},
		in("nomount", "a"):                       {State: Hidden},
		in("secret/data", "shop/db"):             {State: Hidden},
		in("secret", "../../sys/seal"):           {State: Hidden},
		in("secret", "a//b"):                     {State: Hidden},
		in("secret", "a b"):                      {State: Hidden},
		in("secret", "a?list=true"):              {State: Hidden},
		{Namespace: "..", Mount: "x", Path: "y"}: {State: Hidden},
	}
	var paths []Path
	for path := range want {
		paths = append(paths, path)
	}
	have, err := clientOf(t, f, nil).Look(t.Context(), paths)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("-want +have:\n%s", diff)
	}
	for _, asked := range f.Asked {
		if strings.Contains(asked, "/data/") && !strings.Contains(asked, "ui/mounts") || strings.Contains(asked, "..") || strings.Contains(asked, "sys/seal") {
			t.Errorf("%s was asked for", asked)
		}
	}
	if strings.Contains(fmt.Sprint(have), vaulttest.Value) {
		t.Error("a value was read")
	}
}

func TestAnOldVaultWithoutSubkeysHasWhatItHas(t *testing.T) {
	f := vaulttest.New(t)
	f.Secrets["secret/db"] = map[string]any{"k": nil}
	f.Broken = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/subkeys/") {
			return false
		}
		vaulttest.Refuse(w, http.StatusNotFound, "unsupported path")
		return true
	}
	have, err := clientOf(t, f, nil).Look(t.Context(), []Path{in("secret", "db"), in("secret", "none")})
	want := map[Path]Seen{in("secret", "db"): {State: Exists}, in("secret", "none"): {State: Missing}}
	if diff := cmp.Diff(want, have); diff != "" || err != nil {
		t.Errorf("%v, -want +have:\n%s", err, diff)
	}
}

func TestNamespaces(t *testing.T) {
	f := vaulttest.New(t)
	if _, err := clientOf(t, f, nil).Look(t.Context(), []Path{{Namespace: "team/a", Mount: "secret", Path: "x"}, in("secret", "y")}); err != nil {
		t.Fatal(err)
	}
	want := []string{
		" auth/token/lookup-self", "team/a sys/internal/ui/mounts/secret", "team/a secret/subkeys/x", "team/a secret/metadata/x",
		" sys/internal/ui/mounts/secret", " secret/subkeys/y", " secret/metadata/y",
	}
	if diff := cmp.Diff(want, f.Asked); diff != "" {
		t.Errorf("-want +have:\n%s", diff)
	}
}

func TestLoginAsARole(t *testing.T) {
	f := vaulttest.New(t)
	as := func(role string) func(*Options) {
		return func(o *Options) {
			o.TokenFile, o.KubernetesRole, o.KubernetesMount, o.ServiceAccountTokenFile = "", role, "kubernetes", file(t, "pod-token\n")
		}
	}
	have, err := clientOf(t, f, as("srenix")).Look(t.Context(), []Path{in("secret", "none")})
	if err != nil || have[in("secret", "none")].State != Missing {
		t.Fatalf("have %v, %v", have, err)
	}
	if f.Revoked != 1 || f.Tokens["of-a-role"] {
		t.Errorf("the token is left behind: revoked %d times", f.Revoked)
	}
	_, err = clientOf(t, f, as("other")).Look(t.Context(), []Path{in("secret", "none")})
	if err == nil || !strings.Contains(err.Error(), "as role other: it answers 403 Forbidden") || strings.Contains(err.Error(), vaulttest.Value) {
		t.Errorf("have %v", err)
	}
}

func TestNothingIsAskedWhenNothingIsWanted(t *testing.T) {
	f := vaulttest.New(t)
	if _, err := clientOf(t, f, nil).Look(t.Context(), nil); err != nil || len(f.Asked) > 0 {
		t.Errorf("%v; asked %v", err, f.Asked)
	}
}

// TestAnOutageIsAnError holds that nothing is taken to be missing, or hidden, while
// Vault is not well.
func TestAnOutageIsAnError(t *testing.T) {
	onPaths := func(answer func(http.ResponseWriter)) func(http.ResponseWriter, *http.Request) bool {
		return func(w http.ResponseWriter, r *http.Request) bool {
			if strings.HasPrefix(r.URL.Path, "/v1/auth/") {
				return false
			}
			answer(w)
			return true
		}
	}
	hijack := func(w http.ResponseWriter) {
		connection, _, err := w.(http.Hijacker).Hijack()
		if err == nil {
			_ = connection.Close()
		}
	}
	for name, test := range map[string]struct {
		broken func(http.ResponseWriter, *http.Request) bool
		change func(*Options)
		says   string
	}{
		"sealed":          {broken: onPaths(func(w http.ResponseWriter) { vaulttest.Refuse(w, 503, "Vault is sealed") }), says: "sealed"},
		"asked too often": {broken: onPaths(func(w http.ResponseWriter) { vaulttest.Refuse(w, 429, "request path \"x\": rate limit quota exceeded") }), says: "too often"},
		"failing":         {broken: onPaths(func(w http.ResponseWriter) { vaulttest.Refuse(w, 500, "internal error: "+vaulttest.Value) }), says: "500 Internal Server Error"},
		"behind a proxy that fails": {
			broken: onPaths(func(w http.ResponseWriter) { w.WriteHeader(502); _, _ = w.Write([]byte("<html>")) }), says: "502 Bad Gateway",
		},
		"behind a proxy that knows nothing": {
			broken: onPaths(func(w http.ResponseWriter) { w.WriteHeader(404); _, _ = w.Write([]byte("<html>nothing here")) }), says: "asking Vault for secret/db",
		},
		"answering with something else": {broken: onPaths(func(w http.ResponseWriter) { _, _ = w.Write([]byte("hello")) }), says: "asking Vault for secret/db"},
		"resetting connections":         {broken: onPaths(hijack), says: "asking Vault for secret/db"},
		"slow": {
			broken: func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true },
			change: func(o *Options) { o.Timeout = 50 * time.Millisecond }, says: "deadline exceeded",
		},
		"not there":               {change: func(o *Options) { o.Address = "http://127.0.0.1:1" }, says: "refused"},
		"refusing the token":      {change: func(o *Options) { o.TokenFile = file(t, "over") }, says: "showing Vault the token: it answers 403"},
		"without a token":         {change: func(o *Options) { o.TokenFile = "/nonexistent" }, says: "reading the token"},
		"of a role with no token": {change: func(o *Options) { o.TokenFile, o.KubernetesRole = "", "r" }, says: "token of the service account"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := vaulttest.New(t)
			f.Broken = test.broken
			have, err := clientOf(t, f, test.change).Look(t.Context(), []Path{in("secret", "db")})
			if err == nil || have != nil || !strings.Contains(err.Error(), test.says) {
				t.Fatalf("have %v, %v", have, err)
			}
			if strings.Contains(err.Error(), vaulttest.Value) {
				t.Errorf("the error repeats what Vault said: %v", err)
			}
		})
	}
}

// TestOnePathThatVaultFailsAtIsNoOutage holds that others are looked at all the same.
func TestOnePathThatVaultFailsAtIsNoOutage(t *testing.T) {
	f := vaulttest.New(t)
	f.Secrets["secret/db"] = map[string]any{"k": nil}
	f.Broken = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/broken") {
			return false
		}
		vaulttest.Refuse(w, 500, "internal error: "+vaulttest.Value)
		return true
	}
	paths := []Path{in("secret", "broken"), in("secret", "db")}
	have, err := clientOf(t, f, nil).Look(t.Context(), paths)
	want := map[Path]Seen{paths[0]: {State: failing}, paths[1]: {State: Exists, Keys: map[string]any{"k": nil}}}
	if diff := cmp.Diff(want, have); diff != "" || err != nil {
		t.Errorf("%v, -want +have:\n%s", err, diff)
	}
	// Many are one.
	for i := range mostFailing {
		paths = append(paths, in("secret", fmt.Sprintf("broken-%d", i)))
	}
	if have, err := clientOf(t, f, nil).Look(t.Context(), paths); err == nil || have != nil {
		t.Errorf("have %v", have)
	}
}

// TestATokenThatRunsOutHidesNothing holds that 403 is no answer of who is not known.
func TestATokenThatRunsOutHidesNothing(t *testing.T) {
	for name, change := range map[string]func(*Options){
		"of the file": nil,
		"of a role": func(o *Options) {
			o.TokenFile, o.KubernetesRole, o.KubernetesMount, o.ServiceAccountTokenFile = "", "srenix", "kubernetes", file(t, "pod-token")
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := vaulttest.New(t)
			f.Secrets["secret/a"], f.Secrets["secret/b"] = map[string]any{"k": nil}, map[string]any{"k": nil}
			f.Lease = time.Second
			clock := testingclock.NewFakeClock(time.Now())
			f.Broken = func(_ http.ResponseWriter, r *http.Request) bool {
				if strings.HasSuffix(r.URL.Path, "/subkeys/b") {
					if change != nil {
						clock.Step(f.Lease)
					}
					clear(f.Tokens)
				}
				return false
			}
			timed := func(o *Options) {
				o.Clock = clock
				if change != nil {
					change(o)
				}
			}
			have, err := clientOf(t, f, timed).Look(t.Context(), []Path{in("secret", "a"), in("secret", "b")})
			if err == nil || have != nil {
				t.Errorf("have %v", have)
			}
		})
	}
}

func TestAHiccupIsNoOutage(t *testing.T) {
	f := vaulttest.New(t)
	f.Secrets["secret/db"] = map[string]any{"k": nil}
	failures := 2
	f.Broken = func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/subkeys/") || failures == 0 {
			return false
		}
		failures--
		vaulttest.Refuse(w, 503, "standby")
		return true
	}
	have, err := clientOf(t, f, nil).Look(t.Context(), []Path{in("secret", "db")})
	if err != nil || have[in("secret", "db")].State != Exists {
		t.Errorf("have %v, %v", have, err)
	}
}

func TestCertificatesAreCheckedWhateverTheEnvironmentSays(t *testing.T) {
	f := vaulttest.New(t)
	secure := httptest.NewTLSServer(f)
	t.Cleanup(secure.Close)
	t.Setenv("VAULT_SKIP_VERIFY", "true")
	t.Setenv("VAULT_TOKEN", "another")
	t.Setenv("VAULT_NAMESPACE", "another")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	at := func(o *Options) { o.Address = secure.URL }
	if _, err := clientOf(t, f, at).Look(t.Context(), []Path{in("secret", "db")}); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("have %v", err)
	}
	bundle := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: secure.Certificate().Raw}))
	trusting := func(o *Options) { o.Address, o.CAFile = secure.URL, file(t, bundle) }
	if _, err := clientOf(t, f, trusting).Look(t.Context(), []Path{in("secret", "db")}); err != nil {
		t.Error(err)
	}
	for _, asked := range f.Asked {
		if !strings.HasPrefix(asked, " ") {
			t.Errorf("%q was asked in the environment's namespace", asked)
		}
	}
	for _, bundle := range []string{"/nonexistent", file(t, "no certificate")} {
		if _, err := New(Options{Address: secure.URL, CAFile: bundle}); err == nil {
			t.Errorf("authorities of %s are taken", bundle)
		}
	}
}
