// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package report is `kubectl srenix report`: the findings of a cluster or a namespace in
// a format that other programs read. It decides nothing and writes nothing but its
// output, which says the same of the same findings, whenever it is run.
package report

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/cli-runtime/pkg/genericiooptions"
	corev1client "k8s.io/client-go/kubernetes/typed/core/v1"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
	"github.com/srenix/srenix/pkg/cli/files"
	"github.com/srenix/srenix/pkg/generated/clientset/versioned"
)

const (
	outputOpenReports = "openreports"
	outputSARIF       = "sarif"
	outputJUnit       = "junit"
)

// formats write what was read.
var formats = map[string]func(io.Writer, *contents) error{
	outputOpenReports: writeOpenReports,
	outputSARIF:       writeSARIF,
	outputJUnit:       writeJUnit,
}

func outputs() []string { return []string{outputOpenReports, outputSARIF, outputJUnit} }

// severities, the worst first.
var severities = []v1alpha1.Severity{v1alpha1.SeverityCritical, v1alpha1.SeverityWarning, v1alpha1.SeverityInfo}

func severityNames() []string {
	var names []string
	for _, severity := range severities {
		names = append(names, string(severity))
	}
	return names
}

// Options are the flags, and what follows from them.
type Options struct {
	*genericclioptions.ConfigFlags
	genericiooptions.IOStreams

	Output string
	// FailOn is the severity from which on a finding makes the command fail; empty for
	// none.
	FailOn string
	// Files are looked at in place of a cluster, if they are set.
	Files files.Flags

	from lists
}

// lists are what a report is made of.
type lists struct {
	// findings lists those of a namespace, or of all if that is empty.
	findings        func(ctx context.Context, namespace string, options metav1.ListOptions) (runtime.Object, error)
	clusterFindings func(context.Context, metav1.ListOptions) (runtime.Object, error)
	namespaces      func(context.Context, metav1.ListOptions) (runtime.Object, error)
}

func listsOf(client versioned.Interface, namespaces corev1client.NamespacesGetter) lists {
	return lists{
		findings: func(ctx context.Context, namespace string, options metav1.ListOptions) (runtime.Object, error) {
			return client.SrenixV1alpha1().Findings(namespace).List(ctx, options)
		},
		clusterFindings: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return client.SrenixV1alpha1().ClusterFindings().List(ctx, options)
		},
		namespaces: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return namespaces.Namespaces().List(ctx, options)
		},
	}
}

// NewCommand returns `report`.
func NewCommand(streams genericiooptions.IOStreams) *cobra.Command {
	options := &Options{ConfigFlags: genericclioptions.NewConfigFlags(true), IOStreams: streams, Output: outputOpenReports}
	command := &cobra.Command{
		Use:   "report [-n NAMESPACE] [-o FORMAT] [--from FILES]",
		Short: "Print the findings for other programs: OpenReports, SARIF or JUnit",
		Long: `Print the findings for other programs, of all namespaces or of one.

  openreports  a List of a Report for each namespace and a ClusterReport, for
               kubectl apply where the CRDs of openreports.io are installed
  sarif        SARIF 2.1.0, a result for each finding
  junit        JUnit XML, a test case for each finding

A silenced finding is skipped or suppressed. An analyzer that cannot see what it
needs is an error, for nobody knows what it would find.

It takes the rights of ClusterRole srenix-viewer, and for openreports of all
namespaces the right to list namespaces. What could not be read is told on the
error stream, and the exit code is 1. Only clusterfindings may be forbidden to who
asks for one namespace.

With --from no cluster is asked: the same analyzers look at files. A kind that is
not in them makes an error of every analyzer that needs it, with the command that
would add it.`,
		Example: `  # Keep the reports of a cluster
  kubectl srenix report | kubectl apply --server-side -f -

  # A file for a tool that reads SARIF
  kubectl srenix report -o sarif > srenix.sarif

  # Have a pipeline fail while something is Critical in a namespace
  kubectl srenix report -n shop -o junit --fail-on Critical > srenix.xml

  # Look at what must-gather or "kubectl get -o yaml" left
  kubectl srenix report --from must-gather.tar.gz -o sarif > srenix.sarif`,
		DisableFlagsInUseLine: true,
		Args:                  cli.NoArguments,
		RunE: func(command *cobra.Command, _ []string) error {
			if err := options.Complete(); err != nil {
				return cli.UsageError(command, err)
			}
			return options.Run(command.Context())
		},
	}
	options.AddFlags(command.Flags())
	options.Files.AddFlags(command.Flags())
	command.Flags().StringVarP(&options.Output, "output", "o", options.Output, `Output format: "openreports", "sarif" or "junit".`)
	command.Flags().StringVar(&options.FailOn, "fail-on", options.FailOn, `Make the exit code 1 if a finding that is not silenced has this severity or a worse one: "Critical", "Warning" or "Info".`)
	for flag, values := range map[string][]string{"output": outputs(), "fail-on": severityNames()} {
		if err := command.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
			panic(fmt.Sprintf("completing --%s: %v", flag, err))
		}
	}
	return command
}

// Complete checks the flags and makes the clients. It sends nothing.
func (o *Options) Complete() error {
	if !slices.Contains(outputs(), o.Output) {
		return fmt.Errorf("unknown output format %q: it must be one of %s", o.Output, strings.Join(outputs(), ", "))
	}
	if o.FailOn != "" && !slices.Contains(severityNames(), o.FailOn) {
		return fmt.Errorf("--fail-on is %q: it must be one of %s", o.FailOn, strings.Join(severityNames(), ", "))
	}
	if err := o.Files.Validate(); err != nil || o.Files.Set() {
		return err
	}
	config, err := cli.RESTConfig(o, o.ErrOut)
	if err != nil {
		return err
	}
	client, err := versioned.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client of srenix.io: %w", err)
	}
	namespaces, err := corev1client.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("making a client of namespaces: %w", err)
	}
	o.from = listsOf(client, namespaces)
	return nil
}

// Run prints the report, and returns an error if it is incomplete or if --fail-on asks
// for one.
func (o *Options) Run(ctx context.Context) error {
	var broken map[string]unread
	if o.Files.Set() {
		var err error
		if o.from, broken, err = o.readFiles(ctx); err != nil {
			return err
		}
	}
	found, err := o.read(ctx)
	if err != nil {
		return cli.ExplainRead(err, "kubectl srenix report", *o.Namespace)
	}
	maps.Copy(found.unread, broken)
	var out bytes.Buffer
	if err := formats[o.Output](&out, found); err != nil {
		return fmt.Errorf("writing the report as %s: %w", o.Output, err)
	}
	if _, err := out.WriteTo(o.Out); err != nil {
		return err
	}
	var missing, wrong []string
	for _, resource := range slices.Sorted(maps.Keys(found.unread)) {
		unread := found.unread[resource]
		fmt.Fprintf(o.ErrOut, "not read: %s: %s\n", cli.Plain(resource), cli.Plain(unread.err.Error()))
		if !unread.allowed {
			missing = append(missing, resource)
		}
	}
	if len(missing) > 0 {
		wrong = append(wrong, fmt.Sprintf("the report is incomplete, for lack of %s", strings.Join(missing, ", ")))
	}
	if n := found.atLeast(v1alpha1.Severity(o.FailOn)); n > 0 {
		wrong = append(wrong, fmt.Sprintf("findings of severity %s or worse that are not silenced: %d", o.FailOn, n))
	}
	if len(wrong) > 0 {
		return errors.New(strings.Join(wrong, "; "))
	}
	return nil
}
