// Copyright The srenix Authors.
// SPDX-License-Identifier: Apache-2.0

package gitops

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/cel-go/cel"
	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	opsv1alpha1 "github.com/srenix/srenix/pkg/apis/ops/v1alpha1"
	srenixv1alpha1 "github.com/srenix/srenix/pkg/apis/srenix/v1alpha1"
)

// Health as Argo CD says it.
const (
	healthy     = "Healthy"
	progressing = "Progressing"
	suspended   = "Suspended"
	degraded    = "Degraded"
)

// approval makes one of a phase; verified is the status of that condition, if there is one.
func approval(decision srenixv1alpha1.Decision, phase opsv1alpha1.ApprovalPhase, verified string) map[string]any {
	status := map[string]any{"phase": string(phase), "message": "told by the executor"}
	if verified != "" {
		status["conditions"] = []any{
			map[string]any{"type": "Accepted", "status": "True", "message": "accepted"},
			map[string]any{"type": "Verified", "status": verified, "message": "looked at"},
		}
	}
	return map[string]any{"spec": map[string]any{"decision": string(decision)}, "status": status}
}

func TestHealthOfAnApproval(t *testing.T) {
	script := argoHealth(t)
	failed, current := fluxHealth(t, "failed"), fluxHealth(t, "current")
	const yes, no = srenixv1alpha1.DecisionApprove, srenixv1alpha1.DecisionDeny
	for _, c := range []struct {
		name   string
		object map[string]any
		want   string
	}{
		{"pending", approval(yes, opsv1alpha1.PhasePending, ""), progressing},
		{"first of two", approval(yes, opsv1alpha1.PhaseAwaitingSecondApproval, ""), suspended},
		{"executing", approval(yes, opsv1alpha1.PhaseExecuting, ""), progressing},
		{"done, finding not looked at", approval(yes, opsv1alpha1.PhaseSucceeded, ""), progressing},
		{"done, finding stands so far", approval(yes, opsv1alpha1.PhaseSucceeded, "Unknown"), progressing},
		{"done, finding cleared", approval(yes, opsv1alpha1.PhaseSucceeded, "True"), healthy},
		{"done, finding persists", approval(yes, opsv1alpha1.PhaseSucceeded, "False"), degraded},
		{"failed", approval(yes, opsv1alpha1.PhaseFailed, ""), degraded},
		{"refused by policy", approval(yes, opsv1alpha1.PhaseDenied, ""), degraded},
		{"a no", approval(no, opsv1alpha1.PhaseDenied, ""), healthy},
		{"expired", approval(yes, opsv1alpha1.PhaseExpired, ""), degraded},
		{"superseded", approval(yes, opsv1alpha1.PhaseSuperseded, ""), degraded},
		{"released", approval(yes, opsv1alpha1.PhaseReleased, ""), healthy},
	} {
		t.Run(c.name, func(t *testing.T) {
			have, message, err := runHealth(script, c.object)
			if err != nil || have != c.want || message == "" {
				t.Errorf("Argo CD: %s %q (%v), want %s", have, message, err, c.want)
			}
			if have := evaluate(t, failed, c.object); have != (c.want == degraded) {
				t.Errorf("Flux: failed is %t, want %s", have, c.want)
			}
			if have := evaluate(t, current, c.object); have != (c.want == healthy) {
				t.Errorf("Flux: current is %t, want %s", have, c.want)
			}
		})
	}
	have, _, err := runHealth(script, map[string]any{"spec": map[string]any{"decision": "Approve"}})
	if err != nil || have != progressing {
		t.Errorf("one that nobody has looked at yet is %s (%v), want %s", have, err, progressing)
	}
}

// argoHealth is the page's health check, under the key that Argo CD looks for.
func argoHealth(t *testing.T) string {
	t.Helper()
	script, _, _ := unstructured.NestedString(the(t, "ConfigMap", "argocd-cm").Object, "data", "resource.customizations.health.ops.srenix.io_Approval")
	if script == "" {
		t.Fatal("the page has no health check for Approvals")
	}
	return script
}

// runHealth runs a health check with the libraries that Argo CD gives one (util/lua in
// its repository): those to load, of the language itself, and of tables.
func runHealth(script string, object map[string]any) (health, message string, err error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for name, open := range map[string]lua.LGFunction{lua.LoadLibName: lua.OpenPackage, lua.BaseLibName: lua.OpenBase, lua.TabLibName: lua.OpenTable} {
		if err := state.CallByParam(lua.P{Fn: state.NewFunction(open), Protect: true}, lua.LString(name)); err != nil {
			return "", "", err
		}
	}
	state.SetGlobal("obj", toLua(state, object))
	if err := state.DoString(script); err != nil {
		return "", "", err
	}
	answer, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return "", "", errors.New("the health check returns no table")
	}
	return lua.LVAsString(answer.RawGetString("status")), lua.LVAsString(answer.RawGetString("message")), nil
}

func toLua(state *lua.LState, value any) lua.LValue {
	switch value := value.(type) {
	case map[string]any:
		table := state.NewTable()
		for key, of := range value {
			table.RawSetString(key, toLua(state, of))
		}
		return table
	case []any:
		table := state.NewTable()
		for _, of := range value {
			table.Append(toLua(state, of))
		}
		return table
	case bool:
		return lua.LBool(value)
	case int64:
		return lua.LNumber(value)
	case float64:
		return lua.LNumber(value)
	case nil:
		return lua.LNil
	default:
		return lua.LString(fmt.Sprint(value))
	}
}

// fluxHealth compiles one of the page's expressions, with what Flux gives it: the
// fields of the object.
func fluxHealth(t *testing.T, which string) cel.Program {
	t.Helper()
	all, _, err := unstructured.NestedSlice(the(t, "Kustomization", "approvals").Object, "spec", "healthCheckExprs")
	if err != nil || len(all) != 1 {
		t.Fatalf("the page has %d health checks (%v), want one", len(all), err)
	}
	text, _, _ := unstructured.NestedString(all[0].(map[string]any), which)
	environment, err := cel.NewEnv(cel.Variable("spec", cel.DynType), cel.Variable("status", cel.DynType))
	if err != nil {
		t.Fatal(err)
	}
	tree, issues := environment.Compile(strings.TrimSpace(text))
	if issues.Err() != nil {
		t.Fatalf("%s: %v", which, issues.Err())
	}
	program, err := environment.Program(tree)
	if err != nil {
		t.Fatal(err)
	}
	return program
}

func evaluate(t *testing.T, program cel.Program, object map[string]any) bool {
	t.Helper()
	answer, _, err := program.Eval(object)
	if err != nil {
		t.Fatal(err)
	}
	return answer.Value() == true
}
