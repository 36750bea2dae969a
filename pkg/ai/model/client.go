// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/sashabaranov/go-openai"
	"golang.org/x/sync/semaphore"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
)

// firstPause is how long a call waits before its second attempt, about. Each pause
// after that is twice as long.
const firstPause = 500 * time.Millisecond

// Client asks a model. It can be used by several goroutines.
type Client struct {
	options Options
	openai  *openai.Client
	metrics *metrics
	breaker *breaker
	ledger  *ledger
	slots   *semaphore.Weighted

	mu sync.Mutex
	// notBefore is when the endpoint wants to be asked again.
	notBefore time.Time
}

// New makes a client. It sends nothing. An error tells what is wrong with the options.
func New(options Options) (*Client, error) {
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("the configuration of the model: %w", err)
	}
	options.complete()
	connection, err := options.connection()
	if err != nil {
		return nil, err
	}
	c := &Client{
		options: options,
		breaker: &breaker{clock: options.Clock, threshold: options.BreakerFailures, pause: options.BreakerPause},
		ledger:  &ledger{clock: options.Clock, limit: options.HourlyTokens},
		slots:   semaphore.NewWeighted(int64(options.Concurrency)),
	}
	if c.metrics, err = newMetrics(options.Registerer, c.breaker.open); err != nil {
		return nil, err
	}
	config := openai.DefaultConfig("")
	config.BaseURL = strings.TrimSuffix(options.BaseURL, "/")
	config.HTTPClient = &http.Client{Transport: &transport{next: connection, keyFile: options.KeyFile, limit: options.ResponseBytes, clock: options.Clock, sent: c.metrics.requests.Inc}}
	c.openai = openai.NewClientWithConfig(config)
	return c, nil
}

// Restore enters tokens that were used before this process began, so that the hourly
// budget holds across restarts. It is to be called before Ask.
func (c *Client) Restore(spent []Spent) { c.ledger.restore(spent) }

// Check tells whether the endpoint takes the key and has the model. It counts against
// no budget.
func (c *Client) Check(ctx context.Context) error {
	ctx, stop := c.within(ctx)
	defer stop()
	models, err := c.openai.ListModels(ctx)
	if err != nil {
		return c.classify(ctx, err)
	}
	for _, model := range models.Models {
		if model.ID == c.options.Model {
			return nil
		}
	}
	return &Error{Outcome: Rejected, detail: "the endpoint lists no model " + c.options.Model}
}

// Most returns the record of a call that uses all it may, and has no outcome: what
// counts for a call while nobody knows how it ends.
func (c *Client) Most(request Request) Record {
	record := c.begin(request)
	record.PromptTokens, record.AnswerTokens = c.options.PromptTokens*c.options.Attempts, c.options.AnswerTokens*c.options.Attempts
	record.Estimated = true
	return record
}

func (c *Client) begin(request Request) Record {
	return Record{Time: c.options.Clock.Now(), Model: c.options.Model, PromptVersion: request.PromptVersion, PromptHash: hash(request.System + "\x00" + request.User)}
}

// Ask asks one question. Every error is an *Error. The answer has a record in any case.
func (c *Client) Ask(ctx context.Context, request Request) (Answer, error) {
	messages := []openai.ChatCompletionMessage{
		{Role: openai.ChatMessageRoleSystem, Content: request.System},
		{Role: openai.ChatMessageRoleUser, Content: request.User},
	}
	record := c.begin(request)
	text, err := c.ask(ctx, messages, &record)
	if text != "" {
		record.AnswerHash = hash(text)
	}
	if err == nil && request.Check != nil {
		err = verdict(request.Check(text))
	}
	record.Outcome = OutcomeOf(err)
	took := c.options.Clock.Since(record.Time)
	c.metrics.ended(record, took)
	log := klog.FromContext(ctx).WithValues("model", record.Model, "prompt", record.PromptVersion, "outcome", record.Outcome, "attempts", record.Attempts, "tokens", record.PromptTokens+record.AnswerTokens, "took", took)
	if err != nil {
		log.Info("The model gave no answer", "reason", err.Error())
		return Answer{Record: record}, err
	}
	log.V(2).Info("The model answered")
	return Answer{Text: text, Record: record}, nil
}

