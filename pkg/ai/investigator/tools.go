// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package investigator

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/ai/redaction"
	"github.com/srenix/srenix/pkg/analyzers/inputs"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// inquiry is one investigation. Whatever it reads, it reads through the tools in
// this file, which count, keep what was said, and note what is lacking.
type inquiry struct {
	Options
	ctx      context.Context
	finding  *v1alpha1.Finding
	evidence []opsv1alpha1.Evidence
	reads    int
	// lacks say what could not be read, and lackCause is a word for the first.
	lacks     []string
	lackCause string
}

// mostListed is how many objects a tool reads at once.
const mostListed = 200

// read makes one request, if there are reads and time left.
func (q *inquiry) read(what string, request func(context.Context) error) error {
	if q.reads >= MaximumReads {
		q.lack(CauseTooManyReads, fmt.Sprintf("%s was not read, because %d reads are the most", what, MaximumReads))
		return errNoReads
	}
	q.reads++
	err := request(q.ctx)
	if q.ctx.Err() != nil {
		q.lack(CauseOutOfTime, fmt.Sprintf("%s was not read within %s", what, Timeout))
		return q.ctx.Err()
	}
	return err
}

var errNoReads = errors.New("no reads are left")

// lack notes what is missing to tell more.
func (q *inquiry) lack(cause, what string) {
	if q.lackCause == "" {
		q.lackCause = cause
	}
	if !slices.Contains(q.lacks, what) {
		q.lacks = append(q.lacks, what)
	}
}

// note keeps what a tool was told. A log keeps its lines, and its end.
func (q *inquiry) note(tool opsv1alpha1.InvestigationTool, source, said string) {
	if len(q.evidence) >= opsv1alpha1.MaximumEvidence {
		return
	}
	said = redaction.Mask(said)
	if tool == opsv1alpha1.ToolLog {
		said = ending(said, opsv1alpha1.MaximumEvidenceText)
	} else {
		said = line(said, opsv1alpha1.MaximumEvidenceText)
	}
	q.evidence = append(q.evidence, opsv1alpha1.Evidence{
		Tool: tool, Source: source, Said: said, At: metav1.NewTime(q.Clock.Now().UTC().Truncate(time.Second)),
	})
}

// failed notes why something could not be read. What is not there is an answer.
func (q *inquiry) failed(tool opsv1alpha1.InvestigationTool, source string, err error) {
	switch {
	case notThere(err):
		q.note(tool, source, "does not exist")
	case errors.Is(err, errNoReads) || q.ctx.Err() != nil:
		// read has noted that.
	default:
		cause := CauseNotReadable
		if tool == opsv1alpha1.ToolLog {
			cause = CauseLogNotReadable
		}
		why := string(apierrors.ReasonForError(err))
		if why == "" {
			why = sentence(redaction.Mask(err.Error()))
		}
		q.note(tool, source, "could not be read: "+why)
		q.lack(cause, fmt.Sprintf("%s could not be read (%s)", describe(tool, source), why))
	}
}

func describe(tool opsv1alpha1.InvestigationTool, source string) string {
	switch tool {
	case opsv1alpha1.ToolEvents:
		return "what Events say of " + source
	case opsv1alpha1.ToolLog:
		return "the log of " + source
	case opsv1alpha1.ToolObject, opsv1alpha1.ToolHost:
	}
	return source
}

// presence is whether an object is there.
type presence int

const (
	unread presence = iota // nobody knows
	absent
	present
)

// object reads an object of a type that is known. It notes nothing of one that is
// there: what matters is for the caller to say.
func (q *inquiry) object(ref v1alpha1.ObjectReference, into client.Object) presence {
	err := q.read(name(ref), func(ctx context.Context) error {
		return q.Reader.Get(ctx, client.ObjectKey{Namespace: ref.Namespace, Name: ref.Name}, into)
	})
	if err == nil && ref.UID != "" && into.GetUID() != ref.UID {
		err = apierrors.NewNotFound(schema.GroupResource{}, ref.Name) // another incarnation
	}
	if err == nil {
		return present
	}
	q.failed(opsv1alpha1.ToolObject, name(ref), err)
	if notThere(err) {
		return absent
	}
	return unread
}

func notThere(err error) bool { return apierrors.IsNotFound(err) || meta.IsNoMatchError(err) }

