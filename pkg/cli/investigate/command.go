// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package investigate is `kubectl srenix investigate`: it asks for a finding to be
// looked into, and tells what comes of it. Who may ask, and how often, is for the
// server to say.
package investigate

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

const (
	// findings and clusterfindings are what can be asked about.
	findings        = "findings"
	clusterfindings = "clusterfindings"
	// standardTimeout is longer than an investigation by rules takes at most.
	standardTimeout = 40 * time.Second
	// look is how often it is looked for what came of it.
	look = 500 * time.Millisecond
	// completionTimeout bounds how long a TAB may hang.
	completionTimeout = 2 * time.Second
)

// Options are the flags and arguments, and what follows from them.
type Options struct {
	*genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	// Wait is how long to wait for what comes of it; 0 does not wait.
	Wait time.Duration

	// resource is one of those that can be asked about.
	resource, name string
	// namespace is empty of clusterfindings.
	namespace string
	client    *cli.Client
}

// NewCommand returns `investigate`.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	options := &Options{ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: streams, Wait: standardTimeout}
	command := &cobra.Command{
		Use:   "investigate (NAME [-n NAMESPACE] | clusterfinding/NAME)",
		Short: "Ask for a finding to be looked into, and tell what comes of it",
		Long: `Ask for a finding to be looked into, and tell what comes of it.

The advisor reads what a person on call would, and stores a root cause, or what is
lacking to tell one. Ask for what is not looked into by itself, or when the cluster
has changed. It takes create on findings/investigate or clusterfindings/investigate
(ClusterRoles srenix-investigator, srenix-approver and srenix-runbook-approver; of
clusterfindings bound for the whole cluster), and ten may be asked for within an hour
for what each analyzer finds.`,
		Example: `  # Have a finding looked into
  kubectl srenix investigate image-pull-failing-web-1234567890 -n shop

  # Have a clusterfinding looked into
  kubectl srenix investigate clusterfinding/node-not-ready-worker-1-1234567890`,
		DisableFlagsInUseLine: true,
		Args:                  cli.OneArgument("name the finding; these are there: kubectl get findings.srenix.io -A"),
		ValidArgsFunction:     options.completeNames,
		RunE: func(command *cobra.Command, arguments []string) error {
			if err := options.Complete(arguments); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	options.AddFlags(command.Flags())
	command.Flags().DurationVar(&options.Wait, "wait", options.Wait, "How long to wait for what comes of it; 0 asks and does not wait.")
	return command
}

// Complete reads flags and arguments, and makes the client. It sends nothing.
func (o *Options) Complete(arguments []string) error {
	if o.Wait < 0 {
		return fmt.Errorf("--wait %s: want 0 or more", o.Wait)
	}
	kind, name, named := strings.Cut(arguments[0], "/") // as kubectl -o name prints it
	if !named {
		kind, name = "finding", arguments[0]
	}
	switch strings.TrimSuffix(kind, "."+v1alpha1.GroupName) {
	case "finding", "fnd", findings:
		o.resource = findings
	case "clusterfinding", "cfnd", clusterfindings:
		o.resource = clusterfindings
	}
	if o.name = name; name == "" || strings.Contains(name, "/") || o.resource == "" {
		return fmt.Errorf("%q is not the name of a finding: want NAME, finding/NAME or clusterfinding/NAME", arguments[0])
	}
	return o.connect()
}

func (o *Options) connect() (err error) {
	if o.namespace, _, err = o.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("reading the namespace from the kubeconfig: %w", err)
	}
	if o.resource == clusterfindings {
		o.namespace = ""
	}
	o.client, err = cli.NewClient(o, v1alpha1.SchemeGroupVersion, v1alpha1.AddToScheme, o.ErrOut)
	return err
}

// Run asks, and waits for what comes of it.
func (o *Options) Run(ctx context.Context) error {
	before, err := o.read(ctx)
	if err != nil {
		return o.explain(fmt.Errorf("reading %s: %w", o.what(), err))
	}
	asked := &v1alpha1.FindingInvestigation{}
	err = o.client.Post().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(o.resource).Name(o.name).SubResource("investigate").Body(&v1alpha1.FindingInvestigation{}).Do(ctx).Into(asked)
	if err != nil {
		return o.explain(fmt.Errorf("asking for %s to be looked into: %w", o.what(), err))
	}
	if _, err := fmt.Fprintf(o.Out, "Asked for, as Investigation %s.\n", cli.Plain(asked.Status.Investigation)); err != nil || o.Wait == 0 {
		return err
	}
	stop := cli.Progress(o.ErrOut, clock.RealClock{}, func() string { return "Waiting for the advisor ..." })
	after, err := o.await(ctx, before)
	stop()
	if err != nil {
		return o.explain(fmt.Errorf("waiting for what comes of it: %w", err))
	}
	return o.tell(before, after)
}

