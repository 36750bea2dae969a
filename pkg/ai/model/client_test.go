// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr/funcr"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/ai/model"
	scripted "github.com/srenix/srenix/test/model"
)

const reply = `{"fixer":"restart-pod"}`

// deadline is when a test gives up waiting for a condition.
const deadline = 30 * time.Second

var began = time.Date(2026, 11, 30, 12, 0, 0, 0, time.UTC)

// question checks that the answer is an object with a string in it.
var question = model.Request{
	PromptVersion: "test/1", System: "You answer in JSON.", User: "Which fixer?",
	Check: func(answer string) error {
		var choice struct {
			Fixer any `json:"fixer"`
		}
		if err := json.Unmarshal([]byte(answer), &choice); err != nil {
			return errors.New("it is not JSON")
		}
		if _, is := choice.Fixer.(string); !is {
			return fmt.Errorf("the fixer: %w", model.ErrWrongType)
		}
		return nil
	},
}

// bench is a client with a server to ask.
type bench struct {
	*model.Client
	server  *scripted.Server
	clock   *clocktesting.FakeClock
	metrics *prometheus.Registry
}

func setUp(t *testing.T, change func(*model.Options)) *bench {
	t.Helper()
	b := &bench{server: scripted.Start(reply), clock: clocktesting.NewFakeClock(began), metrics: prometheus.NewRegistry()}
	t.Cleanup(b.server.Close)
	options := model.Options{BaseURL: b.server.BaseURL(), Model: scripted.Name, Clock: b.clock, Registerer: b.metrics}
	if change != nil {
		change(&options)
	}
	client, err := model.New(options)
	if err != nil {
		t.Fatal(err)
	}
	b.Client = client
	return b
}

// result is what a call ended with.
type result struct {
	answer model.Answer
	err    error
}

func (b *bench) start(ctx context.Context) <-chan result {
	done := make(chan result, 1)
	go func() {
		answer, err := b.Ask(ctx, question)
		done <- result{answer, err}
	}()
	return done
}

// finish lets the pauses of a call pass, and returns what it ended with.
func (b *bench) finish(t *testing.T, done <-chan result) result {
	t.Helper()
	var ended result
	b.until(t, "the call is over", func() bool {
		select {
		case ended = <-done:
			return true
		default:
		}
		if b.clock.Waiters() >= 2 { // the time for the call, and a pause
			b.clock.Step(1500 * time.Millisecond)
		}
		return false
	})
	return ended
}

// await returns what a call ended with that is under way and does not pause.
func await(t *testing.T, done <-chan result) result {
	t.Helper()
	select {
	case ended := <-done:
		return ended
	case <-time.After(deadline):
		t.Fatal("the call goes on")
		return result{}
	}
}

