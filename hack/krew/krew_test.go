// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/krew/pkg/index"
	"sigs.k8s.io/yaml"
)

// platforms are those of `make krew`, and Windows for the end of its names.
var platforms = []string{"darwin-amd64", "darwin-arm64", "linux-amd64", "linux-arm64", "windows-amd64"}

// packed is a release of programs that print their platform.
func packed(t *testing.T) *release {
	t.Helper()
	r := &release{programs: t.TempDir(), output: t.TempDir(), version: "v0.1.0", url: "https://example.com/v0.1.0/", license: filepath.Join("..", "..", "LICENSE")}
	for _, platform := range platforms {
		folder := filepath.Join(r.programs, platform)
		if err := os.Mkdir(folder, 0o700); err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{program, approval} {
			if strings.HasPrefix(platform, "windows") {
				name += ".exe"
			}
			if err := os.WriteFile(filepath.Join(folder, name), []byte("#!/bin/sh\necho "+name+" "+platform+" \"$@\"\n"), 0o700); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	return r
}

// tool builds one of krew's own programs.
func tool(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if output, err := exec.Command("go", "build", "-o", path, "sigs.k8s.io/krew/cmd/"+name).CombinedOutput(); err != nil {
		t.Fatalf("building %s: %v\n%s", name, err, output)
	}
	return path
}

// TestKrewTakesTheManifest has krew validate the manifest, and install what it is of, on
// each platform.
func TestKrewTakesTheManifest(t *testing.T) {
	r := packed(t)
	manifest := filepath.Join(r.output, "srenix.yaml")
	if output, err := exec.Command(tool(t, "validate-krew-manifest"), "-skip-install", "-manifest", manifest).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	krew := tool(t, "krew")
	for _, platform := range platforms {
		t.Run(platform, func(t *testing.T) {
			root := t.TempDir()
			system, architecture, _ := strings.Cut(platform, "-")
			// krew compares the archive with the manifest's sum.
			command := exec.Command(krew, "install", "--manifest", manifest, "--archive", filepath.Join(r.output, "srenix-v0.1.0-"+platform+".tar.gz"))
			command.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_OS="+system, "KREW_ARCH="+architecture, "KREW_NO_UPGRADE_CHECK=1")
			if output, err := command.CombinedOutput(); err != nil || !bytes.Contains(output, []byte("Installed plugin: srenix")) {
				t.Fatalf("%v\n%s", err, output)
			}
			if _, err := os.Stat(filepath.Join(root, "store", "srenix", "v0.1.0", "LICENSE")); err != nil {
				t.Error(err)
			}
			if system == "windows" {
				return
			}
			output, err := exec.Command(filepath.Join(root, "bin", program)).CombinedOutput()
			if want := program + " " + platform + "\n"; err != nil || string(output) != want {
				t.Errorf("%v %q, want %q", err, output, want)
			}
			copied(t, r, root)
		})
	}
}

// copied follows the caveats, and checks that what they copy is there.
func copied(t *testing.T, r *release, root string) {
	t.Helper()
	_, script, is := strings.Cut(r.manifest(nil).Spec.Caveats, "uninstall:\n")
	if !is {
		t.Fatal("the caveats have no commands")
	}
	command := exec.Command("sh", "-euc", script)
	command.Env = append(os.Environ(), "KREW_ROOT="+root)
	if output, err := command.CombinedOutput(); err != nil {
		t.Fatalf("following the caveats: %v\n%s", err, output)
	}
	for _, name := range []string{approval, completion} {
		if info, err := os.Stat(filepath.Join(root, "bin", name)); err != nil || info.Mode()&0o111 == 0 {
			t.Errorf("%s: %v %v", name, info, err)
		}
	}
	// kubectl calls it with what was typed.
	complete := exec.Command(filepath.Join(root, "bin", completion), "a", "--b", "")
	complete.Env = append(os.Environ(), "PATH="+filepath.Join(root, "bin")+string(os.PathListSeparator)+os.Getenv("PATH"))
	if output, err := complete.CombinedOutput(); err != nil || !strings.HasPrefix(string(output), program+" ") || !strings.HasSuffix(string(output), " __complete a --b \n") {
		t.Errorf("completing: %v %q", err, output)
	}
}

// TestAnUpgradeLeavesWhatWasCopied has krew upgrade from an index, which removes the old
// version, and follows the caveats of the new one.
func TestAnUpgradeLeavesWhatWasCopied(t *testing.T) {
	r, root, krew := packed(t), t.TempDir(), tool(t, "krew")
	server := httptest.NewServer(http.FileServer(http.Dir(r.output)))
	defer server.Close()
	r.url = server.URL
	plugins := filepath.Join(root, "index", "default", "plugins")
	if err := os.MkdirAll(plugins, 0o700); err != nil {
		t.Fatal(err)
	}
	have := func() string {
		t.Helper()
		output, err := exec.Command(filepath.Join(root, "bin", approval)).CombinedOutput()
		if err != nil {
			t.Errorf("%v\n%s", err, output)
		}
		return string(output)
	}
	release := func(version, verb string) {
		t.Helper()
		r.version = version
		if err := os.WriteFile(filepath.Join(r.programs, "linux-amd64", approval), []byte("#!/bin/sh\necho "+version+"\n"), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := r.write(); err != nil {
			t.Fatal(err)
		}
		manifest, err := os.ReadFile(filepath.Join(r.output, "srenix.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(plugins, "srenix.yaml"), manifest, 0o600); err != nil {
			t.Fatal(err)
		}
		command := exec.Command(krew, verb, "--no-update-index", "srenix")
		command.Env = append(os.Environ(), "KREW_ROOT="+root, "KREW_OS=linux", "KREW_ARCH=amd64", "KREW_NO_UPGRADE_CHECK=1")
		if output, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, output)
		}
		if _, err := os.Stat(filepath.Join(root, "store", "srenix", version)); err != nil {
			t.Fatal(err)
		}
	}
	release("v0.1.0", "install")
	copied(t, r, root)
	if output := have(); output != "v0.1.0\n" {
		t.Errorf("installed: %q", output)
	}
	release("v0.2.0", "upgrade")
	if _, err := os.Stat(filepath.Join(root, "store", "srenix", "v0.1.0")); !os.IsNotExist(err) {
		t.Errorf("the old version is there: %v", err)
	}
	if output := have(); output != "v0.1.0\n" {
		t.Errorf("upgraded: %q", output)
	}
	copied(t, r, root)
	if output := have(); output != "v0.2.0\n" {
		t.Errorf("upgraded and copied again: %q", output)
	}
}

// TestPackingIsReproducible packs twice, and has the manifest name all platforms.
func TestPackingIsReproducible(t *testing.T) {
	r := packed(t)
	read := func(name string) []byte {
		t.Helper()
		data, err := os.ReadFile(filepath.Join(r.output, name))
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	first := read("srenix.yaml")
	if err := r.write(); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, read("srenix.yaml")) {
		t.Error("packed again, it is another one")
	}
	var manifest index.Plugin
	if err := yaml.UnmarshalStrict(first, &manifest); err != nil {
		t.Fatal(err)
	}
	for i, platform := range platforms {
		if have := manifest.Spec.Platforms[i]; have.URI != fmt.Sprintf("https://example.com/v0.1.0/srenix-v0.1.0-%s.tar.gz", platform) || len(have.Sha256) != 64 {
			t.Errorf("%s: %+v", platform, have)
		}
	}
}

func TestWhatIsMissing(t *testing.T) {
	r := packed(t)
	if err := os.Remove(filepath.Join(r.programs, "linux-arm64", program)); err != nil {
		t.Fatal(err)
	}
	if err := r.write(); err == nil || !strings.Contains(err.Error(), "packing for linux-arm64") {
		t.Error(err)
	}
}
