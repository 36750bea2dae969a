// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package inputs

import (
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/vault"
)

// VaultPaths are the paths of a Vault that ExternalSecrets refer to, with the names of
// their keys. A poller stands where the API server does for others; nobody reads them
// without one being configured.
var VaultPaths = live.NewInput(vault.Resource, live.InputOptions[*unstructured.Unstructured]{})
