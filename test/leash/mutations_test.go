// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package leash

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/srenix/srenix/pkg/policy"
	"github.com/srenix/srenix/pkg/secondleash"
)

// mutation is one thing left out of the leash in CEL.
type mutation struct {
	// what was left out, and of which expression.
	what, of string
	apply    func(*admissionregistrationv1.ValidatingAdmissionPolicySpec)
}

// unneeded are parts that can be left out and no case sees it, and why they stand there.
var unneeded = map[string]string{
	`"authorization.k8s.io/subjectaccessreviews:CREATE"`: "Kubernetes 1.37 asks no ValidatingAdmissionPolicy about reviews; it is there for one that does",
}

// TestEveryPartOfTheLeashIsNeeded leaves out each validation, each operand of
// && and ||, and each string of a list in turn: some case must be decided
// otherwise then. A part that no case needs is a hole that no test would see.
func TestEveryPartOfTheLeashIsNeeded(t *testing.T) {
	all := questions(t)
	whole := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if err := cluster.admin.Get(t.Context(), client.ObjectKey{Name: leashName}, whole); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := enforce(context.Background(), whole.Spec, func(*admissionregistrationv1.ValidatingAdmissionPolicySpec) {}, "whole"); err != nil {
			t.Error(err)
		}
		awaitRefusal(context.Background(), t, "whole", "this is whole")
	})
	for i, m := range mutations(&whole.Spec) {
		t.Run(fmt.Sprintf("%d %s", i, m.of), func(t *testing.T) {
			name := fmt.Sprintf("mutation-%d", i)
			err := enforce(t.Context(), whole.Spec, m.apply, name)
			if err != nil {
				// Also where the rest is no expression: a part that this test passes over is
				// one of which it shows nothing.
				t.Fatalf("without %s: %v", m.what, err)
			}
			awaitRefusal(t.Context(), t, name, "this is "+name)
			if err := secondleash.Check(t.Context(), cluster.executor); !errors.Is(err, secondleash.ErrDiffers) {
				t.Errorf("an executor does not notice that it lacks %s: %v", m.what, err)
			}
			catcher := firstChanged(t, all, m.what)
			why := unneeded[m.what]
			switch {
			case catcher == "" && why == "":
				t.Errorf("no case needs %s", m.what)
			case catcher != "" && why != "":
				t.Errorf("%q needs %s, which is said to be unneeded: %s", catcher, m.what, why)
			}
			t.Logf("without %s this is decided otherwise: %s", m.what, catcher)
		})
	}
}

// enforce stores the leash with a change, and with a name by which a probe is
// refused once kube-apiserver enforces it.
func enforce(ctx context.Context, spec admissionregistrationv1.ValidatingAdmissionPolicySpec, change func(*admissionregistrationv1.ValidatingAdmissionPolicySpec), name string) error {
	changed := &admissionregistrationv1.ValidatingAdmissionPolicy{}
	if err := cluster.admin.Get(ctx, client.ObjectKey{Name: leashName}, changed); err != nil {
		return err
	}
	spec.DeepCopyInto(&changed.Spec)
	change(&changed.Spec)
	changed.Spec.Validations = slices.Insert(changed.Spec.Validations, 0, admissionregistrationv1.Validation{
		Expression: fmt.Sprintf(`request.resource.resource != "configmaps" || request.operation != "CREATE" || object.metadata.name != %q`, name),
		Message:    "this is " + name,
	})
	return cluster.admin.Update(ctx, changed)
}

// firstChanged names the first case that is not decided as by the whole leash.
func firstChanged(t *testing.T, all []*question, what string) string {
	t.Helper()
	// Cases that are about a name of a list are named after it.
	names := quoted.FindAllString(what, -1)
	about := func(q *question) bool {
		return slices.ContainsFunc(names, func(name string) bool { return strings.HasSuffix(q.name, strings.Trim(name, `"`)) })
	}
	for _, first := range []bool{true, false} {
		for _, q := range all {
			if about(q) != first {
				continue
			}
			want := q.want
			if q.onlyGo != "" {
				want = ""
			}
			var have policy.Layer
			var err error
			eventually(t.Context(), t, "an answer to "+q.name, func(ctx context.Context) (bool, string) {
				have, err = q.ask(ctx)
				return err == nil || settles(err), fmt.Sprint(err)
			})
			if err != nil || have != want {
				return fmt.Sprintf("%s (%s, want %s, %v)", q.name, verdict(have), verdict(want), err)
			}
		}
	}
	return ""
}

