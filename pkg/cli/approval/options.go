// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/term"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	// maximumReason is the limit of ProposalApproval's spec.reason, in characters.
	maximumReason = 1024
	// defaultLifetime is that of a token that is used at once.
	defaultLifetime = 15 * time.Minute
	// manifestLifetime leaves a manifest time for its review in Git.
	manifestLifetime = 24 * time.Hour
	// minimumLifetime and maximumLifetime are what proposals/token grants; the
	// server's configuration may lower the second.
	minimumLifetime = time.Minute
	maximumLifetime = 24 * time.Hour
)

const (
	dryRunNone   = "none"
	dryRunClient = "client"
	dryRunServer = "server"
)

const (
	outputYAML = "yaml"
	outputJSON = "json"
	outputName = "name"
)

func dryRuns() []string { return []string{dryRunNone, dryRunClient, dryRunServer} }
func outputs() []string { return []string{outputYAML, outputJSON, outputName} }

// Options are the command's flags and what follows from them.
type Options struct {
	ConfigFlags *genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Proposal string
	Reason   string
	Deny     bool
	Yes      bool
	DryRun   string
	Output   string
	// Link is the address of the approval page, for which a link is printed in place
	// of a decision; empty for none.
	Link string
	// TokenLifetime is 0 for the default.
	TokenLifetime time.Duration

	clock clock.Clock
	// isTerminal tells whether a person sits at the other end.
	isTerminal func(io.Reader) bool

	// Filled in by Complete.
	name      string
	decision  v1alpha1.Decision
	proposals *proposals
}

// NewOptions returns the defaults.
func NewOptions(streams genericiooptions.IOStreams) *Options {
	return &Options{
		ConfigFlags: genericclioptions.NewConfigFlags(true),
		IOStreams:   streams,
		DryRun:      dryRunNone,
		clock:       clock.RealClock{},
		isTerminal:  isTerminal,
	}
}

func isTerminal(in io.Reader) bool {
	file, ok := in.(*os.File)
	return ok && term.IsTerminal(int(file.Fd()))
}

// Complete fills in what flags and arguments leave out. It sends nothing.
func (o *Options) Complete(arguments []string) error {
	switch {
	case strings.HasPrefix(o.Proposal, "-"):
		// What is empty between the two, as a variable may be, is no argument at all.
		return fmt.Errorf("--proposal needs a name, and %s follows it", o.Proposal)
	case len(arguments) > 1:
		return fmt.Errorf("one proposal at a time: have %s", strings.Join(arguments, ", "))
	case len(arguments) == 1 && o.Proposal != "":
		return fmt.Errorf("name the proposal once: have --proposal %s and the argument %s", o.Proposal, arguments[0])
	case len(arguments) == 1:
		o.name = arguments[0]
	default:
		o.name = o.Proposal
	}
	var err error
	if o.name, err = parseName(o.name); err != nil {
		return err
	}
	o.decision = v1alpha1.DecisionApprove
	if o.Deny {
		o.decision = v1alpha1.DecisionDeny
	}
	if o.TokenLifetime == 0 {
		o.TokenLifetime = defaultLifetime
		if o.DryRun == dryRunClient {
			o.TokenLifetime = manifestLifetime
		}
	}
	return o.connect()
}

// connect makes the client that the connection flags describe.
func (o *Options) connect() error {
	namespace, _, err := o.ConfigFlags.ToRawKubeConfigLoader().Namespace()
	if err != nil {
		return fmt.Errorf("reading the namespace from the kubeconfig: %w", err)
	}
	client, err := cli.NewClient(o.ConfigFlags, v1alpha1.SchemeGroupVersion, v1alpha1.AddToScheme, o.ErrOut)
	if err != nil {
		return err
	}
	// The server's warnings are told once, by the other one.
	ops, err := cli.NewClient(o.ConfigFlags, opsv1alpha1.SchemeGroupVersion, opsv1alpha1.AddToScheme, io.Discard)
	if err != nil {
		return err
	}
	o.proposals = &proposals{client: client, ops: ops, namespace: namespace}
	return nil
}

// parseName takes NAME and RESOURCE/NAME.
func parseName(argument string) (string, error) {
	resource, name, qualified := strings.Cut(argument, "/")
	if !qualified {
		name = argument
	} else if !slices.Contains([]string{"proposal", "proposals", "prop", "proposal.srenix.io", "proposals.srenix.io"}, resource) {
		return "", fmt.Errorf("%s is not a proposal: want NAME or proposal/NAME", argument)
	}
	if name == "" {
		return "", errors.New("name a proposal with --proposal NAME; kubectl get proposals lists them")
	}
	if problems := apivalidation.NameIsDNSSubdomain(name, false); len(problems) > 0 {
		return "", fmt.Errorf("%q is not the name of a proposal: %s", name, strings.Join(problems, "; "))
	}
	return name, nil
}

// Validate checks that the flags have a meaning, and one together.
func (o *Options) Validate() error {
	if !slices.Contains(dryRuns(), o.DryRun) {
		return fmt.Errorf("--dry-run is %q: it must be one of %s, as --dry-run=client", o.DryRun, strings.Join(dryRuns(), ", "))
	}
	if o.Output != "" && !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	if o.DryRun == dryRunClient && o.Output == outputName {
		return errors.New("--dry-run=client with -o name would print the name of an approval that nobody has: use -o yaml, or --dry-run=server")
	}
	if err := o.validateLink(); err != nil {
		return err
	}
	if n := utf8.RuneCountInString(o.Reason); n > maximumReason {
		return fmt.Errorf("--reason has %d characters: at most %d are kept", n, maximumReason)
	}
	if !utf8.ValidString(o.Reason) {
		return errors.New("--reason is not valid UTF-8")
	}
	if o.TokenLifetime < minimumLifetime || o.TokenLifetime > maximumLifetime || o.TokenLifetime%time.Second != 0 {
		return fmt.Errorf("--token-lifetime is %s: it must be whole seconds from %s to %s", o.TokenLifetime, short(minimumLifetime), short(maximumLifetime))
	}
	return nil
}

// validateLink takes the address of a page that the token can be trusted to: what
// is sent there in the clear would be anybody's.
func (o *Options) validateLink() error {
	if o.Link == "" {
		return nil
	}
	if o.DryRun != dryRunNone || o.Output != "" {
		return errors.New("--link prints a link and posts nothing: leave out --dry-run and -o")
	}
	page, err := url.Parse(o.Link)
	if err != nil || page.Scheme != "https" || page.Host == "" || page.User != nil || page.RawQuery != "" || page.Fragment != "" {
		return fmt.Errorf("--link %q: want the address of srenix's approval page, as https://HOST or https://HOST/PATH", o.Link)
	}
	return nil
}

// short writes a duration without the zeros that time.Duration writes after it.
func short(d time.Duration) string {
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
