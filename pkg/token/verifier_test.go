// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package token

import (
	"crypto/ed25519"
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

func TestOnlyTheAlphabetOfTokensIsParsed(t *testing.T) {
	const alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_."
	for c := range 256 {
		token := "e" + string([]byte{byte(c)}) + "A"
		if err := checkAlphabet(token); (err == nil) != strings.Contains(alphabet, token[1:2]) {
			t.Errorf("%q: %v", token, err)
		}
	}
	if err := checkAlphabet(""); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "it is empty") {
		t.Errorf("nothing: %v", err)
	}
	if err := checkAlphabet(strings.Repeat("A", 8192)); err != nil {
		t.Errorf("8192 bytes: %v", err)
	}
	if err := checkAlphabet(strings.Repeat("A", 8193)); !errors.Is(err, ErrMalformed) {
		t.Errorf("8193 bytes: %v", err)
	}
}

func TestSkewAppliesToNotBefore(t *testing.T) {
	f := newFixture(t)
	claims := f.claims(t)
	begins := start.Add(5 * time.Minute)
	claims["nbf"] = begins.Unix()
	signed := f.sign(t, f.header(), claims)
	for before, want := range map[time.Duration]error{30 * time.Second: nil, 31 * time.Second: ErrNotYetValid} {
		if _, err := f.verifier.VerifyAt(signed, begins.Add(-before)); !errors.Is(err, want) {
			t.Errorf("%s before: error is %v, want %v", before, err, want)
		}
	}
}

func TestWrongSignatureIsToldAsOne(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	unsigned := signed[:strings.LastIndex(signed, ".")+1]
	other := unsigned + base64.RawURLEncoding.EncodeToString(ed25519.Sign(seeded('b'), []byte(strings.TrimSuffix(unsigned, "."))))
	if _, err := f.verifier.Verify(other); !errors.Is(err, ErrSignature) {
		t.Errorf("error is %v, want ErrSignature", err)
	}
}

func TestLengthOfAKidIsBounded(t *testing.T) {
	f := newFixture(t)
	_, claims := f.mint(t)
	for kid, want := range map[string]error{"": ErrMalformed, strings.Repeat("k", 64): ErrUnknownKey, strings.Repeat("k", 65): ErrMalformed} {
		header := f.header()
		header["kid"] = kid
		if _, err := f.verifier.Verify(f.sign(t, header, claims)); !errors.Is(err, want) {
			t.Errorf("%q: error is %v, want %v", kid, err, want)
		}
	}
}

// The parser refuses other algorithms by itself. Should it ever not, there is
// still no key for them.
func TestThereIsNoKeyForAnotherAlgorithm(t *testing.T) {
	f := newFixture(t)
	for _, method := range []jwt.SigningMethod{jwt.SigningMethodHS256, jwt.SigningMethodNone, jwt.SigningMethodRS256} {
		if key, err := f.verifier.key(&jwt.Token{Method: method, Header: f.header()}); key != nil || !errors.Is(err, ErrAlgorithm) {
			t.Errorf("%s: key %v, error %v", method.Alg(), key, err)
		}
	}
}

// noKeys is a source that cannot say why it has none.
type noKeys struct{}

func (noKeys) Key(string) (ed25519.PublicKey, bool) { return nil, false }

// failedKeys can.
type failedKeys struct {
	noKeys
	err error
}

func (k failedKeys) Err() error { return k.err }

func TestUnknownKeyTellsWhetherTheKeysCouldBeRead(t *testing.T) {
	f := newFixture(t)
	signed, _ := f.mint(t)
	away := errors.New("away")
	for name, test := range map[string]struct {
		keys PublicKeys
		want string
	}{
		"a source without errors": {noKeys{}, "the token is signed with an unknown key"},
		"one that has none":       {failedKeys{}, "the token is signed with an unknown key"},
		"one that failed":         {failedKeys{err: away}, "the token is signed with an unknown key (the keys could not be refreshed: away)"},
	} {
		_, err := NewVerifier(test.keys, clusterID, f.clock).Verify(signed)
		if !errors.Is(err, ErrUnknownKey) || err.Error() != test.want {
			t.Errorf("%s: error is %v, want %q", name, err, test.want)
		}
	}
}
