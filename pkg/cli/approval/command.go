// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"fmt"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	cliflag "k8s.io/component-base/cli/flag"

	"github.com/srenix/srenix/pkg/cli"
)

const long = `Say yes or no to a proposal of srenix.

The proposal is shown first: what would be done to which object and why, and
what each policy layer says to it. After your yes, a token is minted that binds
your name to exactly what was shown, and the decision is posted with it. If the
proposal has changed in between, nothing is decided.

Only what was made goes to standard output; everything for your eyes goes to
standard error. With -o yaml or json that is the server's answer, or, with
--dry-run=client, a complete Approval to commit to Git. Its token is a credential
in your name for this one decision, valid for --token-lifetime.

Examples:
  # Look at a proposal, and approve it after a question
  kubectl create approval --proposal restart-checkout -n shop

  # Approve without a question, as a script does, wait until it is over, however it
  # ends, and fail unless it has helped
  approval=$(kubectl create approval --proposal restart-checkout -n shop --yes -o name)
  kubectl wait --for=jsonpath='{.status.completedAt}' -n shop --timeout=26m "$approval"
  kubectl wait --for=condition=Verified -n shop --timeout=0 "$approval"

  # Say no, for everybody, until the proposal changes
  kubectl create approval --proposal restart-checkout -n shop --deny --reason "sale in progress"

  # Ask every policy layer, and store nothing
  kubectl create approval --proposal restart-checkout -n shop --dry-run=server

  # Approve by way of Git
  kubectl create approval --proposal restart-checkout -n shop --dry-run=client -o yaml > approval.yaml

  # Get a link on which to confirm it later, on a phone for example
  kubectl create approval --proposal restart-checkout -n shop --link https://srenix.example.com`

// NewCommand returns the command.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	return newCommand(NewOptions(streams))
}

func newCommand(options *Options) *cobra.Command {
	command := &cobra.Command{
		Use:                   "kubectl-create-approval (--proposal NAME | NAME | proposal/NAME) [flags]",
		Annotations:           map[string]string{cobra.CommandDisplayNameAnnotation: "kubectl create approval"},
		DisableFlagsInUseLine: true,
		Short:                 "Say yes or no to a proposal of srenix",
		Long:                  long,
		ValidArgsFunction:     options.completeArguments,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.Complete(arguments); err != nil {
				return cli.UsageError(command, err)
			}
			if err := options.Validate(); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	var sections cliflag.NamedFlagSets
	options.AddFlags(sections.FlagSet("approval"))
	options.ConfigFlags.AddFlags(sections.FlagSet("connection"))
	for _, name := range sections.Order {
		command.Flags().AddFlagSet(sections.FlagSets[name])
	}
	cliflag.SetUsageAndHelpFunc(command, sections, 0)
	options.registerCompletion(command)
	return command
}

// AddFlags adds the flags that are not about the connection.
func (o *Options) AddFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.Proposal, "proposal", o.Proposal, "Name of the proposal, also as proposal/NAME.")
	flags.StringVar(&o.Reason, "reason", o.Reason, fmt.Sprintf("Your own words for the record, at most %d characters.", maximumReason))
	flags.BoolVar(&o.Deny, "deny", o.Deny, "Say no instead of yes: nobody can approve the proposal until its digest changes, and nobody can take that back.")
	flags.BoolVar(&o.Yes, "yes", o.Yes, "Do not ask. Needed where there is no terminal, but for a dry run.")
	flags.StringVar(&o.DryRun, "dry-run", o.DryRun, `"none", "client" or "server". "client" posts no decision, and with -o prints an Approval to apply later; "server" runs every check and stores nothing.`)
	flags.StringVarP(&o.Output, "output", "o", o.Output, `Output format: "yaml", "json" or "name".`)
	flags.StringVar(&o.Link, "link", o.Link, "Address of srenix's approval page, as https://HOST. Post no decision, and print a link to that page, on which whoever has the link can confirm the decision, once, in your name.")
	flags.DurationVar(&o.TokenLifetime, "token-lifetime", o.TokenLifetime, fmt.Sprintf("How long the token is valid, from %s to %s. By default %s, and %s in a manifest of --dry-run=client.",
		short(minimumLifetime), short(maximumLifetime), short(defaultLifetime), short(manifestLifetime)))
}
