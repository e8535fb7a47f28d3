package config

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// reader turns raw values into checked ones by their [Key]. It collects what is wrong
// and goes on, so that one load reports everything.
type reader struct {
	schema   schema
	environ  map[string]string
	problems Problems // without File and Line where the key says where it is
	warnings []string
}

// text is a value of the environment or the command line: what it means depends on
// the kind of its key.
type text string

// values are the checked keys of one table.
type values struct {
	path   string
	table  *table
	raw    map[string]any // as given, for errors
	own    map[string]any
	failed map[string]bool // given, but wrong: their defaults must not be judged
	base   *values         // companion_defaults, for a companion
}

// get returns a key's value: its own, else that of base, else the default.
func get[T any](v *values, name string) T {
	for x := v; x != nil; x = x.base {
		if val, ok := x.own[name]; ok {
			return val.(T)
		}
	}
	val, _ := v.table.defaults[name].(T)
	return val
}

func (v *values) given(name string) bool { _, ok := v.own[name]; return ok }

// sound reports whether no key of names was wrong, so that they can be compared.
func (v *values) sound(names ...string) bool {
	for x := v; x != nil; x = x.base {
		for _, name := range names {
			if x.failed[name] {
				return false
			}
		}
	}
	return true
}

// at is the dotted key of name in this table.
func (v *values) at(name string) string { return join(v.path, name) }

// bad records a problem. A nil value is not shown.
func (r *reader) bad(key string, value any, rule string) bool {
	p := Problem{Key: key, Rule: rule}
	if value != nil {
		p.Value = show(value)
	}
	r.problems = append(r.problems, p)
	return false
}

func (r *reader) warn(format string, args ...any) {
	r.warnings = append(r.warnings, fmt.Sprintf(format, args...))
}

// read checks one table of the file. name is its place in the schema, path in the file.
func (r *reader) read(name, path string, raw any, base *values) *values {
	t := r.schema[name]
	v := &values{path: path, table: t, own: map[string]any{}, failed: map[string]bool{}, base: base}
	if len(t.defaults) == 0 {
		for _, k := range t.keys {
			if k.Default != nil {
				t.defaults[k.Name], _ = r.parse(k, k.Name, k.Default)
			}
		}
	}
	if raw == nil {
		return v
	}
	given, ok := raw.(map[string]any)
	if !ok {
		r.bad(path, raw, "must be a table")
		return v
	}
	v.raw = given
	for key, value := range given {
		at := join(path, key)
		k := t.keys[key]
		if k == nil {
			if r.isTable(name, key) {
				continue
			}
			if name == defaultsTable && r.schema[companionTable].keys[key] != nil {
				r.bad(at, value, "is a key of each companion, not of companion_defaults")
				continue
			}
			p := unknown(at, key, unknownValue([]string{key}, value), unknownKey, t.names)
			r.problems = append(r.problems, p)
			if !p.far {
				v.failed[p.Nearest] = true // it is most likely not missing
			}
			continue
		}
		if value, ok := r.parse(k, at, value); ok {
			v.own[key] = value
		} else {
			v.failed[key] = true
		}
	}
	return v
}

// isTable reports whether key is a table of its own inside the table name.
func (r *reader) isTable(name, key string) bool {
	if key == "" || strings.Contains(key, ".") {
		return false // the quoted key "worker.http" is not the table worker.http
	}
	if name != "" {
		key = name + "." + key
	}
	return r.schema[key] != nil
}

// parse reads one value. It reports false after it has recorded what is wrong.
func (r *reader) parse(k *Key, at string, raw any) (any, bool) {
	if t, ok := raw.(text); ok {
		raw = k.Kind.interpret(string(t))
	}
	switch k.Kind {
	case KindString, KindName, KindUser, KindAddress, KindPath, KindOutput, KindOnReload, KindSignal, KindOctal:
		return r.parseWord(k, at, raw)
	case KindBool, KindTristate:
		return r.parseBool(k, at, raw)
	case KindInt, KindFloat, KindCount, KindSurge:
		return r.parseNumber(k, at, raw)
	case KindDuration:
		d, rule := parseDuration(k, raw)
		return d, rule == "" || r.bad(at, raw, rule)
	case KindSize:
		n, rule := parseSize(k, raw)
		return n, rule == "" || r.bad(at, raw, rule)
	case KindCommand, KindArgv:
		return r.parseCommand(k, at, raw)
	case KindBind:
		return r.parseBind(at, raw)
	case KindPaths, KindCIDRs:
		return r.parseStrings(k, at, raw)
	case KindInts:
		return r.parseInts(k, at, raw)
	case KindEnv:
		return r.parseEnv(at, raw)
	case KindOptions:
		return r.parseOptions(at, raw)
	case KindRlimits:
		return r.parseRlimits(at, raw)
	default:
		panic("config: no reader for kind " + string(k.Kind)) // a key in Keys that nobody can set
	}
}

