// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// survivor is one entry of the list: mutants that no test can or should kill.
type survivor struct {
	File      string   `json:"file"`
	Function  string   `json:"function"`
	Mutations []string `json:"mutations"`
	// Why says what makes them equivalent or harmless.
	Why string `json:"why"`
}

// readSurvivors returns the reasons by mutant (whose ID and kind are not set).
func readSurvivors(path string) (map[Mutant]string, error) {
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the explained survivors: %w", err)
	}
	var list []survivor
	if err := yaml.UnmarshalStrict(data, &list); err != nil {
		return nil, fmt.Errorf("reading the explained survivors in %s: %w", path, err)
	}
	reasons := map[Mutant]string{}
	for _, one := range list {
		for _, mutation := range one.Mutations {
			mutant := Mutant{File: one.File, Function: one.Function, Mutation: mutation}
			if one.Why == "" {
				return nil, fmt.Errorf("%s: %s has no reason: write why no test kills it", path, mutant)
			}
			if _, twice := reasons[mutant]; twice {
				return nil, fmt.Errorf("%s: %s is there twice", path, mutant)
			}
			reasons[mutant] = one.Why
		}
	}
	return reasons, nil
}
