// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package endpoints finds Services that requests are led to and that nobody
// answers for: those without a ready endpoint, and those that do not exist.
package endpoints

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"github.com/srenix/srenix/pkg/analyzers"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/analyzers/workloads"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

const (
	// Name of the analyzer.
	Name = "Endpoints"
	// NoReadyEndpoint means that nobody answers for a Service that requests are led to.
	NoReadyEndpoint = "NoReadyEndpoint"
	// ServiceMissing means that requests are led to a Service that does not exist.
	ServiceMissing = "ServiceMissing"

	standardGrace = 2 * time.Minute
	// rollingGrace is that of a Service whose pods are being replaced, or that has got its
	// first: as long as a Deployment has by default (progressDeadlineSeconds).
	rollingGrace = 10 * time.Minute
)

type analyzer struct {
	grace   time.Duration
	managed workloads.ManagedBy
}

// New makes the analyzer. It has no options of its own.
func New(settings analyzers.Settings) (analyzers.Analyzer, error) {
	if err := settings.Options(&struct{}{}); err != nil {
		return analyzers.Analyzer{}, err
	}
	a := analyzer{grace: settings.Grace(standardGrace), managed: settings.ManagedBy}
	critical, warning, info := v1alpha1.SeverityCritical, v1alpha1.SeverityWarning, v1alpha1.SeverityInfo
	absent := []live.KindRef{inputs.Services.Ref(), inputs.Namespaces.Ref()}
	leads := []live.KindRef{inputs.Ingresses.Ref(), inputs.ValidatingWebhookConfigurations.Ref(), inputs.MutatingWebhookConfigurations.Ref(), inputs.Definitions.Ref()}
	var routes []analyzers.Rule
	for _, kind := range slices.Sorted(maps.Keys(inputs.Routes)) {
		leads = append(leads, inputs.Routes[kind].Ref())
		routes = append(routes, analyzers.Rule{Subject: inputs.Routes[kind].Ref(), Reads: absent, Analyze: a.route(kind, inputs.Routes[kind])})
	}
	return analyzers.Analyzer{
		Name: Name,
		Reasons: []analyzers.Reason{
			{Name: NoReadyEndpoint, Severities: []v1alpha1.Severity{critical, warning, info}, Summary: "A Service that an Ingress, a route, a webhook or a conversion leads to has no ready endpoint."},
			{Name: ServiceMissing, Severities: []v1alpha1.Severity{critical, warning}, Summary: "An Ingress, a route, a webhook or a conversion leads to a Service that does not exist."},
		},
		Rules: append([]analyzers.Rule{
			{
				Subject: inputs.Services.Ref(),
				Reads: append([]live.KindRef{
					inputs.EndpointSlices.Ref(), inputs.Namespaces.Ref(), inputs.Pods.Ref(),
					inputs.Deployments.Ref(), inputs.StatefulSets.Ref(), inputs.DaemonSets.Ref(), inputs.ReplicaSets.Ref(),
				}, leads...),
				Analyze: a.service,
			},
			{Subject: inputs.Ingresses.Ref(), Reads: absent, Analyze: a.ingress},
			{Subject: inputs.ValidatingWebhookConfigurations.Ref(), Reads: absent, Analyze: a.validating},
			{Subject: inputs.MutatingWebhookConfigurations.Ref(), Reads: absent, Analyze: a.mutating},
			{Subject: inputs.Definitions.Ref(), Reads: absent, Analyze: a.definition},
		}, routes...),
	}, nil
}

