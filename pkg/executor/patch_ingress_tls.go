// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package executor

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	srenix "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
	"github.com/srenix/srenix/pkg/token"
)

// patchIngressTLS points one TLS entry of an Ingress at another Secret, by the
// two operations that were approved: a test of the old name and a replace with
// the new one. Package policy has checked which ones these may be.
type patchIngressTLS struct{}

var _ action = patchIngressTLS{}

func (patchIngressTLS) newTarget() client.Object { return newWhole(srenix.ActionPatchIngressTLS) }

func (a patchIngressTLS) do(ctx context.Context, c client.Client, order order, dryRun bool) (client.Object, error) {
	operations, err := a.operations(order)
	if err != nil {
		return nil, err
	}
	return sendPatch(ctx, c, order, newWhole(srenix.ActionPatchIngressTLS), dryRun, operations)
}

// request implements action.
func (a patchIngressTLS) request(order order) (any, error) { return a.operations(order) }

func (patchIngressTLS) operations(order order) ([]operation, error) {
	if _, _, err := secretNameReplaced(order.patch); err != nil {
		return nil, err
	}
	var operations []operation
	for _, approved := range order.patch.JSONPatch {
		operations = append(operations, operation{Op: approved.Op, Path: approved.Path, Value: approved.Value})
	}
	return guarded(order, operations...), nil
}

// value implements action.
func (patchIngressTLS) value(*token.Claims) string { return "" }

// deletes implements action.
func (patchIngressTLS) deletes() bool { return false }

// done implements action.
func (patchIngressTLS) done(target client.Object, order order) (bool, string) {
	index, want, err := secretNameReplaced(order.patch)
	if err != nil {
		return false, err.Error()
	}
	if have, ok := secretNameAt(target, index); ok && have == want {
		return true, fmt.Sprintf("has spec.tls[%d].secretName %s", index, want)
	}
	return false, fmt.Sprintf("does not have spec.tls[%d].secretName %s", index, want)
}

// secretNameAt is the Secret that a TLS entry of an Ingress names.
func secretNameAt(object client.Object, index int) (string, bool) {
	ingress, ok := object.(*unstructured.Unstructured)
	if !ok {
		return "", false
	}
	entries, _, err := unstructured.NestedSlice(ingress.Object, "spec", "tls")
	if err != nil || index >= len(entries) {
		return "", false
	}
	entry, ok := entries[index].(map[string]any)
	if !ok {
		return "", false
	}
	name, ok, err := unstructured.NestedString(entry, "secretName")
	return name, ok && err == nil
}

func (patchIngressTLS) summary(order order) string {
	index, secret, err := secretNameReplaced(order.patch)
	if err != nil {
		return err.Error()
	}
	return fmt.Sprintf("Set spec.tls[%d].secretName of Ingress %s/%s to %s", index, order.target.Namespace, order.target.Name, secret)
}

// secretNameReplaced reads which entry a patch points at which Secret.
func secretNameReplaced(patch *srenix.Patch) (index int, secret string, err error) {
	const shape = "the patch of an Ingress must be a test and a replace of one /spec/tls/N/secretName"
	if patch == nil || len(patch.JSONPatch) != 2 {
		return 0, "", errors.New(shape)
	}
	test, replace := patch.JSONPatch[0], patch.JSONPatch[1]
	rest, under := strings.CutPrefix(replace.Path, "/spec/tls/")
	number, secretName := strings.CutSuffix(rest, "/secretName")
	index, err = strconv.Atoi(number)
	if test.Op != "test" || replace.Op != "replace" || test.Path != replace.Path || !under || !secretName || err != nil || index < 0 {
		return 0, "", errors.New(shape)
	}
	return index, replace.Value, nil
}
