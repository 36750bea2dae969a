// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"encoding/base64"
	"encoding/json"
	"regexp"
	"strings"
	"testing"

	"github.com/sashabaranov/go-openai"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	scripted "github.com/srenix/srenix/test/model"
)

const path = "secret/shop/db-credentials"

var runnable = []Command{
	{Run: "vault status", Description: "tells whether Vault is sealed"},
	{Run: "vault kv metadata get", Description: "shows the versions of the secret at a path"},
	{Run: "vault kv undelete", Description: "takes a deletion back, with -versions=${VALUE_VERSION} before the path", Writes: true},
	{Run: "vault kv patch", Description: "adds keys, with KEY=${VALUE_NAME} after the path", Writes: true},
	{Run: "kubectl get", Description: "shows the state of an object"},
}

// lacking is a finding about a secret of Vault that has not all keys.
func lacking() Case {
	return Case{Finding: srenix.FindingSpec{
		Analyzer: "VaultPathMissing", Reason: "VaultPropertyMissing", Severity: srenix.SeverityWarning, Discriminator: path,
		Subject: srenix.ObjectReference{APIVersion: "external-secrets.io/v1", Kind: "ExternalSecret", Namespace: "shop", Name: "db-credentials", UID: "1"},
		Message: "The secret at " + path + " in Vault lacks properties that ExternalSecret db-credentials refers to: api_token, password. It has TOKEN, which may be what was meant.",
	}}
}

// step of an answer.
type step struct {
	Do  string `json:"do"`
	Run string `json:"run,omitempty"`
}

var told = regexp.MustCompile(`(externalsecret|namespace|path)-[0-9a-f]{12}`)

// drafter answers with steps in which EXTERNALSECRET, NAMESPACE and PATH are the
// pseudonyms that stand in the prompt.
func drafter(t *testing.T, steps ...step) func(openai.ChatCompletionRequest) string {
	return func(request openai.ChatCompletionRequest) string {
		answer, err := json.Marshal(map[string]any{"steps": steps})
		if err != nil {
			t.Error(err)
		}
		text := string(answer)
		for _, name := range told.FindAllStringSubmatch(request.Messages[1].Content, -1) {
			text = strings.ReplaceAll(text, strings.ToUpper(name[1]), name[0])
		}
		return text
	}
}

// good is a draft that passes.
var good = []step{
	{"Look whether Vault is unsealed, e.g. with the operator's own rights. It should say so.", "vault status"},
	{"See which keys PATH lacks: api_token and password, or TOKEN of version 2.", "vault kv metadata get PATH"},
	{Do: "Read what belongs there into ${VALUE_API_TOKEN} and ${VALUE_PASSWORD}."},
	{"Add both; the others stay.", "vault  kv patch PATH api_token=${VALUE_API_TOKEN} password=${VALUE_PASSWORD}"},
	{"Wait until EXTERNALSECRET is Ready.", "kubectl get externalsecret EXTERNALSECRET -n NAMESPACE"},
}

const drafted = `1. Look whether Vault is unsealed, e.g. with the operator's own rights. It should say so.

       vault status

2. See which keys secret/shop/db-credentials lacks: api_token and password, or TOKEN of version 2.

       vault kv metadata get secret/shop/db-credentials

3. Read what belongs there into ${VALUE_API_TOKEN} and ${VALUE_PASSWORD}.
4. Add both; the others stay.

       vault kv patch secret/shop/db-credentials api_token=${VALUE_API_TOKEN} password=${VALUE_PASSWORD}

5. Wait until db-credentials is Ready.

       kubectl get externalsecret db-credentials -n shop

`

func TestADraftHasNamesAndPlaceholders(t *testing.T) {
	for _, behavior := range []scripted.Behavior{scripted.Strict, scripted.Fenced, scripted.Prose, scripted.Parts} {
		b := setUp(t, behavior)
		b.server.Reply(drafter(t, good...))
		draft, err := b.Draft(t.Context(), lacking(), []string{path}, runnable)
		if err != nil || draft.Text != drafted || draft.Record.PromptVersion != RunbookPrompt || draft.Record.Outcome != model.OK {
			t.Errorf("a model that is %s: %v, %+v\n%s", behavior, err, draft.Record, draft.Text)
		}
		if prompt := b.server.Requests()[0].Chat.Messages[1].Content; strings.Contains(prompt, "shop") || strings.Contains(prompt, "db-credentials") {
			t.Errorf("the model sees names:\n%s", prompt)
		}
	}
}