func (b *bench) until(t *testing.T, what string, condition func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, deadline, true, func(context.Context) (bool, error) { return condition(), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func (b *bench) arrived(t *testing.T) {
	t.Helper()
	select {
	case <-b.server.Arrived():
	case <-time.After(deadline):
		t.Fatal("no request arrived")
	}
}

func TestOutcomes(t *testing.T) {
	for _, row := range []struct {
		behavior scripted.Behavior
		outcome  model.Outcome
		attempts int
	}{
		{scripted.Strict, model.OK, 1},
		{scripted.Parts, model.OK, 1},
		{scripted.NoUsage, model.OK, 1},
		{scripted.Hallucinated, model.OK, 1}, // whether a name exists is not for this package to know
		{scripted.Fenced, model.Malformed, 1},
		{scripted.Prose, model.Malformed, 1},
		{scripted.BareName, model.Malformed, 1},
		{scripted.WrongTypes, model.WrongType, 1},
		{scripted.WrongProtocol, model.WrongType, 1},
		{scripted.Truncated, model.Truncated, 1},
		{scripted.CutJSON, model.Malformed, 1},
		{scripted.Looping, model.Looping, 1},
		{scripted.Filtered, model.Refused, 1},
		{scripted.EmptyChoices, model.Empty, 1},
		{scripted.EmptyAnswer, model.Empty, 1},
		{scripted.NotJSON, model.Malformed, 1},
		{scripted.InvalidUTF8, model.Malformed, 1},
		{scripted.Huge, model.TooLarge, 1},
		{scripted.Endless, model.TooLarge, 1},
		{scripted.Reset, model.Unreachable, 3},
		{scripted.ResetHalfway, model.Unreachable, 3},
		{scripted.Unauthorized, model.Unauthorized, 1},
		{scripted.NotFound, model.Rejected, 1},
		{scripted.Redirect, model.Rejected, 1},
		{scripted.RateLimited, model.RateLimited, 3},
		{scripted.ServerError, model.ServerError, 3},
	} {
		t.Run(string(row.behavior), func(t *testing.T) {
			b := setUp(t, nil)
			b.server.Script(row.behavior)
			ended := b.finish(t, b.start(t.Context()))
			if got := model.OutcomeOf(ended.err); got != row.outcome {
				t.Errorf("the outcome is %s (%v), not %s", got, ended.err, row.outcome)
			}
			record := ended.answer.Record
			if record.Outcome != row.outcome || record.Attempts != row.attempts || len(b.server.Requests()) != row.attempts {
				t.Errorf("the record tells of %s after %d attempts, the server of %d; want %s after %d", record.Outcome, record.Attempts, len(b.server.Requests()), row.outcome, row.attempts)
			}
			if (ended.answer.Text != "") != (row.outcome == model.OK) {
				t.Errorf("the answer is %q", ended.answer.Text)
			}
			want := fmt.Sprintf("# HELP srenix_model_calls_total Calls of the model that have ended, by version of the prompt and outcome.\n# TYPE srenix_model_calls_total counter\nsrenix_model_calls_total{outcome=%q,prompt=\"test/1\"} 1\n", row.outcome)
			if err := testutil.GatherAndCompare(b.metrics, strings.NewReader(want), "srenix_model_calls_total"); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestACallThatTakesTooLongIsATimeout(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.Slow)
	done := b.start(t.Context())
	b.arrived(t)
	b.clock.Step(30 * time.Second)
	ended := await(t, done)
	if got := model.OutcomeOf(ended.err); got != model.Timeout {
		t.Fatalf("the outcome is %s (%v)", got, ended.err)
	}
	if record := ended.answer.Record; !record.Estimated || record.AnswerTokens != 1000 {
		t.Errorf("a call that the endpoint may charge for counts as %+v", record)
	}
}

func TestAResponseThatNeverEndsIsATimeoutToo(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.ResponseBytes = 1 << 40 })
	b.server.Script(scripted.Endless)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := b.start(ctx)
	b.arrived(t)
	b.clock.Step(30 * time.Second)
	if got := model.OutcomeOf(await(t, done).err); got != model.Timeout {
		t.Fatalf("the outcome is %s", got)
	}
}

func TestACallerCanGiveUp(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.Slow)
	ctx, cancel := context.WithCancel(t.Context())
	done := b.start(ctx)
	b.arrived(t)
	cancel()
	if got := model.OutcomeOf(await(t, done).err); got != model.Canceled {
		t.Fatalf("the outcome is %s", got)
	}
}

func TestAnAttemptThatFailsIsFollowedByAnother(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.Strict, scripted.ServerError, scripted.Reset)
	ended := b.finish(t, b.start(t.Context()))
	if ended.err != nil || ended.answer.Text != reply || ended.answer.Record.Attempts != 3 {
		t.Fatalf("got %+v, %v", ended.answer, ended.err)
	}
}

func TestRetryAfterIsHonored(t *testing.T) {
	for name, row := range map[string]struct {
		behavior scripted.Behavior
		header   string
	}{
		"seconds":  {scripted.RateLimitedFor, "7"},
		"date":     {scripted.RateLimitedFor, began.Add(7 * time.Second).Format(http.TimeFormat)},
		"with 503": {scripted.UnavailableFor, "7"},
	} {
		t.Run(name, func(t *testing.T) {
			b := setUp(t, nil)
			b.server.RetryAfter = row.header
			b.server.Script(scripted.Strict, row.behavior)
			done := b.start(t.Context())
			b.until(t, "the call pauses", func() bool { return b.clock.Waiters() == 2 })
			b.clock.Step(7*time.Second - time.Millisecond)
			if waiters, requests := b.clock.Waiters(), len(b.server.Requests()); waiters != 2 || requests != 1 {
				t.Fatalf("before its time %d timers run and %d requests were sent", waiters, requests)
			}
			b.clock.Step(time.Millisecond)
			if ended := await(t, done); ended.err != nil || ended.answer.Record.Attempts != 2 {
				t.Fatalf("got %+v, %v", ended.answer, ended.err)
			}
		})
	}
}

func TestALongRetryAfterHoldsAllCallsOff(t *testing.T) {
	b := setUp(t, nil)
	b.server.RetryAfter = "60"
	b.server.Script(scripted.Strict, scripted.RateLimitedFor)
	for range 3 {
		_, err := b.Ask(t.Context(), question)
		var failed *model.Error
		if !errors.As(err, &failed) || failed.Outcome != model.RateLimited || failed.RetryAfter != time.Minute {
			t.Fatalf("got %v", err)
		}
	}
	if requests := len(b.server.Requests()); requests != 1 {
		t.Fatalf("%d requests were sent to an endpoint that wants none", requests)
	}
	b.clock.Step(time.Minute)
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatal(err)
	}
}

