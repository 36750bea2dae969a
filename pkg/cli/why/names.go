// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package why

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/agnivade/levenshtein"
	"github.com/spf13/cobra"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/cli"
)

// The resources whose names are taken.
const (
	findings        = "findings"
	proposals       = "proposals"
	approvals       = "approvals"
	clusterFindings = "clusterfindings"
)

// resources are the names that kubectl has for them, without the group.
var resources = map[string]string{
	"finding": findings, "findings": findings, "fnd": findings,
	"proposal": proposals, "proposals": proposals, "prop": proposals,
	"approval": approvals, "approvals": approvals, "appr": approvals,
	"clusterfinding": clusterFindings, "clusterfindings": clusterFindings, "cfnd": clusterFindings,
}

// completionTimeout bounds how long a TAB may hang.
const completionTimeout = 2 * time.Second

// parseName takes NAME and RESOURCE/NAME. Resource is empty for the former.
func parseName(argument string) (resource, name string, err error) {
	typed, name, qualified := strings.Cut(argument, "/")
	if !qualified {
		name = argument
	} else if resource = resources[strings.TrimSuffix(strings.TrimSuffix(typed, "."+opsv1alpha1.SchemeGroupVersion.Group), "."+v1alpha1.GroupName)]; resource == "" {
		return "", "", fmt.Errorf("%s is not a finding: want NAME, finding/NAME, clusterfinding/NAME, proposal/NAME or approval/NAME", argument)
	}
	if name == "" || strings.Contains(name, "/") {
		return "", "", fmt.Errorf("%q has no name that a finding could have", argument)
	}
	return resource, name, nil
}

// searched are the resources among which the name is looked for, in this order.
func (o *Options) searched() []string {
	switch {
	case o.resource != "":
		return []string{o.resource}
	case *o.Namespace != "":
		return []string{findings, proposals, approvals}
	}
	return []string{findings, proposals, approvals, clusterFindings}
}

// candidate is a name that there is, and what it is about in a few words.
type candidate struct{ name, about string }

// list returns the names of a resource.
func (o *Options) list(ctx context.Context, resource string) (names []candidate, err error) {
	add := func(name string, spec *v1alpha1.FindingSpec) {
		names = append(names, candidate{name, cli.Plain(fmt.Sprintf("%s %s of %s/%s", spec.Severity, spec.Reason, spec.Subject.Kind, spec.Subject.Name))})
	}
	switch resource {
	case findings:
		err = o.from.eachFinding(ctx, o.namespace, func(f *v1alpha1.Finding) { add(f.Name, &f.Spec) })
	case clusterFindings:
		err = o.from.eachClusterFinding(ctx, func(f *v1alpha1.ClusterFinding) { add(f.Name, &f.Spec) })
	case proposals:
		err = o.from.eachProposal(ctx, o.namespace, func(p *v1alpha1.Proposal) { names = append(names, candidate{name: p.Name}) })
	case approvals:
		err = o.from.eachApproval(ctx, o.namespace, func(a *opsv1alpha1.Approval) { names = append(names, candidate{name: a.Name}) })
	}
	return names, err
}

// completeNames lists the findings of the namespace that the flags typed so far name,
// and without one the clusterfindings too.
func (o *Options) completeNames(command *cobra.Command, arguments []string, _ string) ([]cobra.Completion, cobra.ShellCompDirective) {
	if len(arguments) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	ctx, cancel := context.WithTimeout(command.Context(), completionTimeout)
	defer cancel()
	if o.Files.Set() {
		return nil, cobra.ShellCompDirectiveNoFileComp // reading them may take long
	}
	if err := o.connect(); err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	return o.completions(ctx)
}

func (o *Options) completions(ctx context.Context) ([]cobra.Completion, cobra.ShellCompDirective) {
	all, err := o.list(ctx, findings)
	if *o.Namespace == "" {
		// Whoever may see one namespace only has the names of that.
		ofCluster, clusterErr := o.list(ctx, clusterFindings)
		if all = append(all, ofCluster...); clusterErr == nil {
			err = nil
		}
	}
	if err != nil {
		return nil, cobra.ShellCompDirectiveError
	}
	var names []cobra.Completion
	for _, candidate := range all {
		names = append(names, cobra.CompletionWithDesc(candidate.name, candidate.about))
	}
	return names, cobra.ShellCompDirectiveNoFileComp
}

// unknown is the error about a name that nothing has, with those that it is nearest to.
func (o *Options) unknown(ctx context.Context) error {
	var names []string
	for _, resource := range o.searched() {
		some, err := o.list(ctx, resource)
		if err != nil {
			continue // It is for a suggestion only.
		}
		for _, candidate := range some {
			names = append(names, candidate.name)
		}
	}
	err := fmt.Errorf("there is no %q in namespace %q among the %s", o.name, o.namespace, strings.Join(o.searched(), ", "))
	see := fmt.Sprintf("kubectl get findings.srenix.io -n %s", o.namespace)
	if slices.Equal(o.searched(), []string{clusterFindings}) {
		err, see = fmt.Errorf("there is no clusterfinding %q", o.name), "kubectl get clusterfindings"
	}
	hint := "It has probably cleared, or it is in another namespace. See what there is: " + see
	if o.Files.Set() {
		err = fmt.Errorf("nothing of the name %q is found in %s", o.name, o.Files.From)
		hint = "See what is found: kubectl srenix report --from " + o.Files.From
	}
	if near := nearest(names, o.name); len(near) > 0 {
		hint += "\nThe nearest:\n  " + strings.Join(near, "\n  ")
	}
	return cli.WithHint(err, hint)
}

// mostNear is how many names are suggested.
const mostNear = 3

// nearest returns the names that may have been meant: first those that contain what was
// typed, then those of which at least half is right, by edit distance.
func nearest(names []string, typed string) []string {
	type scored struct {
		name     string
		distance int
	}
	var near []scored
	for _, name := range names {
		distance := levenshtein.ComputeDistance(name, typed)
		if strings.Contains(name, typed) {
			distance = 0
		}
		if 2*distance <= len(typed) {
			near = append(near, scored{name, distance})
		}
	}
	slices.SortFunc(near, func(a, b scored) int { return cmp.Or(a.distance-b.distance, cmp.Compare(a.name, b.name)) })
	var best []string
	for _, n := range near[:min(len(near), mostNear)] {
		best = append(best, n.name)
	}
	return best
}
