package config

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// maxInstances bounds the processes that one manager looks after.
const maxInstances = 10000

// resolver turns checked tables into a Config: it applies defaults, reads the files
// that are named, looks names up, and checks what several keys say together.
type resolver struct {
	reader
	known    Known
	host     host
	name     string // unless the file says otherwise
	dir      string // where gofork was started
	base     string // where relative paths start
	envFiles map[string]envFile
	sums     map[string]fileSum
	creds    map[userGroup]credential
	stats    map[string]error // of directories
	warnings []string

	server    *values
	serverEnv map[string]string
}

func (l *resolver) resolve(tree map[string]any) *Config {
	top := l.read("", "", tree, nil)
	c := &Config{Name: get[string](top, "name")}
	if c.Name == "" {
		c.Name = l.name
	}
	c.Server = l.resolveServer(tree)
	if raw, ok := tree["worker"]; ok {
		c.Worker = l.resolveWorker(raw)
	}
	c.Companions = l.resolveCompanions(tree)
	c.Manager = l.resolveManager(tree["manager"], c.Companions)
	c.Log = l.resolveLog(tree["log"])
	c.Control = l.resolveControl(tree["control"])
	if c.Control.Socket == "" {
		c.Control.Socket = filepath.Join(c.Server.RuntimeDir, c.Name+".sock")
	}
	if n := maxSocketPath(); len(c.Control.Socket) > n {
		l.bad("control.socket", c.Control.Socket, socketRule(n))
	}
	c.Admin = l.resolveAdmin(tree["admin"])
	c.Hooks = l.resolveHooks(tree["hooks"])

	if tree["worker"] == nil && len(c.Companions) == 0 && tree[companionTable] == nil {
		l.bad("", nil, "there is nothing to run: neither a [worker] table nor a companion")
	}
	if c.Worker == nil {
		if l.server.given("bind") {
			l.warn("server.bind: there is no [worker] table, so nothing is bound")
		}
		c.Server.Bind = nil
	}
	l.warnStopBudget(c)
	slices.Sort(l.warnings)
	c.Warnings = slices.Compact(l.warnings)
	return c
}

func (l *resolver) warn(format string, args ...any) {
	l.warnings = append(l.warnings, fmt.Sprintf(format, args...))
}

func (l *resolver) resolveServer(tree map[string]any) Server {
	v := l.read("server", "server", tree["server"], nil)
	l.server = v
	s := Server{
		Backlog:         get[int](v, "backlog"),
		ReusePort:       get[bool](v, "reuse_port"),
		UnixSocketMode:  fs.FileMode(get[int](v, "unix_socket_mode")),
		Umask:           Umask(get[int](v, "umask")),
		GracefulTimeout: get[time.Duration](v, "graceful_timeout"),
		ShutdownDelay:   get[time.Duration](v, "shutdown_delay"),
		DeclaredGrace:   get[time.Duration](v, "declared_grace"),
	}
	if chdir := get[string](v, "chdir"); chdir != "" {
		s.Chdir = absolute(l.dir, chdir)
		l.base = s.Chdir
		if err := l.directory(s.Chdir); err != nil {
			l.bad("server.chdir", nil, "cannot run in "+s.Chdir+": "+err.Error())
		}
	}
	s.Pidfile = l.abs(get[string](v, "pidfile"))
	s.RuntimeDir = l.abs(get[string](v, "runtime_dir"))
	if s.RuntimeDir == "" {
		s.RuntimeDir = l.runtimeDir()
	}
	s.Bind = l.resolveBind(v)
	s.Env = map[string]string{}
	l.readEnvFiles("server.env_file", get[[]string](v, "env_file"), s.Env)
	maps.Copy(s.Env, get[map[string]string](v, "env"))
	l.serverEnv = s.Env
	return s
}

// runtimeDir is the default of server.runtime_dir.
func (l *resolver) runtimeDir() string {
	if l.host.euid == 0 {
		return "/run/gofork"
	}
	if dir := l.environ["XDG_RUNTIME_DIR"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "gofork")
	}
	tmp := l.environ["TMPDIR"]
	if !filepath.IsAbs(tmp) {
		tmp = "/tmp"
	}
	return filepath.Join(tmp, "gofork-"+strconv.Itoa(l.host.euid))
}

func (l *resolver) resolveBind(v *values) []string {
	seen := map[string]bool{}
	var out []string
	for _, address := range get[[]string](v, "bind") {
		if path, ok := strings.CutPrefix(address, "unix:"); ok {
			address = "unix:" + filepath.Clean(l.abs(path))
			if n := maxSocketPath(); len(address)-len("unix:") > n {
				l.bad(v.at("bind"), address, socketRule(n))
			}
		}
		if seen[address] {
			l.bad(v.at("bind"), address, "must not be there twice")
		}
		seen[address] = true
		out = append(out, address)
	}
	return out
}

func socketRule(n int) string {
	return fmt.Sprintf("the path of a socket must have at most %d bytes", n)
}

