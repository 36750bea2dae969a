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
	// judgmentsPerHour is how often facts are read for one token within an hour, dry
	// runs included. Whoever tries again for a minute, as GitOps controllers do, stays
	// below it.
	judgmentsPerHour = 120
	// tokenRefusalsPerHour is how many refusals of one token are recorded within an
	// hour, and refusalsPerHour of one person's tokens together. More than that is
	// nobody at work, and the audit chain is not theirs to fill.
	tokenRefusalsPerHour = 10
	refusalsPerHour      = 20
	// linesPerHour is how many requests that leave no record are logged within an
	// hour, whatever the reason; those without proof are all counted in a metric.
	linesPerHour = 600
	// everybody is the one source of what all are counted under.
	everybody = ""
	// maximumShown bounds in bytes what is said of a name that came from outside.
	maximumShown = 253
)

// limits bound what somebody can make the server do by asking. Nothing that they
// hold back is allowed: it is answered with 429 instead of being judged. None is
// counted by a name that a request merely claims.
type limits struct {
	judgments, tokenRefusals, refusals, lines *audit.Limiter
}

func newLimits(clock clock.PassiveClock) limits {
	return limits{
		judgments:     audit.NewLimiter(judgmentsPerHour, clock),
		tokenRefusals: audit.NewLimiter(tokenRefusalsPerHour, clock),
		refusals:      audit.NewLimiter(refusalsPerHour, clock),
		lines:         audit.NewLimiter(linesPerHour, clock),
	}
}

// log writes a line for a request that is not in the audit chain, unless there were
// too many of those: the log is nobody's to fill either.
func (h *Handlers) log(ctx context.Context, message string, keysAndValues ...any) {
	if h.limits.lines.Take(everybody) == 0 {
		logf.FromContext(ctx).Info(message, keysAndValues...)
	}
}

// tooMany answers whoever asked too often. It is not in the audit chain, and so it
// is in the log.
func (h *Handlers) tooMany(ctx context.Context, d *decision, wait time.Duration) admission.Response {
	h.log(ctx, "Refused without a record, because there were too many", "approver", d.approver(), "jti", d.claims.ID,
		"user", cut(d.user), "retryAfter", wait.Round(time.Second))
	return refused(http.StatusTooManyRequests, fmt.Sprintf("too many requests to approve: try again in %s", wait.Round(time.Second)))
}

func cut(name string) string { return name[:min(len(name), maximumShown)] }
