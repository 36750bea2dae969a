// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Command krew packs the kubectl plugins into an archive for each platform, and writes
// the manifest by which krew installs them. Equal inputs give equal bytes.
package main

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/krew/pkg/constants"
	"sigs.k8s.io/krew/pkg/index"
	"sigs.k8s.io/yaml"
)

func main() {
	var r release
	flag.StringVar(&r.programs, "programs", "", "folder with a folder of programs for each platform, as linux-amd64")
	flag.StringVar(&r.license, "license", "", "file with the license")
	flag.StringVar(&r.output, "output", "", "folder to write the archives and the manifest to")
	flag.StringVar(&r.version, "version", "", "version of the programs, as v1.2.3")
	flag.StringVar(&r.url, "url", "", "where the archives will be")
	flag.Parse()
	if err := r.write(); err != nil {
		fmt.Fprintln(os.Stderr, "krew:", err)
		os.Exit(1)
	}
}

// release is what is packed.
type release struct{ programs, license, output, version, url string }

// The plugin, and the programs that come with it. krew makes no command of two words, as
// "kubectl create approval" is, so that one has to be copied by hand.
const (
	plugin   = "srenix"
	program  = "kubectl-srenix"
	approval = "kubectl-create-approval"
)

// completion is what kubectl calls to complete the arguments of the plugin. It asks
// nothing below its own create.
const (
	completion       = "kubectl_complete-srenix"
	completionScript = "#!/bin/sh\nexec kubectl-srenix __complete \"$@\"\n"
)

func (r *release) write() error {
	folders, err := os.ReadDir(r.programs)
	if err != nil {
		return fmt.Errorf("finding the platforms: %w", err)
	}
	if err := os.MkdirAll(r.output, 0o755); err != nil {
		return err
	}
	var platforms []index.Platform
	for _, folder := range folders {
		system, architecture, is := strings.Cut(folder.Name(), "-")
		if !is {
			return fmt.Errorf("folder %s is not named after a platform, as linux-amd64", folder.Name())
		}
		platform, err := r.pack(system, architecture)
		if err != nil {
			return fmt.Errorf("packing for %s: %w", folder.Name(), err)
		}
		platforms = append(platforms, platform)
	}
	manifest, err := yaml.Marshal(r.manifest(platforms))
	if err != nil {
		return fmt.Errorf("encoding the manifest: %w", err)
	}
	// A manifest has no creation time, which would be written as null.
	manifest = bytes.Replace(manifest, []byte("  creationTimestamp: null\n"), nil, 1)
	return os.WriteFile(filepath.Join(r.output, plugin+constants.ManifestExtension), manifest, 0o644)
}

func (r *release) manifest(platforms []index.Platform) index.Plugin {
	return index.Plugin{
		TypeMeta:   metav1.TypeMeta{APIVersion: constants.CurrentAPIVersion, Kind: constants.PluginKind},
		ObjectMeta: metav1.ObjectMeta{Name: plugin},
		Spec: index.PluginSpec{
			Version: r.version, Homepage: "https://github.com/srenix/srenix", Platforms: platforms,
			ShortDescription: "Find what has drifted, and the safe way out",
			Description: `See what srenix has found in a cluster, why, and what could be done about it;
export it as OpenReports, SARIF or JUnit; and check its audit chain. With --from it
looks at what "kubectl get -o yaml" or must-gather left, with nothing installed in
any cluster.
`,
			Caveats: fmt.Sprintf(`Findings of a cluster take srenix installed in it; "kubectl srenix report --from"
does not.

For "kubectl create approval", and to complete arguments with TAB, copy the programs
beside the plugin to where PATH has them. krew does not know the copies: they go on
working after "kubectl krew upgrade", but as they were, so do this again then, as
"kubectl krew info %s" says it for the new version, and remove them when you uninstall:

  for program in %s %s; do
    install -m 755 "${KREW_ROOT:-$HOME/.krew}/store/%s/%s/$program" "${KREW_ROOT:-$HOME/.krew}/bin/$program"
  done
`, plugin, approval, completion, plugin, r.version),
		},
	}
}

// pack writes the archive of a platform.
func (r *release) pack(system, architecture string) (index.Platform, error) {
	suffix := ""
	if system == "windows" {
		suffix = ".exe"
	}
	var content bytes.Buffer
	zipped := gzip.NewWriter(&content)
	archive := tar.NewWriter(zipped)
	add := func(name string, mode int64, data []byte) error {
		if err := archive.WriteHeader(&tar.Header{Name: name, Mode: mode, Size: int64(len(data)), Typeflag: tar.TypeReg}); err != nil {
			return err
		}
		_, err := archive.Write(data)
		return err
	}
	platform := index.Platform{
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"os": system, "arch": architecture}},
		Bin:      program + suffix,
	}
	include := func(name string, mode int64, data []byte) error {
		platform.Files = append(platform.Files, index.FileOperation{From: name, To: "."})
		return add(name, mode, data)
	}
	for _, name := range []string{approval + suffix, program + suffix} {
		data, err := os.ReadFile(filepath.Join(r.programs, system+"-"+architecture, name))
		if err != nil {
			return platform, err
		}
		if err := include(name, 0o755, data); err != nil {
			return platform, err
		}
	}
	if suffix == "" {
		if err := include(completion, 0o755, []byte(completionScript)); err != nil {
			return platform, err
		}
	}
	license, err := os.ReadFile(r.license)
	if err != nil {
		return platform, fmt.Errorf("reading the license: %w", err)
	}
	if err := include("LICENSE", 0o644, license); err != nil {
		return platform, err
	}
	if err := archive.Close(); err != nil {
		return platform, err
	}
	if err := zipped.Close(); err != nil {
		return platform, err
	}
	name := fmt.Sprintf("%s-%s-%s-%s.tar.gz", plugin, r.version, system, architecture)
	sum := sha256.Sum256(content.Bytes())
	platform.URI, platform.Sha256 = strings.TrimSuffix(r.url, "/")+"/"+name, hex.EncodeToString(sum[:])
	return platform, os.WriteFile(filepath.Join(r.output, name), content.Bytes(), 0o644)
}