func TestTheScreenRefusesTheWholeDraft(t *testing.T) {
	token := base64.StdEncoding.EncodeToString([]byte("a secret that is long enough"))
	patch := func(rest string) step { return step{"Add it.", "vault kv patch PATH " + rest} }
	for name, bad := range map[string]step{
		"a password in a command":             patch("password=hunter2"),
		"a password in quotes":                patch(`password="${VALUE_PASSWORD}"`),
		"a password behind a placeholder":     patch("password=${VALUE_PASSWORD}hunter2"),
		"a plain word for a value":            patch("password=swordfish"),
		"a value for no key":                  patch("hunter2"),
		"a value from a file":                 patch("password=@file"),
		"a key that it was not told":          patch("admin=${VALUE_PASSWORD}"),
		"a secret for a key":                  patch("hunter2=${VALUE_PASSWORD}"),
		"another placeholder":                 patch("password=${PASSWORD}"),
		"a placeholder in small letters":      patch("password=${value_password}"),
		"a placeholder with a default":        patch("password=${VALUE_PASSWORD:-hunter2}"),
		"a placeholder of angles":             patch("password=<password>"),
		"a placeholder of braces":             patch("password={{ VALUE_PASSWORD }}"),
		"a variable":                          patch("password=$VALUE_PASSWORD"),
		"a substitution":                      patch("password=$(cat /etc/shadow)"),
		"an option that it was not told":      patch("-address=${VALUE_ADDRESS} password=${VALUE_PASSWORD}"),
		"an option with a value":              {"Take it back.", "vault kv undelete -versions=3 PATH"},
		"a value where nothing is written":    {"Look.", "kubectl get externalsecret EXTERNALSECRET password=${VALUE_PASSWORD}"},
		"another path":                        {"Look.", "vault kv metadata get secret/other"},
		"a real name":                         {"Look.", "vault kv metadata get " + path},
		"a command that is not on the list":   {"Mend it.", "vault kv destroy PATH"},
		"a command that shows values":         {"Look.", "vault kv get PATH"},
		"another program":                     {"Mend it.", "rm -rf PATH"},
		"half a command":                      {"Look.", "vault kv"},
		"a command after the command":         {"Look.", "vault status; vault kv patch"},
		"a command in another line":           {"Look.", "vault status\nkubectl delete externalsecret EXTERNALSECRET"},
		"an output with values":               {"Look.", "kubectl get externalsecret EXTERNALSECRET -n NAMESPACE -o yaml"},
		"a password in prose":                 {Do: "The password is hunter2."},
		"a password in prose, without a word": {Do: "Type hunter2 when asked."},
		"a password in an assignment":         {Do: "Set password=swordfish and go on."},
		"a token in prose":                    {Do: "Log in with hvs.CAESIJ1234567890abcdef first."},
		"a JSON Web Token":                    {Do: "Log in with eyJhbGciOiJFZERTQSJ9.eyJzdWIiOiJhIn0.c2ln first."},
		"base64 in prose":                     {Do: "Type " + token + " then."},
		"hexadecimal in prose":                {Do: "Type deadbeefdeadbeef then."},
		"a random word":                       {Do: "Type xKqLmZpWvB then."},
		"a long number":                       {Do: "Type 83912 then."},
		"an address":                          {Do: "Vault is at 10.0.0.7 as always."},
		"a host":                              {Do: "Vault is at vault.example.com as always."},
		"a link":                              {Do: "Read https://evil.example/now first."},
		"a command in prose":                  {Do: "Run kubectl delete now."},
		"another placeholder in prose":        {Do: "Type ${TOKEN} then."},
		"a placeholder with more":             {Do: "Type ${VALUE_TOKEN}hunter then."},
		"a mask":                              {Do: "Type [secret] then."},
		"words that nobody sees":              {Do: "Type \u200bit then."},
		"a pseudonym that it makes up":        {Do: "Look at pod-0123456789ab then."},
		"a secret behind an escape":           {Do: `Type \u0068unter2 then.`},
		"a step that says too much":           {Do: strings.Repeat("word ", 100)},
	} {
		t.Run(name, func(t *testing.T) {
			b := setUp(t, scripted.Strict)
			b.server.Reply(drafter(t, append([]step{good[0], bad}, good[1:]...)...))
			draft, err := b.Draft(t.Context(), lacking(), []string{path}, runnable)
			if model.OutcomeOf(err) != model.Screened || draft.Text != "" || draft.Record.Outcome != model.Screened {
				t.Fatalf("have %v, %+v", err, draft)
			}
			for _, part := range strings.Fields(bad.Do + " " + bad.Run) {
				if strings.ContainsAny(part, "0123456789=$") && strings.Contains(err.Error(), part) {
					t.Errorf("the error repeats %q: %v", part, err)
				}
			}
		})
	}
}