// interpret gives a text the type its kind wants.
func (kind Kind) interpret(s string) any {
	v, ok := tomlValue(s)
	_, isString := v.(string)
	_, isList := v.([]any)
	switch kind {
	case KindString, KindName, KindAddress, KindPath, KindOutput, KindOctal, KindUser, KindOnReload:
		ok = isString
	case KindCommand, KindBind:
		ok = isString || isList
	case KindPaths, KindCIDRs, KindInts:
		if !isList {
			return kind.split(s)
		}
	default: // the value says what it is
	}
	if !ok {
		return s
	}
	return v
}

// split makes a list of a text with commas.
func (kind Kind) split(s string) []any {
	list := []any{}
	for part := range strings.SplitSeq(s, ",") {
		part = strings.TrimSpace(part)
		v, _ := tomlValue(part)
		_, isString := v.(string)
		switch {
		case part == "":
		case isString || kind == KindInts && v != nil:
			list = append(list, v)
		default:
			list = append(list, part)
		}
	}
	return list
}

// tomlValue reads s as one TOML value.
func tomlValue(s string) (any, bool) {
	if strings.ContainsAny(s, "\n\r") {
		return nil, false // more than a value would fit in here
	}
	var doc map[string]any
	if err := toml.Unmarshal([]byte("v = "+s), &doc); err != nil || len(doc) != 1 {
		return nil, false
	}
	return doc["v"], true
}

// parseWord reads the kinds that are one string in the file.
func (r *reader) parseWord(k *Key, at string, raw any) (any, bool) {
	if n, ok := raw.(int64); ok && (k.Kind == KindUser && n >= 0 || k.Kind == KindSignal) {
		raw = strconv.FormatInt(n, 10)
	}
	s, ok := raw.(string)
	if !ok {
		rule := "must be a string"
		switch k.Kind {
		case KindOctal:
			rule = `must be an octal string such as "022"`
		case KindUser:
			rule = "must be a name or a number from 0"
		case KindSignal:
			rule = signalRule
		default:
		}
		if k.Kind != KindOnReload && k.Kind != KindOutput && len(k.Enum) > 0 {
			rule = oneOf(k.Enum)
		}
		return nil, r.bad(at, raw, rule)
	}
	if strings.IndexByte(s, 0) >= 0 {
		return nil, r.bad(at, s, "must not contain a NUL byte")
	}
	switch k.Kind {
	case KindName:
		ok := regexp.MustCompile(processName).MatchString(s)
		return s, ok || r.bad(at, s, `must be 1 to 64 letters, digits, "_", "-" or ".", the first a letter or digit`)
	case KindPath:
		return r.expandAt(at, s)
	case KindOutput:
		return r.parseOutput(k, at, s)
	case KindSignal:
		return r.parseSignal(k, at, s)
	case KindOnReload:
		return r.parseOnReload(k, at, s)
	case KindOctal:
		return r.parseOctal(k, at, s)
	case KindAddress:
		if s == "" {
			return s, true
		}
		address, rule := parseHostPort(s)
		return address, rule == "" || r.bad(at, s, `must be "HOST:PORT", "[IPV6]:PORT" or ":PORT"`+rule)
	default:
	}
	if len(k.Enum) > 0 && !slices.Contains(k.Enum, s) {
		r.problems = append(r.problems, Problem{Key: at, Value: show(s), Rule: oneOf(k.Enum), Nearest: nearest(s, k.Enum)})
		return nil, false
	}
	return s, true
}

func (r *reader) parseOutput(k *Key, at, s string) (any, bool) {
	rule := oneOf(append(slices.Clone(k.Enum), "a path"))
	rule = strings.Replace(rule, `"a path"`, "a path", 1)
	for _, word := range []string{"inherit", "log", "null", "stdout"} {
		if strings.EqualFold(s, word) {
			ok := s == word && slices.Contains(k.Enum, s)
			return s, ok || r.bad(at, s, rule)
		}
	}
	if s == "" {
		return nil, r.bad(at, s, rule)
	}
	return r.expandAt(at, s)
}