func TestNobodyIsHeldOffForLongerThanAnHour(t *testing.T) {
	b := setUp(t, nil)
	b.server.RetryAfter = "86400"
	b.server.Script(scripted.Strict, scripted.RateLimitedFor)
	_, err := b.Ask(t.Context(), question)
	var failed *model.Error
	if !errors.As(err, &failed) || failed.RetryAfter != time.Hour {
		t.Fatalf("got %v", err)
	}
}

func TestTheBreakerLeavesAFailingEndpointAlone(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.Attempts = 1 })
	b.server.Script(scripted.ServerError)
	ask := func() model.Outcome {
		_, err := b.Ask(t.Context(), question)
		return model.OutcomeOf(err)
	}
	want := func(outcome model.Outcome, requests int) {
		t.Helper()
		if got := ask(); got != outcome || len(b.server.Requests()) != requests {
			t.Fatalf("got %s after %d requests, want %s after %d", got, len(b.server.Requests()), outcome, requests)
		}
	}
	for i := range 5 {
		want(model.ServerError, i+1)
	}
	want(model.BreakerOpen, 5)
	b.clock.Step(time.Minute)
	want(model.ServerError, 6) // one call tries
	want(model.BreakerOpen, 6)
	b.clock.Step(time.Minute)
	b.server.Script(scripted.Slow)
	trial := b.start(t.Context())
	b.until(t, "the trial is under way", func() bool { return len(b.server.Requests()) == 7 })
	want(model.BreakerOpen, 7) // and only one
	b.server.Release()
	if ended := await(t, trial); ended.err != nil {
		t.Fatal(ended.err)
	}
	b.server.Script(scripted.ServerError)
	for i := range 5 {
		want(model.ServerError, i+8) // it is closed, and counts anew
	}
	want(model.BreakerOpen, 12)
	open := "# HELP srenix_model_breaker_open 1 while the model is left alone because it failed too often in a row, else 0.\n# TYPE srenix_model_breaker_open gauge\nsrenix_model_breaker_open 1\n"
	if err := testutil.GatherAndCompare(b.metrics, strings.NewReader(open), "srenix_model_breaker_open"); err != nil {
		t.Error(err)
	}
}

func TestBadAnswersDoNotOpenTheBreaker(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.CutJSON)
	for range 10 {
		if _, err := b.Ask(t.Context(), question); model.OutcomeOf(err) != model.Malformed {
			t.Fatalf("got %v", err)
		}
	}
}

func TestACallThatIsGivenUpBeforeItsTurnDoesNotOpenTheBreaker(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.Concurrency, o.BreakerFailures = 1, 1 })
	b.server.Script(scripted.Slow)
	first := b.start(t.Context())
	b.arrived(t)
	second := b.start(t.Context())
	b.until(t, "the second call waits", func() bool { return b.clock.Waiters() == 2 })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	third := b.start(ctx)
	if got := model.OutcomeOf(await(t, third).err); got != model.Canceled {
		t.Fatalf("the third call ends with %s", got)
	}
	b.server.Release()
	if ended := await(t, first); ended.err != nil {
		t.Fatal(ended.err)
	}
	if ended := await(t, second); ended.err != nil {
		t.Fatal(ended.err)
	}
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatal(err)
	}
}

func TestOneSlowCallDoesNotDelayAnother(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.Strict, scripted.Slow)
	slow := b.start(t.Context())
	b.arrived(t)
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	b.server.Release()
	if ended := await(t, slow); ended.err != nil {
		t.Fatal(ended.err)
	}
}

func TestConcurrencyIsLimited(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.Concurrency = 2 })
	b.server.Script(scripted.Slow)
	var calls []<-chan result
	for range 24 {
		calls = append(calls, b.start(t.Context()))
	}
	b.until(t, "all calls have begun", func() bool { return b.clock.Waiters() == 24 })
	b.arrived(t)
	b.arrived(t)
	b.server.Release()
	for _, done := range calls {
		if ended := await(t, done); ended.err != nil {
			t.Error(ended.err)
		}
	}
	if peak := b.server.Peak(); peak != 2 {
		t.Errorf("%d requests were under way at once", peak)
	}
}

