// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/mod/sumdb/note"
)

// testSigner is a key that is always the same, so that notes are.
func testSigner(t testing.TB, cluster string) (note.Signer, VerifierKeys) {
	t.Helper()
	skey, vkey, err := note.GenerateKey(strings.NewReader(strings.Repeat(cluster+"0123456789abcdef", 8)), Origin(cluster))
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(skey)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := ParseVerifierKeys(vkey)
	if err != nil {
		t.Fatal(err)
	}
	return signer, keys
}

func signCheckpoint(t testing.TB, signer note.Signer, size int64, root []byte) string {
	t.Helper()
	signed, err := Checkpoint{Origin: signer.Name(), Size: size, Root: root}.Sign(signer)
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func signText(t testing.TB, text string, signers ...note.Signer) string {
	t.Helper()
	signed, err := note.Sign(&note.Note{Text: text}, signers...)
	if err != nil {
		t.Fatal(err)
	}
	return string(signed)
}

func TestCheckpointIsANoteThatOthersRead(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	root, err := hex.DecodeString(strings.Repeat("a0", 32))
	if err != nil {
		t.Fatal(err)
	}
	signed := signCheckpoint(t, signer, 17, root)
	want := "srenix.io/audit/c1\n17\n" + base64.StdEncoding.EncodeToString(root) + "\n\n— srenix.io/audit/c1 "
	if !strings.HasPrefix(signed, want) {
		t.Errorf("the note is %q, want it to begin with %q", signed, want)
	}
	for name, read := range map[string]func() (Checkpoint, error){
		"opened": func() (Checkpoint, error) { return OpenCheckpoint(signed, keys) },
		"parsed": func() (Checkpoint, error) { return ParseCheckpoint(signed) },
	} {
		have, err := read()
		if err != nil {
			t.Fatal(err)
		}
		if diff := gocmp.Diff(Checkpoint{Origin: "srenix.io/audit/c1", Size: 17, Root: root}, have); diff != "" {
			t.Errorf("%s (-want +have):\n%s", name, diff)
		}
	}
}

func TestOpenCheckpointRefusesWhatIsNotExactlyOurs(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	other, otherKeys := testSigner(t, "c2")
	root := base64.StdEncoding.EncodeToString(make([]byte, 32))
	body := "srenix.io/audit/c1\n17\n" + root + "\n"
	for name, signed := range map[string]string{
		"empty":                    "",
		"no signature":             body,
		"extension lines":          signText(t, body+"more\n", signer),
		"a size with zeros":        signText(t, strings.Replace(body, "17", "017", 1), signer),
		"a size with a sign":       signText(t, strings.Replace(body, "17", "+17", 1), signer),
		"a size beyond any chain":  signText(t, strings.Replace(body, "17", "9223372036854775808", 1), signer),
		"a short root":             signText(t, "srenix.io/audit/c1\n17\nAAAA\n", signer),
		"another origin":           signText(t, strings.Replace(body, "c1", "c3", 1), signer),
		"two signatures":           signText(t, body, signer, other),
		"a signature of a witness": strings.TrimSuffix(signText(t, body, signer), "\n") + "\n— " + other.Name() + " AAAAAAAA\n",
		"too long":                 signText(t, body+strings.Repeat("x", maximumNote)+"\n", signer),
	} {
		if have, err := OpenCheckpoint(signed, keys.with(otherKeys)); err == nil {
			t.Errorf("%s: opened as %+v", name, have)
		}
	}
	if _, err := OpenCheckpoint(signText(t, body, signer), otherKeys); !errors.Is(err, ErrUnknownKey) {
		t.Errorf("by an unknown key: %v, want ErrUnknownKey", err)
	}
	if _, err := (Checkpoint{Origin: Origin("c1"), Size: 1, Root: make([]byte, 32)}).Sign(other); err == nil {
		t.Error("the key of another cluster signs")
	}
}

// Base64, numbers and hex digits can be written in several ways, and here not.
func TestAnyChangedBitOfANoteOrAKeyIsNoticed(t *testing.T) {
	signer, keys := testSigner(t, "c1")
	signed := signCheckpoint(t, signer, 17, make([]byte, 32))
	for i := range signed {
		for bit := range 8 {
			if have, err := OpenCheckpoint(flipped(signed, i, bit), keys); err == nil {
				t.Errorf("bit %d of byte %d (%q) of the note: opened as %+v", bit, i, signed[i], have)
			}
		}
	}
	vkey := strings.TrimSpace(keys.String())
	for i := range vkey {
		for bit := range 8 {
			changed, err := ParseVerifierKeys(flipped(vkey, i, bit))
			if err != nil {
				continue
			}
			if have, err := OpenCheckpoint(signed, changed); err == nil {
				t.Errorf("bit %d of byte %d (%q) of the key: opened as %+v", bit, i, vkey[i], have)
			}
		}
	}
}

func flipped(text string, index, bit int) string {
	changed := []byte(text)
	changed[index] ^= 1 << bit
	return string(changed)
}

func TestVerifierKeysAreReadStrictly(t *testing.T) {
	_, one := testSigner(t, "c1")
	_, two := testSigner(t, "c2")
	line := one.lines[0]
	both, err := ParseVerifierKeys("\n" + line + "\r\n\n  " + two.lines[0])
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(line+"\n"+two.lines[0]+"\n", both.String()); diff != "" {
		t.Errorf("(-want +have):\n%s", diff)
	}
	var many strings.Builder
	for i := range maximumVerifierKeys + 1 {
		_, keys := testSigner(t, fmt.Sprintf("c%03d", i))
		many.WriteString(keys.String())
	}
	for name, text := range map[string]string{
		"nothing": " \n", "a word": "key", "twice": line + "\n" + line, "two on a line": line + " " + two.lines[0],
		"a private key": "PRIVATE+KEY+" + line, "too many": many.String(),
	} {
		if _, err := ParseVerifierKeys(text); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func FuzzOpenCheckpoint(f *testing.F) {
	signer, keys := testSigner(f, "c1")
	good := signCheckpoint(f, signer, 17, make([]byte, 32))
	for _, seed := range []string{"", good, good[:len(good)-2], good + good, strings.Replace(good, "17", "18", 1), "\n\n— x y\n", "a\n1\n\n\n— a AAAAAAA=\n"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		parsed, parseErr := ParseCheckpoint(text)
		if parseErr == nil && (parsed.Size < 0 || len(parsed.Root) != 32 || !strings.HasPrefix(text, parsed.text())) {
			t.Errorf("%q is read as %+v", text, parsed)
		}
		if opened, err := OpenCheckpoint(text, keys); err == nil && text != good {
			t.Errorf("%q passes for a note that was signed: %+v", text, opened)
		}
	})
}