func (r *reader) parseOctal(k *Key, at, s string) (any, bool) {
	if s == "" && k.Default == "" {
		return int(Inherit), true
	}
	n, err := strconv.ParseUint(strings.TrimPrefix(s, "0o"), 8, 32)
	if err != nil || n > 0o777 {
		return nil, r.bad(at, s, `must be an octal string from "0" to "0777"`)
	}
	return int(n), true
}

// tristate is a switch that can be left to gofork.
type tristate string

func (r *reader) parseBool(k *Key, at string, raw any) (any, bool) {
	if k.Kind == KindBool {
		b, ok := raw.(bool)
		return b, ok || r.bad(at, raw, "must be true or false")
	}
	switch raw {
	case true, false, "auto":
		return tristate(fmt.Sprint(raw)), true
	}
	return nil, r.bad(at, raw, `must be true, false or "auto"`)
}

// count is a worker count; 0 is "auto".
type count int

func (r *reader) parseNumber(k *Key, at string, raw any) (any, bool) {
	rule := "must be " + numberRange(k)
	switch k.Kind {
	case KindCount:
		rule += `, or "auto"`
		if raw == "auto" {
			return count(0), true
		}
	case KindSurge:
		rule += `, or a percentage from "1%" to "100%"`
		if s, ok := raw.(string); ok {
			digits, isPercent := strings.CutSuffix(s, "%")
			if n, err := strconv.ParseUint(digits, 10, 16); isPercent && err == nil && n >= 1 && n <= 100 {
				return MaxSurge{N: int(n), Percent: true}, true
			}
		}
	case KindFloat:
		if n, ok := raw.(int64); ok {
			raw = float64(n)
		}
		f, ok := raw.(float64)
		return f, ok && f >= k.Min && f <= k.Max || r.bad(at, raw, rule)
	default:
	}
	n, ok := raw.(int64)
	if !ok || float64(n) < k.Min || float64(n) > k.Max {
		return nil, r.bad(at, raw, rule)
	}
	switch k.Kind {
	case KindCount:
		return count(n), true
	case KindSurge:
		return MaxSurge{N: int(n)}, true
	default:
		return int(n), true
	}
}

func numberRange(k *Key) string {
	return fmt.Sprintf("a number from %s to %s", plain(k.Min), plain(k.Max))
}

func plain(f float64) string { return strconv.FormatFloat(f, 'f', -1, 64) }

func (r *reader) parseInts(k *Key, at string, raw any) (any, bool) {
	list, ok := raw.([]any)
	if !ok {
		return nil, r.bad(at, raw, "must be an array of numbers")
	}
	out := make([]int64, 0, len(list))
	for i, e := range list {
		n, isInt := e.(int64)
		if !isInt || float64(n) < k.Min || float64(n) > k.Max {
			ok = r.bad(index(at, i), e, "must be "+numberRange(k))
			continue
		}
		out = append(out, n)
	}
	return out, ok
}

func (r *reader) parseStrings(k *Key, at string, raw any) (any, bool) {
	list, ok := raw.([]any)
	if !ok {
		return nil, r.bad(at, raw, "must be an array of strings")
	}
	out := make([]string, 0, len(list))
	for i, e := range list {
		s, isString := e.(string)
		switch {
		case !isString:
			ok = r.bad(index(at, i), e, "must be a string")
			continue
		case s == "" || strings.IndexByte(s, 0) >= 0:
			ok = r.bad(index(at, i), s, "must not be empty or contain a NUL byte")
			continue
		case k.Kind == KindCIDRs:
			prefix, rule := parseCIDR(s)
			if rule != "" {
				ok = r.bad(index(at, i), s, rule)
			}
			s = prefix
		default:
			expanded, expandedOK := r.expandAt(index(at, i), s)
			ok = ok && expandedOK
			s, _ = expanded.(string)
		}
		out = append(out, s)
	}
	return out, ok
}

// sameValue compares read values; nil and empty lists and tables are the same.
func sameValue(a, b any) bool {
	if reflect.DeepEqual(a, b) {
		return true
	}
	x, y := reflect.ValueOf(a), reflect.ValueOf(b)
	if !x.IsValid() || !y.IsValid() || x.Type() != y.Type() {
		return false
	}
	switch x.Kind() {
	case reflect.Slice, reflect.Map:
		return x.Len() == 0 && y.Len() == 0
	default:
		return false
	}
}