func TestAPromptThatIsTooLongIsNotSent(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.PromptTokens = 100 })
	long := question
	long.User = strings.Repeat("x", 200)
	answer, err := b.Ask(t.Context(), long)
	if model.OutcomeOf(err) != model.Budget || len(b.server.Requests()) != 0 || answer.Record.Spent().Tokens != 0 {
		t.Fatalf("got %v, %+v after %d requests", err, answer.Record, len(b.server.Requests()))
	}
}

func TestTheBudgetOfAnHour(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.HourlyTokens, o.AnswerTokens = 2000, 1000 })
	b.Restore([]model.Spent{{At: began.Add(-2 * time.Hour), Tokens: 5000}, {At: began.Add(-30 * time.Minute), Tokens: 950}})
	first, err := b.Ask(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	if used := first.Record.Spent().Tokens; used == 0 || used > 150 || first.Record.Estimated {
		t.Fatalf("a call whose usage is known counts as %+v", first.Record)
	}
	second, err := b.Ask(t.Context(), question)
	var failed *model.Error
	if !errors.As(err, &failed) || failed.Outcome != model.Budget || failed.RetryAfter != 30*time.Minute || second.Record.Attempts != 0 {
		t.Fatalf("with less than an answer left: %v, %+v", err, second.Record)
	}
	if requests := len(b.server.Requests()); requests != 1 {
		t.Fatalf("%d requests were sent", requests)
	}
	b.clock.Step(30 * time.Minute)
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatalf("when the hour is over: %v", err)
	}
}

func TestRequestsUnderWayCountAsWhatTheyMayUse(t *testing.T) {
	b := setUp(t, func(o *model.Options) { o.HourlyTokens, o.AnswerTokens = 1500, 1000 })
	b.server.Script(scripted.Slow)
	slow := b.start(t.Context())
	b.arrived(t)
	if _, err := b.Ask(t.Context(), question); model.OutcomeOf(err) != model.Budget {
		t.Fatalf("got %v", err)
	}
	b.server.Release()
	if ended := await(t, slow); ended.err != nil {
		t.Fatal(ended.err)
	}
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatalf("when it is over: %v", err)
	}
}

