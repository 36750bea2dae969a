// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package cli

import (
	"context"
	"errors"
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
	explainArguments(command)
	if err := command.ExecuteContext(context.Background()); err != nil {
		Report(streams.ErrOut, err)
		return 1
	}
	return 0
}

// explainArguments makes every command of the tree tell where help is when its
// arguments are wrong, as SetFlagErrorFunc does for flags.
func explainArguments(command *cobra.Command) {
	if check := command.Args; check != nil {
		command.Args = func(command *cobra.Command, arguments []string) error {
			if err := check(command, arguments); err != nil {
				return UsageError(command, err)
			}
			return nil
		}
	}
	for _, child := range command.Commands() {
		explainArguments(child)
	}
}

// suggestionDistance is how many letters may be wrong in a command that is
// suggested; cobra's own default.
const suggestionDistance = 2

// Subcommand is the Args of a command that only holds others: what is left is a
// command that does not exist. It suggests those that were meant perhaps, also
// from further down, as complete commands.
func Subcommand(command *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return nil
	}
	message := fmt.Sprintf("unknown command %q for %q", arguments[0], command.CommandPath())
	if meant := suggestions(command, arguments[0]); len(meant) > 0 {
		message += "\n\nDid you mean this?\n  " + strings.Join(meant, "\n  ") + "\n"
	}
	return errors.New(message)
}

func suggestions(command *cobra.Command, typed string) []string {
	var meant []string
	command.SuggestionsMinimumDistance = suggestionDistance
	for _, name := range command.SuggestionsFor(typed) {
		meant = append(meant, command.CommandPath()+" "+name)
	}
	for _, child := range command.Commands() {
		meant = append(meant, suggestions(child, typed)...)
	}
	return meant
}

// NoArguments is the Args of a command that takes flags only.
func NoArguments(command *cobra.Command, arguments []string) error {
	if len(arguments) == 0 {
		return nil
	}
	return fmt.Errorf("%s takes no arguments, and %q is one", command.CommandPath(), arguments[0])
}

// OneArgument is the Args of a command that takes exactly one. The text says, as
// what to do, what it has to be.
func OneArgument(text string) cobra.PositionalArgs {
	return func(_ *cobra.Command, arguments []string) error {
		switch len(arguments) {
		case 0:
			return errors.New(text)
		case 1:
			return nil
		}
		return fmt.Errorf("one at a time: have %s", strings.Join(arguments, ", "))
	}
}

// UsageError adds to an error about flags or arguments where help is, unless it
// says already what to do next.
func UsageError(command *cobra.Command, err error) error {
	if hint := (*hinted)(nil); errors.As(err, &hint) {
		return err
	}
	return WithHint(err, fmt.Sprintf("See '%s --help' for help and examples.", command.CommandPath()))
}
