// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package v1alpha1

import (
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
	"sigs.k8s.io/yaml"
)

// Misfits names the fields of a struct, of which into is one or a pointer to one, whose
// values in YAML or JSON are not of their types; path is that of the struct, and nil for
// the whole. Decoders stop at the first, and do not say which it is where a type parses
// its value itself, as durations do.
func Misfits(path *field.Path, into any, data []byte) field.ErrorList {
	var value any
	if err := yaml.Unmarshal(data, &value); err != nil {
		return nil // Then no field is to blame.
	}
	return misfitsIn(path, reflect.TypeOf(into), value)
}

// misfitsIn looks for the innermost values that do not fit.
func misfitsIn(path *field.Path, into reflect.Type, value any) field.ErrorList {
	content, err := json.Marshal(value)
	if err != nil {
		return nil // It is of JSON's own types.
	}
	if err = json.Unmarshal(content, reflect.New(into).Interface()); err == nil {
		return nil
	}
	for into.Kind() == reflect.Pointer {
		into = into.Elem()
	}
	var inner field.ErrorList
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			switch into.Kind() {
			case reflect.Struct:
				if member, known := memberOf(into, key); known {
					inner = append(inner, misfitsIn(child(path, key), member, value[key])...)
				}
			case reflect.Map:
				inner = append(inner, misfitsIn(path.Key(key), into.Elem(), value[key])...)
			}
		}
	case []any:
		if into.Kind() == reflect.Slice {
			for i := range value {
				inner = append(inner, misfitsIn(path.Index(i), into.Elem(), value[i])...)
			}
		}
	}
	if len(inner) > 0 || path == nil {
		return inner
	}
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return field.ErrorList{field.TypeInvalid(path, value, "must be "+inWords(wrong.Type))}
	}
	return field.ErrorList{field.Invalid(path, value, err.Error())}
}

func child(path *field.Path, name string) *field.Path {
	if path == nil {
		return field.NewPath(name)
	}
	return path.Child(name)
}

// memberOf is the type of a struct's field by its name in JSON.
func memberOf(of reflect.Type, name string) (reflect.Type, bool) {
	for _, member := range reflect.VisibleFields(of) {
		if tag, _, _ := strings.Cut(member.Tag.Get("json"), ","); tag == name {
			return member.Type, true
		}
	}
	return nil, false
}

// inWords is what a value has to be to fit a type.
func inWords(of reflect.Type) string {
	switch of.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.String:
		return "a string"
	case reflect.Int32:
		return "an integer of 32 bits"
	case reflect.Slice:
		return "a list"
	}
	return "an object"
}
