// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"k8s.io/utils/clock"
	logf "sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"

	"github.com/srenix/srenix/pkg/audit"
)

const (
	// refusalsPerHour is how many refusals of one user are recorded within an hour,
	// and strangersPerHour of all together who have no token that verifies. More
	// than that is nobody at work, and the audit chain is not theirs to fill.
	refusalsPerHour  = 300
	strangersPerHour = 3000
	// judgmentsPerHour is how often facts are read for one approver within an hour,
	// dry runs included.
	judgmentsPerHour = 1200
	// everybody is the one source of what all are counted under.
	everybody = ""
)

// limits bound what somebody can make the server do by asking. Nothing that they
// hold back is allowed: it is answered with 429 instead of being judged.
type limits struct {
	refusals, strangers, judgments *audit.Limiter
}

func newLimits(clock clock.PassiveClock) limits {
	return limits{
		refusals:  audit.NewLimiter(refusalsPerHour, clock),
		strangers: audit.NewLimiter(strangersPerHour, clock),
		judgments: audit.NewLimiter(judgmentsPerHour, clock),
	}
}

// tooMany answers whoever asked too often. It is not in the audit chain, and so it
// is in the log.
func tooMany(ctx context.Context, user string, wait time.Duration) admission.Response {
	logf.FromContext(ctx).Info("Refused without a record, because there were too many", "user", user, "retryAfter", wait.Round(time.Second))
	return refused(http.StatusTooManyRequests, fmt.Sprintf("too many requests to approve: try again in %s", wait.Round(time.Second)))
}
