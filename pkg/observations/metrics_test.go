// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package observations

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"k8s.io/utils/clock"

	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

func TestWritesAreCountedByTheirResult(t *testing.T) {
	// The first attempt fails, the second loses against another replica.
	failures := []error{errors.New("no space left"), apierrors.NewAlreadyExists(schema.GroupResource{Resource: "configmaps"}, Name)}
	client := fake.NewClientset()
	client.PrependReactor("create", "configmaps", func(clienttesting.Action) (bool, runtime.Object, error) {
		if len(failures) == 0 {
			return false, nil, nil
		}
		err := failures[0]
		failures = failures[1:]
		return true, nil, err
	})
	s := newStore(quick{clock.RealClock{}})
	saw(s, about("a"), epoch)
	ctx := t.Context()
	go func() { _ = s.Run(ctx, client.CoreV1().ConfigMaps("srenix-system"), func(string, live.Key) {}) }()
	want := `
# HELP srenix_first_observed_conditions Conditions that hold now and that no object dates.
# TYPE srenix_first_observed_conditions gauge
srenix_first_observed_conditions 1
# HELP srenix_first_observed_writes_total Attempts to store first-observed times, by result: Succeeded, Conflict (another replica was faster) or Failed (a restart now would lose some).
# TYPE srenix_first_observed_writes_total counter
srenix_first_observed_writes_total{result="Conflict"} 1
srenix_first_observed_writes_total{result="Failed"} 1
srenix_first_observed_writes_total{result="Succeeded"} 1
`
	livetest.Eventually(t, "every write is counted by how it ended", func() bool {
		return testutil.CollectAndCompare(s, strings.NewReader(want)) == nil
	})
}

// quick is a clock whose waits are over at once.
type quick struct{ clock.RealClock }

func (quick) NewTimer(time.Duration) clock.Timer { return clock.RealClock{}.NewTimer(0) }

func TestWhatBeganRightBeforeTheEndIsStored(t *testing.T) {
	client := fake.NewClientset()
	s := newStore(clock.RealClock{}) // which gathers for seconds
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = s.Run(ctx, client.CoreV1().ConfigMaps("srenix-system"), func(string, live.Key) {})
	}()
	saw(s, about("a"), epoch)
	stop()
	<-done
	stored, err := client.CoreV1().ConfigMaps("srenix-system").Get(t.Context(), Name, metav1.GetOptions{})
	if err != nil || len(stored.Data) != 1 {
		t.Errorf("stored is %v, %v", stored, err)
	}
}
