package config

import (
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"
	"strings"
)

// parseEnv reads a table of variables. Their values may be secrets: no error shows one.
func (r *reader) parseEnv(at string, raw any) (any, bool) {
	given, ok := raw.(map[string]any)
	if !ok {
		return nil, r.bad(at, kindOf(raw), "must be a table of strings")
	}
	out := make(map[string]string, len(given))
	for name, value := range given {
		at := join(at, name)
		if rule := envNameRule(name); rule != "" {
			ok = r.bad(at, nil, rule)
			continue
		}
		s, isScalar := envValue(value)
		if !isScalar {
			ok = r.bad(at, kindOf(value), "must be a string, a number, true or false")
			continue
		}
		expanded, err := r.expand(s)
		if err == nil && strings.IndexByte(expanded, 0) >= 0 {
			err = errors.New("must not contain a NUL byte")
		}
		if err != nil {
			ok = r.bad(at, nil, err.Error())
			continue
		}
		out[name] = expanded
	}
	return out, ok
}

func envValue(v any) (string, bool) {
	switch v := v.(type) {
	case text:
		if s, ok := tomlValue(string(v)); ok {
			if s, ok := s.(string); ok {
				return s, true
			}
		}
		return string(v), true
	case string:
		return v, true
	case bool, int64:
		return fmt.Sprint(v), true
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), true
	default:
		return "", false
	}
}

func envNameRule(name string) string {
	if name == "" || strings.ContainsAny(name, "=\x00") {
		return `the name of a variable must not be empty or contain "=" or a NUL byte`
	}
	return ""
}

// parseOptions takes any table whose values a handler can get by JSON.
func (r *reader) parseOptions(at string, raw any) (any, bool) {
	given, ok := raw.(map[string]any)
	if !ok {
		return nil, r.bad(at, raw, "must be a table")
	}
	v, bad := plainValue(given)
	if bad != nil {
		return nil, r.bad(at, bad, "must not contain a number that is not finite")
	}
	return v, true
}

// plainValue resolves texts inside v; bad is a value that cannot be encoded.
func plainValue(v any) (plain, bad any) {
	switch v := v.(type) {
	case text:
		if t, ok := tomlValue(string(v)); ok {
			return plainValue(t)
		}
		return string(v), nil
	case float64:
		if math.IsNaN(v) || math.IsInf(v, 0) {
			return nil, v
		}
	case []any:
		out := make([]any, len(v))
		for i := range v {
			if out[i], bad = plainValue(v[i]); bad != nil {
				return nil, bad
			}
		}
		return out, nil
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			if out[k], bad = plainValue(e); bad != nil {
				return nil, bad
			}
		}
		return out, nil
	}
	return v, nil
}

func (r *reader) parseRlimits(at string, raw any) (any, bool) {
	given, ok := raw.(map[string]any)
	if !ok {
		return nil, r.bad(at, raw, "must be a table of limits")
	}
	resources := rlimitResources()
	out := make(map[string]Rlimit, len(given))
	for name, value := range given {
		resource, known := resources[name]
		if !known {
			names := slices.Sorted(maps.Keys(resources))
			r.problems = append(r.problems, unknown(join(at, name), name, unknownValue([]string{name}, value), "unknown resource limit on this platform", names))
			ok = false
			continue
		}
		soft, hard, rule := parseRlimit(value)
		if rule != "" {
			ok = r.bad(join(at, name), value, rule)
			continue
		}
		out[name] = Rlimit{Name: name, Resource: resource, Soft: soft, Hard: hard}
	}
	return out, ok
}

func parseRlimit(v any) (soft, hard uint64, rule string) {
	rule = `must be a number from 0, "unlimited", or "SOFT:HARD" of them, soft at most hard`
	if n, ok := v.(int64); ok && n >= 0 {
		return uint64(n), uint64(n), ""
	}
	s, ok := v.(string)
	if t, isText := v.(text); isText {
		s, ok = string(t), true
	}
	if !ok {
		return 0, 0, rule
	}
	first, second, two := strings.Cut(strings.Trim(s, `"`), ":")
	soft, okSoft := rlimitNumber(first)
	hard, okHard := soft, true
	if two {
		hard, okHard = rlimitNumber(second)
	}
	if !okSoft || !okHard || soft > hard {
		return 0, 0, rule
	}
	return soft, hard, ""
}

func rlimitNumber(s string) (uint64, bool) {
	if s == "unlimited" {
		return RlimInfinity, true
	}
	n, err := strconv.ParseUint(s, 10, 63)
	return n, err == nil
}
