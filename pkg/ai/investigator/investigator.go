// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Package investigator looks into a finding by rules, without any model: it reads
// what a person on call would read next, and says in a line what is behind the
// finding, or that what could be read is not enough. It reads with a closed set of
// tools, within bounds of reads and time, and writes nothing. It knows no Secrets.
// What it reads is masked whole, before it is cut.
package investigator

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"regexp"
	"strings"
	"time"

	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/ai/redaction"
	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Bounds of one investigation.
const (
	// MaximumReads is how many requests one makes at most.
	MaximumReads = 12
	// Timeout is how long one takes at most.
	Timeout = 20 * time.Second
)

// Causes of insufficient data. Those of root causes are beside what tells them.
const (
	// CauseGone means that an object which the finding is about is not there any more.
	CauseGone = "ObjectGone"
	// CauseNotReadable means that an object could not be read.
	CauseNotReadable = "NotReadable"
	// CauseLogNotReadable means that the log of a container could not be read.
	CauseLogNotReadable = "LogNotReadable"
	// CauseOutOfTime means that the time was over first.
	CauseOutOfTime = "OutOfTime"
	// CauseTooManyReads means that the reads were used up first.
	CauseTooManyReads = "TooManyReads"
	// CauseNotCovered means that no rule is for such findings.
	CauseNotCovered = "NotCovered"
	// CauseNoKnownSign means that all was read, and none of it has a sign that a rule knows.
	CauseNoKnownSign = "NoKnownSign"
)

// Logs reads logs of containers.
type Logs interface {
	// Tail returns the end of a container's log, or of the one before its last
	// restart, cut to some kilobytes.
	Tail(ctx context.Context, namespace, pod, container string, previous bool) (string, error)
}

// Hosts looks at hosts by their names, from where this program runs.
type Hosts interface {
	// Addresses resolves a name.
	Addresses(ctx context.Context, host string) ([]string, error)
	// Certificate tells why the certificate that a host serves at port 443 is not to
	// be trusted, or nothing.
	Certificate(ctx context.Context, host string) (problem string, err error)
}

// Options are what an Investigator is made of.
type Options struct {
	// Reader reads objects afresh.
	Reader client.Reader
	Logs   Logs
	// Hosts is nil where nobody wants hosts to be looked at.
	Hosts Hosts
	// Clock is the real one unless set.
	Clock clock.PassiveClock
}

// Investigator looks into findings. It keeps nothing between two of them, and may
// be used by several goroutines at a time.
type Investigator struct{ options Options }

// New makes one.
func New(options Options) *Investigator {
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	return &Investigator{options: options}
}

// Result is what an investigation found.
type Result struct {
	// Sufficient tells whether RootCause is one; else it says what is lacking.
	Sufficient bool
	// Cause is a CamelCase word for it.
	Cause string
	// RootCause is one line of at most MaximumRootCause bytes.
	RootCause string
	// Evidence is what was read, in that order.
	Evidence []opsv1alpha1.Evidence
	// Reads is how many requests were made.
	Reads int
}

// EvidenceHash is the SHA-256, in hexadecimal, of what was read, without when.
func (r *Result) EvidenceHash() string {
	timeless := make([][3]string, 0, len(r.Evidence))
	for _, evidence := range r.Evidence {
		timeless = append(timeless, [3]string{string(evidence.Tool), evidence.Source, evidence.Said})
	}
	return hash(timeless)
}

// FindingHash is the SHA-256, in hexadecimal, of what a finding says. What is added
// to its status is not part of it.
func FindingHash(finding *v1alpha1.Finding) string {
	return hash([]any{finding.UID, finding.Spec})
}

func hash(of any) string {
	content, err := json.Marshal(of)
	if err != nil {
		panic(err) // Nothing here is of a type that cannot be encoded.
	}
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:])
}

// verdict is a root cause; the zero value is none.
type verdict struct{ cause, text string }

// Investigate looks into a finding. It takes no longer than Timeout, and returns
// what it has when ctx ends.
func (i *Investigator) Investigate(ctx context.Context, finding *v1alpha1.Finding) Result {
	ctx, cancel := context.WithTimeout(ctx, Timeout)
	defer cancel()
	q := &inquiry{Options: i.options, ctx: ctx, finding: finding}
	found := q.look()
	result := Result{Sufficient: true, Cause: found.cause, RootCause: found.text, Evidence: q.evidence, Reads: q.reads}
	if found.cause == "" {
		result.Sufficient = false
		result.Cause = cmp.Or(q.lackCause, CauseNoKnownSign)
		result.RootCause = "Insufficient data: " + cmp.Or(strings.Join(q.lacks, "; "), "nothing that was read has a sign of a cause that srenix knows")
	}
	if !word.MatchString(result.Cause) { // somebody else's
		result.Cause = "Other"
	}
	result.RootCause = strings.TrimRight(line(redaction.Mask(result.RootCause), opsv1alpha1.MaximumRootCause-1), ".") + "."
	return result
}

// word is what a cause has to be to be stored.
var word = regexp.MustCompile(`^[A-Z][A-Za-z0-9]{0,63}$`)

// look goes by what the finding is about.
func (q *inquiry) look() verdict {
	subject := q.finding.Spec.Subject
	switch groupKind(subject) {
	case "Certificate.cert-manager.io", "CertificateRequest.cert-manager.io":
		return q.certificate(subject)
	case "ExternalSecret.external-secrets.io", "SecretStore.external-secrets.io", "PushSecret.external-secrets.io", "ClusterSecretStore.external-secrets.io":
		return q.externalSecret(subject)
	case "Pod":
		return q.pod(subject)
	case "Node":
		return q.node(subject)
	}
	for _, related := range q.finding.Spec.Related {
		if groupKind(related.ObjectReference) == "Pod" {
			return q.pod(related.ObjectReference)
		}
	}
	return q.other(subject)
}

// other goes by what controllers say of an object that has no pod in trouble.
func (q *inquiry) other(subject v1alpha1.ObjectReference) verdict {
	if groupKind(subject) == "Deployment.apps" {
		if found := q.replicaFailure(subject); found.cause != "" {
			return found
		}
	}
	for _, event := range q.events(subject) {
		return verdict{signIn(event.Message, "WarningEvent"), fmt.Sprintf("The newest warning about %s is %s: %s", name(subject), event.Reason, sentence(event.Message))}
	}
	if q.lackCause == "" {
		q.lack(CauseNotCovered, fmt.Sprintf("no rule looks further into what %s finds, and there is no warning about %s", q.finding.Spec.Analyzer, name(subject)))
	}
	return verdict{}
}
