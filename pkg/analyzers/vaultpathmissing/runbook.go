// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package vaultpathmissing

import (
	"fmt"
	"strings"

	"github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Runbook is what people can do about a finding of this analyzer, as a title and a
// text, and whether it has any. No command of it shows a value or deletes anything, and
// values are left to those who follow it.
func Runbook(spec *v1alpha1.FindingSpec) (title, text string, has bool) {
	if spec.Analyzer != Name || spec.Reason != PathMissing && spec.Reason != PropertyMissing || len(spec.Remediation.Commands) == 0 {
		return "", "", false
	}
	at, look := location(spec), spec.Remediation.Commands[0]
	steps := []string{
		"See whether Vault answers and is not sealed. A Vault that cannot be asked is no reason to write to it.\n\n    vault status",
		"See what is there.\n\n    " + look,
	}
	switch {
	case spec.Reason == PropertyMissing:
		title = "Add the missing keys to " + spec.Discriminator
		steps = append(steps, "If a key is there under another name, correct the ExternalSecret instead, where its manifest is kept. If it is not, add it; the\n"+
			"other keys stay. Once for each, with its name for KEY:\n\n    printf %s \"${VALUE_KEY}\" | vault kv patch "+at+" KEY=-")
	case strings.HasPrefix(look, "vault kv metadata get"):
		title = "Bring back " + spec.Discriminator
		steps = append(steps,
			"If the newest version was deleted by mistake, and is not destroyed, take that back.\n\n    vault kv undelete -versions=${VALUE_VERSION} "+at,
			"If it is destroyed, write a new one, with all keys that the ExternalSecret refers to.\n\n    vault kv put "+at+" KEY=\"${VALUE_KEY}\"")
	default:
		title = "Write " + spec.Discriminator
		steps = append(steps, "If it is there under another name, correct the ExternalSecret instead, where its manifest is kept. If it is not, write it, with all\n"+
			"keys that the ExternalSecret refers to. What is at a path is replaced, so look first that nothing is.\n\n    vault kv put "+at+" KEY=\"${VALUE_KEY}\"")
	}
	subject := &spec.Subject
	object := fmt.Sprintf("%s -n %s", subject.Name, subject.Namespace)
	steps = append(steps, fmt.Sprintf("Have it read at once, and see that it is Ready.\n\n    kubectl annotate externalsecrets.external-secrets.io %s --overwrite force-sync=$(date +%%s)\n    kubectl describe externalsecrets.external-secrets.io %[1]s", object))
	text = fmt.Sprintf("It is about %s, which ExternalSecret %s/%s refers to. It has no values: give each VALUE_ in your shell one of your\n"+
		"own, as by `read -rs VALUE_KEY`, so that it is in no history. Whoever writes the ExternalSecret chose the names of its\n"+
		"keys: take only those that you know, of letters, digits, - and _, and type no other sign of theirs into a shell.\n", spec.Discriminator, subject.Namespace, subject.Name)
	for i, step := range steps {
		text += fmt.Sprintf("\n%d. %s\n", i+1, step)
	}
	return title, text, true
}

// location is how the command line of Vault is told where the secret is, by what the
// finding's own command says of namespace and mount.
func location(spec *v1alpha1.FindingSpec) string {
	var flags []string
	path := spec.Discriminator
	for _, argument := range strings.Fields(spec.Remediation.Commands[0]) {
		for _, flag := range []string{"-namespace=", "-mount="} {
			if value, is := strings.CutPrefix(argument, flag); is {
				flags = append(flags, argument)
				path = strings.TrimPrefix(path, value+"/")
			}
		}
	}
	return strings.Join(append(flags, path), " ")
}
