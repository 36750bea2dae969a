// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

const clusterID = "2d9f0f0e-5d0c-4a4e-9a53-1f1a5b1f0c11"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// fixture signs and verifies with keys that are the same in every run.
type fixture struct {
	clock    *clocktesting.FakePassiveClock
	private  ed25519.PrivateKey
	keys     *SigningKeys
	signer   *Signer
	verifier *Verifier
}

func seeded(seed byte) ed25519.PrivateKey {
	return ed25519.NewKeyFromSeed([]byte(strings.Repeat(string(rune(seed)), ed25519.SeedSize)))
}

func newFixture(t testing.TB) *fixture {
	t.Helper()
	private := seeded('a')
	keys, err := NewSigningKeys(private)
	if err != nil {
		t.Fatal(err)
	}
	clock := clocktesting.NewFakePassiveClock(start)
	return &fixture{clock: clock, private: private, keys: keys, signer: NewSigner(keys, clusterID, clock), verifier: NewVerifier(keys, clusterID, clock)}
}

func binding() Binding {
	return Binding{
		Namespace: "shop", Proposal: "fix-web", ProposalUID: "7c3f", Digest: "sha256:" + strings.Repeat("ab", 32),
		Decision: v1alpha1.DecisionApprove,
		Tier:     v1alpha1.TierFix, ActionKind: v1alpha1.ActionDeletePod, TargetUID: "pod-uid",
		DiagnosticClass: "WorkloadStateDrift", Groups: []string{"system:authenticated", "sre"},
	}
}

func (f *fixture) mint(t testing.TB) (string, *Claims) {
	t.Helper()
	signed, claims, err := f.signer.Mint("alice", binding(), 15*time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	return signed, claims
}

// sign makes a token of any header and claims, so that only one thing is wrong with it.
func (f *fixture) sign(t testing.TB, header map[string]any, claims any) string {
	t.Helper()
	text := encode(t, header) + "." + encode(t, claims)
	return text + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(f.private, []byte(text)))
}

func encode(t testing.TB, value any) string {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

func (f *fixture) header() map[string]any {
	return map[string]any{"alg": "EdDSA", "typ": "JWT", "kid": KeyID(f.private.Public().(ed25519.PublicKey))}
}

// claims are those of a good token as a map, to take one away or change it.
func (f *fixture) claims(t testing.TB) map[string]any {
	t.Helper()
	_, claims := f.mint(t)
	data, err := json.Marshal(claims)
	if err != nil {
		t.Fatal(err)
	}
	var fields map[string]any
	if err := json.Unmarshal(data, &fields); err != nil {
		t.Fatal(err)
	}
	return fields
}

func TestMintedTokenVerifiesToTheSameClaims(t *testing.T) {
	f := newFixture(t)
	signed, want := f.mint(t)
	have, err := f.verifier.Verify(signed)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want.Binding, have.Binding); diff != "" {
		t.Errorf("binding (-minted +verified):\n%s", diff)
	}
	if have.Subject != "alice" || have.Issuer != Issuer || have.ID != want.ID || !have.IssuedAt.Equal(start) || !have.ExpiresAt.Equal(start.Add(15*time.Minute)) {
		t.Errorf("registered claims are %+v", have.RegisteredClaims)
	}
	if name := ApprovalName(have.ID); name != "approval-"+have.ID || len(have.ID) != 32 {
		t.Errorf("approval name %q of jti %q", name, have.ID)
	}
}

func TestEveryTokenHasItsOwnID(t *testing.T) {
	f := newFixture(t)
	_, one := f.mint(t)
	_, two := f.mint(t)
	if one.ID == two.ID {
		t.Errorf("two tokens share the ID %s", one.ID)
	}
}

func TestMintRefuses(t *testing.T) {
	f := newFixture(t)
	with := func(change func(*Binding)) Binding {
		b := binding()
		change(&b)
		return b
	}
	many := make([]string, MaximumGroups)
	for i := range many {
		many[i] = fmt.Sprintf("%0200d", i)
	}
	for name, test := range map[string]struct {
		subject  string
		binding  Binding
		lifetime time.Duration
	}{
		"a lifetime below a minute":   {"alice", binding(), time.Minute - time.Nanosecond},
		"a lifetime above a day":      {"alice", binding(), 24*time.Hour + time.Nanosecond},
		"an empty subject":            {"", binding(), time.Hour},
		"a subject without bounds":    {strings.Repeat("a", maximumSubjectLength+1), binding(), time.Hour},
		"65 groups":                   {"alice", with(func(b *Binding) { b.Groups = append(slices.Clone(many), "one more") }), time.Hour},
		"groups that make it too big": {"alice", with(func(b *Binding) { b.Groups = many }), time.Hour},
		"an empty group":              {"alice", with(func(b *Binding) { b.Groups = []string{""} }), time.Hour},
		"no digest":                   {"alice", with(func(b *Binding) { b.Digest = "" }), time.Hour},
		"no target":                   {"alice", with(func(b *Binding) { b.TargetUID = "" }), time.Hour},
		"no proposal UID":             {"alice", with(func(b *Binding) { b.ProposalUID = "" }), time.Hour},
		"a plan digest that is none":  {"alice", with(func(b *Binding) { b.PlanDigest = "plan" }), time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			if signed, _, err := f.signer.Mint(test.subject, test.binding, test.lifetime); !errors.Is(err, ErrClaims) || signed != "" {
				t.Errorf("error is %v, want ErrClaims", err)
			}
		})
	}
}

