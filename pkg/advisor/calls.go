// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package advisor

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/srenix/srenix/pkg/ai/model"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
)

const (
	// callsCount is how long a call counts: in the budget of an hour, and among the
	// calls that an Investigation may have.
	callsCount = time.Hour
	// noteTimeout is how long it may take to note a call that is over, also when the
	// advisor stops.
	noteTimeout = 5 * time.Second
)

// asker is a model.Client.
type asker interface {
	Ask(context.Context, model.Request) (model.Answer, error)
	Most(model.Request) model.Record
	Restore([]model.Spent)
}

// noted asks a model about one finding. It notes each call in the Investigation, as
// the most that it may use before it is made, and as what it was once it is over. So
// none is forgotten, in budget or audit, when the advisor ends in between.
type noted struct {
	model     asker
	by, about string
	// change changes the status that is stored.
	change func(context.Context, func(*opsv1alpha1.InvestigationStatus)) error
}

// Ask implements tiers.Asker.
func (n *noted) Ask(ctx context.Context, request model.Request) (model.Answer, error) {
	most := n.model.Most(request)
	call := n.callOf(uuid.NewString(), &most)
	if err := n.change(ctx, func(status *opsv1alpha1.InvestigationStatus) { status.Calls = append(withRoom(status.Calls), call) }); err != nil {
		return model.Answer{}, fmt.Errorf("noting a call of the model before it is made: %w", err)
	}
	answer, err := n.model.Ask(ctx, request)
	after, cancel := context.WithTimeout(context.WithoutCancel(ctx), noteTimeout)
	defer cancel()
	over := n.callOf(call.ID, &answer.Record)
	if noteErr := n.change(after, func(status *opsv1alpha1.InvestigationStatus) { status.Calls = ended(status.Calls, over) }); noteErr != nil {
		return model.Answer{}, fmt.Errorf("noting a call of the model: %w", noteErr)
	}
	return answer, err
}

func (n *noted) callOf(id string, record *model.Record) opsv1alpha1.ModelCall {
	return opsv1alpha1.ModelCall{
		ID: id, By: n.by, About: n.about, At: *seconds(record.Time), Model: record.Model, Prompt: record.PromptVersion,
		PromptHash: record.PromptHash, AnswerHash: record.AnswerHash,
		PromptTokens: int64(record.PromptTokens), AnswerTokens: int64(record.AnswerTokens), Estimated: record.Estimated,
		Attempts: int32(record.Attempts), Outcome: string(record.Outcome), //nolint:gosec // A handful.
	}
}

// withRoom leaves out the first calls where there is no room for another.
func withRoom(calls []opsv1alpha1.ModelCall) []opsv1alpha1.ModelCall {
	return slices.Clone(calls[max(0, len(calls)+1-opsv1alpha1.MaximumCalls):])
}

// ended replaces a call by what it was. One for which nothing was sent is kept, too:
// by it is told when to try again.
func ended(calls []opsv1alpha1.ModelCall, over opsv1alpha1.ModelCall) []opsv1alpha1.ModelCall {
	calls = slices.Clone(calls)
	for i := range calls {
		if calls[i].ID == over.ID {
			calls[i] = over
		}
	}
	return calls
}

// interrupt ends the calls that are said to be under way, which nobody makes any more.
func interrupt(calls []opsv1alpha1.ModelCall) []opsv1alpha1.ModelCall {
	calls = slices.Clone(calls)
	for i := range calls {
		if calls[i].Outcome == "" {
			calls[i].Outcome = opsv1alpha1.OutcomeInterrupted
		}
	}
	return calls
}

func underWay(call opsv1alpha1.ModelCall) bool { return call.Outcome == "" }

// full is how long it takes until an Investigation may have so many more calls.
func full(calls []opsv1alpha1.ModelCall, more int, now time.Time) time.Duration {
	gone := len(calls) + more - opsv1alpha1.MaximumCalls // those that must not count any more
	if gone <= 0 {
		return 0
	}
	return max(0, callsCount-now.Sub(calls[gone-1].At.Time))
}

// spent are the tokens of the calls that count, in the order of their times.
func spent(investigations []opsv1alpha1.Investigation, now time.Time) []model.Spent {
	var all []model.Spent
	for i := range investigations {
		for _, call := range investigations[i].Status.Calls {
			if now.Sub(call.At.Time) < callsCount {
				all = append(all, model.Spent{At: call.At.Time, Tokens: int(call.PromptTokens + call.AnswerTokens)})
			}
		}
	}
	slices.SortFunc(all, func(a, b model.Spent) int { return a.At.Compare(b.At) })
	return all
}

// lastCall returns the latest one of a model with a prompt, nil if there is none.
func lastCall(calls []opsv1alpha1.ModelCall, prompt, model string) *opsv1alpha1.ModelCall {
	for i := len(calls) - 1; i >= 0; i-- {
		if calls[i].Prompt == prompt && calls[i].Model == model {
			return &calls[i]
		}
	}
	return nil
}

// seconds is a time as it is stored.
func seconds(at time.Time) *metav1.Time {
	whole := metav1.NewTime(at.UTC().Truncate(time.Second))
	return &whole
}
