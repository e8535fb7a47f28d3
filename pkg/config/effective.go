package config

import (
	"fmt"
	"io/fs"
	"maps"
	"strconv"
	"strings"
)

// Mask stands for a value that is not shown.
const Mask = "********"

// Effective is the configuration with the keys and in the forms of a file: what
// [Load] would resolve to the same again in the same environment, apart from what is
// masked. Values of variables are masked, and those options of handlers and targets
// whose names say that they are secrets.
//
// It is written as it was resolved: companion_defaults have been applied to each
// companion and are not there, env has what env_file gave, paths are absolute, and
// user and group stand at each process instead of at the server. Keys that only
// handler workers obey are left out of a command worker, empty tables and lists of
// env files everywhere.
func (c *Config) Effective() map[string]any {
	tree := map[string]any{
		"name":    c.Name,
		"server":  c.Server.effective(c.Worker != nil),
		"manager": c.Manager.effective(),
		"log": map[string]any{
			"level": c.Log.Level, "format": c.Log.Format, "file": Literal(c.Log.File), "access": c.Log.Access,
		},
		"control": map[string]any{
			"socket": Literal(c.Control.Socket), "mode": octal(c.Control.Mode), "allow_uids": integers(c.Control.AllowUIDs),
		},
		"admin":    map[string]any{"bind": c.Admin.Bind, "token_file": Literal(c.Admin.TokenFile)},
		hooksTable: c.Hooks.effective(),
	}
	if c.Worker != nil {
		tree["worker"] = c.Worker.effective()
	}
	companions := map[string]any{}
	for i := range c.Companions {
		companions[c.Companions[i].Name] = c.Companions[i].effective()
	}
	if len(companions) > 0 {
		tree[companionTable] = companions
	}
	return tree
}

func (s *Server) effective(binds bool) map[string]any {
	t := map[string]any{
		"backlog": int64(s.Backlog), "reuse_port": s.ReusePort, "unix_socket_mode": octal(s.UnixSocketMode),
		"chdir": Literal(s.Chdir), "umask": s.Umask.String(), "pidfile": Literal(s.Pidfile), "runtime_dir": Literal(s.RuntimeDir),
		"graceful_timeout": FormatDuration(s.GracefulTimeout), "shutdown_delay": FormatDuration(s.ShutdownDelay),
		"declared_grace": FormatDuration(s.DeclaredGrace),
	}
	if binds {
		t["bind"] = literals(s.Bind)
	}
	put(t, "env", masked(s.Env))
	putFiles(t, s.EnvFiles)
	return t
}

func (m *Manager) effective() map[string]any {
	return map[string]any{
		"stop_timeout": FormatDuration(m.StopTimeout), "reload_timeout": FormatDuration(m.ReloadTimeout),
		"shutdown_buffer": FormatDuration(m.ShutdownBuffer),
	}
}

func (w *Worker) effective() map[string]any {
	t := w.Process.effective()
	maps.Copy(t, map[string]any{
		"count": int64(w.Count), "ready": w.Ready, "ready_after": FormatDuration(w.ReadyAfter),
		"boot_timeout": FormatDuration(w.BootTimeout), "timeout": FormatDuration(w.Timeout),
		"abort_grace": FormatDuration(w.AbortGrace), "max_surge": w.MaxSurge.effective(), "boot_retries": int64(w.BootRetries),
		"stop_signal": formatSignal(w.StopSignal), "reopen_signal": formatSignal(w.ReopenSignal), "watch": literals(w.Watch),
	})
	if w.CountAuto {
		t["count"] = "auto"
	}
	if w.Handler == "" {
		return t
	}
	maps.Copy(t, map[string]any{
		"handler": w.Handler, "drain_delay": FormatDuration(w.DrainDelay), "request_timeout": FormatDuration(w.RequestTimeout),
		"max_requests": int64(w.MaxRequests), "max_requests_jitter": int64(w.MaxRequestsJitter), "http": w.HTTP.effective(),
	})
	put(t, "options", withoutSecrets(w.Options))
	return t
}

func (m MaxSurge) effective() any {
	if m.Percent {
		return strconv.Itoa(m.N) + "%"
	}
	return int64(m.N)
}

func (h *HTTP) effective() map[string]any {
	return map[string]any{
		"tls_cert": Literal(h.TLSCert), "tls_key": Literal(h.TLSKey), "trusted_proxies": list(h.TrustedProxies),
		"proxy_protocol": h.ProxyProtocol, "max_header": FormatSize(h.MaxHeader), "max_body": FormatSize(h.MaxBody),
		"read_header_timeout": FormatDuration(h.ReadHeaderTimeout), "read_timeout": FormatDuration(h.ReadTimeout),
		"write_timeout": FormatDuration(h.WriteTimeout), "idle_timeout": FormatDuration(h.IdleTimeout),
	}
}

