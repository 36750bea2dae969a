// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package live

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// health keeps what is wrong with a rule: which subjects are in trouble and why.
// What is wrong with its inputs is asked of them.
type health struct {
	// turn serializes what is written of the rule; mu is not held then, as subscribers ask.
	turn sync.Mutex

	mu sync.Mutex
	// troubles holds, by reason, the subjects whose last evaluation went wrong, and
	// what each says.
	troubles map[string]map[Key]string
	// example is the subject that the status quotes, by reason: the first by name, so
	// that all who see the same say the same.
	example map[string]Key
	// slow is the subject that has been evaluated for too long, if there is one.
	slow *Key
	last *Status
}

// troubleOrder is which trouble a status names when there are several.
var troubleOrder = [...]string{ReasonPanicked, ReasonUndeclaredRead, ReasonFailed, ReasonConflict}

// setTrouble notes how the last evaluation of a subject went; reason and message
// are empty if it went well.
func (r *rule) setTrouble(n *node, subject Key, reason string, err error) {
	before := ""
	if n != nil {
		before = n.trouble
		n.trouble = reason
	}
	if before == "" && reason == "" {
		return
	}
	h := &r.health
	h.mu.Lock()
	if before != "" && before != reason {
		h.clear(before, subject)
	}
	if reason != "" {
		h.note(reason, subject, err.Error())
	}
	h.mu.Unlock()
	r.refreshStatus()
}

func (h *health) note(reason string, subject Key, message string) {
	if h.troubles == nil {
		h.troubles = map[string]map[Key]string{}
		h.example = map[string]Key{}
	}
	if h.troubles[reason] == nil {
		h.troubles[reason] = map[Key]string{}
	}
	h.troubles[reason][subject] = message
	if first, ok := h.example[reason]; !ok || byName(subject, first) < 0 {
		h.example[reason] = subject
	}
}

func (h *health) clear(reason string, subject Key) {
	delete(h.troubles[reason], subject)
	if h.example[reason] != subject {
		return
	}
	delete(h.example, reason)
	if others := h.troubles[reason]; len(others) > 0 {
		h.example[reason] = slices.MinFunc(slices.Collect(maps.Keys(others)), byName)
	}
}

func byName(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
}

// refreshStatus writes the rule's Status if it is not what it was.
func (r *rule) refreshStatus() {
	r.engine.changing.begin()
	defer r.engine.changing.end()
	r.health.turn.Lock()
	defer r.health.turn.Unlock()
	status := r.newStatus()
	if status == nil {
		return
	}
	c := r.engine.statuses
	c.writing.Lock()
	defer c.writing.Unlock()
	key := keyOf(status)
	old, _ := c.get(key)
	c.overwrite(key, old, status)
}

// newStatus is the rule's Status, or nil if it is what it was.
func (r *rule) newStatus() *Status {
	h := &r.health
	h.mu.Lock()
	defer h.mu.Unlock()
	status := &Status{
		ObjectMeta: metav1.ObjectMeta{Name: r.statusName},
		Rule:       r.Name,
		Group:      r.Group,
		State:      Healthy,
		Since:      metav1.NewTime(r.engine.now()),
	}
	if r.inputTrouble(status) {
		status.State = Degraded
	} else if h.slow != nil {
		status.State, status.Reason = Degraded, ReasonSlow
		status.Message = fmt.Sprintf("evaluating %s has taken more than %s; what waits behind it is as of an earlier time", subjectName(*h.slow), slow)
	} else if reason, message := h.subjectTrouble(); reason != "" {
		status.State, status.Reason, status.Message = Degraded, reason, message
	}
	if h.last != nil && h.last.State == status.State && h.last.Reason == status.Reason {
		if h.last.Message == status.Message && apiequality.Semantic.DeepEqual(h.last.Missing, status.Missing) && slices.Equal(h.last.Unread, status.Unread) {
			return nil
		}
		status.Since = h.last.Since
	}
	h.last = status
	return status
}

// Unreliable are the names of the rules whose silence says nothing just now: those that
// are Degraded, or have no Status yet, and those that read what such a rule writes.
func (e *Engine) Unreliable() (names []string) {
	e.mu.RLock()
	defer e.mu.RUnlock()
	known := map[*rule]bool{}
	var unreliable func(r *rule) bool
	unreliable = func(r *rule) bool {
		if is, asked := known[r]; asked {
			return is
		}
		is := r.degraded()
		for _, read := range r.reads {
			is = is || slices.ContainsFunc(read.producers, unreliable)
		}
		known[r] = is
		return is
	}
	for _, r := range e.rules {
		if unreliable(r) {
			names = append(names, r.Name)
		}
	}
	return names
}

func (r *rule) degraded() bool {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	return r.health.last == nil || r.health.last.State == Degraded
}