func (l *resolver) resolveWorker(raw any) *Worker {
	v := l.read("worker", "worker", raw, nil)
	given, isTable := raw.(map[string]any)
	http := l.read("worker.http", "worker.http", given["http"], nil)
	w := &Worker{
		Process:           l.process(v),
		Handler:           get[string](v, "handler"),
		Options:           get[map[string]any](v, "options"),
		Count:             int(get[count](v, "count")),
		Ready:             get[string](v, "ready"),
		ReadyAfter:        get[time.Duration](v, "ready_after"),
		BootTimeout:       get[time.Duration](v, "boot_timeout"),
		Timeout:           get[time.Duration](v, "timeout"),
		AbortGrace:        get[time.Duration](v, "abort_grace"),
		DrainDelay:        get[time.Duration](v, "drain_delay"),
		RequestTimeout:    get[time.Duration](v, "request_timeout"),
		MaxRequests:       get[int](v, "max_requests"),
		MaxRequestsJitter: get[int](v, "max_requests_jitter"),
		MaxSurge:          get[MaxSurge](v, "max_surge"),
		BootRetries:       get[int](v, "boot_retries"),
		StopSignal:        get[syscall.Signal](v, "stop_signal"),
		ReopenSignal:      get[syscall.Signal](v, "reopen_signal"),
		Watch:             l.absAll(get[[]string](v, "watch")),
		HTTP: HTTP{
			TLSCert:           l.abs(get[string](http, "tls_cert")),
			TLSKey:            l.abs(get[string](http, "tls_key")),
			TrustedProxies:    get[[]string](http, "trusted_proxies"),
			ProxyProtocol:     get[bool](http, "proxy_protocol"),
			MaxHeader:         get[int64](http, "max_header"),
			MaxBody:           get[int64](http, "max_body"),
			ReadHeaderTimeout: get[time.Duration](http, "read_header_timeout"),
			ReadTimeout:       get[time.Duration](http, "read_timeout"),
			WriteTimeout:      get[time.Duration](http, "write_timeout"),
			IdleTimeout:       get[time.Duration](http, "idle_timeout"),
		},
	}
	if w.CountAuto = w.Count == 0; w.CountAuto {
		w.Count = max(l.host.cpus(), 1)
	}
	if isTable {
		l.eitherOr(v, "handler", l.known.Handlers)
	}
	if w.Handler == "" && (v.given("command") || v.failed["command"]) {
		l.refuseHandlerKeys(v)
		l.refuseHandlerKeys(http)
	}
	if http.sound("tls_cert", "tls_key") && (w.HTTP.TLSCert == "") != (w.HTTP.TLSKey == "") {
		l.bad("worker.http", nil, "tls_cert and tls_key must be set together")
	}
	return w
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

// refuseHandlerKeys refuses keys that a command worker cannot obey.
func (l *resolver) refuseHandlerKeys(v *values) {
	for name, value := range v.own {
		if v.table.keys[name].Handler && !sameValue(value, v.table.defaults[name]) {
			l.bad(v.at(name), nil, "is for handler workers only")
		}
	}
}

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
		return x.Len() == 0 && y.Len() == 0 // nil or empty
	default:
		return false
	}
}

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
	valid := regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`)
	companions := make([]Companion, 0, len(given))
	instances := 0
	for _, name := range slices.Sorted(maps.Keys(given)) {
		at := join(companionTable, name)
		if !valid.MatchString(name) {
			l.bad(at, nil, `the name of a companion must be 1 to 64 letters, digits, "_" or "-", the first a letter or digit`)
			continue
		}
		if _, isTable := given[name].(map[string]any); !isTable {
			l.bad(at, given[name], "must be a table")
			continue
		}
		c := l.resolveCompanion(name, l.read(companionTable, at, given[name], defaults))
		instances += c.Numprocs
		companions = append(companions, c)
	}
	if instances > maxInstances {
		l.bad(companionTable, nil, fmt.Sprintf("all companions together must have at most %d instances, not %d", maxInstances, instances))
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
		l.bad(v.at("options"), nil, "is for targets only")
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
	l.bad(v.at(key), value, fmt.Sprintf("must be %s %s, which is %s", rule, other, limit))
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
	l.readEnvFiles(whereSet(v, "env_file"), get[[]string](v, "env_file"), p.Env)
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

func (l *resolver) abs(path string) string { return absolute(l.base, path) }

// absolute resolves path from dir; "" stays "".
func absolute(dir, path string) string {
	if path == "" || filepath.IsAbs(path) {
		return path // not cleaned: "a/../b" differs from "b" where a is a symbolic link
	}
	return filepath.Join(dir, path)
}

func (l *resolver) absAll(paths []string) []string {
	out := make([]string, len(paths))
	for i, p := range paths {
		out[i] = l.abs(p)
	}
	return out
}

func (l *resolver) resolveLog(raw any) Log {
	v := l.read("log", "log", raw, nil)
	return Log{
		Level:  get[string](v, "level"),
		Format: get[string](v, "format"),
		File:   l.abs(get[string](v, "file")),
		Access: get[string](v, "access"),
	}
}

func (l *resolver) resolveControl(raw any) Control {
	v := l.read("control", "control", raw, nil)
	c := Control{Socket: l.abs(get[string](v, "socket")), Mode: fs.FileMode(get[int](v, "mode"))}
	for _, uid := range get[[]int64](v, "allow_uids") {
		c.AllowUIDs = append(c.AllowUIDs, uint32(uid))
	}
	return c
}

func (l *resolver) resolveAdmin(raw any) Admin {
	v := l.read("admin", "admin", raw, nil)
	a := Admin{Bind: get[string](v, "bind"), TokenFile: l.abs(get[string](v, "token_file"))}
	if a.Bind != "" && everywhere(a.Bind) {
		l.warn("admin.bind: %s is open on all interfaces", a.Bind)
	}
	return a
}

func (l *resolver) resolveHooks(raw any) Hooks {
	v := l.read(hooksTable, hooksTable, raw, nil)
	h := Hooks{Timeout: get[time.Duration](v, "timeout"), Commands: map[string][]string{}}
	for name, value := range v.own {
		if argv, ok := value.([]string); ok && len(argv) > 0 {
			h.Commands[name] = argv
		}
	}
	return h
}