func (a analyzer) service(view *live.View, subject live.Key) ([]v1alpha1.FindingSpec, error) {
	service, exists := inputs.Services.Get(view, subject)
	if !exists || service.DeletionTimestamp != nil || service.Spec.Type == corev1.ServiceTypeExternalName || answered(view, service) {
		return nil, nil
	}
	leads := leadsTo(view, subject)
	if len(leads) == 0 {
		return nil, nil // nobody asks
	}
	behind := pods(view, service)
	since, scaledUp := began(view, behind.zero)
	if !after(view, since.Add(a.grace)) || closing(view, service.Namespace) {
		return nil, nil
	}
	if (behind.rolling || scaledUp) && !after(view, since.Add(rollingGrace)) {
		return nil, nil
	}
	finding := v1alpha1.FindingSpec{
		Reason: NoReadyEndpoint, Severity: v1alpha1.SeverityWarning, Related: related(leads), Since: metav1.NewTime(since),
		Subject: v1alpha1.ObjectReference{APIVersion: "v1", Kind: "Service", Namespace: service.Namespace, Name: service.Name, UID: service.UID},
		Message: fmt.Sprintf("Service %s has no ready endpoint: %s. It is where requests go of %s.", service.Name, behind.why, named(leads, service.Namespace)),
		Remediation: v1alpha1.Remediation{
			Text:     "See why its pods are not Ready, or whether its selector and their labels differ.",
			Commands: []string{fmt.Sprintf("kubectl describe service %s -n %s", service.Name, service.Namespace)},
		},
	}
	switch {
	case leads[0].blocks:
		finding.Severity = v1alpha1.SeverityCritical
		finding.Message += refusedBy(leads)
	case behind.zero:
		finding.Severity = v1alpha1.SeverityInfo
	}
	if behind.zero {
		finding.Remediation.Text = "If that is wanted, what leads to it can go, or be silenced. If not, scale it up again."
	}
	if len(service.Spec.Selector) == 0 {
		finding.Remediation.Text = "It has no selector: whoever writes its EndpointSlices says that none of them is ready. See what they point at."
	} else {
		finding.Remediation.Commands = append(finding.Remediation.Commands,
			fmt.Sprintf("kubectl get pods -n %s -l %s -o wide", service.Namespace, labels.SelectorFromSet(service.Spec.Selector)))
	}
	finding.Remediation.Commands = append(finding.Remediation.Commands,
		fmt.Sprintf("kubectl get endpointslices -n %s -l %s=%s -o yaml", service.Namespace, discoveryv1.LabelServiceName, service.Name))
	return []v1alpha1.FindingSpec{finding}, nil
}

// began tells since when nobody answers for a Service, and whether that is since what
// makes its pods was scaled up from zero: nobody was to answer before. A Deployment does
// not say so, whose condition Progressing is of its last rollout.
func began(view *live.View, zero bool) (since time.Time, scaledUp bool) {
	const isZero, wasZero, noneOfSome = "scaled to zero", "scaled up from zero", "none is ready of some"
	all := view.FirstObserved(NoReadyEndpoint)
	if zero {
		view.FirstObserved(isZero)
		return all, false
	}
	for _, id := range []string{isZero, wasZero} {
		if _, observed := view.Observed(id); observed {
			view.FirstObserved(wasZero)
			scaledUp = true
		}
	}
	return view.FirstObserved(noneOfSome), scaledUp
}

// answered tells whether a Service has a ready endpoint. One without a selector,
// whose endpoints somebody else writes, is judged only if it has some.
func answered(view *live.View, service *corev1.Service) bool {
	unready := false
	for _, slice := range inputs.EndpointSlices.ByIndex(view, inputs.ByService, service.Namespace+"/"+service.Name) {
		for _, endpoint := range slice.Endpoints {
			if inputs.ReadyEndpoint(endpoint) && slice.DeletionTimestamp == nil {
				return true
			}
			unready = true
		}
	}
	return len(service.Spec.Selector) == 0 && !unready
}

// closing tells whether a namespace is being deleted, in which everything goes.
func closing(view *live.View, name string) bool {
	namespace, exists := inputs.Namespaces.Get(view, live.Key{Name: name})
	return exists && namespace.DeletionTimestamp != nil
}

// after tells whether a time has come.
func after(view *live.View, at time.Time) bool {
	if view.Now().Before(at) {
		view.RecheckAt(at)
		return false
	}
	return true
}

// refusedBy says what the API server refuses because of leads that block, which are first.
func refusedBy(leads []lead) string {
	var said []string
	for _, lead := range leads {
		if sentence := refused(lead.Kind); lead.blocks && !slices.Contains(said, sentence) {
			said = append(said, sentence)
		}
	}
	return strings.Join(said, "")
}

func related(leads []lead) []v1alpha1.RelatedObject {
	var all []v1alpha1.RelatedObject
	for _, lead := range leads {
		all = append(all, v1alpha1.RelatedObject{Relation: "leads to it", ObjectReference: lead.ObjectReference})
	}
	return all
}

// named is a sentence's list of what leads to a Service, of three at most.
func named(leads []lead, namespace string) string {
	const most = 3
	var names []string
	for _, lead := range leads[:min(len(leads), most)] {
		name := lead.Name
		if lead.Namespace != "" && lead.Namespace != namespace {
			name = lead.Namespace + "/" + name
		}
		names = append(names, lead.Kind+" "+name)
	}
	if len(leads) > most {
		return strings.Join(names, ", ") + " and others"
	}
	return strings.Join(names, ", ")
}
