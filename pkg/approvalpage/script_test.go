// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package approvalpage

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"github.com/dop251/goja"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// surroundings are what the script needs of a browser. Its requests go to send, and
// what it makes of them can be looked at.
const surroundings = `
function Element() {
  this.textContent = ""; this.hidden = false; this.disabled = false; this.children = []; this.listeners = {};
}
Element.prototype.append = function (...more) { this.children.push(...more); };
Element.prototype.addEventListener = function (kind, listener) { this.listeners[kind] = listener; };
const elements = {};
const document = {
  title: "",
  getElementById(id) { return elements[id] ??= new Element(); },
  createElement() { return new Element(); },
};
elements.review = new Element(); elements.review.hidden = true;
elements.refusal = new Element(); elements.refusal.hidden = true;
elements.change = new Element(); elements.change.hidden = true;
const listeners = {};
function addEventListener(kind, listener) { listeners[kind] = listener; }
const location = { hash: address, pathname: "/approve", reloads: 0, reload() { this.reloads++; } };
const history = { replaceState(state, title, path) { location.hash = ""; history.path = path; } };
class URLSearchParams {
  constructor(text) {
    this.values = {};
    for (const pair of text.split("&")) {
      const at = pair.indexOf("=");
      this.values[pair.slice(0, at)] = decodeURIComponent(pair.slice(at + 1).replaceAll("+", " "));
    }
  }
  get(name) { return this.values[name] ?? null; }
}
const requests = [];
async function fetch(path, options) {
  requests.push(options.method + " " + path);
  const [code, body] = send(path, options.method, options.headers["Content-Type"], options.body);
  return { ok: code < 300, status: code, json: async () => JSON.parse(body) };
}
function text(element) { return [element.textContent, ...element.children.map(text)].join(" "); }
`

// opened is the page after it was opened at an address.
type opened struct {
	*goja.Runtime
	t *testing.T
}

// open runs the page's script as a browser does that opens a link.
func open(t *testing.T, w *world, fragment string) *opened {
	t.Helper()
	script, err := static.ReadFile("static/page.js")
	if err != nil {
		t.Fatal(err)
	}
	o := &opened{goja.New(), t}
	for name, value := range map[string]any{
		"address": "#" + fragment,
		"send": func(path, method, kind, body string) []any {
			r := httptest.NewRequestWithContext(t.Context(), method, "https://page.example/"+path, strings.NewReader(body))
			r.Header.Set("Content-Type", kind)
			r.Header.Set("Sec-Fetch-Site", "same-origin")
			answer := httptest.NewRecorder()
			w.ServeHTTP(answer, r)
			return []any{answer.Code, answer.Body.String()}
		},
	} {
		if err := o.Set(name, value); err != nil {
			t.Fatal(err)
		}
	}
	o.run(surroundings)
	o.run(string(script))
	return o
}

// run evaluates a piece of script, and all that waits for it.
func (o *opened) run(script string) string {
	o.t.Helper()
	value, err := o.RunString(script)
	if err != nil {
		o.t.Fatal(err)
	}
	return fmt.Sprint(value)
}

func (o *opened) want(what, script, want string) {
	o.t.Helper()
	if have := o.run(script); have != want {
		o.t.Errorf("%s: %s is %q, want %q", what, script, have, want)
	}
}

// decisions are those that were asked for and not merely tried.
func decisions(w *world) (count int) {
	for _, one := range w.decided {
		if !one.dryRun {
			count++
		}
	}
	return count
}

func TestOpeningALinkWithAScriptDecidesNothing(t *testing.T) {
	w := newWorld(t)
	w.proposal.Spec.Rationale = "<b>stuck</b>"
	o := open(t, w, url.Values{"token": {w.mint(t, v1alpha1.DecisionApprove, "a & b")}, "reason": {"a & b"}}.Encode())
	o.want("opened", `requests.join()`, "POST approve/review")
	o.want("opened", `location.hash + history.path`, "/approve")
	o.want("opened", `elements.review.hidden + " " + elements.confirm.hidden + " " + elements.confirm.textContent`, "false false Approve")
	facts := o.run(`text(elements.facts)`)
	for _, want := range []string{"DeletePod", "Pod shop/web-0", "<b>stuck</b>", "alice", "a & b", "cluster", w.proposal.Spec.Digest} {
		if !strings.Contains(facts, want) {
			t.Errorf("the page lacks %q: %s", want, facts)
		}
	}
	if n := decisions(w); n != 0 {
		t.Fatalf("%d decisions before anybody confirmed", n)
	}

	o.run(`elements.confirm.listeners.click()`)
	o.want("confirmed", `requests.join()`, "POST approve/review,POST approve/decide")
	o.want("confirmed", `elements.message.textContent`, "Decided. See what becomes of it: kubectl get approval/approval-1 -n shop")
	o.want("confirmed", `elements.confirm.hidden`, "true")
	if n := decisions(w); n != 1 {
		t.Errorf("%d decisions", n)
	}
}

func TestWhatIsRefusedHasNoButton(t *testing.T) {
	w := newWorld(t)
	w.refuse = refused(http.ErrNotSupported)
	o := open(t, w, url.Values{"token": {w.mint(t, v1alpha1.DecisionApprove, "")}}.Encode())
	o.want("refused", `elements.confirm.hidden + " " + elements.refusal.hidden`, "true false")
	if refusal := o.run(`elements.refusal.textContent`); !strings.Contains(refusal, http.ErrNotSupported.Error()) {
		t.Errorf("the page says %q", refusal)
	}
}

func TestWhatCannotBeDecidedIsSaid(t *testing.T) {
	for fragment, want := range map[string]string{"": "open the whole link", "token=a.b.c": "ask for another link"} {
		o := open(t, newWorld(t), fragment)
		if message := o.run(`elements.message.textContent`); !strings.Contains(message, want) {
			t.Errorf("%q: the page says %q", fragment, message)
		}
		o.want(fragment, `elements.review.hidden`, "true")
	}
}

// TestADecisionThatFailsCanBeTriedAgain loses the first answer.
func TestADecisionThatFailsCanBeTriedAgain(t *testing.T) {
	w := newWorld(t)
	o := open(t, w, url.Values{"token": {w.mint(t, v1alpha1.DecisionDeny, "")}}.Encode())
	o.want("opened", `elements.confirm.textContent`, "Deny")
	w.refuse = http.ErrHandlerTimeout
	o.run(`elements.confirm.listeners.click()`)
	o.want("failed", `elements.confirm.disabled + " " + elements.confirm.hidden`, "false false")
	if message := o.run(`elements.message.textContent`); !strings.Contains(message, "Not decided: ") {
		t.Errorf("the page says %q", message)
	}
	w.refuse = nil
	o.run(`elements.confirm.listeners.click()`)
	o.want("again", `elements.confirm.hidden`, "true")
}

// TestAnotherLinkInTheSameTabIsOpened changes the fragment alone, which loads nothing.
func TestAnotherLinkInTheSameTabIsOpened(t *testing.T) {
	w := newWorld(t)
	o := open(t, w, url.Values{"token": {w.mint(t, v1alpha1.DecisionApprove, "")}}.Encode())
	o.run(`listeners.hashchange()`)
	o.want("another link", `location.reloads`, "1")
}
