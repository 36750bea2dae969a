// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"errors"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestATokenForDryRunsProvesNothingAnywhereElse(t *testing.T) {
	f := newFixture(t)
	dry, minted, err := f.signer.ForDryRun().Mint("alice", binding(), 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	whole, _ := f.mint(t)
	both := *minted
	both.Audience = jwt.ClaimStrings{clusterID, dryRunAudience(clusterID)}
	for name, test := range map[string]struct {
		verifier *Verifier
		token    string
		want     error
	}{
		"a token for dry runs, where decisions are made":        {f.verifier, dry, ErrAudience},
		"a token for dry runs, in a dry run":                    {f.verifier.ForDryRun(), dry, nil},
		"a token for decisions, in a dry run":                   {f.verifier.ForDryRun(), whole, nil},
		"a token for dry runs of another cluster, in a dry run": {NewVerifier(f.keys, "another", f.clock).ForDryRun(), dry, ErrAudience},
		"a token for decisions of another cluster":              {NewVerifier(f.keys, "another", f.clock).ForDryRun(), whole, ErrAudience},
		"one for both, in a dry run":                            {f.verifier.ForDryRun(), f.sign(t, f.header(), both), ErrAudience},
	} {
		t.Run(name, func(t *testing.T) {
			claims, err := test.verifier.Verify(test.token)
			if !errors.Is(err, test.want) || (err == nil) != (claims != nil) {
				t.Errorf("have %v, want %v", err, test.want)
			}
		})
	}
	f.clock.SetTime(minted.ExpiresAt.Add(Skew))
	if _, err := f.verifier.ForDryRun().Verify(dry); !errors.Is(err, ErrExpired) {
		t.Errorf("past its time: %v", err)
	}
	f.clock.SetTime(start.Add(-time.Hour))
	if _, err := f.verifier.ForDryRun().Verify(dry); !errors.Is(err, ErrNotYetValid) {
		t.Errorf("before its time: %v", err)
	}
}