// what is asked about, as a sentence has it.
func (o *Options) what() string {
	if o.resource == clusterfindings {
		return fmt.Sprintf("clusterfinding %q", o.name)
	}
	return fmt.Sprintf("finding %q in namespace %q", o.name, o.namespace)
}

// read reads the finding. A clusterfinding says the same of another subject.
func (o *Options) read(ctx context.Context) (*v1alpha1.Finding, error) {
	get := o.client.Get().NamespaceIfScoped(o.namespace, o.namespace != "").Resource(o.resource).Name(o.name).Do(ctx)
	if o.resource == clusterfindings {
		of := &v1alpha1.ClusterFinding{}
		err := get.Into(of)
		return &v1alpha1.Finding{ObjectMeta: of.ObjectMeta, Spec: of.Spec, Status: of.Status}, err
	}
	finding := &v1alpha1.Finding{}
	return finding, get.Into(finding)
}

// await reads the finding until it tells something else, or the time is over.
func (o *Options) await(ctx context.Context, before *v1alpha1.Finding) (after *v1alpha1.Finding, err error) {
	err = wait.PollUntilContextTimeout(ctx, look, o.Wait, false, func(ctx context.Context) (bool, error) {
		now, err := o.read(ctx)
		if err != nil {
			return false, err
		}
		after = now
		return other(before, after), nil
	})
	if wait.Interrupted(err) && ctx.Err() == nil {
		err = nil
	}
	return cmp.Or(after, before), err
}

// other tells whether a finding tells of another result.
func other(before, after *v1alpha1.Finding) bool {
	return before.Status.RootCause != after.Status.RootCause || !slices.Equal(before.Status.Evidence, after.Status.Evidence)
}

// errNoAnswer is that nothing came of it in time.
var errNoAnswer = errors.New("nothing has come of it yet")

func (o *Options) tell(before, after *v1alpha1.Finding) error {
	if after.Status.RootCause == "" {
		return cli.WithHint(errNoAnswer, "The advisor looks into findings, and may be off or busy: kubectl get deployment srenix-advisor -A\n"+
			"See what comes of it later: "+o.why())
	}
	var text strings.Builder
	if !other(before, after) {
		fmt.Fprintf(&text, "Nothing new has come of it within %s: the same may have been found again, or the advisor is off or busy. What was found before:\n", o.Wait)
	}
	fmt.Fprintln(&text, cli.Plain(after.Status.RootCause))
	if model := after.Status.ModelRootCause; model != "" {
		fmt.Fprintf(&text, "A model takes this for the cause: %s\n", cli.Plain(model))
	}
	for _, evidence := range after.Status.Evidence {
		fmt.Fprintf(&text, "  %s\n", cli.Plain(evidence))
	}
	fmt.Fprintf(&text, "All that is known of it: %s\n", o.why())
	_, err := io.WriteString(o.Out, text.String())
	return err
}

func (o *Options) why() string {
	if o.resource == clusterfindings {
		return "kubectl srenix why clusterfinding/" + o.name
	}
	return fmt.Sprintf("kubectl srenix why %s -n %s", o.name, o.namespace)
}

// explain adds what to do next.
func (o *Options) explain(err error) error {
	cluster := o.resource == clusterfindings
	switch {
	case apierrors.IsNotFound(err) && cluster:
		return cli.WithHint(err, "It has probably cleared. See what there is: kubectl get clusterfindings.srenix.io")
	case apierrors.IsNotFound(err):
		return cli.WithHint(err, "It has probably cleared, or it is in another namespace, or a clusterfinding, which is named clusterfinding/NAME. See what there is: kubectl get findings.srenix.io -n "+o.namespace)
	case apierrors.IsForbidden(err) && cluster:
		return cli.WithHint(err, "An administrator gives the right to it with: kubectl create clusterrolebinding NAME --clusterrole=srenix-investigator --user=USER")
	case apierrors.IsForbidden(err):
		return cli.WithHint(err, "An administrator gives the right to it with: kubectl create rolebinding NAME -n "+o.namespace+" --clusterrole=srenix-investigator --user=USER")
	}
	return err
}

// completeNames lists the findings of the namespace that the flags typed so far name.
func (o *Options) completeNames(command *cobra.Command, arguments []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	if err := o.connect(); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	var names []cobra.Completion
	err := cli.Each(ctx, func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
		page := &v1alpha1.FindingList{}
		return page, o.client.Get().Namespace(o.namespace).Resource(findings).VersionedParams(&options, o.client.Parameters).Do(ctx).Into(page)
	}, func(f *v1alpha1.Finding) {
		names = append(names, cobra.CompletionWithDesc(f.Name, cli.Plain(fmt.Sprintf("%s %s of %s/%s", f.Spec.Severity, f.Spec.Reason, f.Spec.Subject.Kind, f.Spec.Subject.Name))))
	})
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}
