// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package model is an endpoint for tests that speaks the chat-completions protocol of
// OpenAI over HTTP, and that misbehaves in every way that is asked of it. What is asked
// comes from a script, one behavior a request.
package model

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"sync"
	"time"

	"github.com/sashabaranov/go-openai"
)

// Behavior is how the server deals with one request.
type Behavior string

// What the server can do. Those down to Gullible answer by the protocol.
const (
	// Strict answers with the reply, which is JSON.
	Strict Behavior = "Strict"
	// Fenced answers with the reply in a fence of Markdown.
	Fenced Behavior = "Fenced"
	// Prose answers with the reply in the middle of sentences.
	Prose Behavior = "Prose"
	// BareName answers with the first string of the reply alone.
	BareName Behavior = "BareName"
	// WrongTypes answers with the reply, with numbers where strings were.
	WrongTypes Behavior = "WrongTypes"
	// Hallucinated answers with the reply, with an invented name for each string.
	Hallucinated Behavior = "Hallucinated"
	// Parts answers with the reply as a list of parts.
	Parts Behavior = "Parts"
	// NoUsage answers with the reply and does not tell how many tokens it took.
	NoUsage Behavior = "NoUsage"
	// Gullible does what it reads in the last message, and answers with the reply if
	// nothing in it looks like an instruction. See Obey.
	Gullible Behavior = "Gullible"

	// Truncated answers with half of the reply and the finish reason length.
	Truncated Behavior = "Truncated"
	// CutJSON answers with half of the reply as if it were whole.
	CutJSON Behavior = "CutJSON"
	// Looping answers with the reply again and again.
	Looping Behavior = "Looping"
	// Filtered withholds the answer for its content.
	Filtered Behavior = "Filtered"
	// EmptyChoices answers without a choice.
	EmptyChoices Behavior = "EmptyChoices"
	// EmptyAnswer answers with an empty text.
	EmptyAnswer Behavior = "EmptyAnswer"
	// WrongProtocol answers with a number where the text belongs.
	WrongProtocol Behavior = "WrongProtocol"
	// NotJSON answers with a page.
	NotJSON Behavior = "NotJSON"
	// InvalidUTF8 answers with the reply and bytes that are no text.
	InvalidUTF8 Behavior = "InvalidUTF8"
	// Huge answers with the reply and 8 MiB after it.
	Huge Behavior = "Huge"
	// Endless begins to answer and never ends.
	Endless Behavior = "Endless"
	// Slow does not answer until Release is called.
	Slow Behavior = "Slow"
	// Reset drops the connection.
	Reset Behavior = "Reset"
	// ResetHalfway drops the connection in the middle of the response.
	ResetHalfway Behavior = "ResetHalfway"
	// Unauthorized answers 401 and repeats the key, as some endpoints do.
	Unauthorized Behavior = "Unauthorized"
	// NotFound answers 404.
	NotFound Behavior = "NotFound"
	// Redirect answers 307 and names the server itself.
	Redirect Behavior = "Redirect"
	// RateLimited answers 429.
	RateLimited Behavior = "RateLimited"
	// RateLimitedFor answers 429 with a Retry-After of RetryAfter.
	RateLimitedFor Behavior = "RateLimitedFor"
	// ServerError answers 500.
	ServerError Behavior = "ServerError"
	// UnavailableFor answers 503 with a Retry-After of RetryAfter.
	UnavailableFor Behavior = "UnavailableFor"
)

// Behaviors are all of them.
func Behaviors() []Behavior {
	return []Behavior{
		Strict, Fenced, Prose, BareName, WrongTypes, Hallucinated, Parts, NoUsage, Gullible,
		Truncated, CutJSON, Looping, Filtered, EmptyChoices, EmptyAnswer, WrongProtocol, NotJSON, InvalidUTF8, Huge, Endless, Slow,
		Reset, ResetHalfway, Unauthorized, NotFound, Redirect, RateLimited, RateLimitedFor, ServerError, UnavailableFor,
	}
}

// Name of the model that the server has.
const Name = "scripted"

// HallucinatedName is what Hallucinated answers with.
const HallucinatedName = "reboot-all-nodes"

// Request is one that the server has received.
type Request struct {
	// Authorization is the header.
	Authorization string
	// Body as it was sent, and what it says.
	Body []byte
	Chat openai.ChatCompletionRequest
}

// Server is the endpoint.
type Server struct {
	*httptest.Server
	// RetryAfter is the header that RateLimitedFor and UnavailableFor send.
	RetryAfter string

	mu       sync.Mutex
	reply    func(openai.ChatCompletionRequest) string
	script   []Behavior
	then     Behavior
	requests []Request
	// running requests, and the most that there were at once.
	running, peak int
	release       chan struct{}
	arrived       chan struct{}
}

