package config

import (
	"maps"
	"slices"
)

// Change is what differs between two configurations. All lists are sorted, except
// listeners, which are in file order.
type Change struct {
	// Companions by name: each is in exactly one of these.
	Added     []string
	Removed   []string
	Changed   []string // another Hash: restarted
	Scaled    []string // the same Hash, another Numprocs
	Unchanged []string

	// Keys are the keys that differ, by companion, for those that are in Changed or
	// Scaled, and for an unchanged one whose autostart differs. Variables are "env.NAME".
	Keys map[string][]string

	ListenersAdded   []string
	ListenersRemoved []string
	ListenersKept    []string

	Worker   []string // keys of [worker] that differ, "worker" alone when the table came or went
	Settings []string // dotted keys that differ in all other tables
}

// Empty reports whether nothing differs.
func (c Change) Empty() bool {
	return len(c.Added)+len(c.Removed)+len(c.Changed)+len(c.Scaled)+len(c.Keys)+
		len(c.ListenersAdded)+len(c.ListenersRemoved)+len(c.Worker)+len(c.Settings) == 0
}

// Diff compares two configurations. A nil one has nothing.
func Diff(before, after *Config) Change {
	if before == nil {
		before = &Config{}
	}
	if after == nil {
		after = &Config{}
	}
	c := Change{Keys: map[string][]string{}}
	diffCompanions(&c, before.Companions, after.Companions)
	for _, address := range after.Server.Bind {
		if slices.Contains(before.Server.Bind, address) {
			c.ListenersKept = append(c.ListenersKept, address)
		} else {
			c.ListenersAdded = append(c.ListenersAdded, address)
		}
	}
	for _, address := range before.Server.Bind {
		if !slices.Contains(after.Server.Bind, address) {
			c.ListenersRemoved = append(c.ListenersRemoved, address)
		}
	}
	switch {
	case before.Worker != nil && after.Worker != nil:
		c.Worker = differing(workerFields(before.Worker), workerFields(after.Worker))
	case before.Worker != nil || after.Worker != nil:
		c.Worker = []string{"worker"}
	}
	c.Settings = differing(settingFields(before), settingFields(after))
	return c
}

func diffCompanions(c *Change, before, after []Companion) {
	old := make(map[string]*Companion, len(before))
	for i := range before {
		old[before[i].Name] = &before[i]
	}
	for i := range after {
		now := &after[i]
		was, known := old[now.Name]
		delete(old, now.Name)
		if !known {
			c.Added = append(c.Added, now.Name)
			continue
		}
		same := was.Hash == now.Hash
		switch {
		case !same:
			c.Changed = append(c.Changed, now.Name)
		case was.Numprocs != now.Numprocs:
			c.Scaled = append(c.Scaled, now.Name)
		default:
			c.Unchanged = append(c.Unchanged, now.Name)
		}
		if same && was.Numprocs == now.Numprocs && was.Autostart == now.Autostart {
			continue
		}
		c.Keys[now.Name] = differing(companionFields(was), companionFields(now))
	}
	c.Removed = slices.AppendSeq(c.Removed, maps.Keys(old))
	for _, names := range [][]string{c.Added, c.Removed, c.Changed, c.Scaled, c.Unchanged} {
		slices.Sort(names)
	}
}

// fields are values by key. Their order does not matter; a missing one is a difference.
type fields map[string]any

func differing(before, after fields) []string {
	var keys []string
	for key, a := range before {
		if b, ok := after[key]; !ok || !sameValue(a, b) {
			keys = append(keys, key)
		}
	}
	for key := range after {
		if _, ok := before[key]; !ok {
			keys = append(keys, key)
		}
	}
	slices.Sort(keys)
	return keys
}

func (f fields) add(prefix string, more fields) {
	for key, value := range more {
		f[prefix+key] = value
	}
}

func envFields(env map[string]string) fields {
	f := make(fields, len(env))
	for name, value := range env {
		f["env."+name] = value
	}
	return f
}

