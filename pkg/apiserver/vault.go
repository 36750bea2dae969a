// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"fmt"
	"slices"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/vaultpathmissing"
	"github.com/srenix/srenix/pkg/live"
)

// withVault returns a source that reads a Vault too, if some rule does.
func withVault(engine *live.Engine, source live.Source, rules []live.Rule, extra *ExtraConfig) (live.Source, error) {
	if !slices.ContainsFunc(rules, func(rule live.Rule) bool { return slices.Contains(rule.Reads, inputs.VaultPaths.Ref()) }) {
		return source, nil
	}
	options, _, err := vaultpathmissing.OptionsOf(analyzers.NewSettings(extra.Configuration.Analyzers[vaultpathmissing.Name]))
	if err != nil {
		return nil, fmt.Errorf("analyzers[%s]: %w", vaultpathmissing.Name, err)
	}
	connected, err := vaultpathmissing.Connect(engine, source, options, extra.clock())
	if err != nil {
		return nil, fmt.Errorf("connecting the live view to Vault: %w", err)
	}
	return connected, nil
}
