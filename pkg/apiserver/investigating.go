// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/util/retry"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/analyzers"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/audit"
	"github.com/srenix/srenix/pkg/registry/finding"
)

const (
	// requestsPerHour is how many investigations one person may ask for within an hour
	// in each diagnostic class.
	requestsPerHour = 10
	requestWindow   = time.Hour
	// clockDifference is how far a request of another replica may seem to come from the
	// future. One from further away was made by nobody, and locks nobody out.
	clockDifference = time.Minute
)

// requester stores requests in Investigations, and counts by what is stored there.
// One process takes one after the other, so that each counts all before; two replicas
// may let one more pass each, when asked in the same moment.
type requester struct {
	client client.Client
	// own is the namespace that srenix runs in, where those of clusterfindings are.
	own   string
	clock clock.PassiveClock
	// limit counts what this process let through, of which Investigations may be deleted.
	limit *audit.Limiter
	turn  sync.Mutex
}

func newRequester(client client.Client, own string, clock clock.PassiveClock) *requester {
	return &requester{client: client, own: own, clock: clock, limit: audit.NewLimiter(requestsPerHour, clock)}
}

var _ finding.Requester = &requester{}

// Request implements finding.Requester.
func (r *requester) Request(ctx context.Context, caller user.Info, of *v1alpha1.Finding, dryRun bool) (string, metav1.Time, error) {
	r.turn.Lock()
	defer r.turn.Unlock()
	now := r.clock.Now()
	if err := r.budget(ctx, caller.GetName(), of.Spec.Analyzer, now); err != nil {
		return "", metav1.Time{}, err
	}
	name := opsv1alpha1.InvestigationName(of.Name, of.UID)
	if dryRun {
		return name, metav1.Time{}, nil
	}
	if wait := r.limit.Take(audit.BudgetKey(caller.GetName(), of.Spec.Analyzer)); wait > 0 {
		return "", metav1.Time{}, tooMany(now, now.Add(wait-requestWindow), fmt.Sprintf("%s has asked for %d investigations of what %s finds within an hour, and that is the most",
			audit.Source(caller.GetName()), requestsPerHour, of.Spec.Analyzer))
	}
	request := opsv1alpha1.InvestigationRequest{By: caller.GetName(), At: metav1.NewMicroTime(now)}
	err := retry.RetryOnConflict(retry.DefaultRetry, func() error { return r.store(ctx, name, of, request) })
	if err != nil {
		return "", metav1.Time{}, err // as an API status, which is not to be wrapped
	}
	return name, metav1.NewTime(now.UTC().Truncate(time.Second)), nil
}

// budget refuses a person who has asked too often about what an analyzer finds, and
// says when they may again.
func (r *requester) budget(ctx context.Context, person, class string, now time.Time) error {
	all := &opsv1alpha1.InvestigationList{}
	if err := r.client.List(ctx, all, client.MatchingLabels{analyzers.AnalyzerLabel: class}); err != nil {
		return apierrors.NewInternalError(fmt.Errorf("counting the investigations that %s has asked for: %w", person, err))
	}
	var asked []time.Time
	for i := range all.Items {
		for _, request := range all.Items[i].Spec.Requests {
			age := now.Sub(request.At.Time)
			if audit.Source(request.By) == audit.Source(person) && -clockDifference < age && age < requestWindow {
				asked = append(asked, request.At.Time)
			}
		}
	}
	if len(asked) < requestsPerHour {
		return nil
	}
	slices.SortFunc(asked, time.Time.Compare)
	return tooMany(now, asked[len(asked)-requestsPerHour], fmt.Sprintf("%s has asked for %d investigations of what %s finds within an hour, and that is the most", audit.Source(person), len(asked), class))
}

// tooMany is 429 until an hour after a request.
func tooMany(now, since time.Time, what string) error {
	wait := since.Add(requestWindow).Sub(now)
	return apierrors.NewTooManyRequests(fmt.Sprintf("%s: ask again in %s", what, wait.Round(time.Second)), int(wait.Seconds())+1)
}

func (r *requester) store(ctx context.Context, name string, of *v1alpha1.Finding, request opsv1alpha1.InvestigationRequest) error {
	investigation := &opsv1alpha1.Investigation{}
	namespace, kind := of.Namespace, ""
	if namespace == "" {
		namespace, kind = r.own, opsv1alpha1.KindClusterFinding
	}
	err := r.client.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, investigation)
	if apierrors.IsNotFound(err) {
		err := r.client.Create(ctx, &opsv1alpha1.Investigation{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{analyzers.AnalyzerLabel: of.Spec.Analyzer}},
			Spec: opsv1alpha1.InvestigationSpec{
				Finding:  opsv1alpha1.InvestigatedFinding{Kind: kind, Name: of.Name, UID: of.UID},
				Requests: []opsv1alpha1.InvestigationRequest{request},
			},
		})
		if apierrors.IsAlreadyExists(err) { // the advisor was faster
			return apierrors.NewConflict(opsv1alpha1.SchemeGroupVersion.WithResource("investigations").GroupResource(), name, err)
		}
		return err
	}
	if err != nil {
		return err
	}
	recent := slices.DeleteFunc(slices.Clone(investigation.Spec.Requests), func(earlier opsv1alpha1.InvestigationRequest) bool {
		return request.At.Sub(earlier.At.Time) >= requestWindow
	})
	if len(recent) >= opsv1alpha1.MaximumRequests {
		return tooMany(request.At.Time, recent[0].At.Time, fmt.Sprintf("finding %s was asked about %d times within an hour, and that is the most", of.Name, len(recent)))
	}
	recent = append(recent, request)
	investigation.Spec.Requests = recent
	if investigation.Labels == nil {
		investigation.Labels = map[string]string{}
	}
	investigation.Labels[analyzers.AnalyzerLabel] = of.Spec.Analyzer
	return r.client.Update(ctx, investigation)
}
