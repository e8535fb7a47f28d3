package config

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2/unstable"
)

const envPrefix = "GOFORK_"

// environMap indexes an environment; of equal names the last counts, as in exec.
func environMap(environ []string) map[string]string {
	m := make(map[string]string, len(environ))
	for _, e := range environ {
		if name, value, ok := strings.Cut(e, "="); ok && name != "" {
			m[name] = value
		}
	}
	return m
}

// fromEnviron makes the layer of the GOFORK_ variables. file tells which companions
// there are, because a variable cannot spell every name.
func (in *input) fromEnviron(environ map[string]string, file map[string]any) layer {
	l := layer{}
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		rest, ok := strings.CutPrefix(name, envPrefix)
		if !ok || rest != "NAME" && !strings.Contains(rest, "__") || strings.HasPrefix(rest, "_") {
			continue
		}
		path, rule := envPath(rest, file)
		spelled := strings.Split(strings.ToLower(rest), "__") // whole, where path ends at what is wrong
		if rule == "" {
			if from := in.from[join("", path...)]; from != "" {
				rule = "sets the same key as " + from
			}
		}
		if rule == "" && !in.set(l, path, environ[name], name) {
			rule = "sets a part of a key that another variable sets whole"
		}
		if rule != "" {
			in.problems = append(in.problems, Problem{File: name, Key: join("", path...), Value: show(unknownValue(spelled, text(environ[name]))), Rule: rule})
		}
	}
	return l
}

// missedVariables are variables that name a key but for one underscore. They are no
// errors: a cluster may set variables of this prefix for reasons of its own.
func missedVariables(environ map[string]string, keys schema) []string {
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(environ)) {
		rest, ok := strings.CutPrefix(name, envPrefix)
		if !ok || strings.Contains(rest, "__") {
			continue
		}
		for _, table := range slices.Sorted(maps.Keys(keys)) {
			prefix := strings.ToUpper(strings.ReplaceAll(table, ".", "_")) + "_"
			key, ok := strings.CutPrefix(rest, prefix)
			if !ok || table == "" || table == companionTable || keys[table].keys[strings.ToLower(key)] == nil {
				continue
			}
			meant := envPrefix + strings.ToUpper(strings.ReplaceAll(table, ".", "__")) + "__" + key
			warnings = append(warnings, fmt.Sprintf("%s is not read: two underscores separate, as in %s", name, meant))
		}
	}
	return warnings
}

// envPath is the key that the name of a variable, without its prefix, means.
func envPath(name string, file map[string]any) (path []string, rule string) {
	steps := strings.Split(name, "__")
	for i := 0; i < len(steps); i++ {
		step := strings.ToLower(steps[i])
		if i == 1 && path[0] == companionTable {
			var ok bool
			if step, ok = companionNamed(step, file); !ok {
				return append(path, step), "could mean more than one companion of the file"
			}
		}
		path = append(path, step)
		atEnv := i == 1 || i == 2 && path[0] == companionTable
		if step == "env" && atEnv && i+1 < len(steps) {
			return append(path, strings.Join(steps[i+1:], "__")), ""
		}
	}
	if slices.Contains(path, "") {
		return path, "is not a key: nothing stands before, between or after \"__\""
	}
	return path, ""
}

// companionNamed finds the companion whose name a variable spells: step in lower case
// with "_" for "-". It reports false when there are several.
func companionNamed(step string, file map[string]any) (string, bool) {
	companions, _ := file[companionTable].(map[string]any)
	if _, exact := companions[step]; exact {
		return step, true
	}
	found := ""
	for name := range companions {
		if strings.ReplaceAll(strings.ToLower(name), "-", "_") != step {
			continue
		}
		if found != "" {
			return step, false
		}
		found = name
	}
	if found == "" {
		return step, true
	}
	return found, true
}

// fromSettings makes the layer of the command line.
func (in *input) fromSettings(settings []Setting) layer {
	l := layer{}
	for _, s := range settings {
		path, ok := splitKey(s.Key)
		switch {
		case !ok:
			in.problems = append(in.problems, Problem{File: s.Flag, Value: show(s.Key), Rule: "must be a dotted key"})
		case !in.set(l, path, s.Value, s.Flag):
			in.problems = append(in.problems, Problem{File: s.Flag, Key: join("", path...), Value: show(unknownValue(path, text(s.Value))), Rule: "sets a part of a key that was set whole before"})
		}
	}
	return l
}

// splitKey reads a dotted key as TOML does.
func splitKey(key string) ([]string, bool) {
	if strings.ContainsAny(key, "\n\r=") {
		return nil, false
	}
	var p unstable.Parser
	p.Reset([]byte(key + " = 0"))
	if !p.NextExpression() || p.Expression().Kind != unstable.KeyValue {
		return nil, false
	}
	var path []string
	for parts := p.Expression().Key(); parts.Next(); {
		path = append(path, string(parts.Node().Data))
	}
	return path, true
}

// set puts a value into a layer and notes who did. A TOML table becomes part of the
// tree; everything else stays text until its key is known. It reports false when
// something on the way is a value already.
func (in *input) set(l layer, path []string, value, from string) bool {
	m := map[string]any(l)
	last := len(path) - 1
	for i, step := range path[:last] {
		key := join("", path[:i+1]...)
		if in.tables[key] == "" {
			in.tables[key] = from
		}
		next, ok := m[step].(map[string]any)
		if !ok && m[step] != nil {
			return false
		}
		if !ok {
			next = map[string]any{}
			m[step] = next
		}
		m = next
	}
	var v any = text(value)
	if t, ok := tomlValue(value); ok {
		if table, ok := t.(map[string]any); ok {
			v = table
		}
	}
	m[path[last]] = v
	in.note(join("", path...), v, from)
	return true
}

func (in *input) note(key string, v any, from string) {
	table, ok := v.(map[string]any)
	if !ok {
		in.from[key] = from
		return
	}
	in.tables[key] = from
	delete(in.from, key)
	for name, v := range table {
		in.note(join(key, name), v, from)
	}
}