// settles tells whether an error is what became of a request that a leash let pass,
// or could not be evaluated for. Any other, as that of a server which is late, says
// nothing of the leash.
func settles(err error) bool {
	switch apierrors.ReasonForError(err) {
	case metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonBadRequest, metav1.StatusReasonNotFound, metav1.StatusReasonMethodNotAllowed:
		return true
	}
	return false
}

// mutations are all of them.
func mutations(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) []mutation {
	var all []mutation
	add := func(of, what, expression string, at func(*admissionregistrationv1.ValidatingAdmissionPolicySpec) *string) {
		all = append(all, mutation{what, of, func(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) { *at(spec) = expression }})
	}
	for i, validation := range spec.Validations {
		at := func(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) *string {
			return &spec.Validations[i].Expression
		}
		of := fmt.Sprintf("validation %d", i)
		add(of, "the whole", "true", at)
		for expression, what := range parts(validation.Expression) {
			add(of, what, expression, at)
		}
	}
	for i, variable := range spec.Variables {
		at := func(spec *admissionregistrationv1.ValidatingAdmissionPolicySpec) *string {
			return &spec.Variables[i].Expression
		}
		for expression, what := range parts(variable.Expression) {
			add("variable "+variable.Name, what, expression, at)
		}
	}
	slices.SortStableFunc(all, func(a, b mutation) int { return strings.Compare(a.of+a.what, b.of+b.what) })
	return all
}

var (
	quoted   = regexp.MustCompile(`"[^"]*"`)
	operator = regexp.MustCompile(`&&|\|\|`)
	// opened and closed are what is before and after a string of a list, or an index.
	opened = regexp.MustCompile(`[\[,?]\s*$`)
	closed = regexp.MustCompile(`^\s*[\],]`)
)

// parts returns the expression without each operand of && and ||, and without
// each string of a list; and what was left out of each.
func parts(expression string) map[string]string {
	without := map[string]string{}
	leaveOut := func(begin, end int, instead string) {
		without[shown(expression[:begin]+instead+expression[end:])] = shown(expression[begin:end])
	}
	for _, at := range operator.FindAllStringIndex(expression, -1) {
		symbol := expression[at[0]:at[1]]
		leaveOut(at[0], operandEnd(expression, at[1], symbol), "")
		leaveOut(operandBegin(expression, at[0], symbol), at[1], "")
	}
	for _, at := range quoted.FindAllStringIndex(expression, -1) {
		if opened.MatchString(expression[:at[0]]) && closed.MatchString(expression[at[1]:]) {
			leaveOut(at[0], at[1], `"none-such"`)
		}
	}
	return without
}

// shown is one line, so that what differs only in space is the same.
func shown(part string) string { return strings.Join(strings.Fields(part), " ") }

// operandEnd is where the operand ends that begins at a position: before an
// operator that binds no tighter, or what encloses it.
func operandEnd(expression string, from int, symbol string) int {
	depth, inString := 0, false
	for i := from; i < len(expression); i++ {
		switch rest := expression[i:]; {
		case expression[i] == '"':
			inString = !inString
		case inString:
		case strings.ContainsRune("([{", rune(expression[i])):
			depth++
		case strings.ContainsRune(")]}", rune(expression[i])):
			if depth--; depth < 0 {
				return i
			}
		case depth > 0:
		case strings.HasPrefix(rest, "||"), strings.HasPrefix(rest, "&&") && symbol == "&&", expression[i] == ',', strings.HasPrefix(rest, "? "), strings.HasPrefix(rest, " : "):
			return i
		}
	}
	return len(expression)
}

// operandBegin is where the operand begins that ends at a position.
func operandBegin(expression string, to int, symbol string) int {
	depth, inString := 0, false
	for i := to - 1; i >= 0; i-- {
		switch before := expression[:i+1]; {
		case expression[i] == '"':
			inString = !inString
		case inString:
		case strings.ContainsRune(")]}", rune(expression[i])):
			depth++
		case strings.ContainsRune("([{", rune(expression[i])):
			if depth--; depth < 0 {
				return i + 1
			}
		case depth > 0:
		case strings.HasSuffix(before, "||"), strings.HasSuffix(before, "&&") && symbol == "&&", expression[i] == ',', strings.HasSuffix(before, " ? "), strings.HasSuffix(before, " : "):
			return i + 1
		}
	}
	return 0
}
