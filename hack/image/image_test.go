// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cdx "github.com/CycloneDX/cyclonedx-go"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/layout"
)

// self is the program that runs these tests, as any Go program.
func self(t *testing.T) file {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return file{name: "self", mode: 0o755, content: content}
}

// read returns the files of an image by name, and its configuration.
func read(t *testing.T, dir string) (map[string]*tar.Header, map[string][]byte, *v1.ConfigFile) {
	t.Helper()
	index, err := layout.ImageIndexFromPath(dir)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil {
		t.Fatal(err)
	}
	if len(manifest.Manifests) != 1 {
		t.Fatalf("there are %d images, of which tools take none", len(manifest.Manifests))
	}
	image, err := index.Image(manifest.Manifests[0].Digest)
	if err != nil {
		t.Fatal(err)
	}
	config, err := image.ConfigFile()
	if err != nil {
		t.Fatal(err)
	}
	layers, err := image.Layers()
	if err != nil {
		t.Fatal(err)
	}
	headers, contents := map[string]*tar.Header{}, map[string][]byte{}
	for _, layer := range layers {
		stream, err := layer.Uncompressed()
		if err != nil {
			t.Fatal(err)
		}
		reader := tar.NewReader(stream)
		for {
			header, err := reader.Next()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			content, err := io.ReadAll(reader)
			if err != nil {
				t.Fatal(err)
			}
			headers[header.Name], contents[header.Name] = header, content
		}
		if err := stream.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return headers, contents, config
}

func TestTheImageHasProgramsAndTheirBill(t *testing.T) {
	program := self(t)
	dir := t.TempDir()
	root, output, sbom := filepath.Join(dir, "root"), filepath.Join(dir, "image"), filepath.Join(dir, "sbom.json")
	if err := os.Mkdir(root, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(root, program.name), program.content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := run(root, output, sbom, "v1.2.3"); err != nil {
		t.Fatal(err)
	}
	headers, contents, config := read(t, output)
	if config.Config.User != nonroot {
		t.Errorf("it runs as %q", config.Config.User)
	}
	if names := slices.Sorted(maps.Keys(headers)); !slices.Equal(names, []string{sbomFile, "self"}) {
		t.Fatalf("it holds %v", names)
	}
	if !bytes.Equal(contents["self"], program.content) || headers["self"].Mode != 0o755 || headers[sbomFile].Mode != 0o644 {
		t.Error("the program in it is another one, or cannot be run")
	}
	beside, err := os.ReadFile(sbom)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(contents[sbomFile], beside) {
		t.Error("the bills inside and beside differ")
	}
}

func TestTheBillNamesWhatAProgramIsBuiltOf(t *testing.T) {
	program := self(t)
	content, err := billOfMaterials("v1.2.3", []file{program})
	if err != nil {
		t.Fatal(err)
	}
	bom := &cdx.BOM{}
	if err := cdx.NewBOMDecoder(bytes.NewReader(content), cdx.BOMFileFormatJSON).Decode(bom); err != nil {
		t.Fatal(err)
	}
	if image := bom.Metadata.Component; image.Name != "srenix" || image.Version != "v1.2.3" || image.Type != cdx.ComponentTypeContainer {
		t.Errorf("it is of %+v", image)
	}
	listed := map[string]cdx.Component{}
	for _, component := range *bom.Components {
		if _, twice := listed[component.BOMRef]; twice {
			t.Errorf("%s is listed twice", component.BOMRef)
		}
		listed[component.BOMRef] = component
	}
	info, err := buildinfo.Read(bytes.NewReader(program.content))
	if err != nil {
		t.Fatal(err)
	}
	if len(info.Deps) == 0 {
		t.Fatal("this program says nothing of what it is built of")
	}
	for _, module := range info.Deps {
		found, is := listed["pkg:golang/"+module.Path+"@"+module.Version]
		if !is || found.PackageURL != found.BOMRef || (module.Sum != "") != (found.Hashes != nil) {
			t.Errorf("%s %s is listed as %+v", module.Path, module.Version, found)
		}
	}
	if want := len(info.Deps) + 2; len(listed) != want { // and the program, and the standard library
		t.Errorf("%d components are listed, must be %d", len(listed), want)
	}
	for _, dependency := range *bom.Dependencies {
		for _, ref := range *dependency.Dependencies {
			if _, is := listed[ref]; !is {
				t.Errorf("%s depends on %s, which is not listed", dependency.Ref, ref)
			}
		}
	}
	if _, err := billOfMaterials("v1.2.3", []file{{name: "script", content: []byte("#!/bin/sh")}}); err == nil || !strings.Contains(err.Error(), "script") {
		t.Errorf("of what is no Go program it says %v", err)
	}
}

// digests are the SHA-256 of all files below a directory.
func digests(t *testing.T, dir string) map[string][sha256.Size]byte {
	t.Helper()
	found := map[string][sha256.Size]byte{}
	err := filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		name, _ := filepath.Rel(dir, path)
		found[name] = sha256.Sum256(content)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// Two folders with nothing but the sources, whose names differ in length.
func TestTwoBuildsAreByteIdentical(t *testing.T) {
	var built []map[string][sha256.Size]byte
	for _, name := range []string{"one", "another-folder"} {
		dir := filepath.Join(t.TempDir(), name)
		if err := os.Mkdir(dir, 0o755); err != nil {
			t.Fatal(err)
		}
		copied := exec.Command("bash", "-o", "pipefail", "-c", `git ls-files -z --cached --others --exclude-standard | xargs -0 -I{} sh -c '[ ! -f "$1" ] || printf "%s\0" "$1"' _ {} | tar --null -T - -cf - | tar -C "$0" -xf -`, dir)
		copied.Dir = filepath.Join("..", "..")
		if output, err := copied.CombinedOutput(); err != nil {
			t.Fatalf("copying the sources: %v\n%s", err, output)
		}
		build := exec.Command("make", "image", "VERSION=v0.0.0-test")
		build.Dir = dir
		if output, err := build.CombinedOutput(); err != nil {
			t.Fatalf("make image: %v\n%s", err, output)
		}
		built = append(built, digests(t, filepath.Join(dir, "_output")))
		_, contents, _ := read(t, filepath.Join(dir, "_output", "image"))
		for program, content := range contents {
			if bytes.Contains(content, []byte(dir)) {
				t.Errorf("%s tells where it was built", program)
			}
		}
	}
	for name := range built[0] {
		if built[0][name] != built[1][name] {
			t.Errorf("%s differs", name)
		}
	}
	if len(built[0]) == 0 || len(built[0]) != len(built[1]) {
		t.Errorf("the builds have %d and %d files", len(built[0]), len(built[1]))
	}
}
