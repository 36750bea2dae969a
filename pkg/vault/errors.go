// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vault

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"

	"github.com/hashicorp/vault/api"
)

// errInternal is what Vault answers where it fails at one path, or at all of them.
var errInternal = fmt.Errorf("it answers %d %s", http.StatusInternalServerError, http.StatusText(http.StatusInternalServerError))

// withoutBody keeps of an answer of Vault what it means. What else it says may be
// anything, and differs from one answer to the next.
func withoutBody(err error) error {
	var refused *api.ResponseError
	if !errors.As(err, &refused) {
		return withoutURL(err)
	}
	switch refused.StatusCode {
	case http.StatusInternalServerError:
		return errInternal
	case http.StatusTooManyRequests:
		return errors.New("it is asked too often (429)")
	case http.StatusServiceUnavailable:
		return errors.New("it is sealed, or not there for other reasons (503)")
	}
	return fmt.Errorf("it answers %d %s", refused.StatusCode, http.StatusText(refused.StatusCode))
}

// withoutURL keeps of a failed request why it failed: the path that it was for is
// another one each time.
func withoutURL(err error) error {
	var failed *url.Error
	if errors.As(err, &failed) {
		return failed.Err
	}
	return err
}
