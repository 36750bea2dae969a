// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

// Others renders the Helm chart of another project as its Go module has it, for tests
// that want what people run: others NAMESPACE DIRECTORY prints the objects as a JSON
// list. It leaves out hooks, CustomResourceDefinitions, and webhooks, behind which
// nobody would answer.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/srenix/srenix/test/chart"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: others NAMESPACE DIRECTORY")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(namespace, directory string) error {
	rendered, err := chart.RenderDir(directory, namespace, namespace, "") // as people name it
	if err != nil {
		return fmt.Errorf("rendering the chart in %s: %w", directory, err)
	}
	objects := slices.DeleteFunc(rendered.Objects, func(object *unstructured.Unstructured) bool {
		return slices.Contains([]string{"CustomResourceDefinition", "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration"}, object.GetKind())
	})
	return json.NewEncoder(os.Stdout).Encode(map[string]any{"apiVersion": "v1", "kind": "List", "items": objects})
}