// verdict makes an error of a check one of a call.
func verdict(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, ErrWrongType):
		return &Error{Outcome: WrongType, detail: err.Error()}
	case errors.Is(err, ErrScreened):
		return &Error{Outcome: Screened, detail: err.Error()}
	}
	return &Error{Outcome: Malformed, detail: err.Error()}
}

// ask makes attempts until one of them ends the call.
func (c *Client) ask(ctx context.Context, messages []openai.ChatCompletionMessage, record *Record) (text string, err error) {
	estimate := estimate(messages)
	if estimate > c.options.PromptTokens {
		return "", &Error{Outcome: Budget, detail: fmt.Sprintf("the prompt has about %d, and may have %d", estimate, c.options.PromptTokens)}
	}
	leave, err := c.breaker.enter()
	if err != nil {
		return "", err
	}
	defer func() { leave(OutcomeOf(err)) }()
	ctx, stop := c.within(ctx)
	defer stop()
	backoff := wait.Backoff{Duration: firstPause, Factor: 2, Jitter: 0.5, Steps: math.MaxInt32}
	for {
		text, err = c.attempt(ctx, messages, estimate, record)
		var failed *Error
		if !errors.As(err, &failed) || record.Attempts == 0 || record.Attempts >= c.options.Attempts || !retriable(failed.Outcome) {
			return text, err
		}
		pause := max(backoff.Step(), failed.RetryAfter)
		if pause > c.options.LongestPause {
			return text, err
		}
		if canceled := c.sleep(ctx, pause); canceled != nil {
			return text, canceled
		}
	}
}

// retriable tells whether another attempt may do better.
func retriable(outcome Outcome) bool {
	return outcome == RateLimited || outcome == ServerError || outcome == Unreachable
}

// attempt sends one request, when there is a slot and a budget for it.
func (c *Client) attempt(ctx context.Context, messages []openai.ChatCompletionMessage, estimate int, record *Record) (string, error) {
	if err := c.slots.Acquire(ctx, 1); err != nil {
		return "", c.classify(ctx, err)
	}
	defer c.slots.Release(1)
	if wait := c.heldOff(); wait > 0 {
		return "", &Error{Outcome: RateLimited, RetryAfter: wait}
	}
	most := estimate + c.options.AnswerTokens
	if err := c.ledger.reserve(most); err != nil {
		return "", err
	}
	record.Attempts++
	c.metrics.running.Inc()
	response, err := c.openai.CreateChatCompletion(ctx, c.request(messages))
	c.metrics.running.Dec()
	if err != nil {
		err = c.classify(ctx, err)
	}
	prompt, answer := response.Usage.PromptTokens, response.Usage.CompletionTokens
	if prompt < 0 || answer < 0 || prompt+answer == 0 && charged(err) {
		prompt, answer, record.Estimated = estimate, c.options.AnswerTokens, true
	}
	record.PromptTokens += prompt
	record.AnswerTokens += answer
	c.ledger.settle(most, prompt+answer)
	if err != nil {
		c.holdOff(err)
		return "", err
	}
	return answerOf(&response)
}

// charged tells whether an endpoint may have done work that it did not account for:
// an answer that came or was under way, but no refusal of a request.
func charged(err error) bool {
	var failed *Error
	return !errors.As(err, &failed) || failed.Status == 0 && failed.Outcome != NoKey
}

