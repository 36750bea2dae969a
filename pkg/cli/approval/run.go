// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/printers"

	config "github.com/srenix/srenix/pkg/apis/config/v1alpha1"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/digest"
)

// approvalResource is how kubectl names an Approval, before its slash and name.
const approvalResource = "approval.ops.srenix.io"

// approvalPagePath is where srenix serves its approval page.
const approvalPagePath = "/approve"

// Run shows the proposal, asks, and decides.
func (o *Options) Run(ctx context.Context) error {
	proposal, err := during(o, "reading the proposal", func() (*v1alpha1.Proposal, error) {
		return o.proposals.get(ctx, o.name)
	})
	if err != nil {
		return err
	}
	if err := checkDigest(proposal); err != nil {
		return err
	}
	if o.Link != "" && proposal.Spec.ActionKind == v1alpha1.ActionRunbook {
		return cli.WithHint(fmt.Errorf("proposal %q is a runbook, which is decided on by those who have read it", proposal.Name), "Leave out --link.")
	}
	runbook, err := o.readRunbook(ctx, proposal)
	if err != nil {
		return err
	}
	earlier := o.proposals.earlier(ctx, proposal)
	if err := show(o.ErrOut, proposal, runbook, earlier, o.decision); err != nil {
		return fmt.Errorf("showing the proposal: %w", err)
	}
	if o.DryRun == dryRunClient && o.Output == "" {
		_, err := fmt.Fprintf(o.Out, "proposal.srenix.io/%s is left as it is: %s would be sent (client dry run)\n", o.name, o.noun())
		return err
	}
	if err := o.confirm(); err != nil {
		return err
	}
	switch {
	case o.DryRun == dryRunClient:
		return o.printManifest(ctx, proposal)
	case o.Link != "":
		return o.printLink(ctx, proposal)
	}
	return o.post(ctx, proposal)
}

// readRunbook reads the text that would be released, and makes sure that it is
// the one of the proposal: nobody approves what they have not seen. Saying no
// takes no reading.
func (o *Options) readRunbook(ctx context.Context, proposal *v1alpha1.Proposal) (*v1alpha1.ProposalRunbook, error) {
	if proposal.Spec.Runbook == nil || o.Deny {
		return nil, nil
	}
	runbook, err := during(o, "reading the runbook", func() (*v1alpha1.ProposalRunbook, error) {
		return o.proposals.runbook(ctx, o.name)
	})
	if err != nil {
		return nil, err
	}
	computed, err := digest.Runbook(runbook.Spec.Title, runbook.Spec.Text)
	if err != nil {
		return nil, err
	}
	if want := proposal.Spec.Runbook.Digest; computed != want {
		return nil, fmt.Errorf("the runbook of proposal %q has changed meanwhile: its text has digest %s, and the proposal names %s. Nothing was decided: look again", proposal.Name, computed, want)
	}
	return runbook, nil
}

// checkDigest makes sure that what is shown is what would be signed.
func checkDigest(proposal *v1alpha1.Proposal) error {
	computed, err := digest.Proposal(proposal.Namespace, proposal.Name, proposal.UID, &proposal.Spec)
	if err != nil {
		return err
	}
	if computed != proposal.Spec.Digest {
		return cli.WithHint(
			fmt.Errorf("proposal %q has digest %s, and its content as this plugin reads it has %s", proposal.Name, proposal.Spec.Digest, computed),
			"Nothing was decided: you would sign something else than you see. Most likely the server is newer than this plugin: install the plugin of the server's version.")
	}
	return nil
}

