// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/hashicorp/vault/api"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/analyzertest"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	"github.com/srenix/srenix/pkg/vault"
	"github.com/srenix/srenix/test/plane"
)

// vaultPolicy is what docs/analyzers/vaultpathmissing.md says is enough.
func vaultPolicy(t *testing.T) string {
	t.Helper()
	root, err := plane.Root()
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(root, "docs", "analyzers", "vaultpathmissing.md"))
	if err != nil {
		t.Fatal(err)
	}
	var policy []string
	for line := range strings.Lines(string(page)) {
		if strings.HasPrefix(line, "path ") {
			policy = append(policy, line)
		}
	}
	if len(policy) == 0 {
		t.Fatal("the page tells of no policy")
	}
	return strings.Join(policy, "")
}

// startVault runs a Vault in memory, and returns a client with all rights and what
// ends it.
func startVault(t *testing.T) (root *api.Client, stop func()) {
	t.Helper()
	binary, err := plane.Binary("vaultdev")
	if err != nil {
		t.Fatalf("%v (make controllers)", err)
	}
	command := exec.Command(binary, "127.0.0.1:0")
	command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	command.Stderr = os.Stderr
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	stop = func() {
		_ = command.Process.Kill()
		_ = command.Wait()
	}
	t.Cleanup(stop)
	lines := bufio.NewScanner(output)
	var told []string
	for len(told) < 2 && lines.Scan() {
		told = append(told, lines.Text())
	}
	if len(told) < 2 {
		t.Fatalf("Vault ended after it had told %q", told)
	}
	root, err = api.NewClient(&api.Config{Address: told[0], Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	root.SetToken(told[1])
	return root, stop
}

// A Vault answers the shipped client, with no more rights than its page asks for, as
// the client takes it.
func TestWhatVaultAnswersIsUnderstood(t *testing.T) {
	root, stop := startVault(t)
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(root.Sys().Mount("secret", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	must(root.Sys().Mount("old", &api.MountInput{Type: "kv", Options: map[string]string{"version": "1"}}))
	must(root.Sys().Mount("closed", &api.MountInput{Type: "kv", Options: map[string]string{"version": "2"}}))
	// A mount of version 2 is not ready at once.
	write := func(mount, path string, data map[string]any) {
		t.Helper()
		eventually(t, "Vault to take "+mount+"/"+path, func(ctx context.Context) (bool, string) {
			_, err := root.KVv2(mount).Put(ctx, path, data)
			return err == nil, fmt.Sprint(err)
		})
	}
	secrets := root.KVv2("secret")
	write("secret", "shop/db", map[string]any{"TOKEN": "x", "tls": map[string]any{"ca": "x"}})
	write("secret", "shop/gone", map[string]any{"a": "x"})
	must(secrets.Delete(t.Context(), "shop/gone"))
	write("secret", "shop/destroyed", map[string]any{"a": "x"})
	must(secrets.Destroy(t.Context(), "shop/destroyed", []int{1}))
	write("secret", "shop/purged", map[string]any{"a": "x"})
	must(secrets.DeleteMetadata(t.Context(), "shop/purged"))
	write("closed", "shop/db", map[string]any{"a": "x"})
	must(root.KVv1("old").Put(t.Context(), "shop/db", map[string]any{"a": "x"}))

	must(root.Sys().PutPolicy("srenix", vaultPolicy(t)))
	made, err := root.Auth().Token().Create(&api.TokenCreateRequest{Policies: []string{"srenix"}})
	must(err)
	tokenFile := filepath.Join(t.TempDir(), "token")
	must(os.WriteFile(tokenFile, []byte(made.Auth.ClientToken), 0o600))
	client, err := vault.New(vault.Options{Address: root.Address(), TokenFile: tokenFile, Timeout: 10 * time.Second, RequestsPerSecond: 1000})
	must(err)

	in := func(mount, path string) vault.Path { return vault.Path{Mount: mount, Path: path} }
	want := map[vault.Path]vault.Seen{
		in("secret", "shop/db"):        {State: vault.Exists, Keys: map[string]any{"TOKEN": nil, "tls": map[string]any{"ca": nil}}},
		in("secret", "shop/gone"):      {State: vault.Deleted},
		in("secret", "shop/destroyed"): {State: vault.Deleted},
		in("secret", "shop/purged"):    {State: vault.Missing},
		in("secret", "shop/never"):     {State: vault.Missing},
		in("closed", "shop/db"):        {State: vault.Hidden},
		in("nowhere", "shop/db"):       {State: vault.Hidden},
		in("secret/data", "shop/db"):   {State: vault.Hidden},
		in("old", "shop/db"):           {State: vault.Exists},
		in("old", "shop/never"):        {State: vault.Missing},
		in("old", "never/db"):          {State: vault.Missing},
	}
	var paths []vault.Path
	for path := range want {
		paths = append(paths, path)
	}
	have, err := client.Look(t.Context(), paths)
	must(err)
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("-want +have:\n%s", diff)
	}

	// What it answers makes the findings: a property of another case, and once the secret
	// is gone, the path.
	analyzer, err := vaultpathmissing.New(analyzers.NewSettings(goldenConfiguration(vaultpathmissing.Name)))
	must(err)
	golden := analyzertest.Read(t, filepath.Join("..", "..", "pkg", "analyzers", "vaultpathmissing", "testdata", "found-property.yaml"))
	db := in("secret", "shop/db")
	reasons := func() string {
		t.Helper()
		seen, err := client.Look(t.Context(), []vault.Path{db})
		must(err)
		var all []string
		for _, spec := range analyzertest.Analyze(t, analyzer, golden.Now, golden.After, append(golden.Objects, vault.Object(db, seen[db]))) {
			all = append(all, spec.Reason)
		}
		return strings.Join(all, " ")
	}
	if have := reasons(); have != "VaultPropertyMissing" {
		t.Errorf("found %q, want VaultPropertyMissing", have)
	}
	must(secrets.DeleteMetadata(t.Context(), "shop/db"))
	if have := reasons(); have != "VaultPathMissing" {
		t.Errorf("found %q once the secret is gone, want VaultPathMissing", have)
	}

	// A sealed Vault, a token that was taken back, and a Vault that is away, are outages.
	outage := func(what string) {
		t.Helper()
		if seen, err := client.Look(t.Context(), paths); err == nil {
			t.Errorf("%s: Vault tells %v", what, seen)
		}
	}
	must(root.Auth().Token().RevokeTree(made.Auth.ClientToken))
	outage("without a token")
	must(root.Sys().Seal())
	outage("sealed")
	stop()
	outage("away")
}
