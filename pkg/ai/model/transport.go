// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package model

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/net/http/httpguts"
	"k8s.io/utils/clock"
)

// transport sends the key along and reads responses whole, as far as they may go. It
// makes errors of all that is no answer, so that nobody after it looks into what an
// endpoint says when it fails, or follows a redirect, which would take the prompt to
// where nobody configured it to go.
type transport struct {
	next    http.RoundTripper
	keyFile string
	limit   int64
	clock   clock.PassiveClock
	sent    func()
}

// RoundTrip implements http.RoundTripper.
func (t *transport) RoundTrip(request *http.Request) (*http.Response, error) {
	request = request.Clone(request.Context())
	request.Header.Del("Authorization")
	if t.keyFile != "" {
		key, err := t.key()
		if err != nil {
			return nil, err
		}
		request.Header.Set("Authorization", "Bearer "+key)
	}
	t.sent()
	response, err := t.next.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, t.failure(response)
	}
	body, err := io.ReadAll(io.LimitReader(response.Body, t.limit+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the response: %w", err)
	case int64(len(body)) > t.limit:
		return nil, &Error{Outcome: TooLarge, detail: fmt.Sprintf("more than %d bytes", t.limit)}
	case !utf8.Valid(body):
		return nil, &Error{Outcome: Malformed, detail: "it is not UTF-8"}
	}
	response.Body = io.NopCloser(bytes.NewReader(body))
	return response, nil
}

// key reads the key. Neither a key nor a part of one may stand in an error.
func (t *transport) key() (string, error) {
	content, err := os.ReadFile(t.keyFile)
	if err != nil {
		return "", &Error{Outcome: NoKey, detail: err.Error()}
	}
	key := strings.TrimSpace(string(content))
	if key == "" || !httpguts.ValidHeaderFieldValue(key) {
		return "", &Error{Outcome: NoKey, detail: t.keyFile + " is empty or holds more than a line"}
	}
	return key, nil
}

// failure makes an error of a status.
func (t *transport) failure(response *http.Response) error {
	failed := &Error{Status: response.StatusCode, Outcome: Rejected}
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		failed.Outcome = Unauthorized
	case response.StatusCode == http.StatusTooManyRequests:
		failed.Outcome = RateLimited
	case response.StatusCode >= http.StatusInternalServerError || response.StatusCode == http.StatusRequestTimeout:
		failed.Outcome = ServerError
	}
	if failed.Outcome == RateLimited || failed.Outcome == ServerError {
		failed.RetryAfter = retryAfter(response.Header.Get("Retry-After"), t.clock.Now())
	}
	return failed
}

// longestRetryAfter bounds what an endpoint can ask for.
const longestRetryAfter = time.Hour

// retryAfter reads the header of that name (RFC 9110, section 10.2.3): seconds or a
// date. It returns 0 if there is nothing to wait for.
func retryAfter(header string, now time.Time) time.Duration {
	wait := time.Duration(0)
	if seconds, err := strconv.ParseUint(header, 10, 31); err == nil {
		wait = time.Duration(seconds) * time.Second
	} else if at, err := http.ParseTime(header); err == nil {
		wait = at.Sub(now)
	}
	return min(max(wait, 0), longestRetryAfter)
}
