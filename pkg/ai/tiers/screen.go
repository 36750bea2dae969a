// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package tiers

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/srenix/srenix/pkg/ai/model"
	"github.com/srenix/srenix/pkg/ai/redaction"
)

// screen lets a draft through that holds names which the model was told, ordinary words,
// commands of a list, and placeholders. Redaction takes out what it knows for a secret;
// this is the inverse: what it does not know for harmless refuses the whole draft.
// It works before names are put back in: those are in the finding.
type screen struct {
	redactor *redaction.Redactor
	known    string
	commands []Command
	// arguments are words that may follow a command.
	arguments sets.Set[string]
	// told are words that texts and keys may be. They come from the code of srenix and
	// from the message of the finding, and not from what others wrote.
	told sets.Set[string]
}

const (
	// mostOfStep is how many Unicode code points a step says at most.
	mostOfStep = 400
	// around are marks that stand next to words.
	around = `.,;:!?()"'-–—`
)

var (
	placeholders = regexp.MustCompile(`\$\{VALUE_[A-Z0-9_]{1,60}\}`)
	placeholder  = regexp.MustCompile(`^` + placeholders.String() + `$`)
	// assignment gives a key, or an option, a value that people fill in. They may fill in
	// the key, too.
	assignment = regexp.MustCompile(`^(-?[A-Za-z_][A-Za-z0-9_.-]{0,62}|` + placeholders.String() + `)=` + placeholders.String() + `$`)
	// small are numbers that count something, and versions.
	small = regexp.MustCompile(`^v?[0-9]{1,4}$`)
	// abbreviation is one as e.g. is, without its last period.
	abbreviation = regexp.MustCompile(`^[A-Za-z](?:\.[A-Za-z])+$`)
	// joints hold the parts of a word together.
	joints = regexp.MustCompile(`['’/-]`)
)

func newScreen(c *Case, redactor *redaction.Redactor, known string, paths []string, commands []Command) *screen {
	s := &screen{redactor: redactor, known: known, commands: commands, arguments: sets.New("-n"), told: sets.New[string]()}
	for _, object := range c.objects() {
		s.arguments.Insert(strings.ToLower(fact(object.reference.Kind)), redactor.Redact(object.reference.Name), redactor.Redact(object.reference.Namespace))
	}
	for _, path := range paths {
		s.arguments.Insert(redactor.Redact(path))
	}
	s.arguments.Delete("")
	for _, word := range strings.Fields(known + " " + redactor.Clean(c.Finding.Message)) {
		word = strings.Trim(word, around)
		before, _, assigns := strings.Cut(word, "=")
		switch {
		case strings.ContainsAny(word, "[]"): // of a mask
		case redactor.Restore(word) != word && !s.arguments.Has(word): // of a host, say, that somebody named a key after
		case assigns:
			s.told.Insert("-" + before) // an option, whose dash was trimmed
		default:
			s.told.Insert(word)
		}
	}
	s.told.Delete("")
	return s
}

// screened is an error that throws a draft away.
func screened(why string) error { return fmt.Errorf("%w: %s", model.ErrScreened, why) }

// harmless refuses what looks like a secret, and names that the model makes up.
func (s *screen) harmless(text string) error {
	switch {
	case strings.ContainsFunc(text, hidden):
		return screened("it holds characters that nobody sees")
	case s.redactor.Foreign(text):
		return screened("it makes up a pseudonym")
	case s.redactor.Secret(placeholders.ReplaceAllString(text, "[secret]")):
		return screened("it holds what looks like a secret")
	}
	return nil
}

// prose returns what a step says in one line.
func (s *screen) prose(text string) (string, error) {
	if err := s.harmless(text); err != nil {
		return "", err
	}
	words := strings.Fields(text)
	for _, word := range words {
		if !s.plain(strings.Trim(word, around)) {
			return "", screened("it holds a word that is neither an ordinary one nor a name that it was told")
		}
	}
	text = strings.Join(words, " ")
	if utf8.RuneCountInString(text) > mostOfStep {
		return "", screened(fmt.Sprintf("a step says more than %d characters", mostOfStep))
	}
	if err := acceptable(placeholders.ReplaceAllString(text, ""), s.known, s.redactor); err != nil {
		return "", screened(err.Error())
	}
	return text, nil
}

// plain tells whether a word of a text can be no value.
func (s *screen) plain(word string) bool {
	if word == "" || s.told.Has(word) || placeholder.MatchString(word) || small.MatchString(word) || abbreviation.MatchString(word) {
		return true
	}
	return !slices.ContainsFunc(joints.Split(word, -1), func(part string) bool { return !redaction.Word(part) })
}

// command returns a command in one line.
func (s *screen) command(text string) (string, error) {
	if err := s.harmless(text); err != nil {
		return "", err
	}
	words := strings.Fields(text)
	for _, command := range s.commands {
		begins := strings.Fields(command.Run)
		if len(words) < len(begins) || !slices.Equal(words[:len(begins)], begins) {
			continue
		}
		for _, word := range words[len(begins):] {
			if !s.argument(word, command.Writes) {
				return "", screened("a command has a word that is neither a name that it was told nor a placeholder")
			}
		}
		return strings.Join(words, " "), nil
	}
	return "", screened("it has people run what is not on the list")
}

func (s *screen) argument(word string, writes bool) bool {
	if s.arguments.Has(word) || placeholder.MatchString(word) {
		return true
	}
	given := assignment.FindStringSubmatch(word)
	return writes && given != nil && (s.told.Has(given[1]) || placeholder.MatchString(given[1]))
}
