package config

import (
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
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

	server    *values
	serverEnv map[string]string
}

func newResolver(dir, name string, environ map[string]string, h host) *resolver {
	return &resolver{
		reader:   reader{schema: newSchema(), environ: environ},
		host:     h,
		name:     name,
		dir:      dir,
		base:     dir,
		envFiles: map[string]envFile{},
		sums:     map[string]fileSum{},
		creds:    map[userGroup]credential{},
		stats:    map[string]error{},
	}
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
			l.bad("server.chdir", chdir, "cannot run in "+s.Chdir+": "+err.Error())
		}
	}
	s.Pidfile = l.abs(get[string](v, "pidfile"))
	s.RuntimeDir = l.abs(get[string](v, "runtime_dir"))
	if s.RuntimeDir == "" {
		s.RuntimeDir = defaultRuntimeDir(l.host.euid, func(name string) string { return l.environ[name] })
	}
	s.Bind = l.resolveBind(v)
	s.Env = map[string]string{}
	s.EnvFiles = l.readEnvFiles("server.env_file", get[[]string](v, "env_file"), s.Env)
	maps.Copy(s.Env, get[map[string]string](v, "env"))
	l.serverEnv = s.Env
	return s
}

// defaultRuntimeDir is what server.runtime_dir is when it is not set, for a user and
// an environment: where clients look for the control socket.
func defaultRuntimeDir(euid int, getenv func(string) string) string {
	if euid == 0 {
		return "/run/gofork"
	}
	if dir := getenv("XDG_RUNTIME_DIR"); filepath.IsAbs(dir) {
		return filepath.Join(dir, "gofork")
	}
	tmp := getenv("TMPDIR")
	if !filepath.IsAbs(tmp) {
		tmp = "/tmp"
	}
	return filepath.Join(tmp, "gofork-"+strconv.Itoa(euid))
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