// hidden are fields of custom resources that may hold secrets themselves: providers
// of stores, templates of Secrets, and what challenges prove.
var hidden = map[string][][]string{
	"SecretStore":        {{"spec", "provider"}},
	"ClusterSecretStore": {{"spec", "provider"}},
	"ExternalSecret":     {{"spec", "target", "template"}},
	"PushSecret":         {{"spec", "template"}},
	"Issuer":             {{"spec"}},
	"ClusterIssuer":      {{"spec"}},
	"CertificateRequest": {{"spec", "request"}, {"status", "certificate"}, {"status", "ca"}},
	"Order":              {{"spec", "request"}, {"status", "certificate"}},
	"Challenge":          {{"spec", "token"}, {"spec", "key"}, {"spec", "solver"}},
}

func hide(object *unstructured.Unstructured) {
	for _, field := range hidden[object.GetKind()] {
		unstructured.RemoveNestedField(object.Object, field...)
	}
}

// custom reads an object of another project. There is no other way to one, so that
// only kinds that rules name are ever read.
func (q *inquiry) custom(ref v1alpha1.ObjectReference) (*unstructured.Unstructured, presence) {
	object := &unstructured.Unstructured{}
	object.SetAPIVersion(ref.APIVersion)
	object.SetKind(ref.Kind)
	found := q.object(ref, object)
	hide(object)
	return object, found
}

// subject tells whether what a finding is about could be read, and notes it if not.
func (q *inquiry) subject(ref v1alpha1.ObjectReference, is presence) bool {
	if is == absent {
		q.lack(CauseGone, fmt.Sprintf("%s is not there any more", name(ref)))
	}
	return is == present
}

// controlled returns the newest objects of a kind that an object controls, the
// newest first.
func (q *inquiry) controlled(apiVersion, kind string, by client.Object) []*unstructured.Unstructured {
	list := &unstructured.UnstructuredList{}
	list.SetAPIVersion(apiVersion)
	list.SetKind(kind + "List")
	what := fmt.Sprintf("%ss of %s/%s", kind, by.GetObjectKind().GroupVersionKind().Kind, by.GetName())
	err := q.read(what, func(ctx context.Context) error {
		return q.Reader.List(ctx, list, client.InNamespace(by.GetNamespace()), client.Limit(mostListed))
	})
	if err != nil {
		q.failed(opsv1alpha1.ToolObject, what, err)
		return nil
	}
	var all []*unstructured.Unstructured
	for i := range list.Items {
		if metav1.IsControlledBy(&list.Items[i], by) {
			hide(&list.Items[i])
			all = append(all, &list.Items[i])
		}
	}
	slices.SortFunc(all, func(a, b *unstructured.Unstructured) int {
		if order := b.GetCreationTimestamp().Compare(a.GetCreationTimestamp().Time); order != 0 {
			return order
		}
		return strings.Compare(b.GetName(), a.GetName())
	})
	return all
}

// repeating are reasons of events that say no more than that it goes on.
var repeating = []string{"BackOff"}

// mostEvents is how many events are kept as evidence.
const mostEvents = 4

// events returns the warnings about an object, the newest first, one of each reason
// and message. Those about one that is in no namespace are in that called default
// (client-go, tools/record), and kubelets give them the name of their node as its UID.
func (q *inquiry) events(ref v1alpha1.ObjectReference) []corev1.Event {
	list := &corev1.EventList{}
	selector := fields.Set{"involvedObject.kind": ref.Kind, "involvedObject.name": ref.Name}
	if ref.Namespace != "" && ref.UID != "" {
		selector["involvedObject.uid"] = string(ref.UID)
	}
	source := name(ref)
	err := q.read("what Events say of "+source, func(ctx context.Context) error {
		return q.Reader.List(ctx, list, client.InNamespace(cmp.Or(ref.Namespace, metav1.NamespaceDefault)), client.MatchingFieldsSelector{Selector: selector.AsSelector()}, client.Limit(mostListed))
	})
	if err != nil {
		q.failed(opsv1alpha1.ToolEvents, source, err)
		return nil
	}
	events := slices.DeleteFunc(list.Items, func(event corev1.Event) bool {
		return event.Type != corev1.EventTypeWarning || slices.Contains(repeating, event.Reason)
	})
	slices.SortFunc(events, func(a, b corev1.Event) int {
		if order := inputs.LastSeen(&b).Compare(inputs.LastSeen(&a)); order != 0 {
			return order
		}
		return strings.Compare(a.Name, b.Name)
	})
	var said []string
	distinct := events[:0]
	for _, event := range events {
		event.Message = line(redaction.Mask(event.Message), opsv1alpha1.MaximumEvidenceText)
		text := event.Reason + ": " + sentence(event.Message)
		if !slices.Contains(said, text) {
			said = append(said, text)
			distinct = append(distinct, event)
		}
	}
	if len(said) == 0 {
		q.note(opsv1alpha1.ToolEvents, source, "no warnings")
		return nil
	}
	q.note(opsv1alpha1.ToolEvents, source, strings.Join(said[:min(len(said), mostEvents)], "; "))
	return distinct
}