func TestRunbookTokenNeedsNoTarget(t *testing.T) {
	f := newFixture(t)
	b := binding()
	b.ActionKind, b.Tier, b.TargetUID = v1alpha1.ActionRunbook, v1alpha1.TierRunbook, ""
	signed, _, err := f.signer.Mint("alice", b, time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.verifier.Verify(signed); err != nil {
		t.Error(err)
	}
}

func TestAnyFlippedByteDenies(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	for i := range len(signed) {
		for bit := range 8 {
			changed := []byte(signed)
			changed[i] ^= 1 << bit
			if claims, err := f.verifier.Verify(string(changed)); err == nil {
				t.Fatalf("byte %d with bit %d flipped verifies, for %s", i, bit, claims.Subject)
			}
		}
	}
}

func TestAnyInsertedOrRemovedByteDenies(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	for i := range len(signed) + 1 {
		for _, inserted := range []string{"A", "=", "\n", "\r", " ", "."} {
			if _, err := f.verifier.Verify(signed[:i] + inserted + signed[i:]); err == nil {
				t.Fatalf("%q inserted at %d verifies", inserted, i)
			}
		}
		if i < len(signed) {
			if _, err := f.verifier.Verify(signed[:i] + signed[i+1:]); err == nil {
				t.Fatalf("byte %d removed verifies", i)
			}
		}
	}
}

func TestAlgorithmConfusionIsRefused(t *testing.T) {
	f := newFixture(t)
	_, claims := f.mint(t)
	public := f.private.Public().(ed25519.PublicKey)
	forge := func(method jwt.SigningMethod, key any) string {
		token := jwt.NewWithClaims(method, claims)
		token.Header["kid"] = KeyID(public)
		signed, err := token.SignedString(key)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
	published, err := f.keys.JWKS()
	if err != nil {
		t.Fatal(err)
	}
	header := f.header()
	header["alg"] = "eddsa"
	unnamed := f.header()
	delete(unnamed, "alg")
	for name, token := range map[string]string{
		"none":                              forge(jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType),
		"HS256 with the public key":         forge(jwt.SigningMethodHS256, []byte(public)),
		"HS512 with the published JWKS":     forge(jwt.SigningMethodHS512, published),
		"EdDSA in another spelling":         f.sign(t, header, claims),
		"no algorithm and a good signature": f.sign(t, unnamed, claims),
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.verifier.Verify(token); !errors.Is(err, ErrAlgorithm) {
				t.Errorf("error is %v, want ErrAlgorithm", err)
			}
		})
	}
}

