package config

import (
	"maps"
	"os"
	"slices"
	"syscall"
	"time"
)

// process resolves what workers and companions have in common.
func (l *resolver) process(v *values) Process {
	p := Process{
		Command:           get[[]string](v, "command"),
		Cwd:               l.cwd(v),
		Env:               maps.Clone(l.serverEnv),
		Umask:             Umask(get[int](v, "umask")),
		Credential:        l.credential(l.server, v.base, v),
		Nice:              get[int](v, "nice"),
		OOMScoreAdj:       get[int](v, "oom_score_adj"),
		MaxMemory:         get[int64](v, "max_memory"),
		MaxLifetime:       get[time.Duration](v, "max_lifetime"),
		MaxLifetimeJitter: get[time.Duration](v, "max_lifetime_jitter"),
		Stdout:            l.output(get[string](v, "stdout")),
		Stderr:            l.output(get[string](v, "stderr")),
	}
	p.EnvFiles = l.readEnvFiles(whereSet(v, "env_file"), get[[]string](v, "env_file"), p.Env)
	maps.Copy(p.Env, merged[string](v, "env"))
	if p.Umask == Inherit {
		p.Umask = Umask(get[int](l.server, "umask"))
	}
	switch get[tristate](v, "no_new_privs") {
	case "true":
		p.NoNewPrivs = true
	case "auto":
		p.NoNewPrivs = l.host.euid == 0 && p.Credential != nil && p.Credential.User != ""
	}
	limits := merged[Rlimit](v, "rlimits")
	for _, name := range slices.Sorted(maps.Keys(limits)) {
		p.Rlimits = append(p.Rlimits, limits[name])
	}
	return p
}

// cwd resolves a working directory. One that is not there is a warning only: it may
// be made before the process starts, and every start checks again.
func (l *resolver) cwd(v *values) string {
	cwd := l.abs(get[string](v, "cwd"))
	if cwd == "" {
		return absolute(l.dir, get[string](l.server, "chdir"))
	}
	if err := l.directory(cwd); err != nil {
		l.warn("%s: cannot use %s as working directory: %v", whereSet(v, "cwd"), cwd, err)
	}
	return cwd
}

func (l *resolver) directory(path string) error {
	err, seen := l.stats[path]
	if seen {
		return err
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		err = cause(err)
	case !info.IsDir():
		err = syscall.ENOTDIR
	}
	l.stats[path] = err
	return err
}

func (l *resolver) output(s string) string {
	switch s {
	case "inherit", "log", "null", "stdout":
		return s
	default:
		return l.abs(s)
	}
}

// eitherOr checks that exactly one of command and a compiled-in function is there.
func (l *resolver) eitherOr(v *values, function string, known []string) {
	if !v.sound("command", function) {
		return
	}
	name := get[string](v, function)
	switch hasCommand := v.given("command"); {
	case hasCommand && name != "":
		l.bad(v.at(function), name, "must not be set together with command")
	case !hasCommand && name == "":
		l.bad(v.path, nil, "must have one of command and "+function)
	case name != "" && !slices.Contains(known, name):
		rule := "no " + function + " is compiled in"
		if len(known) > 0 {
			rule = oneOf(slices.Sorted(slices.Values(known)))
		}
		l.problems = append(l.problems, Problem{Key: v.at(function), Value: show(name), Rule: rule, Nearest: nearest(name, known)})
	}
}
