package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	lua "github.com/yuin/gopher-lua"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// Argo CD cannot be built from Go modules. What follows are the rules of its gitops-engine/pkg/health/health.go and
// util/lua/lua.go around its own Lua engine.

var healths = []string{"Healthy", "Progressing", "Suspended", "Degraded", "Missing", "Unknown"}

func argo(object *unstructured.Unstructured, script string) Verdict {
	if object.GetDeletionTimestamp() != nil {
		return Verdict{"Progressing", "Pending deletion"}
	}
	if script == "" {
		return Verdict{"None", "There is no health check for this kind"}
	}
	verdict, err := scripted(object, script)
	if err != nil {
		return Verdict{"Unknown", err.Error()}
	}
	if !slices.Contains(healths, verdict.Status) {
		return Verdict{"Unknown", "Lua returned an invalid health status"}
	}
	return verdict
}

// scripted runs the script as it runs from argocd-cm unless `useOpenLibs` is set for the kind: it has `package`, `table`
// and the base functions, no `string` and no `math`, and one second. Argo CD has a reduced `os` too: none here, so that
// no script of ours needs the clock.
func scripted(object *unstructured.Unstructured, script string) (Verdict, error) {
	state := lua.NewState(lua.Options{SkipOpenLibs: true})
	defer state.Close()
	for _, library := range []struct {
		name string
		open lua.LGFunction
	}{
		{lua.LoadLibName, lua.OpenPackage},
		{lua.BaseLibName, lua.OpenBase},
		{lua.TabLibName, lua.OpenTable},
	} {
		call := lua.P{Fn: state.NewFunction(library.open), Protect: true}
		if err := state.CallByParam(call, lua.LString(library.name)); err != nil {
			return Verdict{}, err
		}
	}
	limited, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	state.SetContext(limited)
	state.SetGlobal("obj", value(state, object.Object))
	if err := state.DoString(script); err != nil {
		return Verdict{}, err
	}
	table, ok := state.Get(-1).(*lua.LTable)
	if !ok {
		return Verdict{}, fmt.Errorf("expect table output from Lua script, not %s", state.Get(-1).Type())
	}
	return verdict(table)
}

// verdict refuses what Argo CD cannot decode either: anything but text. Absent is empty.
func verdict(table *lua.LTable) (Verdict, error) {
	texts := make(map[string]string, 2)
	for _, key := range []string{"status", "message"} {
		field := table.RawGetString(key)
		text, ok := field.(lua.LString)
		if !ok && field != lua.LNil {
			return Verdict{}, fmt.Errorf("%s must be a string, got a %s", key, field.Type())
		}
		texts[key] = string(text)
	}
	return Verdict{texts["status"], texts["message"]}, nil
}

func value(state *lua.LState, of any) lua.LValue {
	switch known := of.(type) {
	case bool:
		return lua.LBool(known)
	case int64:
		return lua.LNumber(known)
	case float64:
		return lua.LNumber(known)
	case string:
		return lua.LString(known)
	case []any:
		list := state.CreateTable(len(known), 0)
		for _, item := range known {
			list.Append(value(state, item))
		}
		return list
	case map[string]any:
		table := state.CreateTable(0, len(known))
		for key, item := range known {
			table.RawSetString(key, value(state, item))
		}
		return table
	default:
		return lua.LNil
	}
}