func processFields(p *Process) fields {
	f := fields{
		"command": p.Command, "cwd": p.Cwd, "umask": p.Umask, "user": p.Credential, "no_new_privs": p.NoNewPrivs,
		"nice": p.Nice, "oom_score_adj": p.OOMScoreAdj, "rlimits": p.Rlimits, "max_memory": p.MaxMemory,
		"max_lifetime": p.MaxLifetime, "max_lifetime_jitter": p.MaxLifetimeJitter, "stdout": p.Stdout, "stderr": p.Stderr,
	}
	f.add("", envFields(p.Env))
	return f
}

func companionFields(c *Companion) fields {
	f := fields{
		"target": c.Target, "options": c.Options, "numprocs": c.Numprocs, "autostart": c.Autostart,
		"autorestart": c.Autorestart, "success_codes": c.SuccessCodes, "startsecs": c.Startsecs,
		"startretries": c.Startretries, "backoff_initial": c.BackoffInitial, "backoff_max": c.BackoffMax,
		"backoff_jitter": c.BackoffJitter, "backoff_reset": c.BackoffReset, "stop_signal": c.StopSignal,
		"stop_timeout": c.StopTimeout, "reload_timeout": c.ReloadTimeout, "stop_group": c.StopGroup,
		"essential": c.Essential, "on_reload": c.OnReload, "hash_files": c.HashFiles,
		"log_max_size": c.LogMaxSize, "log_backups": c.LogBackups,
	}
	f.add("", processFields(&c.Process))
	return f
}

func workerFields(w *Worker) fields {
	f := fields{
		"handler": w.Handler, "options": w.Options, "count": w.Count, "ready": w.Ready, "ready_after": w.ReadyAfter,
		"boot_timeout": w.BootTimeout, "timeout": w.Timeout, "abort_grace": w.AbortGrace, "drain_delay": w.DrainDelay,
		"request_timeout": w.RequestTimeout, "max_requests": w.MaxRequests, "max_requests_jitter": w.MaxRequestsJitter,
		"max_surge": w.MaxSurge, "boot_retries": w.BootRetries, "stop_signal": w.StopSignal,
		"reopen_signal": w.ReopenSignal, "watch": w.Watch,
		"http.tls_cert": w.HTTP.TLSCert, "http.tls_key": w.HTTP.TLSKey, "http.trusted_proxies": w.HTTP.TrustedProxies,
		"http.proxy_protocol": w.HTTP.ProxyProtocol, "http.max_header": w.HTTP.MaxHeader, "http.max_body": w.HTTP.MaxBody,
		"http.read_header_timeout": w.HTTP.ReadHeaderTimeout, "http.read_timeout": w.HTTP.ReadTimeout,
		"http.write_timeout": w.HTTP.WriteTimeout, "http.idle_timeout": w.HTTP.IdleTimeout,
	}
	f.add("", processFields(&w.Process))
	return f
}

func settingFields(c *Config) fields {
	f := fields{
		"name":           c.Name,
		"server.backlog": c.Server.Backlog, "server.reuse_port": c.Server.ReusePort,
		"server.unix_socket_mode": c.Server.UnixSocketMode, "server.chdir": c.Server.Chdir, "server.umask": c.Server.Umask,
		"server.pidfile": c.Server.Pidfile, "server.runtime_dir": c.Server.RuntimeDir,
		"server.graceful_timeout": c.Server.GracefulTimeout, "server.shutdown_delay": c.Server.ShutdownDelay,
		"server.declared_grace": c.Server.DeclaredGrace,
		"manager.stop_timeout":  c.Manager.StopTimeout, "manager.reload_timeout": c.Manager.ReloadTimeout,
		"manager.shutdown_buffer": c.Manager.ShutdownBuffer,
		"log.level":               c.Log.Level, "log.format": c.Log.Format, "log.file": c.Log.File, "log.access": c.Log.Access,
		"control.socket": c.Control.Socket, "control.mode": c.Control.Mode, "control.allow_uids": c.Control.AllowUIDs,
		"admin.bind": c.Admin.Bind, "admin.token_file": c.Admin.TokenFile,
		"hooks.timeout": c.Hooks.Timeout,
	}
	f.add("server.", envFields(c.Server.Env))
	for name, argv := range c.Hooks.Commands {
		f["hooks."+name] = argv
	}
	return f
}
