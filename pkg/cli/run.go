// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/cli-runtime/pkg/genericiooptions"
)

// completionPrefix begins the name of the executable that kubectl calls to
// complete the arguments of a plugin: kubectl_complete-NAME for kubectl-NAME
// (k8s.io/kubectl/pkg/cmd/plugin, pluginCompletion).
const completionPrefix = "kubectl_complete-"

// Run executes a plugin's root command with argv, whose first element is the
// name it was called by, and returns the exit code: 0, or 1 after an error was
// told on the error stream. Called by a name that begins with
// "kubectl_complete-", the plugin answers kubectl's shell completion instead.
func Run(command *cobra.Command, streams genericiooptions.IOStreams, argv []string) int {
	var arguments []string
	if len(argv) > 0 {
		arguments = argv[1:]
		if strings.HasPrefix(filepath.Base(argv[0]), completionPrefix) {
			// Words that come after the marker are the user's, and this is cobra's own hidden command.
			arguments = append([]string{cobra.ShellCompRequestCmd}, arguments...)
		}
	}
	command.SetArgs(arguments)
	command.SetIn(streams.In)
	command.SetOut(streams.Out)
	command.SetErr(streams.ErrOut)
	command.SilenceErrors = true
	command.SilenceUsage = true
	command.CompletionOptions.DisableDefaultCmd = true // kubectl completes its plugins, not the shell
	command.SetFlagErrorFunc(UsageError)
	if err := command.ExecuteContext(context.Background()); err != nil {
		Report(streams.ErrOut, err)
		return 1
	}
	return 0
}

// UsageError adds to an error about flags or arguments where help is.
func UsageError(command *cobra.Command, err error) error {
	return WithHint(err, fmt.Sprintf("See '%s --help' for help and examples.", command.CommandPath()))
}