func (c *Companion) effective() map[string]any {
	t := c.Process.effective()
	files := make([]string, len(c.HashFiles))
	for i, f := range c.HashFiles {
		files[i] = f.Path
	}
	maps.Copy(t, map[string]any{
		"numprocs": int64(c.Numprocs), "autostart": c.Autostart, "autorestart": string(c.Autorestart),
		"success_codes": integers(c.SuccessCodes), "startsecs": FormatDuration(c.Startsecs), "startretries": int64(c.Startretries),
		"backoff_initial": FormatDuration(c.BackoffInitial), "backoff_max": FormatDuration(c.BackoffMax),
		"backoff_jitter": c.BackoffJitter, "backoff_reset": FormatDuration(c.BackoffReset),
		"stop_signal": formatSignal(c.StopSignal), "stop_timeout": FormatDuration(c.StopTimeout),
		"reload_timeout": FormatDuration(c.ReloadTimeout), "stop_group": c.StopGroup, "essential": c.Essential,
		"on_reload": c.OnReload.String(), "hash_files": literals(files),
		"log_max_size": FormatSize(c.LogMaxSize), "log_backups": int64(c.LogBackups),
	})
	if c.Target != "" {
		t["target"] = c.Target
		put(t, "options", withoutSecrets(c.Options))
	}
	return t
}

// String is the value of on_reload in a file.
func (o OnReload) String() string {
	switch {
	case o.Restart:
		return "restart"
	case o.Signal != 0:
		return fmt.Sprint(formatSignal(o.Signal))
	default:
		return "if-changed"
	}
}

func (p *Process) effective() map[string]any {
	t := map[string]any{
		"cwd": Literal(p.Cwd), "umask": p.Umask.String(), "no_new_privs": p.NoNewPrivs, "nice": int64(p.Nice),
		"oom_score_adj": int64(p.OOMScoreAdj), "max_memory": FormatSize(p.MaxMemory),
		"max_lifetime": FormatDuration(p.MaxLifetime), "max_lifetime_jitter": FormatDuration(p.MaxLifetimeJitter),
		"stdout": Literal(p.Stdout), "stderr": Literal(p.Stderr),
	}
	if len(p.Command) > 0 {
		t["command"] = literals(p.Command)
	}
	if c := p.Credential; c != nil {
		if c.User != "" {
			t["user"] = c.User
		}
		t["group"] = int64(c.GID)
	}
	put(t, "env", masked(p.Env))
	putFiles(t, p.EnvFiles)
	limits := map[string]any{}
	for _, r := range p.Rlimits {
		limits[r.Name] = r.effective()
	}
	put(t, "rlimits", limits)
	return t
}

func (r Rlimit) effective() any {
	word := func(n uint64) string {
		if n == RlimInfinity {
			return "unlimited"
		}
		return strconv.FormatUint(n, 10)
	}
	switch {
	case r.Soft != r.Hard:
		return word(r.Soft) + ":" + word(r.Hard)
	case r.Soft == RlimInfinity:
		return "unlimited"
	default:
		return int64(r.Soft) // at most 63 bits, as in a file
	}
}

func (h *Hooks) effective() map[string]any {
	t := map[string]any{"timeout": FormatDuration(h.Timeout)}
	for name, argv := range h.Commands {
		t[name] = literals(argv)
	}
	return t
}

// String is the mask as an octal string, "" for Inherit.
func (u Umask) String() string {
	if u == Inherit {
		return ""
	}
	return octal(fs.FileMode(u))
}

// put leaves out tables that are empty.
func put(t map[string]any, name string, table map[string]any) {
	if len(table) > 0 {
		t[name] = table
	}
}

func putFiles(t map[string]any, paths []string) {
	if len(paths) > 0 {
		t["env_file"] = literals(paths)
	}
}

func masked(env map[string]string) map[string]any {
	t := make(map[string]any, len(env))
	for name := range env {
		t[name] = Mask
	}
	return t
}

// Literal keeps text from being expanded when it is read from a file.
func Literal(s string) string { return strings.ReplaceAll(s, "${", "$${") }

func literals(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = Literal(s)
	}
	return out
}

func list(in []string) []any {
	out := make([]any, len(in))
	for i, s := range in {
		out[i] = s
	}
	return out
}

func integers[N int | uint32](in []N) []any {
	out := make([]any, len(in))
	for i, n := range in {
		out[i] = int64(n)
	}
	return out
}
