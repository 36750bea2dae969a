// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// NarratePrompt is the version of the prompt of Narrate.
const NarratePrompt = "narrate/1"

const (
	fewestSentences = 2
	mostSentences   = 4
	// mostCharacters is how many Unicode code points a narrative has at most.
	mostCharacters = 500
	mostRelated    = 5
)

// Narrative is what a model says about a finding.
type Narrative struct {
	// Text has 2 to 4 sentences and at most 500 code points, in one line.
	Text string
	// Related are at most 5 objects of the finding to look at, in the model's order.
	Related []srenix.ObjectReference
	// Record of the call, also with an error.
	Record model.Record
}

// Narrate asks what happened, why it matters and what the likely cause is. An error
// means that there is no narrative.
func (r *Reasoner) Narrate(ctx context.Context, c Case) (Narrative, error) {
	redactor, err := r.redactor(&c)
	if err != nil {
		return Narrative{}, err
	}
	known := facts(&c, redactor)
	var narrative Narrative
	answer, err := r.asker.Ask(ctx, model.Request{
		PromptVersion: NarratePrompt,
		System: "You explain trouble in a Kubernetes cluster to the person on call. Answer with one JSON object and nothing else: {\"narrative\": TEXT, \"related\": [NAME, ...]}. TEXT has 2 to 4 sentences and at most 400 characters in plain prose: what happened, why it matters, the likely cause. If the cause is not clear, say so. It has no links, commands, lists or code. The NAMEs are at most 5 under objects that are worth looking at. " +
			aboutData,
		User: known + data(&c, redactor, func(text string) string { return text }),
		Check: func(answer string) (err error) {
			narrative.Text, narrative.Related, err = readNarrative(answer, known, &c, redactor)
			return err
		},
	})
	if err != nil {
		return Narrative{Record: answer.Record}, err
	}
	narrative.Record = answer.Record
	return narrative, nil
}

// readNarrative reads an answer. Objects that were not offered are left out.
func readNarrative(answer, facts string, c *Case, redactor *redaction.Redactor) (string, []srenix.ObjectReference, error) {
	objects := slices.DeleteFunc(objectsIn(answer), func(object map[string]any) bool { return object["narrative"] == nil })
	if len(objects) != 1 {
		return "", nil, errors.New("it is not one object with a narrative")
	}
	text, is := objects[0]["narrative"].(string)
	if !is {
		return "", nil, fmt.Errorf("the narrative: %w", model.ErrWrongType)
	}
	if strings.ContainsFunc(text, hidden) {
		return "", nil, errors.New("the narrative holds characters that nobody sees")
	}
	if redactor.Foreign(text) {
		return "", nil, errors.New("the narrative makes up a pseudonym")
	}
	text = redactor.Redact(text) // what the model was not told does not come from the cluster
	if err := acceptable(text, facts, redactor); err != nil {
		return "", nil, err
	}
	text, err := shorten(redactor.Restore(strings.Join(strings.Fields(text), " ")))
	if err != nil {
		return "", nil, err
	}
	named, _ := objects[0]["related"].([]any)
	return text, related(named, c, redactor), nil
}

// related are the objects of a case that are named, each once.
func related(named []any, c *Case, redactor *redaction.Redactor) []srenix.ObjectReference {
	var found []srenix.ObjectReference
	for _, given := range named {
		name, _ := given.(string)
		for _, object := range c.objects() {
			if redactor.Redact(object.reference.Name) == name && name != "" && !slices.Contains(found, object.reference) && len(found) < mostRelated {
				found = append(found, object.reference)
			}
		}
	}
	return found
}

var (
	links = regexp.MustCompile(`(?i)[a-z][a-z0-9+.-]*://|www\.|mailto:|\]\s*\(|<\s*a\s`)
	// commands are what a shell would run, and how such a thing begins.
	commands = regexp.MustCompile("(?i)[`|<>\\\\]|&&|\\$[({a-z]|\\b(?:kubectl|helm|curl|wget|sudo|kubeadm|crictl|nsenter|chmod|psql|mysql|redis-cli)\\b|\\b(?:rm|sh|bash|ssh|docker|git|exec|oc)\\s+(?:-|run\\b|push\\b|pull\\b|adm\\b)")
	// hosts are words with dots that end like the name of a host.
	hosts = regexp.MustCompile(`(?i)[a-z0-9_-]+(?:\.[a-z0-9_-]+)*\.[a-z]{2,24}\b`)
)

// acceptable tells what is wrong with a text for people before names are put back.
func acceptable(text, facts string, redactor *redaction.Redactor) error {
	switch {
	case links.MatchString(text):
		return errors.New("it holds a link")
	case commands.MatchString(text):
		return errors.New("it holds a command")
	case slices.ContainsFunc(hosts.FindAllString(text, -1), func(host string) bool { return !strings.Contains(facts, host) && !inside(host, redactor) }):
		return errors.New("it holds a host that the facts do not name")
	}
	return nil
}

// inside tells whether a host is made of pseudonyms and of what stands in the names of
// Services (dns.md of the Kubernetes DNS specification).
func inside(host string, redactor *redaction.Redactor) bool {
	for label := range strings.SplitSeq(host, ".") {
		if redactor.Restore(label) == label && !slices.Contains([]string{"svc", "pod", "cluster", "local"}, label) {
			return false
		}
	}
	return true
}

// hidden are control and format characters but for spaces, and private ones.
func hidden(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Co) && r != '\n' && r != '\t'
}

// sentenceEnd is where a sentence ends.
var sentenceEnd = regexp.MustCompile(`[.!?]["')\]]*(?:\s|$)|[。！？]`)

// shorten keeps as many whole sentences as a narrative may have.
func shorten(text string) (string, error) {
	count, end := 0, 0
	for _, place := range sentenceEnd.FindAllStringIndex(text, mostSentences) {
		sentences := strings.TrimSpace(text[:place[1]])
		if utf8.RuneCountInString(sentences) > mostCharacters {
			break
		}
		count, end = count+1, len(sentences)
	}
	if count < fewestSentences {
		return "", fmt.Errorf("the narrative has not %d sentences within %d characters", fewestSentences, mostCharacters)
	}
	return text[:end], nil
}
