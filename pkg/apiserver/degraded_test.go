// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package apiserver

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/srenix/srenix/pkg/analyzers/inputs"
	"github.com/srenix/srenix/pkg/live"
	"github.com/srenix/srenix/pkg/live/livetest"
)

// TestFirstObservedTimesHearOfInputsThatCannotBeRead is about what the memory of
// first-observed times asks before it forgets.
func TestFirstObservedTimesHearOfInputsThatCannotBeRead(t *testing.T) {
	engine := live.New(live.Options{RetryBackoff: &wait.Backoff{Duration: time.Millisecond, Factor: 1, Steps: 1}})
	if err := engine.AddRule(live.Rule{
		Name: "looks", Subject: inputs.Pods.Ref(),
		Evaluate: func(*live.View, live.Key) ([]live.Output, error) { return nil, nil },
	}); err != nil {
		t.Fatal(err)
	}
	cluster := &livetest.Cluster{}
	cluster.Forbid(inputs.Pods.Ref().Resource())
	livetest.Run(t, engine, cluster)
	livetest.Eventually(t, "the engine counts as degraded", func() bool { return degraded(engine) })
	cluster.Serve(inputs.Pods.Ref().Resource())
	livetest.Eventually(t, "it does not any more", func() bool { return !degraded(engine) })
}