func TestUsageThatIsNotToldCountsAsMuchAsItMayBe(t *testing.T) {
	b := setUp(t, nil)
	b.server.Script(scripted.NoUsage)
	answer, err := b.Ask(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	if record := answer.Record; !record.Estimated || record.AnswerTokens != 1000 || record.PromptTokens < len(question.User)/2 {
		t.Errorf("it counts as %+v", record)
	}
	b.server.Script(scripted.NotFound)
	if answer, _ := b.Ask(t.Context(), question); answer.Record.Spent().Tokens != 0 {
		t.Errorf("a request that was refused counts as %+v", answer.Record)
	}
}

func TestTheRecordSaysWhatWasSentWithoutTheTexts(t *testing.T) {
	b := setUp(t, nil)
	answer, err := b.Ask(t.Context(), question)
	if err != nil {
		t.Fatal(err)
	}
	sum := func(text string) string {
		sum := sha256.Sum256([]byte(text))
		return "sha256:" + hex.EncodeToString(sum[:])
	}
	request := b.server.Requests()[0]
	want := model.Record{
		Time: began, Model: scripted.Name, PromptVersion: "test/1", PromptHash: sum(question.System + "\x00" + question.User), AnswerHash: sum(reply),
		PromptTokens: len(request.Body) / 4, AnswerTokens: len(reply)/4 + 1, Attempts: 1, Outcome: model.OK,
	}
	if diff := cmp.Diff(want, answer.Record); diff != "" {
		t.Errorf("the record (-want +got):\n%s", diff)
	}
}

func TestWhatIsSent(t *testing.T) {
	for name, temperature := range map[string]bool{scripted.Name: true, "o3-mini": false} {
		b := setUp(t, func(o *model.Options) { o.Model, o.AnswerTokens = name, 77 })
		if _, err := b.Ask(t.Context(), question); err != nil {
			t.Fatal(err)
		}
		var body map[string]any
		if err := json.Unmarshal(b.server.Requests()[0].Body, &body); err != nil {
			t.Fatal(err)
		}
		_, warm := body["temperature"]
		delete(body, "temperature")
		want := map[string]any{
			"model": name, "stream": false, "max_completion_tokens": 77.0, "response_format": map[string]any{"type": "json_object"},
			"messages": []any{map[string]any{"role": "system", "content": question.System}, map[string]any{"role": "user", "content": question.User}},
		}
		if diff := cmp.Diff(want, body); diff != "" {
			t.Errorf("the request (-want +got):\n%s", diff)
		}
		if warm != temperature {
			t.Errorf("the request to %s has a temperature: %v", name, warm)
		}
	}
}

func TestTheKeyIsReadAnewAndToldToNobody(t *testing.T) {
	file := filepath.Join(t.TempDir(), "key")
	b := setUp(t, func(o *model.Options) { o.KeyFile = file })
	write := func(key string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(key), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var logged strings.Builder
	ctx := klog.NewContext(t.Context(), funcr.New(func(prefix, args string) { logged.WriteString(prefix + args + "\n") }, funcr.Options{Verbosity: 10}))
	if _, err := b.Ask(ctx, question); model.OutcomeOf(err) != model.NoKey {
		t.Fatalf("without a key: %v", err)
	}
	write("first-key\n")
	if _, err := b.Ask(ctx, question); err != nil {
		t.Fatal(err)
	}
	write("second-key")
	b.server.Script(scripted.Unauthorized)
	answer, err := b.Ask(ctx, question)
	if model.OutcomeOf(err) != model.Unauthorized {
		t.Fatalf("got %v", err)
	}
	requests := b.server.Requests()
	if len(requests) != 2 || requests[0].Authorization != "Bearer first-key" || requests[1].Authorization != "Bearer second-key" {
		t.Errorf("the keys that were sent are of %d requests: %+v", len(requests), requests)
	}
	write("third-key\nand more")
	_, broken := b.Ask(ctx, question)
	if model.OutcomeOf(broken) != model.NoKey {
		t.Errorf("with two lines: %v", broken)
	}
	if logged.Len() == 0 {
		t.Error("nothing was logged")
	}
	all := logged.String() + err.Error() + broken.Error() + fmt.Sprintf("%+v", answer)
	for _, secret := range []string{"first-key", "second-key", "third-key", question.User, "Incorrect"} {
		if strings.Contains(all, secret) {
			t.Errorf("%q stands in\n%s", secret, all)
		}
	}
}

func TestTLS(t *testing.T) {
	server := scripted.StartTLS(reply)
	defer server.Close()
	bundle := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	for file, want := range map[string]model.Outcome{bundle: model.OK, "": model.Unreachable} {
		b := setUp(t, func(o *model.Options) { o.BaseURL, o.CAFile, o.Attempts = server.BaseURL(), file, 1 })
		if _, err := b.Ask(t.Context(), question); model.OutcomeOf(err) != want {
			t.Errorf("with authorities %q: %v, want %s", file, err, want)
		}
	}
}

func TestProxy(t *testing.T) {
	var through []string
	var server *scripted.Server
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		through = append(through, r.URL.Host)
		server.Config.Handler.ServeHTTP(w, r)
	}))
	defer proxy.Close()
	b := setUp(t, func(o *model.Options) { o.BaseURL, o.ProxyURL = "http://model.invalid/v1", proxy.URL })
	server = b.server
	if _, err := b.Ask(t.Context(), question); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"model.invalid"}, through); diff != "" {
		t.Errorf("what went through the proxy (-want +got):\n%s", diff)
	}
}

func TestCheckTellsWhetherTheModelIsThere(t *testing.T) {
	if err := setUp(t, nil).Check(t.Context()); err != nil {
		t.Error(err)
	}
	err := setUp(t, func(o *model.Options) { o.Model = "another" }).Check(t.Context())
	if err == nil || !strings.Contains(err.Error(), "lists no model another") {
		t.Errorf("got %v", err)
	}
}

func TestNewTellsWhatIsWrong(t *testing.T) {
	for name, row := range map[string]struct {
		options model.Options
		says    string
	}{
		"no model":        {model.Options{BaseURL: "http://localhost/v1"}, "name a model"},
		"no URL":          {model.Options{Model: "m"}, "the base URL must be"},
		"password in URL": {model.Options{Model: "m", BaseURL: "https://me:hunter2@localhost/v1"}, "put the key into the key file"},
		"no proxy":        {model.Options{Model: "m", BaseURL: "https://localhost/v1", ProxyURL: "localhost"}, "the proxy must be given"},
		"negative":        {model.Options{Model: "m", BaseURL: "https://localhost/v1", Attempts: -1}, "attempts must not be negative"},
		"no authorities":  {model.Options{Model: "m", BaseURL: "https://localhost/v1", CAFile: filepath.Join("testdata", "absent")}, "reading the authorities"},
	} {
		_, err := model.New(row.options)
		if err == nil || !strings.Contains(err.Error(), row.says) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestEveryOutcomeHasAdvice(t *testing.T) {
	for _, outcome := range model.Outcomes() {
		if outcome == model.OK {
			continue
		}
		if text := (&model.Error{Outcome: outcome}).Error(); text == "asking the model: " {
			t.Errorf("%s says nothing", outcome)
		}
	}
}