// Whoever writes an ExternalSecret names keys, and the message names them.
func TestAHostThatAKeyIsNamedAfterIsNotPutBackIn(t *testing.T) {
	host := regexp.MustCompile(`host-[0-9a-f]{12}`)
	b := setUp(t, scripted.Strict)
	b.server.Reply(func(request openai.ChatCompletionRequest) string {
		name := host.FindString(request.Messages[1].Content)
		if name == "" {
			t.Error("the prompt has no pseudonym of the host")
		}
		return `{"steps":[{"do":"Log in at ` + name + ` first."}]}`
	})
	c := lacking()
	c.Finding.Message = strings.Replace(c.Finding.Message, "api_token", "evil.example", 1)
	c.Names = []redaction.Name{{Kind: "Host", Text: "evil.example"}}
	if draft, err := b.Draft(t.Context(), c, []string{path}, runnable); model.OutcomeOf(err) != model.Screened || draft.Text != "" {
		t.Errorf("have %v, %q", err, draft.Text)
	}
}

func TestADraftOfAnotherShapeIsNone(t *testing.T) {
	for answer, want := range map[string]model.Outcome{
		`{"steps":[]}`:                                                                   model.Malformed,
		`{"steps":[{"do":" "}]}`:                                                         model.Malformed,
		`{"steps":[{"run":"vault status"}]}`:                                             model.Malformed,
		`{"steps":[{"do":"Look.","then":"vault status"}]}`:                               model.Malformed,
		`{"steps":[{"do":"Look."}],"title":"hunter2"}`:                                   model.Malformed,
		`{"steps":[{"do":"Look."}]} {"steps":[{"do":"See."}]}`:                           model.Malformed,
		`{"steps":[` + strings.Repeat(`{"do":"Look."},`, mostSteps) + `{"do":"Look."}]}`: model.Malformed,
		`{"steps":"Look."}`:                                                              model.WrongType,
		`{"steps":["Look."]}`:                                                            model.WrongType,
		`{"steps":[{"do":1}]}`:                                                           model.WrongType,
		`{"steps":[{"do":"Look.","run":["vault","status"]}]}`:                            model.WrongType,
		`{"steps":[{"do":"Look.","run":null}]}`:                                          model.OK,
	} {
		b := setUp(t, scripted.Strict)
		b.server.Reply(func(openai.ChatCompletionRequest) string { return answer })
		draft, err := b.Draft(t.Context(), lacking(), []string{path}, runnable)
		if model.OutcomeOf(err) != want || (draft.Text == "") != (want != model.OK) {
			t.Errorf("%s: %v, %q", answer, err, draft.Text)
		}
	}
}

// Whatever somebody has the model write, what is kept has commands of the list, and no
// value in them.
func TestNoInjectionPassesTheScreen(t *testing.T) {
	fits := regexp.MustCompile(`^(?:vault status|vault kv (?:metadata get|patch|undelete)(?: secret/shop/db-credentials| [A-Za-z_-]+=\$\{VALUE_[A-Z_]+\})*|kubectl get(?: externalsecret| db-credentials| -n shop)*)$`)
	kept := 0
	for _, row := range injections(t) {
		t.Run(row.Name, func(t *testing.T) {
			for _, where := range []string{"data", "do", "run"} {
				b := setUp(t, scripted.Gullible)
				c, steps := lacking(), good
				switch where {
				case "data":
					c.Texts = []Text{{Label: "events", Content: row.Text}}
				case "do":
					steps = append([]step{{Do: row.Text}}, good...)
				default:
					steps = append([]step{{"Look.", "vault status " + row.Text}}, good...)
				}
				b.server.Reply(drafter(t, steps...))
				draft, err := b.Draft(t.Context(), c, []string{path}, runnable)
				if err != nil {
					continue
				}
				kept++
				for line := range strings.Lines(draft.Text) {
					if run, is := strings.CutPrefix(strings.TrimRight(line, "\n"), "       "); is && !fits.MatchString(run) {
						t.Errorf("%s: people are to run %q", where, run)
					}
				}
				if where == "run" {
					t.Errorf("a command goes on with %q", row.Text)
				}
			}
		})
	}
	if kept == 0 {
		t.Error("no draft is kept, so that this shows nothing")
	}
}
