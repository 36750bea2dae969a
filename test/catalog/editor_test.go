// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package catalog

import (
	"fmt"
	"os"
	"time"

	"sigs.k8s.io/yaml"
)

// editing has the test's own program be the editor of `kubectl edit`, which changes
// what a remediation says: whoever may not change that is told so by the API server.
const editing = "SRENIX_TEST_EDITS"

// edit changes the object in a file.
func edit(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	object := map[string]any{}
	if err := yaml.Unmarshal(content, &object); err != nil {
		return err
	}
	if err := mend(object); err != nil {
		return err
	}
	changed, err := yaml.Marshal(object)
	if err != nil {
		return err
	}
	return os.WriteFile(file, changed, 0o600)
}

// mend changes of an object what remediations are about.
func mend(object map[string]any) error {
	at := func(path ...string) map[string]any {
		fields := object
		for _, name := range path {
			fields, _ = fields[name].(map[string]any)
		}
		return fields
	}
	switch kind := object["kind"]; kind {
	case "Pod":
		return mendContainers(at("spec"))
	case "Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job":
		return mendContainers(at("spec", "template", "spec"))
	case "CronJob":
		return mendContainers(at("spec", "jobTemplate", "spec", "template", "spec"))
	case "Role", "ClusterRole":
		object["rules"] = []any{map[string]any{"apiGroups": []any{""}, "resources": []any{"configmaps"}, "verbs": []any{"get"}}}
	case "RoleBinding", "ClusterRoleBinding":
		object["subjects"] = []any{map[string]any{"kind": "ServiceAccount", "namespace": "default", "name": "mended"}}
	case "ValidatingWebhookConfiguration", "MutatingWebhookConfiguration":
		webhooks, _ := object["webhooks"].([]any)
		if len(webhooks) < 2 {
			return fmt.Errorf("%s has %d webhooks: nothing would be left of it", kind, len(webhooks))
		}
		object["webhooks"] = webhooks[1:]
	case "Certificate":
		names, _ := at("spec")["dnsNames"].([]any)
		at("spec")["dnsNames"] = append(names, "mended.example.com")
	case "Silence":
		at("spec")["expires"] = time.Now().Add(2 * time.Hour).UTC().Format(time.RFC3339)
	default:
		return fmt.Errorf("nobody knows what is mended of a %s", kind)
	}
	return nil
}

// mendContainers gives containers another image and other limits, and takes what they
// refer to out of their env.
func mendContainers(spec map[string]any) error {
	containers, _ := spec["containers"].([]any)
	if len(containers) == 0 {
		return fmt.Errorf("there are no containers in %v", spec)
	}
	for _, container := range containers {
		fields, _ := container.(map[string]any)
		// Another one each time: several findings may have the same object edited.
		fields["image"] = fmt.Sprintf("registry.example.com/mended:%d", time.Now().UnixNano())
		fields["resources"] = map[string]any{"limits": map[string]any{"memory": "1Gi"}}
		delete(fields, "env")
		delete(fields, "envFrom")
	}
	return nil
}
