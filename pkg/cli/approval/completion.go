// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/srenix/srenix/pkg/cli"
)

// completionTimeout bounds how long a TAB may hang.
const completionTimeout = 2 * time.Second

func (o *Options) registerCompletion(command *cobra.Command) {
	for flag, complete := range map[string]cobra.CompletionFunc{
		"proposal": func(command *cobra.Command, _ []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
			return o.completeProposals(command.Context())
		},
		"dry-run":        cobra.FixedCompletions(dryRuns(), cobra.ShellCompDirectiveNoFileComp),
		"output":         cobra.FixedCompletions(outputs(), cobra.ShellCompDirectiveNoFileComp),
		"token-lifetime": cobra.FixedCompletions([]string{short(defaultLifetime), "1h", short(manifestLifetime)}, cobra.ShellCompDirectiveNoFileComp),
		"link":           cobra.NoFileCompletions,
		"reason":         cobra.NoFileCompletions,
	} {
		// It fails only for a flag that does not exist or was registered before.
		if err := command.RegisterFlagCompletionFunc(flag, complete); err != nil {
			panic(fmt.Sprintf("completing --%s: %v", flag, err))
		}
	}
}

func (o *Options) completeArguments(command *cobra.Command, arguments []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(arguments) > 0 || o.Proposal != "" {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	return o.completeProposals(command.Context())
}

// completeProposals lists the proposals of the namespace that the flags typed so far name.
func (o *Options) completeProposals(ctx context.Context) ([]cobra.Completion, cobra.ShellCompDirective) {
	ctx, cancel := context.WithTimeout(ctx, completionTimeout)
	defer cancel()
	if err := o.connect(); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	list, err := o.proposals.list(ctx)
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, proposal := range list.Items {
		names = append(names, cobra.CompletionWithDesc(proposal.Name, cli.Plain(fmt.Sprintf("%s %s/%s, %s",
			proposal.Spec.ActionKind, proposal.Spec.Target.Kind, proposal.Spec.Target.Name, proposal.Status.Phase))))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
