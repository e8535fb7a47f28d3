package config

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"syscall"
	"time"
)

func (l *resolver) resolveCompanions(tree map[string]any) []Companion {
	defaults := l.read(defaultsTable, defaultsTable, tree[defaultsTable], nil)
	l.checkBackoff(defaults)
	raw, ok := tree[companionTable]
	if !ok {
		return nil
	}
	given, ok := raw.(map[string]any)
	if !ok {
		l.bad(companionTable, raw, "must be tables [companion.NAME]")
		return nil
	}
	if len(given) == 0 && tree["worker"] == nil {
		l.bad(companionTable, nil, "there is nothing to run: neither a [worker] table nor a companion")
	}
	valid := regexp.MustCompile(companionName)
	companions := make([]Companion, 0, len(given))
	instances := 0
	for _, name := range slices.Sorted(maps.Keys(given)) {
		at := join(companionTable, name)
		if !valid.MatchString(name) {
			l.bad(at, nil, `the name of a companion must be 1 to 64 letters, digits, "_" or "-", the first a letter or digit`)
			continue
		}
		if _, isTable := given[name].(map[string]any); !isTable {
			l.bad(at, unknownValue([]string{name}, given[name]), "must be a table")
			continue
		}
		c := l.resolveCompanion(name, l.read(companionTable, at, given[name], defaults))
		instances += c.Numprocs
		companions = append(companions, c)
	}
	if instances > maxInstances {
		l.bad(companionTable, instances, fmt.Sprintf("all companions together must have at most %d instances", maxInstances))
	}
	return companions
}

func (l *resolver) resolveCompanion(name string, v *values) Companion {
	c := Companion{
		Name:           name,
		Process:        l.process(v),
		Target:         get[string](v, "target"),
		Numprocs:       get[int](v, "numprocs"),
		Autostart:      get[bool](v, "autostart"),
		Autorestart:    Autorestart(get[string](v, "autorestart")),
		SuccessCodes:   codes(get[[]int64](v, "success_codes")),
		Startsecs:      get[time.Duration](v, "startsecs"),
		Startretries:   get[int](v, "startretries"),
		BackoffInitial: get[time.Duration](v, "backoff_initial"),
		BackoffMax:     get[time.Duration](v, "backoff_max"),
		BackoffJitter:  get[float64](v, "backoff_jitter"),
		BackoffReset:   get[time.Duration](v, "backoff_reset"),
		StopSignal:     get[syscall.Signal](v, "stop_signal"),
		StopTimeout:    get[time.Duration](v, "stop_timeout"),
		ReloadTimeout:  get[time.Duration](v, "reload_timeout"),
		StopGroup:      get[bool](v, "stop_group"),
		Essential:      get[bool](v, "essential"),
		OnReload:       get[OnReload](v, "on_reload"),
		HashFiles:      l.hashFiles(whereSet(v, "hash_files"), get[[]string](v, "hash_files")),
		LogMaxSize:     get[int64](v, "log_max_size"),
		LogBackups:     get[int](v, "log_backups"),
	}
	l.eitherOr(v, "target", l.known.Targets)
	if c.Target != "" {
		c.Options = merged[any](v, "options")
	} else if own, _ := v.own["options"].(map[string]any); len(own) > 0 && v.sound("command", "target") {
		l.bad(v.at("options"), v.raw["options"], "is for targets only")
	}
	if v.given("backoff_initial") || v.given("backoff_max") {
		l.checkBackoff(v)
	}
	c.Hash = hashOf(&c)
	return c
}

func (l *resolver) checkBackoff(v *values) {
	if !v.sound("backoff_initial", "backoff_max") {
		return
	}
	initial, most := get[time.Duration](v, "backoff_initial"), get[time.Duration](v, "backoff_max")
	if most >= initial {
		return
	}
	key, other := "backoff_max", "backoff_initial"
	value, limit, rule := most, initial, "at least"
	if !v.given(key) {
		key, other, value, limit, rule = other, key, initial, most, "at most"
	}
	l.bad(v.at(key), value, fmt.Sprintf("must be %s %s, which is %s", rule, other, FormatDuration(limit)))
}

// codes sorts exit codes, so that their order is no change of a spec.
func codes(in []int64) []int {
	out := make([]int, len(in))
	for i, n := range in {
		out[i] = int(n)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// whereSet is the dotted key that a value comes from: the companion's or that of
// companion_defaults.
func whereSet(v *values, name string) string {
	for x := v; x != nil; x = x.base {
		if x.given(name) {
			return x.at(name)
		}
	}
	return v.at(name)
}

// merged is a table with the entries of companion_defaults below its own.
func merged[T any](v *values, name string) map[string]T {
	out := map[string]T{}
	if v.base != nil {
		maps.Copy(out, get[map[string]T](v.base, name))
	}
	own, _ := v.own[name].(map[string]T)
	maps.Copy(out, own)
	return out
}