// subjectTrouble describes the gravest trouble of any subject.
func (h *health) subjectTrouble() (reason, message string) {
	for _, reason := range troubleOrder {
		shown, ok := h.example[reason]
		if !ok {
			continue
		}
		message := "evaluating " + subjectName(shown) + ": " + h.troubles[reason][shown]
		if len(h.troubles[reason]) > 1 {
			message += " (and other subjects)"
		}
		return reason, message
	}
	return "", ""
}

func subjectName(subject Key) string {
	if subject.Namespace == "" {
		return subject.Name
	}
	return subject.String()
}

// slow is how long one evaluation may take before the rule is degraded.
const slow = 30 * time.Second

// watchDuration notes whether some evaluation takes too long. Whoever ends one
// looks once more if some rule is noted, and so does whoever has noted it: so
// that no evaluation which has ended stays noted.
func (r *rule) watchDuration() {
	for r.noteSlow(r.queue.since(r.engine.options.Clock.Now().Add(-slow))) {
		r.refreshStatus()
		r.engine.advance()
	}
}

// noteSlow keeps one of the subjects that take too long, and tells whether that
// is another one than before, or none any more.
func (r *rule) noteSlow(late []Key) (changed bool) {
	h := &r.health
	h.mu.Lock()
	defer h.mu.Unlock()
	was := h.slow
	if was == nil || !slices.Contains(late, *was) { // one that is named stays
		h.slow = nil
		if len(late) > 0 {
			first := slices.MinFunc(late, byName)
			h.slow = &first
		}
	}
	r.slowFast.Store(h.slow != nil)
	return was != h.slow
}

func (r *rule) isSlow() bool {
	r.health.mu.Lock()
	defer r.health.mu.Unlock()
	return r.health.slow != nil
}

// inputTrouble describes the first input of the rule that is not known, names the
// others, and tells what is to be granted, or read, for all. It tells whether there is any.
func (r *rule) inputTrouble(status *Status) bool {
	var others []string
	for _, c := range r.inputs {
		condition := c.input.current()
		if condition.sound(c.kind) {
			continue
		}
		var notRead *NotReadError
		switch {
		case condition.state == stateForbidden:
			if wanted := condition.missing(c.kind); !slices.ContainsFunc(status.Missing, func(r rbacv1.PolicyRule) bool { return apiequality.Semantic.DeepEqual(r, wanted) }) {
				status.Missing = append(status.Missing, wanted)
			}
		case condition.state == stateNotRead && errors.As(condition.err, &notRead):
			for _, wanted := range notRead.Wanted {
				if !slices.Contains(status.Unread, wanted) {
					status.Unread = append(status.Unread, wanted)
				}
			}
		}
		if status.Reason == "" {
			status.Reason, status.Message = condition.state.reason(), condition.describe(c.kind)
			continue
		}
		others = append(others, c.kind.name)
	}
	if len(others) > 0 {
		status.Message += "; also unknown: " + strings.Join(others, ", ")
	}
	return status.Reason != ""
}

// missing is what is to be granted for an input that is forbidden to be known.
func (c condition) missing(k *kind) rbacv1.PolicyRule {
	var undecided *undecidedError
	if errors.As(c.err, &undecided) {
		return readRule(definitions.kind)
	}
	return readRule(k)
}

// readRule is what reading an input takes.
func readRule(k *kind) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{k.resource.Group}, Resources: []string{k.resource.Resource}, Verbs: []string{"list", "watch"}}
}

// describe says what is wrong with an input and what would help. It says nothing
// of what only this process knows, as what it has read before, and since when.
func (c condition) describe(k *kind) string {
	var unfit *unfitError
	var undecided *undecidedError
	resource := k.resource.GroupResource()
	switch {
	case errors.As(c.err, &undecided):
		return fmt.Sprintf("%s cannot be judged: %v", k.name, undecided)
	case errors.As(c.err, &unfit):
		return fmt.Sprintf("%s has an object that cannot be read: %v", k.name, unfit)
	case c.state == stateForbidden:
		return fmt.Sprintf("%s may not be read (%s); the missing rule is {apiGroups: [%q], resources: [%q], verbs: [list, watch]}",
			k.name, causeText(c.err), resource.Group, resource.Resource)
	case c.state == stateNotInstalled:
		return fmt.Sprintf("%s is not served by the cluster in version %q: install it, or switch off what needs it", k.name, k.resource.Version)
	case c.state == stateNotRead:
		return fmt.Sprintf("%s is not read: %s", k.name, causeText(c.err))
	case c.state == stateFailing:
		return fmt.Sprintf("%s cannot be read and is retried: %s", k.name, causeText(c.err))
	}
	return k.name + " is being read for the first time"
}

// causeText is an error's text without the port of this end of a connection, which
// is another each time.
func causeText(err error) string {
	if err == nil {
		return "no cause given"
	}
	text := err.Error()
	var failed *net.OpError
	if errors.As(err, &failed) {
		plain := *failed
		plain.Source = nil
		text = strings.ReplaceAll(text, failed.Error(), plain.Error())
	}
	return text
}
