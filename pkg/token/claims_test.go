// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"k8s.io/apimachinery/pkg/types"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Each claim may be as long as its bound, no longer, and not absent; and whoever
// is refused learns which it was.
func TestClaimsMayBeAsLongAsTheirBoundsAndNoLonger(t *testing.T) {
	f := newFixture(t)
	for name, test := range map[string]struct {
		most int
		set  func(*Claims, string)
	}{
		"sub":             {1024, func(c *Claims, v string) { c.Subject = v }},
		"namespace":       {253, func(c *Claims, v string) { c.Binding.Namespace = v }},
		"proposal":        {253, func(c *Claims, v string) { c.Binding.Proposal = v }},
		"proposalUID":     {128, func(c *Claims, v string) { c.Binding.ProposalUID = types.UID(v) }},
		"tier":            {253, func(c *Claims, v string) { c.Binding.Tier = v1alpha1.Tier(v) }},
		"actionKind":      {253, func(c *Claims, v string) { c.Binding.ActionKind = v1alpha1.ActionKind(v) }},
		"diagnosticClass": {253, func(c *Claims, v string) { c.Binding.DiagnosticClass = v }},
		"targetUID":       {128, func(c *Claims, v string) { c.Binding.TargetUID = types.UID(v) }},
		"groups":          {512, func(c *Claims, v string) { c.Binding.Groups = []string{"sre", v, "system:authenticated"} }},
	} {
		t.Run(name, func(t *testing.T) {
			_, claims := f.mint(t)
			test.set(claims, strings.Repeat("a", test.most))
			if err := claims.check(clusterID); err != nil {
				t.Errorf("with %d bytes: %v", test.most, err)
			}
			for what, value := range map[string]string{"absent": "", "too long": strings.Repeat("a", test.most+1), "with a NUL": "a\x00"} {
				test.set(claims, value)
				if err := claims.check(clusterID); !errors.Is(err, ErrClaims) || !strings.Contains(err.Error(), ": "+name+" ") {
					t.Errorf("%s: error is %v", what, err)
				}
			}
		})
	}
}

func TestNumberOfGroupsIsBounded(t *testing.T) {
	f := newFixture(t)
	_, claims := f.mint(t)
	claims.Binding.Groups = strings.Split(strings.Repeat("g", 64), "")
	if err := claims.check(clusterID); err != nil {
		t.Errorf("64 groups: %v", err)
	}
	claims.Binding.Groups = append(claims.Binding.Groups, "g")
	if err := claims.check(clusterID); !errors.Is(err, ErrClaims) {
		t.Errorf("65 groups: error is %v, want ErrClaims", err)
	}
}

func TestTargetOfARunbookIsBoundedToo(t *testing.T) {
	f := newFixture(t)
	_, claims := f.mint(t)
	claims.Binding.ActionKind, claims.Binding.TargetUID = v1alpha1.ActionRunbook, types.UID(strings.Repeat("u", 129))
	if err := claims.check(clusterID); !errors.Is(err, ErrClaims) {
		t.Errorf("error is %v, want ErrClaims", err)
	}
}

func TestDenialsAndStepsOfPlansHaveTokens(t *testing.T) {
	f := newFixture(t)
	b := binding()
	b.Decision, b.PlanDigest = v1alpha1.DecisionDeny, "sha256:"+strings.Repeat("cd", 32)
	signed, _, err := f.signer.Mint("alice", b, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verifier.Verify(signed); err != nil {
		t.Error(err)
	}
}

// A token that somebody else signed with our key keeps to the same bounds: they
// are those of what is stored, not only of what is minted.
func TestLifetimeIsFromAMinuteToADay(t *testing.T) {
	f := newFixture(t)
	for lifetime, want := range map[time.Duration]error{
		time.Minute - time.Second: ErrClaims, time.Minute: nil, 24 * time.Hour: nil, 24*time.Hour + time.Second: ErrClaims,
	} {
		_, claims := f.mint(t)
		claims.ExpiresAt = jwt.NewNumericDate(claims.IssuedAt.Add(lifetime))
		if err := claims.check(clusterID); !errors.Is(err, want) {
			t.Errorf("%s in a token: error is %v, want %v", lifetime, err, want)
		}
		if _, _, err := f.signer.Mint("alice", binding(), lifetime); !errors.Is(err, want) || (err != nil && !strings.Contains(err.Error(), "was asked for")) {
			t.Errorf("%s to mint: error is %v, want %v", lifetime, err, want)
		}
	}
}

func TestReasonDigestIsThatOfItsBytes(t *testing.T) {
	for reason, want := range map[string]string{
		"": "",
		// FIPS 180-2, appendix B.1.
		"abc": "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
	} {
		if have := ReasonDigest(reason); have != want {
			t.Errorf("the digest of %q is %q, want %q", reason, have, want)
		}
	}
}

func TestReasonDigestHasOneShape(t *testing.T) {
	for digest, good := range map[string]bool{
		"": true, ReasonDigest("it is stuck"): true,
		"it is stuck": false, "sha256:": false, strings.ToUpper(ReasonDigest("it is stuck")): false, ReasonDigest("it is stuck") + "0": false,
	} {
		f, b := newFixture(t), binding()
		b.ReasonDigest = digest
		_, _, err := f.signer.Mint("alice", b, time.Minute)
		if good != (err == nil) || (!good && (!errors.Is(err, ErrClaims) || !strings.Contains(err.Error(), "reasonDigest must be sha256:"))) {
			t.Errorf("%q: error is %v", digest, err)
		}
	}
}
