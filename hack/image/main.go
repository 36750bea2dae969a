// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command image writes a container image with the files of a directory at its
// root, as an OCI layout, with no container engine. The image has no base: the
// programs are static. It comes with a bill of materials, inside and beside. Equal
// inputs give equal bytes.
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/layout"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// nonroot is the user that the manifests in artifacts/ run the programs as.
const nonroot = "65532:65532"

func main() {
	root := flag.String("root", "", "directory whose files become the image's root")
	output := flag.String("output", "", "directory to write the OCI layout to; replaced if it exists")
	sbom := flag.String("sbom", "", "file to write the bill of materials to, as CycloneDX in JSON")
	version := flag.String("version", "", "version of the programs")
	flag.Parse()
	if err := run(*root, *output, *sbom, *version); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run(root, output, sbom, version string) error {
	programs, err := files(root)
	if err != nil {
		return err
	}
	bill, err := billOfMaterials(version, programs)
	if err != nil {
		return err
	}
	if err := os.WriteFile(sbom, bill, 0o644); err != nil {
		return fmt.Errorf("writing the bill of materials: %w", err)
	}
	content, err := archive(append(programs, file{name: sbomFile, mode: 0o644, content: bill}))
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(content)), nil })
	if err != nil {
		return fmt.Errorf("making the layer: %w", err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return fmt.Errorf("adding the layer: %w", err)
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		Architecture: runtime.GOARCH, OS: "linux",
		Config: v1.Config{User: nonroot, WorkingDir: "/"},
		RootFS: mustConfig(image).RootFS,
	})
	if err != nil {
		return fmt.Errorf("setting the image's configuration: %w", err)
	}
	if err := os.RemoveAll(output); err != nil {
		return fmt.Errorf("replacing %s: %w", output, err)
	}
	path, err := layout.Write(output, empty.Index)
	if err != nil {
		return fmt.Errorf("writing the layout: %w", err)
	}
	if err := path.AppendImage(image); err != nil {
		return fmt.Errorf("writing the image: %w", err)
	}
	digest, err := image.Digest()
	if err != nil {
		return fmt.Errorf("reading the image's digest: %w", err)
	}
	fmt.Printf("%s@%s\n", output, digest)
	return nil
}

func mustConfig(image v1.Image) *v1.ConfigFile {
	config, err := image.ConfigFile()
	if err != nil {
		panic(err) // An image made in memory has a configuration.
	}
	return config
}

// file is one at the root of the image.
type file struct {
	name    string
	mode    int64
	content []byte
}

// files reads the programs of a directory, in the order of their names.
func files(root string) ([]file, error) {
	entries, err := os.ReadDir(root)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", root, err)
	}
	var found []file
	for _, entry := range entries {
		content, err := os.ReadFile(filepath.Join(root, entry.Name()))
		if err != nil {
			return nil, fmt.Errorf("reading %s: %w", entry.Name(), err)
		}
		found = append(found, file{name: entry.Name(), mode: 0o755, content: content})
	}
	return found, nil
}

// archive packs files, with no times and no owners.
func archive(files []file) ([]byte, error) {
	var buffer bytes.Buffer
	writer := tar.NewWriter(&buffer)
	for _, one := range files {
		if err := writer.WriteHeader(&tar.Header{Name: one.name, Mode: one.mode, Size: int64(len(one.content)), Typeflag: tar.TypeReg}); err != nil {
			return nil, fmt.Errorf("packing %s: %w", one.name, err)
		}
		if _, err := writer.Write(one.content); err != nil {
			return nil, fmt.Errorf("packing %s: %w", one.name, err)
		}
	}
	if err := writer.Close(); err != nil {
		return nil, fmt.Errorf("closing the archive: %w", err)
	}
	return buffer.Bytes(), nil
}
