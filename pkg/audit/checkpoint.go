// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package audit

import (
	"encoding/base64"
	"errors"
	"fmt"
	"math"

	"github.com/transparency-dev/formats/log"
	"golang.org/x/mod/sumdb/note"
)

// originPrefix begins the origin of every checkpoint of srenix; the cluster's ID follows.
const originPrefix = "srenix.io/audit/"

// maximumNote bounds a signed note in bytes. Ours have some 300, and a note has
// to fit into the message of an event.
const maximumNote = maximumText

// ErrUnknownKey means that a note is signed by a key that is not among those given.
var ErrUnknownKey = errors.New("it is signed by a key that is not among those given")

// Origin names the chain of a cluster in checkpoints, and the key that signs them.
// The cluster is named by its ID, the UID of namespace kube-system.
func Origin(cluster string) string { return originPrefix + cluster }

// Checkpoint says what the first events of a chain are, in 32 bytes. Signed it is
// a note (C2SP tlog-checkpoint).
type Checkpoint struct {
	// Origin is whose chain it is.
	Origin string
	// Size is how many events it covers: those with an index below it.
	Size int64
	// Root is that of the Merkle tree over them: 32 bytes.
	Root []byte
}

// Sign returns the signed note. The key must be named like the origin.
func (c Checkpoint) Sign(signer note.Signer) (string, error) {
	if signer.Name() != c.Origin {
		return "", fmt.Errorf("signing a checkpoint of %s: the key is that of %s", c.Origin, signer.Name())
	}
	signed, err := note.Sign(&note.Note{Text: c.text()}, signer)
	if err != nil {
		return "", fmt.Errorf("signing a checkpoint of %s: %w", c.Origin, err)
	}
	return string(signed), nil
}

func (c Checkpoint) text() string {
	return string(log.Checkpoint{Origin: c.Origin, Size: uint64(c.Size), Hash: c.Root}.Marshal())
}

// OpenCheckpoint reads a signed note and checks its signature. A note that no
// byte of which could be another is demanded: one signature, no extension lines.
// The error is ErrUnknownKey where the signature is by none of the keys.
func OpenCheckpoint(signed string, keys VerifierKeys) (Checkpoint, error) {
	opened, err := open(signed, keys)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(opened.Sigs) != 1 || len(opened.UnverifiedSigs) != 0 {
		return Checkpoint{}, errors.New("reading a checkpoint: it must have exactly one signature, by the chain's own key: keep those of witnesses elsewhere")
	}
	return decodeCheckpoint(signed, opened.Text, opened.Sigs[0])
}

// ParseCheckpoint reads a signed note like OpenCheckpoint, and trusts its signature.
func ParseCheckpoint(signed string) (Checkpoint, error) {
	var unverified *note.UnverifiedNoteError
	if _, err := open(signed, VerifierKeys{}); !errors.As(err, &unverified) {
		return Checkpoint{}, err
	}
	if len(unverified.Note.UnverifiedSigs) != 1 {
		return Checkpoint{}, errors.New("reading a checkpoint: it must have exactly one signature, by the chain's own key: keep those of witnesses elsewhere")
	}
	return decodeCheckpoint(signed, unverified.Note.Text, unverified.Note.UnverifiedSigs[0])
}

func open(signed string, keys VerifierKeys) (*note.Note, error) {
	if len(signed) > maximumNote {
		return nil, fmt.Errorf("reading a checkpoint: it has %d bytes, and %d is the most", len(signed), maximumNote)
	}
	opened, err := note.Open([]byte(signed), note.VerifierList(keys.verifiers...))
	var unverified *note.UnverifiedNoteError
	switch {
	case errors.As(err, &unverified):
		return nil, fmt.Errorf("reading a checkpoint: %w%w", ErrUnknownKey, quiet{err})
	case err != nil:
		return nil, fmt.Errorf("reading a checkpoint: %w", err)
	}
	return opened, nil
}

// quiet hides the text of an error that is told in better words.
type quiet struct{ error }

// Error implements error.
func (quiet) Error() string { return "" }

// Unwrap returns the error hidden.
func (q quiet) Unwrap() error { return q.error }

func decodeCheckpoint(signed, text string, signature note.Signature) (Checkpoint, error) {
	var body log.Checkpoint
	rest, err := body.Unmarshal([]byte(text))
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading a checkpoint: %w", err)
	}
	checkpoint := Checkpoint{Origin: body.Origin, Size: int64(body.Size), Root: body.Hash}
	switch {
	case len(rest) > 0:
		err = errors.New("there is more after its root")
	case body.Size > math.MaxInt64:
		err = fmt.Errorf("no chain has %d events", body.Size)
	case len(body.Hash) != hasher.Size():
		err = fmt.Errorf("its root has %d bytes, want %d", len(body.Hash), hasher.Size())
	case signature.Name != body.Origin:
		err = fmt.Errorf("it is of %q and signed by %q", body.Origin, signature.Name)
	// Numbers and base64 can be written in more ways than one; here one is allowed.
	case checkpoint.text() != text, signed != text+"\n— "+signature.Name+" "+signature.Base64+"\n", !canonicalBase64(signature.Base64):
		err = errors.New("it is not written as it was signed")
	}
	if err != nil {
		return Checkpoint{}, fmt.Errorf("reading a checkpoint: %w", err)
	}
	return checkpoint, nil
}

func canonicalBase64(text string) bool {
	data, err := base64.StdEncoding.DecodeString(text)
	return err == nil && base64.StdEncoding.EncodeToString(data) == text
}
