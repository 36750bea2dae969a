// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"debug/buildinfo"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"maps"
	"runtime/debug"
	"slices"
	"strings"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sbomFile is where an image has its bill of materials; scanners look for this ending.
const sbomFile = "sbom.cdx.json"

// billOfMaterials returns what programs consist of, as CycloneDX in JSON, by what
// the Go linker wrote into them. It tells no time and has no serial number, so that
// equal programs have equal bills.
func billOfMaterials(version string, programs []file) ([]byte, error) {
	image := cdx.Component{BOMRef: "image", Type: cdx.ComponentTypeContainer, Name: "srenix", Version: version}
	components := map[string]cdx.Component{}
	dependencies := []cdx.Dependency{}
	var names []string
	for _, program := range programs {
		info, err := buildinfo.Read(bytes.NewReader(program.content))
		if err != nil {
			return nil, fmt.Errorf("reading what %s is built of: %w", program.name, err)
		}
		names = append(names, program.name)
		components[program.name] = cdx.Component{
			BOMRef: program.name, Type: cdx.ComponentTypeApplication, Name: program.name, Version: version,
			Properties: &[]cdx.Property{{Name: "go:path", Value: info.Path}},
		}
		// The standard library is of the toolchain's version.
		of := []string{"pkg:golang/std@" + strings.TrimPrefix(info.GoVersion, "go")}
		components[of[0]] = library(of[0], "std", info.GoVersion, "")
		for _, module := range info.Deps {
			if module.Replace != nil {
				module = &debug.Module{Path: module.Replace.Path, Version: module.Replace.Version, Sum: module.Replace.Sum}
			}
			ref := "pkg:golang/" + module.Path + "@" + module.Version
			components[ref] = library(ref, module.Path, module.Version, module.Sum)
			of = append(of, ref)
		}
		slices.Sort(of)
		dependencies = append(dependencies, cdx.Dependency{Ref: program.name, Dependencies: &of})
	}
	dependencies = append(dependencies, cdx.Dependency{Ref: image.BOMRef, Dependencies: &names})
	var sorted []cdx.Component
	for _, ref := range slices.Sorted(maps.Keys(components)) {
		sorted = append(sorted, components[ref])
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Component: &image}
	bom.Components, bom.Dependencies = &sorted, &dependencies
	var out bytes.Buffer
	if err := cdx.NewBOMEncoder(&out, cdx.BOMFileFormatJSON).SetPretty(true).Encode(bom); err != nil {
		return nil, fmt.Errorf("encoding the bill of materials: %w", err)
	}
	return out.Bytes(), nil
}

// library describes a module; sum is its line in go.sum, "h1:" and a SHA-256 in base64.
func library(purl, path, version, sum string) cdx.Component {
	component := cdx.Component{BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: path, Version: version, PackageURL: purl}
	if encoded, is := strings.CutPrefix(sum, "h1:"); is {
		if hash, err := base64.StdEncoding.DecodeString(encoded); err == nil {
			component.Hashes = &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: hex.EncodeToString(hash)}}
		}
	}
	return component
}
