// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	coordinationv1 "k8s.io/api/coordination/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

func TestAnExecutorNeedsItsSecondLeash(t *testing.T) {
	leases := schema.GroupResource{Group: coordinationv1.GroupName, Resource: "leases"}
	byLeash := apierrors.NewForbidden(leases, "x", errors.New("ValidatingAdmissionPolicy '"+leashName+"' with binding '"+leashName+"' denied request: layer ActionKindAllowlist"))
	for name, test := range map[string]struct {
		answers []error
		allow   bool
		starts  bool
		holds   float64
	}{
		"it holds":                           {answers: []error{byLeash}, starts: true, holds: 1},
		"it holds after a moment":            {answers: []error{nil, byLeash}, starts: true, holds: 1},
		"it does not":                        {answers: []error{nil}},
		"it does not, which is allowed":      {answers: []error{nil}, allow: true, starts: true},
		"something else forbids it":          {answers: []error{apierrors.NewForbidden(leases, "x", errors.New("no role lets it"))}},
		"another error that names the leash": {answers: []error{apierrors.NewInternalError(errors.New("evaluating " + leashName))}},
	} {
		t.Run(name, func(t *testing.T) {
			asked := 0
			api := interceptor.NewClient(fake.NewClientBuilder().Build(), interceptor.Funcs{
				Create: func(_ context.Context, _ client.WithWatch, object client.Object, options ...client.CreateOption) error {
					if _, is := object.(*coordinationv1.Lease); !is || object.GetNamespace() != "srenix-system" || len((&client.CreateOptions{}).ApplyOptions(options).DryRun) == 0 {
						t.Errorf("asked for %T %s/%s, and not dry", object, object.GetNamespace(), object.GetName())
					}
					asked++
					return test.answers[min(asked, len(test.answers))-1]
				},
			})
			metrics, err := newMetrics(prometheus.NewRegistry())
			if err != nil {
				t.Fatal(err)
			}
			config := &Config{Namespace: "srenix-system", AllowWithoutSecondLeash: test.allow}
			err = config.requireLeash(t.Context(), api, metrics, 1500*time.Millisecond)
			if (err == nil) != test.starts || err != nil && !errors.Is(err, errNoLeash) {
				t.Errorf("it starts: %t, want %t: %v", err == nil, test.starts, err)
			}
			if holds := testutil.ToFloat64(metrics.leash); holds != test.holds {
				t.Errorf("the metric says %v, want %v", holds, test.holds)
			}
		})
	}
}