// log returns the end of a container's log in lines, masked.
func (q *inquiry) log(pod *corev1.Pod, container string, previous bool) []string {
	source := fmt.Sprintf("Pod/%s container %s", pod.Name, container)
	if previous {
		source += " before its last restart"
	}
	var text string
	err := q.read("the log of "+source, func(ctx context.Context) (err error) {
		text, err = q.Logs.Tail(ctx, pod.Namespace, pod.Name, container, previous)
		return err
	})
	switch {
	case apierrors.IsNotFound(err) || apierrors.IsBadRequest(err): // as kubelets answer for a log that is not there
		q.note(opsv1alpha1.ToolLog, source, "does not exist")
		q.lack(CauseLogNotReadable, fmt.Sprintf("there is no log of %s", source))
		return nil
	case err != nil:
		q.failed(opsv1alpha1.ToolLog, source, err)
		return nil
	}
	all := lines(redaction.Mask(text))
	if len(all) == 0 {
		q.note(opsv1alpha1.ToolLog, source, "is empty")
		q.lack(CauseNoKnownSign, fmt.Sprintf("the log of %s is empty", source))
		return nil
	}
	q.note(opsv1alpha1.ToolLog, source, strings.Join(all[max(0, len(all)-mostLines):], "\n"))
	return all
}

// mostLines is how many lines of a log are kept as evidence.
const mostLines = 8

// groupKind is the kind with its group, as "Certificate.cert-manager.io", or "Pod".
func groupKind(ref v1alpha1.ObjectReference) string {
	return schema.FromAPIVersionAndKind(ref.APIVersion, ref.Kind).GroupKind().String()
}

// name is how evidence calls an object.
func name(ref v1alpha1.ObjectReference) string { return ref.Kind + "/" + ref.Name }

// reference names an object that was read.
func reference(object *unstructured.Unstructured) v1alpha1.ObjectReference {
	return v1alpha1.ObjectReference{
		APIVersion: object.GetAPIVersion(), Kind: object.GetKind(), Namespace: object.GetNamespace(), Name: object.GetName(), UID: object.GetUID(),
	}
}

// sentence cuts what somebody else wrote to the length of one.
func sentence(text string) string { return inputs.Sentence(text) }

// quote marks where somebody else's words begin and end.
func quote(text string) string {
	return `"` + strings.ReplaceAll(sentence(text), `"`, "'") + `"`
}

// line makes one line of a text, of at most so many bytes, without what a terminal
// would take for a command.
func line(text string, most int) string {
	return cut(strings.Join(strings.Fields(plain(text)), " "), most)
}

// lines returns the lines of a text that are not empty.
func lines(text string) []string {
	var all []string
	for each := range strings.Lines(text) {
		if each = strings.TrimRight(plain(each), " \t\r\n"); strings.TrimSpace(each) != "" {
			all = append(all, each)
		}
	}
	return all
}

// ending keeps whole lines at the end of a text, of at most so many bytes together.
func ending(text string, most int) string {
	all := lines(text)
	var kept []string
	for i := len(all) - 1; i >= 0; i-- {
		each := cut(all[i], most/2)
		if most -= len(each) + 1; most < 0 {
			break
		}
		kept = append(kept, each)
	}
	slices.Reverse(kept)
	return strings.Join(kept, "\n")
}

// cut shortens a text between runes.
func cut(text string, most int) string {
	const more = "..."
	if len(text) <= most {
		return text
	}
	end := max(0, most-len(more))
	for end > 0 && !utf8.RuneStart(text[end]) {
		end--
	}
	return text[:end] + more
}

// plain is a text in valid UTF-8 without control and format characters.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case unicode.IsSpace(r):
			return ' '
		case unicode.IsControl(r), unicode.Is(unicode.Cf, r):
			return -1
		}
		return r
	}, text)
}