// confirm returns nil once the person has said yes, here or by --yes. A dry run
// on the server decides nothing and needs no yes. Neither does a manifest or a link
// where there is nobody to ask, which decides nothing before somebody uses it; a
// person at a terminal is asked, because its token speaks in their name.
func (o *Options) confirm() error {
	if o.Yes || o.DryRun == dryRunServer {
		return nil
	}
	if !o.isTerminal(o.In) {
		if o.DryRun == dryRunClient || o.Link != "" {
			return nil
		}
		return cli.WithHint(errors.New("there is no terminal to ask on, so nothing was decided"),
			"Decide with --yes, or look at what the policy would say with --dry-run=server.")
	}
	if o.Deny {
		fmt.Fprint(o.ErrOut, "\nNobody can take a denial back. It holds for everybody, until the finding clears or what would be done changes.")
	}
	fmt.Fprintf(o.ErrOut, "\n%s? [y/N] ", o.decision)
	answer, err := bufio.NewReader(o.In).ReadString('\n')
	if err != nil {
		fmt.Fprintln(o.ErrOut)
		if !errors.Is(err, io.EOF) {
			return fmt.Errorf("reading the answer: %w", err)
		}
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return errors.New("nothing was decided, because the answer was not yes")
}

// post mints a token and sends the decision.
func (o *Options) post(ctx context.Context, proposal *v1alpha1.Proposal) error {
	dryRun := o.DryRun == dryRunServer
	token, err := o.mint(ctx, proposal, dryRun)
	if err != nil {
		return err
	}
	answer, err := o.decide(ctx, proposal, token.Token, dryRun)
	if err != nil {
		return err
	}
	// Whatever the server echoes, the token is not for the screen.
	answer.Spec.Token = ""
	answer.ManagedFields = nil
	switch o.Output {
	case outputName:
		_, err = fmt.Fprintf(o.Out, "%s/%s\n", approvalResource, answer.Status.ApprovalName)
		return err
	case outputYAML, outputJSON:
		answer.SetGroupVersionKind(v1alpha1.SchemeGroupVersion.WithKind("ProposalApproval"))
		return o.print(answer)
	}
	suffix := ""
	if dryRun {
		suffix = " (server dry run)"
	}
	if _, err := fmt.Fprintf(o.Out, "%s/%s created%s\n", approvalResource, answer.Status.ApprovalName, suffix); err != nil {
		return err
	}
	if !dryRun {
		fmt.Fprintln(o.ErrOut, o.next(answer.Status.ApprovalName, proposal))
	}
	return nil
}

// next is the line to type after a decision.
func (o *Options) next(approval string, proposal *v1alpha1.Proposal) string {
	if o.Deny {
		return fmt.Sprintf("See the record of it: kubectl get approval/%s -n %s", approval, proposal.Namespace)
	}
	if proposal.Spec.ActionKind == v1alpha1.ActionRunbook {
		return fmt.Sprintf("See when it is released: kubectl get approval/%s -n %s --watch", approval, proposal.Namespace)
	}
	return fmt.Sprintf("Wait until it is over, and see how it went: kubectl wait --for=jsonpath='{.status.completedAt}' approval/%[1]s -n %[2]s --timeout=%[3]s; kubectl get approval/%[1]s -n %[2]s",
		approval, proposal.Namespace, short(over(o.TokenLifetime)))
}

// over is how long it may take until an approval has come to its end: it can be carried
// out while its token is valid, and is verified then, by the deadline of a server that
// was not configured otherwise. A minute is for clocks that differ and for the looking.
func over(tokenLifetime time.Duration) time.Duration {
	return tokenLifetime + config.DefaultVerifyDeadline + time.Minute
}

// printManifest mints a token and prints an Approval that carries it.
func (o *Options) printManifest(ctx context.Context, proposal *v1alpha1.Proposal) error {
	token, err := o.mint(ctx, proposal, false)
	if err != nil {
		return err
	}
	approval := &opsv1alpha1.Approval{}
	approval.SetGroupVersionKind(opsv1alpha1.SchemeGroupVersion.WithKind("Approval"))
	approval.Name, approval.Namespace = token.ApprovalName, proposal.Namespace
	approval.Spec = opsv1alpha1.ApprovalSpec{
		Decision: o.decision,
		Proposal: opsv1alpha1.ProposalReference{Name: proposal.Name, UID: proposal.UID, Digest: proposal.Spec.Digest},
		Snapshot: proposal.Spec,
		Token:    token.Token,
		Reason:   o.Reason,
	}
	fmt.Fprintf(o.ErrOut, "Warning: the manifest holds a token, a credential in your name for this one approval (%s), valid until %s. Whoever reads it until then, and may create approvals.ops.srenix.io, can apply it.\n",
		token.ApprovalName, token.ExpirationTimestamp.UTC().Format(time.RFC3339))
	return o.print(approval)
}

// decide posts the decision, or asks what would become of it.
func (o *Options) decide(ctx context.Context, proposal *v1alpha1.Proposal, token string, dryRun bool) (*v1alpha1.ProposalApproval, error) {
	return during(o, "the policy to decide", func() (*v1alpha1.ProposalApproval, error) {
		return o.proposals.approve(ctx, o.name, v1alpha1.ProposalApprovalSpec{
			Decision: o.decision, Digest: proposal.Spec.Digest, Token: token, Reason: o.Reason,
		}, dryRun)
	})
}

// printLink mints a token and prints the address at which it can be used, unless the
// decision would be refused now.
func (o *Options) printLink(ctx context.Context, proposal *v1alpha1.Proposal) error {
	token, err := o.mint(ctx, proposal, false)
	if err != nil {
		return err
	}
	if _, err := o.decide(ctx, proposal, token.Token, true); err != nil {
		return fmt.Errorf("no link is made, because it would not work now: %w", err)
	}
	fmt.Fprintf(o.ErrOut, "Warning: the link holds a token, a credential in your name for this one decision (%s), valid until %s. Whoever has it until then can confirm it.\n",
		token.ApprovalName, token.ExpirationTimestamp.UTC().Format(time.RFC3339))
	fmt.Fprintf(o.ErrOut, "It opens where srenix was installed with its approval page (Helm value approvalPage.enabled), which this command did not ask.\n")
	_, err = fmt.Fprintln(o.Out, link(o.Link, token.Token, o.Reason))
	return err
}

// link is an address of the approval page with a token in its fragment, which is not
// sent to whoever opens it.
func link(page, token, reason string) string {
	address := strings.TrimSuffix(page, "/")
	if !strings.HasSuffix(address, approvalPagePath) {
		address += approvalPagePath
	}
	values := url.Values{"token": {token}}
	if reason != "" {
		values.Set("reason", reason)
	}
	return address + "#" + values.Encode()
}

func (o *Options) mint(ctx context.Context, proposal *v1alpha1.Proposal, dryRun bool) (v1alpha1.TokenRequestStatus, error) {
	return during(o, "a token to be minted", func() (v1alpha1.TokenRequestStatus, error) {
		return o.proposals.mint(ctx, o.name, proposal.Spec.Digest, o.decision, o.Reason, o.TokenLifetime, dryRun)
	})
}

func (o *Options) print(object runtime.Object) error {
	var printer printers.ResourcePrinter = &printers.YAMLPrinter{}
	if o.Output == outputJSON {
		printer = &printers.JSONPrinter{}
	}
	if err := printer.PrintObj(object, o.Out); err != nil {
		return fmt.Errorf("printing the %s: %w", object.GetObjectKind().GroupVersionKind().Kind, err)
	}
	return nil
}

func (o *Options) noun() string {
	if o.Deny {
		return "a denial"
	}
	return "an approval"
}

// during makes a request, and tells what is waited for if it takes long.
func during[T any](o *Options, what string, request func() (T, error)) (T, error) {
	start := o.clock.Now()
	defer cli.Progress(o.ErrOut, o.clock, func() string {
		return fmt.Sprintf("waiting for %s (%s)", what, o.clock.Since(start).Round(time.Second))
	})()
	return request()
}
