// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Vaultdev is HashiCorp Vault in memory, unsealed, with the engine for secrets that
// tests want: vaultdev ADDRESS prints its URL and its root token, each on a line, and
// serves until it is killed. The command of Vault's own module has every engine and
// takes far longer to build.
package main

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"

	log "github.com/hashicorp/go-hclog"
	kv "github.com/hashicorp/vault-plugin-secrets-kv"
	"github.com/hashicorp/vault/helper/namespace"
	vaulthttp "github.com/hashicorp/vault/http"
	"github.com/hashicorp/vault/internalshared/configutil"
	"github.com/hashicorp/vault/sdk/helper/consts"
	"github.com/hashicorp/vault/sdk/logical"
	"github.com/hashicorp/vault/sdk/physical/inmem"
	"github.com/hashicorp/vault/vault"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: vaultdev ADDRESS")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(address string) error {
	logger := log.New(&log.LoggerOptions{Output: os.Stderr, Level: log.Warn})
	backend, err := inmem.NewInmem(nil, logger)
	if err != nil {
		return fmt.Errorf("making the storage: %w", err)
	}
	core, err := vault.NewCore(&vault.CoreConfig{
		Physical: backend, Logger: logger, DisableMlock: true, LogicalBackends: map[string]logical.Factory{"kv": kv.Factory},
		BuiltinRegistry: builtin{},
	})
	if err != nil {
		return fmt.Errorf("making the core: %w", err)
	}
	ctx := namespace.RootContext(context.Background())
	made, err := core.Initialize(ctx, &vault.InitParams{BarrierConfig: &vault.SealConfig{SecretShares: 1, SecretThreshold: 1}})
	if err != nil {
		return fmt.Errorf("initializing: %w", err)
	}
	if open, err := core.Unseal(made.SecretShares[0]); err != nil || !open {
		return fmt.Errorf("unsealing: %t, %w", open, err)
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return fmt.Errorf("listening: %w", err)
	}
	fmt.Printf("http://%s\n%s\n", listener.Addr(), made.RootToken)
	return http.Serve(listener, vaulthttp.Handler.Handler(&vault.HandlerProperties{
		Core: core, ListenerConfig: &configutil.Listener{Address: address},
	}))
}

// builtin are the engines that there are: the one for secrets.
type builtin struct{}

func (builtin) Contains(name string, kind consts.PluginType) bool {
	return name == "kv" && kind == consts.PluginTypeSecrets
}

func (b builtin) Get(name string, kind consts.PluginType) (func() (any, error), bool) {
	return func() (any, error) { return kv.Factory, nil }, b.Contains(name, kind)
}

func (builtin) Keys(kind consts.PluginType) []string {
	if kind == consts.PluginTypeSecrets {
		return []string{"kv"}
	}
	return nil
}

func (builtin) DeprecationStatus(string, consts.PluginType) (consts.DeprecationStatus, bool) {
	return consts.Supported, true
}

func (builtin) IsBuiltinEntPlugin(string, consts.PluginType) bool { return false }
