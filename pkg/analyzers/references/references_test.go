// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package references

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/yaml"
)

func TestWhatTheKubeletSaysIsRead(t *testing.T) {
	for message, want := range map[string]Item{
		"couldn't find key token in Secret shop/db":                        {Secret, "shop", "db", "token"},
		"couldn't find key a.b_c-D in ConfigMap shop/web.settings":         {ConfigMap, "shop", "web.settings", "a.b_c-D"},
		`secret "db" not found`:                                            {Secret, "shop", "db", ""},
		`secrets "db" not found`:                                           {Secret, "shop", "db", ""},
		`configmap "settings" not found`:                                   {ConfigMap, "shop", "settings", ""},
		`Error: configmaps "settings" not found`:                           {ConfigMap, "shop", "settings", ""},
		"references non-existent secret key: ca.crt":                       {Secret, "shop", "", "ca.crt"},
		"configmap references non-existent config key: app.yaml":           {ConfigMap, "shop", "", "app.yaml"},
		`object "shop"/"db" not registered`:                                {},
		"failed to sync secret cache: timed out waiting for the condition": {},
		`environment variable key "A" not found in file "/env"`:            {},
		`secret "" not found`:                                              {},
		"":                                                                 {},
	} {
		if have := Parse("shop", message); have != want {
			t.Errorf("%q: have %+v, want %+v", message, have, want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, seed := range []string{"couldn't find key token in Secret shop/db", `secrets "db" not found`, "references non-existent secret key: k", "ключ"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, message string) {
		item := Parse("shop", message)
		if item.Kind == "" && item != (Item{}) || item.Kind != "" && item.Name == "" && item.Key == "" {
			t.Errorf("%q is read as %+v", message, item)
		}
	})
}

func TestRequired(t *testing.T) {
	for name, test := range map[string]struct {
		spec string
		want []Item
	}{
		"nothing": {spec: "{containers: [{name: a, env: [{name: A, value: b}, {name: B, valueFrom: {fieldRef: {fieldPath: metadata.name}}}]}]}"},
		"env and envFrom, each once": {
			spec: `{containers: [{name: a, env: [{name: A, valueFrom: {secretKeyRef: {name: db, key: k}}}, {name: B, valueFrom: {secretKeyRef: {name: db, key: k}}}],
				envFrom: [{configMapRef: {name: settings}}]}]}`,
			want: []Item{{ConfigMap, "shop", "settings", ""}, {Secret, "shop", "db", "k"}},
		},
		"init and ephemeral containers": {
			spec: `{initContainers: [{name: a, envFrom: [{secretRef: {name: first}}]}],
				ephemeralContainers: [{name: b, env: [{name: A, valueFrom: {configMapKeyRef: {name: last, key: k}}}]}]}`,
			want: []Item{{ConfigMap, "shop", "last", "k"}, {Secret, "shop", "first", ""}},
		},
		"volumes, whole and by keys": {
			spec: `{volumes: [{name: a, secret: {secretName: whole}}, {name: b, configMap: {name: some, items: [{key: x, path: x}, {key: z, path: z}]}}]}`,
			want: []Item{{ConfigMap, "shop", "some", "x"}, {ConfigMap, "shop", "some", "z"}, {Secret, "shop", "whole", ""}},
		},
		"projected, without tokens and what each namespace has": {
			spec: `{volumes: [{name: a, projected: {sources: [{serviceAccountToken: {path: token}}, {configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}},
				{downwardAPI: {}}, {secret: {name: db}}, {configMap: {name: more, items: [{key: k, path: k}]}}]}}]}`,
			want: []Item{{ConfigMap, "shop", "more", "k"}, {Secret, "shop", "db", ""}},
		},
		"optional": {
			spec: `{containers: [{name: a, env: [{name: A, valueFrom: {secretKeyRef: {name: a, key: k, optional: true}}}, {name: B, valueFrom: {configMapKeyRef: {name: b, key: k, optional: true}}}],
				envFrom: [{configMapRef: {name: c, optional: true}}, {secretRef: {name: d, optional: true}}]}],
				volumes: [{name: e, secret: {secretName: e, optional: true}}, {name: f, configMap: {name: f, optional: true}},
				{name: g, projected: {sources: [{secret: {name: g, optional: true}}, {configMap: {name: h, optional: true, items: [{key: k, path: k}]}}]}}]}`,
		},
		"missing names": {spec: `{containers: [{name: a, envFrom: [{}, {secretRef: {}}], env: [{name: A, valueFrom: {}}]}], volumes: [{name: a, secret: {}}, {name: b, projected: {sources: [{}]}}, {name: c}]}`},
	} {
		t.Run(name, func(t *testing.T) {
			var spec corev1.PodSpec
			if err := yaml.UnmarshalStrict([]byte(test.spec), &spec); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(test.want, Required("shop", &spec)); diff != "" {
				t.Errorf("-want +have:\n%s", diff)
			}
		})
	}
}

func TestNearMiss(t *testing.T) {
	for name, test := range map[string]struct {
		keys []string
		key  string
		want string
	}{
		"nothing":                        {nil, "token", ""},
		"case":                           {[]string{"other", "TOKEN"}, "token", "TOKEN"},
		"separators":                     {[]string{"db.password", "user"}, "db_password", "db.password"},
		"a letter too many":              {[]string{"passwords"}, "password", "passwords"},
		"two letters swapped":            {[]string{"pasword1", "passwrod"}, "password", "passwrod"},
		"case before letters":            {[]string{"passwort", "PASSWORD"}, "password", "PASSWORD"},
		"of two as near the first":       {[]string{"password1", "password2"}, "password", "password1"},
		"too far":                        {[]string{"passphrase"}, "password", ""},
		"short ones are all near":        {[]string{"b", "id"}, "a", ""},
		"one letter of three is a third": {[]string{"key"}, "kex", ""},
		"several bytes a letter":         {[]string{"ключик"}, "ключи", "ключик"},
		"itself":                         {[]string{"token"}, "token", ""},
	} {
		if have := NearMiss(test.keys, test.key); have != test.want {
			t.Errorf("%s: have %q, want %q", name, have, test.want)
		}
	}
}

func FuzzEdits(f *testing.F) {
	f.Add("password", "passwrod")
	f.Fuzz(func(t *testing.T, a, b string) {
		there, back := edits([]rune(a), []rune(b)), edits([]rune(b), []rune(a))
		if there != back || (there == 0) != (string([]rune(a)) == string([]rune(b))) {
			t.Errorf("%q and %q are %d and %d apart", a, b, there, back)
		}
	})
}