// request is what is sent.
func (c *Client) request(messages []openai.ChatCompletionMessage) openai.ChatCompletionRequest {
	request := openai.ChatCompletionRequest{
		Model:               c.options.Model,
		Messages:            messages,
		MaxCompletionTokens: c.options.AnswerTokens,
		ResponseFormat:      &openai.ChatCompletionResponseFormat{Type: openai.ChatCompletionResponseFormatTypeJSONObject},
		// The library leaves out 0, and this is as good as 0.
		Temperature: math.SmallestNonzeroFloat32,
	}
	if openai.NewReasoningValidator().Validate(request) != nil {
		request.Temperature = 0 // models that reason do not take one
	}
	return request
}

// answerOf takes the answer out of a response, or tells why it is none. It returns the
// text of some that are none, for their hash.
func answerOf(response *openai.ChatCompletionResponse) (string, error) {
	if len(response.Choices) == 0 {
		return "", &Error{Outcome: Empty}
	}
	choice := response.Choices[0]
	text := choice.Message.Content
	for _, part := range choice.Message.MultiContent {
		text += part.Text
	}
	switch {
	case looping(text):
		return text, &Error{Outcome: Looping}
	case choice.FinishReason == openai.FinishReasonLength:
		return text, &Error{Outcome: Truncated}
	case choice.FinishReason == openai.FinishReasonContentFilter || text == "" && choice.Message.Refusal != "":
		return text, &Error{Outcome: Refused}
	case strings.TrimSpace(text) == "":
		return "", &Error{Outcome: Empty}
	}
	return text, nil
}

// bytesPerToken is fewer than common tokenizers make of English, JSON and hex, so that
// an estimate is rather too high.
const bytesPerToken = 2

// estimate tells how many tokens messages have at most, about.
func estimate(messages []openai.ChatCompletionMessage) int {
	tokens := 3
	for _, message := range messages {
		tokens += 4 + (len(message.Content)+bytesPerToken-1)/bytesPerToken
	}
	return tokens
}

// heldOff tells how long the endpoint wants to be left alone yet.
func (c *Client) heldOff() time.Duration {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.notBefore.Sub(c.options.Clock.Now())
}

// holdOff remembers what an endpoint asks for. It wants that of all calls.
func (c *Client) holdOff(err error) {
	var failed *Error
	if !errors.As(err, &failed) || failed.RetryAfter == 0 {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if until := c.options.Clock.Now().Add(failed.RetryAfter); until.After(c.notBefore) {
		c.notBefore = until
	}
}

// errTime is why a context ends whose call takes too long.
var errTime = errors.New("the time is over")

// within returns a context that ends when the time for a call is over.
func (c *Client) within(ctx context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(ctx)
	timer := c.options.Clock.AfterFunc(c.options.Timeout, func() { cancel(errTime) })
	return ctx, func() {
		timer.Stop()
		cancel(nil)
	}
}

// sleep waits. It returns an error if the call is to end before that.
func (c *Client) sleep(ctx context.Context, pause time.Duration) error {
	timer := c.options.Clock.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C():
		return nil
	case <-ctx.Done():
		return c.classify(ctx, ctx.Err())
	}
}

// classify makes an *Error of whatever went wrong with a request.
func (c *Client) classify(ctx context.Context, err error) error {
	var failed *Error
	var mistyped *json.UnmarshalTypeError
	var syntax *json.SyntaxError
	var request *url.Error
	switch {
	case errors.As(err, &failed):
		return failed
	case errors.Is(context.Cause(ctx), errTime):
		return &Error{Outcome: Timeout, detail: fmt.Sprintf("of %s", c.options.Timeout)}
	case ctx.Err() != nil:
		return &Error{Outcome: Canceled}
	case errors.As(err, &request):
		return &Error{Outcome: Unreachable, detail: request.Err.Error()}
	case errors.As(err, &mistyped):
		return &Error{Outcome: WrongType, detail: "in the response"}
	case errors.As(err, &syntax), errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &Error{Outcome: Malformed, detail: "it is not JSON"}
	}
	return &Error{Outcome: Malformed, detail: "the protocol is another one"}
}