func TestHeaderHasOneShape(t *testing.T) {
	f := newFixture(t)
	_, claims := f.mint(t)
	with := func(key string, value any) map[string]any {
		header := f.header()
		header[key] = value
		if value == nil {
			delete(header, key)
		}
		return header
	}
	for name, test := range map[string]struct {
		header map[string]any
		want   error
	}{
		"unknown kid":      {with("kid", KeyID(seeded('b').Public().(ed25519.PublicKey))), ErrUnknownKey},
		"no kid":           {with("kid", nil), ErrMalformed},
		"kid is a number":  {with("kid", 7), ErrMalformed},
		"kid is too long":  {with("kid", strings.Repeat("k", 65)), ErrMalformed},
		"a key of its own": {with("jwk", publicJWK(f.private.Public().(ed25519.PublicKey))), ErrMalformed},
		"a key's address":  {with("jku", "https://example.com/jwks.json"), ErrMalformed},
		"crit":             {with("crit", []string{"exp"}), ErrMalformed},
		"another typ":      {with("typ", "at+jwt"), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := f.verifier.Verify(f.sign(t, test.header, claims)); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestEveryClaimIsRequired(t *testing.T) {
	f := newFixture(t)
	optional := map[string]bool{"groups": true, "planDigest": true}
	for name := range f.claims(t) {
		t.Run("without "+name, func(t *testing.T) {
			claims := f.claims(t)
			delete(claims, name)
			if _, err := f.verifier.Verify(f.sign(t, f.header(), claims)); err == nil {
				t.Error("it verifies")
			}
		})
	}
	for name := range f.claims(t)["srenix.io"].(map[string]any) {
		t.Run("without srenix.io."+name, func(t *testing.T) {
			claims := f.claims(t)
			delete(claims["srenix.io"].(map[string]any), name)
			if _, err := f.verifier.Verify(f.sign(t, f.header(), claims)); (err == nil) != optional[name] {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestClaimsOutOfBoundsAreRefused(t *testing.T) {
	f := newFixture(t)
	now := start.Unix()
	for name, test := range map[string]struct {
		claim string
		value any
		want  error
	}{
		"another issuer":             {"iss", "https://srenix.io", ErrIssuer},
		"another cluster":            {"aud", "other", ErrAudience},
		"two clusters":               {"aud", []string{clusterID, "other"}, ErrAudience},
		"no cluster":                 {"aud", []string{}, ErrAudience},
		"a jti in upper case":        {"jti", strings.Repeat("A", 32), ErrClaims},
		"a short jti":                {"jti", strings.Repeat("a", 31), ErrClaims},
		"an endless subject":         {"sub", strings.Repeat("a", maximumSubjectLength+1), ErrClaims},
		"a NUL in the subject":       {"sub", "alice\x00bob", ErrClaims},
		"valid for two days":         {"exp", now + 2*24*3600, ErrClaims},
		"valid for a second":         {"exp", now + 1, ErrClaims},
		"expires before it was made": {"exp", now - 3600, ErrClaims},
		"nbf before iat":             {"nbf", now - 60, ErrClaims},
		"nbf after exp":              {"nbf", now + 3600, ErrClaims},
		"an exp that is no number":   {"exp", "tomorrow", ErrMalformed},
		"an enormous exp":            {"exp", 1e300, ErrClaims},
	} {
		t.Run(name, func(t *testing.T) {
			claims := f.claims(t)
			claims[test.claim] = test.value
			if _, err := f.verifier.Verify(f.sign(t, f.header(), claims)); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestValidityHasThirtySecondsOfSkew(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	for name, test := range map[string]struct {
		at   time.Duration
		want error
	}{
		"31 s before it was made": {-31 * time.Second, ErrNotYetValid},
		"30 s before it was made": {-30 * time.Second, nil},
		"at its end":              {15 * time.Minute, nil},
		"just within the skew":    {15*time.Minute + 30*time.Second - time.Nanosecond, nil},
		"at the end of the skew":  {15*time.Minute + 30*time.Second, ErrExpired},
		"an hour after":           {time.Hour, ErrExpired},
		"years before":            {-24 * 365 * time.Hour, ErrNotYetValid},
	} {
		t.Run(name, func(t *testing.T) {
			f.clock.SetTime(start.Add(test.at))
			if _, err := f.verifier.Verify(signed); !errors.Is(err, test.want) {
				t.Errorf("error is %v, want %v", err, test.want)
			}
		})
	}
}

func TestFutureNotBeforeIsRefused(t *testing.T) {
	f := newFixture(t)
	claims := f.claims(t)
	claims["nbf"] = start.Add(5 * time.Minute).Unix()
	if _, err := f.verifier.Verify(f.sign(t, f.header(), claims)); !errors.Is(err, ErrNotYetValid) {
		t.Errorf("error is %v, want ErrNotYetValid", err)
	}
}

func TestVerifyAtJudgesAnExpiredTokenAsOfThen(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	f.clock.SetTime(start.Add(24 * time.Hour))
	if _, err := f.verifier.VerifyAt(signed, start.Add(time.Minute)); err != nil {
		t.Error(err)
	}
}

func TestTooLargeIsRefusedBeforeParsing(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	if _, err := f.verifier.Verify(signed + strings.Repeat("A", MaximumSize)); !errors.Is(err, ErrMalformed) {
		t.Errorf("error is %v, want ErrMalformed", err)
	}
}

func TestErrorsQuoteNothingOfTheToken(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	parts := strings.Split(signed, ".")
	for _, token := range []string{
		parts[0] + "." + parts[1] + ".", parts[1] + "." + parts[0] + "." + parts[2],
		parts[0] + "." + parts[1] + "." + strings.Repeat("A", len(parts[2])), parts[2], signed + "A",
	} {
		_, err := f.verifier.Verify(token)
		if err == nil {
			t.Fatal("a broken token verifies")
		}
		for _, part := range parts {
			if strings.Contains(err.Error(), part[:8]) {
				t.Errorf("the error quotes the token: %v", err)
			}
		}
	}
}

func FuzzVerify(f *testing.F) {
	good := newFixture(f)
	claims := good.claims(f)
	// The same in every process of the fuzzer.
	claims["jti"] = strings.Repeat("0a", 16)
	signed := good.sign(f, good.header(), claims)
	if _, err := good.verifier.Verify(signed); err != nil {
		f.Fatal(err)
	}
	parts := strings.Split(signed, ".")
	for _, seed := range []string{
		"", ".", "..", "...", signed, parts[0] + "." + parts[1] + ".", parts[0] + ".e30." + parts[2],
		"eyJhbGciOiJub25lIn0." + parts[1] + ".", good.sign(f, good.header(), map[string]any{"iss": Issuer}),
		good.sign(f, good.header(), map[string]any{"exp": -1e308, "aud": []any{nil}, "srenix.io": nil}),
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, token string) {
		if _, err := good.verifier.Verify(token); err == nil && token != signed {
			t.Errorf("a token that was not signed verifies: %q", token)
		}
	})
}