// Start starts a server that answers each request with a reply. Whoever starts it
// closes it.
func Start(reply string) *Server { return start(reply, httptest.NewServer) }

// StartTLS starts one whose certificate is that of httptest.
func StartTLS(reply string) *Server { return start(reply, httptest.NewTLSServer) }

func start(reply string, serve func(http.Handler) *httptest.Server) *Server {
	s := &Server{then: Strict, release: make(chan struct{}), arrived: make(chan struct{}, 1024)}
	s.reply = func(openai.ChatCompletionRequest) string { return reply }
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/models", s.models)
	mux.HandleFunc("POST /v1/chat/completions", s.chat)
	s.Server = serve(mux)
	return s
}

// BaseURL is what clients are configured with.
func (s *Server) BaseURL() string { return s.URL + "/v1" }

// Reply sets how the server answers when it behaves.
func (s *Server) Reply(reply func(openai.ChatCompletionRequest) string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reply = reply
}

// Script sets what is done with the next requests, in this order, and with all after them.
func (s *Server) Script(then Behavior, first ...Behavior) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.script, s.then = first, then
}

// Requests are those that were received.
func (s *Server) Requests() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.requests...)
}

// Peak is how many requests were under way at once at most.
func (s *Server) Peak() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.peak
}

// Arrived gives a value for each request that has come in.
func (s *Server) Arrived() <-chan struct{} { return s.arrived }

// Release lets all slow requests be answered.
func (s *Server) Release() { close(s.release) }

func (s *Server) models(writer http.ResponseWriter, _ *http.Request) {
	writeJSON(writer, http.StatusOK, openai.ModelsList{Models: []openai.Model{{ID: Name, Object: "model", OwnedBy: "test"}}})
}

// next takes down a request and tells what to do with it.
func (s *Server) next(request Request) (Behavior, string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, request)
	s.running++
	s.peak = max(s.peak, s.running)
	behavior := s.then
	if len(s.script) > 0 {
		behavior, s.script = s.script[0], s.script[1:]
	}
	return behavior, s.reply(request.Chat)
}

func (s *Server) chat(writer http.ResponseWriter, r *http.Request) {
	request := Request{Authorization: r.Header.Get("Authorization")}
	var err error
	if request.Body, err = io.ReadAll(r.Body); err == nil {
		err = json.Unmarshal(request.Body, &request.Chat)
	}
	if err != nil || request.Chat.Model == "" || len(request.Chat.Messages) == 0 {
		fail(writer, http.StatusBadRequest, "the request cannot be read")
		return
	}
	behavior, reply := s.next(request)
	defer func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.running--
	}()
	s.arrived <- struct{}{}
	switch behavior {
	case Slow:
		select {
		case <-s.release:
			answer(writer, &request, reply, openai.FinishReasonStop)
		case <-r.Context().Done():
		}
	case Unauthorized:
		fail(writer, http.StatusUnauthorized, "Incorrect API key provided: "+strings.TrimPrefix(request.Authorization, "Bearer "))
	case NotFound:
		fail(writer, http.StatusNotFound, "no such model")
	case Redirect:
		http.Redirect(writer, r, s.URL+r.URL.Path, http.StatusTemporaryRedirect)
	case RateLimitedFor, UnavailableFor:
		writer.Header().Set("Retry-After", s.RetryAfter)
		fail(writer, map[Behavior]int{RateLimitedFor: http.StatusTooManyRequests, UnavailableFor: http.StatusServiceUnavailable}[behavior], "later")
	case RateLimited:
		fail(writer, http.StatusTooManyRequests, "later")
	case ServerError:
		fail(writer, http.StatusInternalServerError, "something broke")
	case Reset, ResetHalfway:
		reset(writer, behavior == ResetHalfway)
	case Endless:
		writer.Header().Set("Content-Type", "application/json")
		for r.Context().Err() == nil {
			if _, err := io.WriteString(writer, strings.Repeat(" ", 4096)); err != nil {
				return
			}
			writer.(http.Flusher).Flush()
		}
	default:
		s.respond(writer, &request, behavior, reply)
	}
}

