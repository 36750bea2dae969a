// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const (
	// Issuer is the claim iss of every token.
	Issuer = "srenix.io"
	// MinimumLifetime is the shortest time for which a token is valid.
	MinimumLifetime = time.Minute
	// MaximumLifetime is the longest, for approvals that travel through Git.
	MaximumLifetime = 24 * time.Hour
	// Skew is how far the clocks of signer and verifier may be apart.
	Skew = 30 * time.Second
	// MaximumSize bounds a token in bytes. It is the maxLength of spec.token of an Approval.
	MaximumSize = 8192
	// MaximumGroups bounds the groups of a caller that a token carries.
	MaximumGroups = 64

	maximumSubjectLength = 1024
	maximumGroupLength   = 512
	// maximumNameLength is that of object names and of label values with a prefix (RFC 1123 subdomain).
	maximumNameLength = 253
	maximumUIDLength  = 128
)

var (
	jtiPattern    = regexp.MustCompile(`^[0-9a-f]{32}$`)
	digestPattern = regexp.MustCompile(`^sha256:[0-9a-f]{64}$`)
)

// Binding is the private claim "srenix.io": exactly what the token says yes or no to.
type Binding struct {
	Namespace   string    `json:"namespace"`
	Proposal    string    `json:"proposal"`
	ProposalUID types.UID `json:"proposalUID"`
	Digest      string    `json:"digest"`
	// Decision is what the token says: a yes is no no, whoever carries it.
	Decision   v1alpha1.Decision   `json:"decision"`
	Tier       v1alpha1.Tier       `json:"tier"`
	ActionKind v1alpha1.ActionKind `json:"actionKind"`
	// ReasonDigest is that of the approver's own words, and empty if there are none,
	// so that nobody puts others into their mouth; see ReasonDigest.
	ReasonDigest string `json:"reasonDigest,omitempty"`
	// TargetUID is empty only for a Runbook, which acts on nothing.
	TargetUID types.UID `json:"targetUID,omitempty"`
	// PlanDigest is set for steps of a plan.
	PlanDigest      string `json:"planDigest,omitempty"`
	DiagnosticClass string `json:"diagnosticClass"`
	// Groups are the caller's when the token was minted, so that the cluster can
	// be asked later what the approver may do. At most MaximumGroups.
	Groups []string `json:"groups,omitempty"`
}

// ReasonDigest is "sha256:" and the hex SHA-256 of an approval's reason, and empty
// for none.
func ReasonDigest(reason string) string {
	if reason == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(reason))
	return "sha256:" + hex.EncodeToString(sum[:])
}

// Claims are everything that a token says. The registered ones are all required:
// iss, sub (the user name as the API server authenticated it), aud (the
// cluster's ID, or another one for dry runs), iat, nbf, exp and jti (32 hex digits).
type Claims struct {
	jwt.RegisteredClaims
	Binding Binding `json:"srenix.io"`
}

// ApprovalName is the name that an Approval carrying the token with this jti
// must have, so that the API server's own uniqueness lets each token through once.
func ApprovalName(jti string) string { return "approval-" + jti }

// dryRunAudience is that of tokens for dry runs in a cluster: no verifier of tokens takes
// them for one.
func dryRunAudience(cluster string) string { return cluster + "/dry-run" }

// check reports the first claim that is absent or out of bounds, whatever the time is.
func (c *Claims) check(audience string) error {
	if c.Issuer != Issuer {
		return fmt.Errorf("%w: want %q", ErrIssuer, Issuer)
	}
	if !slices.Equal(c.Audience, jwt.ClaimStrings{audience}) {
		return ErrAudience
	}
	if c.ExpiresAt == nil || c.NotBefore == nil || c.IssuedAt == nil {
		return fmt.Errorf("%w: iat, nbf and exp are required", ErrClaims)
	}
	if !jtiPattern.MatchString(c.ID) {
		return fmt.Errorf("%w: jti must be 32 lower-case hex digits", ErrClaims)
	}
	if err := bounded("sub", c.Subject, maximumSubjectLength); err != nil {
		return err
	}
	lifetime := c.ExpiresAt.Sub(c.IssuedAt.Time)
	if lifetime < MinimumLifetime || lifetime > MaximumLifetime {
		return fmt.Errorf("%w: the lifetime must be between %s and %s", ErrClaims, MinimumLifetime, MaximumLifetime)
	}
	if c.NotBefore.Before(c.IssuedAt.Time) || c.NotBefore.After(c.ExpiresAt.Time) {
		return fmt.Errorf("%w: nbf must lie between iat and exp", ErrClaims)
	}
	return c.Binding.check()
}

func (b *Binding) check() error {
	for _, claim := range []struct {
		name, value string
		most        int
	}{
		{"namespace", b.Namespace, maximumNameLength},
		{"proposal", b.Proposal, maximumNameLength},
		{"proposalUID", string(b.ProposalUID), maximumUIDLength},
		{"tier", string(b.Tier), maximumNameLength},
		{"actionKind", string(b.ActionKind), maximumNameLength},
		{"diagnosticClass", b.DiagnosticClass, maximumNameLength},
	} {
		if err := bounded(claim.name, claim.value, claim.most); err != nil {
			return err
		}
	}
	if b.TargetUID != "" || b.ActionKind != v1alpha1.ActionRunbook {
		if err := bounded("targetUID", string(b.TargetUID), maximumUIDLength); err != nil {
			return err
		}
	}
	if b.Decision != v1alpha1.DecisionApprove && b.Decision != v1alpha1.DecisionDeny {
		return fmt.Errorf("%w: decision must be %s or %s", ErrClaims, v1alpha1.DecisionApprove, v1alpha1.DecisionDeny)
	}
	if !digestPattern.MatchString(b.Digest) {
		return fmt.Errorf("%w: digest must be sha256: and 64 hex digits", ErrClaims)
	}
	if b.PlanDigest != "" && !digestPattern.MatchString(b.PlanDigest) {
		return fmt.Errorf("%w: planDigest must be sha256: and 64 hex digits", ErrClaims)
	}
	if b.ReasonDigest != "" && !digestPattern.MatchString(b.ReasonDigest) {
		return fmt.Errorf("%w: reasonDigest must be sha256: and 64 hex digits", ErrClaims)
	}
	if len(b.Groups) > MaximumGroups {
		return fmt.Errorf("%w: %d groups, and a token carries at most %d: approve as a user who is in fewer", ErrClaims, len(b.Groups), MaximumGroups)
	}
	for _, group := range b.Groups {
		if err := bounded("groups", group, maximumGroupLength); err != nil {
			return err
		}
	}
	return nil
}

func bounded(name, value string, most int) error {
	switch {
	case value == "":
		return fmt.Errorf("%w: %s is required", ErrClaims, name)
	case len(value) > most:
		return fmt.Errorf("%w: %s is longer than %d bytes", ErrClaims, name, most)
	case strings.ContainsRune(value, 0):
		return fmt.Errorf("%w: %s contains a NUL", ErrClaims, name)
	}
	return nil
}
