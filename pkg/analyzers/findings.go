// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package analyzers

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"
	"unicode"

	"github.com/google/uuid"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/live"
)

// Labels by which findings can be selected.
const (
	AnalyzerLabel = "srenix.io/analyzer"
	ReasonLabel   = "srenix.io/reason"
	SeverityLabel = "srenix.io/severity"
	// SilencedLabel is "true" on findings that a Silence matches, and absent from others.
	SilencedLabel = "srenix.io/silenced"
)

// DetectedFindings and DetectedClusterFindings are what analyzers say, before
// proposals and the like are added to their status.
var (
	DetectedFindings        = live.NewDerived[*v1alpha1.Finding]("detectedfindings", nil)
	DetectedClusterFindings = live.NewDerived[*v1alpha1.ClusterFinding]("detectedclusterfindings", nil)
)

// identitySpace is the UUID namespace of everything that srenix computes.
var identitySpace = uuid.NewSHA1(uuid.NameSpaceDNS, []byte("srenix.io"))

// UID returns the UUIDv5 of an identity: the same on every replica and after every restart.
func UID(identity ...string) types.UID {
	return types.UID(uuid.NewSHA1(identitySpace, []byte(strings.Join(identity, "\x00"))).String())
}

const (
	// maximumNameLength is that of an object's name (RFC 1123 subdomain).
	maximumNameLength = 253
	hashLength        = 10
)

// Name makes an object's name out of readable parts and the hash of an
// identity: what makes it unique is the hash.
func Name(readable []string, identity ...string) string {
	sum := sha256.Sum256([]byte(strings.Join(identity, "\x00")))
	hash := hex.EncodeToString(sum[:])[:hashLength]
	text := dnsSafe(strings.Join(readable, "-"))
	if most := maximumNameLength - hashLength - 1; len(text) > most {
		text = text[:most]
	}
	text = strings.Trim(text, "-.")
	if text == "" {
		return "x-" + hash
	}
	return text + "-" + hash
}

// dnsSafe replaces what a name must not contain (RBAC names have colons); the
// result is ASCII.
func dnsSafe(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case 'a' <= r && r <= 'z', '0' <= r && r <= '9', r == '-':
			return r
		case 'A' <= r && r <= 'Z':
			return r - 'A' + 'a'
		}
		return '-'
	}, text)
}

// Kebab turns CamelCase into words joined by hyphens: "OrdinalZeroMissing" into "ordinal-zero-missing".
func Kebab(camel string) string { return separated(camel, '-', unicode.ToLower) }

func separated(camel string, separator rune, change func(rune) rune) string {
	var out strings.Builder
	runes := []rune(camel)
	for i, r := range runes {
		startsWord := unicode.IsUpper(r) && i > 0 &&
			(unicode.IsLower(runes[i-1]) || (i+1 < len(runes) && unicode.IsLower(runes[i+1])))
		if startsWord {
			out.WriteRune(separator)
		}
		out.WriteRune(change(r))
	}
	return out.String()
}

// metadata computes name, UID, labels and creation of a finding from what it says.
func metadata(spec *v1alpha1.FindingSpec) metav1.ObjectMeta {
	group := schema.FromAPIVersionAndKind(spec.Subject.APIVersion, spec.Subject.Kind).Group
	identity := []string{spec.Analyzer, spec.Reason, group, spec.Subject.Kind, spec.Subject.Namespace, spec.Subject.Name, spec.Discriminator}
	return metav1.ObjectMeta{
		Namespace:         spec.Subject.Namespace,
		Name:              Name([]string{Kebab(spec.Reason), spec.Subject.Name}, identity...),
		UID:               UID(append(identity, string(spec.Subject.UID))...),
		CreationTimestamp: spec.Since,
		Labels: map[string]string{
			AnalyzerLabel: spec.Analyzer, ReasonLabel: spec.Reason, SeverityLabel: string(spec.Severity),
		},
	}
}

// What a finding holds at most, whatever the objects are called that it is about:
// it is kept in memory, once for each version of it that watchers may still ask for.
const (
	maximumMessage  = 1024 // runes
	maximumRelated  = 10
	maximumCommands = 10
)

// bound cuts a finding to what one may hold.
func bound(spec *v1alpha1.FindingSpec) {
	if runes := []rune(spec.Message); len(runes) > maximumMessage {
		spec.Message = string(runes[:maximumMessage]) + "..."
	}
	spec.Related = spec.Related[:min(len(spec.Related), maximumRelated)]
	spec.Remediation.Commands = spec.Remediation.Commands[:min(len(spec.Remediation.Commands), maximumCommands)]
}

// NewFinding makes the finding that an analyzer says, about a namespaced subject.
func NewFinding(analyzer string, spec v1alpha1.FindingSpec) *v1alpha1.Finding {
	spec.Analyzer = analyzer
	wholeSeconds(&spec)
	bound(&spec)
	return &v1alpha1.Finding{ObjectMeta: metadata(&spec), Spec: spec}
}

// wholeSeconds is what the API has: what is served must equal what is computed.
func wholeSeconds(spec *v1alpha1.FindingSpec) {
	spec.Since = metav1.NewTime(spec.Since.Truncate(1e9).UTC())
}

// emit makes the finding of the kind that the subject's scope calls for. A
// finding about a Namespace lives in that namespace, where its people see it.
func emit(spec v1alpha1.FindingSpec) live.Output {
	wholeSeconds(&spec)
	bound(&spec)
	meta := metadata(&spec)
	if spec.Subject.Kind == "Namespace" && spec.Subject.APIVersion == "v1" {
		meta.Namespace = spec.Subject.Name
	}
	if meta.Namespace == "" {
		return live.Emit(DetectedClusterFindings, &v1alpha1.ClusterFinding{ObjectMeta: meta, Spec: spec})
	}
	return live.Emit(DetectedFindings, &v1alpha1.Finding{ObjectMeta: meta, Spec: spec})
}

// LiveRules turns an analyzer into rules of the live view.
func LiveRules(analyzer Analyzer) []live.Rule {
	var rules []live.Rule
	name := func(subject live.KindRef) string { return analyzer.Name + "/" + subject.String() }
	for _, rule := range analyzer.Derivations {
		rule.Name, rule.Group = name(rule.Subject), analyzer.Name
		rules = append(rules, rule)
	}
	for _, rule := range analyzer.Rules {
		rules = append(rules, live.Rule{
			Name: name(rule.Subject), Group: analyzer.Name,
			Subject: rule.Subject, Reads: rule.Reads,
			Outputs: []live.KindRef{DetectedFindings.Ref(), DetectedClusterFindings.Ref()},
			Evaluate: func(view *live.View, subject live.Key) ([]live.Output, error) {
				specs, err := rule.Analyze(view, subject)
				if err != nil {
					return nil, err
				}
				var outputs []live.Output
				for _, spec := range specs {
					spec.Analyzer = analyzer.Name
					outputs = append(outputs, emit(spec))
				}
				return outputs, nil
			},
		})
	}
	return rules
}

// UpperSnake turns CamelCase into the form of environment variables: "GitOpsDrift"
// into "GITOPS_DRIFT". A run of capitals, and Git with Ops, is one word.
func UpperSnake(camel string) string {
	return separated(strings.ReplaceAll(camel, "GitOps", "Gitops"), '_', unicode.ToUpper)
}