// respond answers with a response that is one by its status.
func (s *Server) respond(writer http.ResponseWriter, request *Request, behavior Behavior, reply string) {
	stop := openai.FinishReasonStop
	switch behavior {
	case Strict:
		answer(writer, request, reply, stop)
	case Fenced:
		answer(writer, request, "```json\n"+reply+"\n```", stop)
	case Prose:
		answer(writer, request, "I have looked at this {carefully}. The answer is "+reply+", as far as I can tell.", stop)
	case BareName:
		answer(writer, request, firstString(reply), stop)
	case WrongTypes:
		answer(writer, request, stringValue.ReplaceAllString(reply, ":42"), stop)
	case Hallucinated:
		answer(writer, request, stringValue.ReplaceAllString(reply, `:"`+HallucinatedName+`"`), stop)
	case Gullible:
		answer(writer, request, Obey(request.Chat.Messages[len(request.Chat.Messages)-1].Content, reply), stop)
	case Truncated:
		answer(writer, request, reply[:len(reply)/2], openai.FinishReasonLength)
	case CutJSON:
		answer(writer, request, reply[:len(reply)/2], stop)
	case Looping:
		answer(writer, request, strings.Repeat(reply+"\n", 200), openai.FinishReasonLength)
	case Filtered:
		answer(writer, request, "", openai.FinishReasonContentFilter)
	case EmptyAnswer:
		answer(writer, request, "", stop)
	case Huge:
		answer(writer, request, reply+strings.Repeat("x", 8<<20), stop)
	case EmptyChoices:
		writeJSON(writer, http.StatusOK, openai.ChatCompletionResponse{Object: "chat.completion", Model: Name, Choices: []openai.ChatCompletionChoice{}})
	case NoUsage:
		response := response(request, reply, stop)
		response.Usage = openai.Usage{}
		writeJSON(writer, http.StatusOK, response)
	case Parts:
		raw(writer, fmt.Sprintf(`{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":[{"type":"text","text":%q}]}}],"usage":{"prompt_tokens":5,"completion_tokens":5,"total_tokens":10}}`, reply))
	case WrongProtocol:
		raw(writer, `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":42}}]}`)
	case NotJSON:
		raw(writer, "<html>It works!</html>")
	case InvalidUTF8:
		// It would be an answer if the bytes were let pass.
		content, _ := json.Marshal(`{"note":"?",` + strings.TrimPrefix(reply, "{"))
		raw(writer, `{"choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":`+strings.Replace(string(content), "?", "\xff\xfe", 1)+`}}]}`)
	default:
		fail(writer, http.StatusNotImplemented, "no such behavior: "+string(behavior))
	}
}

var stringValue = regexp.MustCompile(`:\s*"(?:[^"\\]|\\.)*"`)

// firstString is the first string value of an object.
func firstString(reply string) string {
	var text string
	if value := stringValue.FindString(reply); value != "" {
		_ = json.Unmarshal([]byte(strings.TrimLeft(value, ": ")), &text)
	}
	return text
}

func response(request *Request, text string, reason openai.FinishReason) openai.ChatCompletionResponse {
	usage := openai.Usage{PromptTokens: len(request.Body) / 4, CompletionTokens: len(text)/4 + 1}
	usage.TotalTokens = usage.PromptTokens + usage.CompletionTokens
	return openai.ChatCompletionResponse{
		ID: "chatcmpl-1", Object: "chat.completion", Created: time.Unix(0, 0).Unix(), Model: Name, Usage: usage,
		Choices: []openai.ChatCompletionChoice{{Message: openai.ChatCompletionMessage{Role: openai.ChatMessageRoleAssistant, Content: text}, FinishReason: reason}},
	}
}

func answer(writer http.ResponseWriter, request *Request, text string, reason openai.FinishReason) {
	writeJSON(writer, http.StatusOK, response(request, text, reason))
}

func fail(writer http.ResponseWriter, status int, message string) {
	writeJSON(writer, status, openai.ErrorResponse{Error: &openai.APIError{Message: message, Type: "scripted"}})
}

func writeJSON(writer http.ResponseWriter, status int, value any) {
	writer.Header().Set("Content-Type", "application/json")
	writer.WriteHeader(status)
	_ = json.NewEncoder(writer).Encode(value) // the client has gone
}

func raw(writer http.ResponseWriter, body string) {
	writer.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(writer, body) // the client has gone
}

// reset drops the connection so that the client sees a reset and no end.
func reset(writer http.ResponseWriter, halfway bool) {
	if halfway {
		writer.Header().Set("Content-Length", "1000")
		_, _ = io.WriteString(writer, `{"choices":`) // the client has gone
		writer.(http.Flusher).Flush()
	}
	connection, _, err := writer.(http.Hijacker).Hijack()
	if err != nil {
		return
	}
	if tcp, plain := connection.(*net.TCPConn); plain {
		_ = tcp.SetLinger(0) // a close then resets
	}
	_ = connection.Close() // it is as good as closed
}
