package config

import (
	"slices"
	"strings"
)

// Key describes one key of the schema. Reading, checking and defaults go by these
// descriptions, and so does everything that is generated from the schema.
type Key struct {
	Table   string // "" = top level; "companion" stands for companion.NAME and companion_defaults
	Name    string
	Kind    Kind
	Default any      // as in a file; nil = there is none
	Enum    []string // the only values, or the only words beside what Kind says
	Min     float64  // numbers, durations (seconds), sizes (bytes)
	Max     float64  // 0 = what Kind allows
	Above   bool     // Min itself is too small
	Handler bool     // for handler workers only
	Own     bool     // of a companion: not in companion_defaults
	Doc     string
}

// Kind is the form of a key's value in the file.
type Kind string

// The kinds. "string or number" and the like are part of their meaning.
const (
	KindString   Kind = "string"
	KindName     Kind = "name"     // letters, digits, "_", "-" and "."
	KindBool     Kind = "bool"     // true or false
	KindTristate Kind = "tristate" // true, false or "auto"
	KindInt      Kind = "integer"
	KindFloat    Kind = "number"
	KindCount    Kind = "count" // a number or "auto"
	KindSurge    Kind = "surge" // a number or "N%"
	KindDuration Kind = "duration"
	KindSize     Kind = "size"
	KindSignal   Kind = "signal"
	KindOnReload Kind = "on_reload" // a word of Enum or a signal
	KindOctal    Kind = "octal"     // file mode or umask
	KindCommand  Kind = "command"   // an array of words, or a string that is split
	KindArgv     Kind = "argv"      // an array of words
	KindPath     Kind = "path"
	KindPaths    Kind = "paths"
	KindOutput   Kind = "output"  // a word of Enum or a path
	KindBind     Kind = "bind"    // an array of listener addresses, or a string with commas
	KindAddress  Kind = "address" // host:port
	KindCIDRs    Kind = "cidrs"
	KindInts     Kind = "integers"
	KindEnv      Kind = "environment"
	KindOptions  Kind = "options" // any table
	KindRlimits  Kind = "rlimits"
	KindUser     Kind = "user" // a name or a number
)

// Path is the dotted key as documentation writes it: "worker.count", "companion.NAME.command".
func (k Key) Path() string {
	switch k.Table {
	case "":
		return k.Name
	case companionTable:
		return "companion.NAME." + k.Name
	default:
		return k.Table + "." + k.Name
	}
}

// Keys returns the whole schema in the order of its documentation.
func Keys() []Key {
	var all []Key
	for _, group := range [][]Key{topKeys(), serverKeys(), workerKeys(), httpKeys(), managerKeys(), companionKeys(), logKeys(), controlKeys(), adminKeys(), hookKeys()} {
		all = append(all, group...)
	}
	return all
}

// MaxWorkers is the largest worker.count, and as far as scaling goes.
const MaxWorkers = 1024

const (
	companionTable = "companion"
	hooksTable     = "hooks"
)

func in(table string, keys ...Key) []Key {
	for i := range keys {
		keys[i].Table = table
	}
	return keys
}

func topKeys() []Key {
	return in("",
		Key{Name: "name", Kind: KindName, Doc: "Name shown in titles, logs and status. Default: the file's base name without extension."},
	)
}

func serverKeys() []Key {
	return in("server",
		Key{Name: "bind", Kind: KindBind, Default: []any{"127.0.0.1:8000"}, Doc: `Addresses to listen on: "host:port", "[::1]:8000", ":8000", "unix:/run/app.sock" or "fd:3".`},
		Key{Name: "backlog", Kind: KindInt, Default: int64(2048), Min: 1, Max: 65535, Doc: "How many connections may wait in the queue of a socket."},
		Key{Name: "reuse_port", Kind: KindBool, Default: false, Doc: "Open one socket for each worker slot with SO_REUSEPORT instead of sharing one."},
		Key{Name: "unix_socket_mode", Kind: KindOctal, Default: "0660", Doc: "File mode of the unix sockets in bind."},
		Key{Name: "chdir", Kind: KindPath, Default: "", Doc: "Directory to run in; relative paths start here. Default: where gofork was started."},
		Key{Name: "umask", Kind: KindOctal, Default: "", Doc: "File mode creation mask as an octal string. Default: inherit."},
		Key{Name: "user", Kind: KindUser, Default: "", Doc: "Workers and companions run as this user."},
		Key{Name: "group", Kind: KindUser, Default: "", Doc: "Workers and companions run as this group. Default: the user's own."},
		Key{Name: "pidfile", Kind: KindPath, Default: "", Doc: "File to write the arbiter's process id to."},
		Key{Name: "runtime_dir", Kind: KindPath, Default: "", Doc: "Directory for sockets. Default: /run/gofork (root), $XDG_RUNTIME_DIR/gofork, else TMPDIR/gofork-UID."},
		Key{Name: "env", Kind: KindEnv, Default: map[string]any{}, Doc: "Environment variables for workers and companions."},
		Key{Name: "env_file", Kind: KindPaths, Default: []any{}, Doc: "Dotenv files for workers and companions, earlier first."},
		Key{Name: "graceful_timeout", Kind: KindDuration, Default: "30s", Doc: "Time a worker has to drain."},
		Key{Name: "shutdown_delay", Kind: KindDuration, Default: "0s", Doc: "On a graceful stop: not ready, but still serving, for this long."},
		Key{Name: "declared_grace", Kind: KindDuration, Default: "0s", Doc: "What the platform allows a stop to take (terminationGracePeriodSeconds); 0 means unknown."},
	)
}

func workerKeys() []Key {
	keys := []Key{
		{Name: "command", Kind: KindCommand, Doc: "Program to run: an array of words, or a string that is split, never by a shell. Exactly one of command and handler."},
		{Name: "handler", Kind: KindString, Default: "", Doc: "Compiled-in Go handler to run."},
		{Name: "options", Kind: KindOptions, Default: map[string]any{}, Handler: true, Doc: "Options for the handler."},
		{Name: "count", Kind: KindCount, Default: "auto", Enum: []string{"auto"}, Min: 1, Max: MaxWorkers, Doc: `How many workers: a number, or "auto" for the CPUs usable here, cgroup quota counted.`},
		{Name: "ready", Kind: KindString, Default: "auto", Enum: []string{"notify", "alive", "auto"}, Doc: `When a worker is ready: "notify" on READY=1, "alive" when up for ready_after, "auto" whichever is first.`},
		{Name: "ready_after", Kind: KindDuration, Default: "1s", Doc: "How long a worker must be up to be ready without a message."},
		{Name: "boot_timeout", Kind: KindDuration, Default: "60s", Above: true, Doc: "A worker that is not ready by then is killed, which counts as a failed boot."},
		{Name: "timeout", Kind: KindDuration, Default: "30s", Doc: "Heartbeat silent for longer: SIGABRT, then SIGKILL; 0 turns it off."},
		{Name: "abort_grace", Kind: KindDuration, Default: "2s", Doc: "Time between the SIGABRT of a silent worker and its SIGKILL."},
		{Name: "drain_delay", Kind: KindDuration, Default: "1s", Handler: true, Doc: `After stop_signal, answers say "Connection: close" for this long.`},
		{Name: "request_timeout", Kind: KindDuration, Default: "0s", Handler: true, Doc: "Longest time for one request; 0 turns it off."},
		{Name: "max_requests", Kind: KindInt, Default: int64(0), Max: 1 << 40, Handler: true, Doc: "A worker is replaced after this many requests; 0 turns it off."},
		{Name: "max_requests_jitter", Kind: KindInt, Default: int64(0), Max: 1 << 40, Handler: true, Doc: "Random number of requests, up to this, added to max_requests."},
		{Name: "max_surge", Kind: KindSurge, Default: "100%", Min: 1, Max: MaxWorkers, Doc: "How many extra workers at a time on reload: a number or a percentage, at least 1."},
		{Name: "boot_retries", Kind: KindInt, Default: int64(5), Max: 1000, Doc: "Failed boots in a row before gofork gives up at start."},
		{Name: "stop_signal", Kind: KindSignal, Default: "SIGTERM", Doc: "Signal that asks a worker to stop."},
		{Name: "reopen_signal", Kind: KindSignal, Default: "", Doc: "Signal sent to workers on USR1; handler workers always reopen their files."},
		{Name: "watch", Kind: KindPaths, Default: []any{}, Doc: "For development: globs; a change reloads."},
	}
	return in("worker", append(keys, processKeys()...)...)
}

func httpKeys() []Key {
	keys := in("worker.http",
		Key{Name: "tls_cert", Kind: KindPath, Default: "", Doc: "Certificate file; with tls_key, read again on reload."},
		Key{Name: "tls_key", Kind: KindPath, Default: "", Doc: "Private key file; with tls_cert."},
		Key{Name: "trusted_proxies", Kind: KindCIDRs, Default: []any{"127.0.0.0/8", "::1/128"}, Doc: "Whose X-Forwarded-* and PROXY headers count."},
		Key{Name: "proxy_protocol", Kind: KindBool, Default: false, Doc: "Expect a PROXY protocol header on each connection."},
		Key{Name: "max_header", Kind: KindSize, Default: "16KiB", Min: 1024, Max: 1 << 30, Doc: "Largest request header; HTTP/1 lets up to 4 KiB more through."},
		Key{Name: "max_body", Kind: KindSize, Default: int64(0), Doc: "Largest request body; 0 means no limit."},
		Key{Name: "read_header_timeout", Kind: KindDuration, Default: "10s", Doc: "Longest time to read a request header; 0 means no limit."},
		Key{Name: "read_timeout", Kind: KindDuration, Default: "0s", Doc: "Longest time to read a whole request; 0 means no limit."},
		Key{Name: "write_timeout", Kind: KindDuration, Default: "0s", Doc: "Longest time to write an answer; 0 means no limit."},
		Key{Name: "idle_timeout", Kind: KindDuration, Default: "75s", Doc: "How long an idle connection is kept; 0 means no limit."},
	)
	for i := range keys {
		keys[i].Handler = true
	}
	return keys
}

func managerKeys() []Key {
	return in("manager",
		Key{Name: "stop_timeout", Kind: KindDuration, Default: "", Doc: "Stop window of the companion manager. Default: the slowest companion's stop_timeout + shutdown_buffer."},
		Key{Name: "reload_timeout", Kind: KindDuration, Default: "", Doc: "Window for restarts of a reload. Default: the slowest companion's reload_timeout + shutdown_buffer."},
		Key{Name: "shutdown_buffer", Kind: KindDuration, Default: "10s", Doc: "What the manager gets beyond its slowest companion."},
	)
}

func companionKeys() []Key {
	keys := []Key{
		{Name: "command", Kind: KindCommand, Own: true, Doc: "Program to run: an array of words, or a string that is split, never by a shell. Exactly one of command and target."},
		{Name: "target", Kind: KindString, Default: "", Own: true, Doc: "Compiled-in Go function to run."},
		{Name: "options", Kind: KindOptions, Default: map[string]any{}, Doc: "Options for the target."},
		{Name: "numprocs", Kind: KindInt, Default: int64(1), Min: 1, Max: 1000, Own: true, Doc: "How many instances: NAME, NAME:2, NAME:3 …"},
		{Name: "autostart", Kind: KindBool, Default: true, Doc: "Start it when gofork starts."},
		{Name: "autorestart", Kind: KindString, Default: "always", Enum: []string{"always", "on-failure", "never"}, Doc: "Which exits are followed by a restart."},
		{Name: "success_codes", Kind: KindInts, Default: []any{int64(0)}, Max: 255, Doc: "Exit codes that are no failure."},
		{Name: "startsecs", Kind: KindDuration, Default: "1s", Doc: "Up for this long: RUNNING."},
		{Name: "startretries", Kind: KindInt, Default: int64(0), Max: 1 << 20, Doc: "Restarts in a row before FATAL; 0 never gives up."},
		{Name: "backoff_initial", Kind: KindDuration, Default: "1s", Doc: "Delay before the first restart, doubled with each further one; 0 restarts at once."},
		{Name: "backoff_max", Kind: KindDuration, Default: "30s", Doc: "Longest delay before a restart."},
		{Name: "backoff_jitter", Kind: KindFloat, Default: 0.0, Max: 1, Doc: "Random part of the delay, as a fraction of it."},
		{Name: "backoff_reset", Kind: KindDuration, Default: "30s", Doc: "Up for this long: the delay starts again from backoff_initial."},
		{Name: "stop_signal", Kind: KindSignal, Default: "SIGTERM", Doc: "Signal that asks it to stop."},
		{Name: "stop_timeout", Kind: KindDuration, Default: "60s", Doc: "Time it has to stop before SIGKILL."},
		{Name: "reload_timeout", Kind: KindDuration, Default: "60s", Doc: "The stop window when it is restarted, by a reload or by hand."},
		{Name: "stop_group", Kind: KindBool, Default: true, Doc: "Signal the whole process group; SIGKILL always reaches it."},
		{Name: "essential", Kind: KindBool, Default: false, Doc: "FATAL or a final exit stops gofork with the companion's exit code."},
		{Name: "on_reload", Kind: KindOnReload, Default: "if-changed", Enum: []string{"if-changed", "restart"}, Doc: `What a reload does when its spec is unchanged: "if-changed" leaves it alone, "restart" restarts it, a signal name sends it that signal.`},
		{Name: "hash_files", Kind: KindPaths, Default: []any{}, Doc: "Files whose content counts as part of the spec."},
	}
	keys = append(keys, processKeys()...)
	keys = append(keys,
		Key{Name: "log_max_size", Kind: KindSize, Default: int64(0), Doc: "Above 0: output is captured and its file rotated at this size; 0: the child writes the file itself."},
		Key{Name: "log_backups", Kind: KindInt, Default: int64(10), Max: 10000, Doc: "How many rotated files are kept."},
	)
	return in(companionTable, keys...)
}

// processKeys are what workers and companions have in common.
func processKeys() []Key {
	return []Key{
		{Name: "cwd", Kind: KindPath, Default: "", Doc: "Working directory. Default: server.chdir."},
		{Name: "env", Kind: KindEnv, Default: map[string]any{}, Doc: "Environment variables."},
		{Name: "env_file", Kind: KindPaths, Default: []any{}, Doc: "Dotenv files, earlier first."},
		{Name: "umask", Kind: KindOctal, Default: "", Doc: "File mode creation mask as an octal string. Default: server.umask."},
		{Name: "user", Kind: KindUser, Default: "", Doc: "User to run as. Default: server.user."},
		{Name: "group", Kind: KindUser, Default: "", Doc: "Group to run as. Default: the user's own, or server.group."},
		{Name: "no_new_privs", Kind: KindTristate, Default: "auto", Enum: []string{"auto"}, Doc: `Forbid gaining privileges, as by set-user-ID programs. "auto": when gofork runs as root and a user is set.`},
		{Name: "nice", Kind: KindInt, Default: int64(0), Min: -20, Max: 19, Doc: "Scheduling priority; 0 leaves it unchanged."},
		{Name: "oom_score_adj", Kind: KindInt, Default: int64(0), Min: -1000, Max: 1000, Doc: "Adjustment of the out-of-memory score; 0 leaves it unchanged."},
		{Name: "rlimits", Kind: KindRlimits, Default: map[string]any{}, Doc: `Resource limits: a number, "unlimited", or "SOFT:HARD".`},
		{Name: "max_memory", Kind: KindSize, Default: int64(0), Doc: "Resident memory above which it is replaced; 0 turns it off."},
		{Name: "max_lifetime", Kind: KindDuration, Default: "0s", Doc: "Age at which it is replaced; 0 turns it off."},
		{Name: "max_lifetime_jitter", Kind: KindDuration, Default: "0s", Doc: "Random time, up to this, added to max_lifetime."},
		{Name: "stdout", Kind: KindOutput, Default: "inherit", Enum: []string{"inherit", "log", "null"}, Doc: "Where standard output goes: a word or a path to append to."},
		{Name: "stderr", Kind: KindOutput, Default: "inherit", Enum: []string{"inherit", "log", "null", "stdout"}, Doc: "Where standard error goes: a word or a path to append to."},
	}
}

func logKeys() []Key {
	return in("log",
		Key{Name: "level", Kind: KindString, Default: "info", Enum: []string{"debug", "info", "warn", "error"}, Doc: "Least level that is logged."},
		Key{Name: "format", Kind: KindString, Default: "auto", Enum: []string{"auto", "text", "json"}, Doc: `Form of the log; "auto" is text on a terminal and json elsewhere.`},
		Key{Name: "file", Kind: KindPath, Default: "", Doc: "File to log to. Default: standard error."},
		Key{Name: "access", Kind: KindString, Default: "off", Enum: []string{"off", "record", "combined"}, Doc: `What handler workers log for each request: "off", "record" (structured, in the log) or "combined" (as Apache, on standard output).`},
	)
}

func controlKeys() []Key {
	return in("control",
		Key{Name: "socket", Kind: KindPath, Default: "", Doc: "Path of the control socket. Default: RUNTIME_DIR/NAME.sock."},
		Key{Name: "mode", Kind: KindOctal, Default: "0600", Doc: "File mode of the control socket."},
		Key{Name: "allow_uids", Kind: KindInts, Default: []any{}, Max: 1<<32 - 2, Doc: "User ids that may use it besides root and gofork's own."},
	)
}

func adminKeys() []Key {
	return in("admin",
		Key{Name: "bind", Kind: KindAddress, Default: "", Doc: "Address for /livez, /readyz, /metrics and the read-only API."},
		Key{Name: "token_file", Kind: KindPath, Default: "", Doc: "File with the bearer token that lets the admin address take actions."},
	)
}

func hookKeys() []Key {
	keys := []Key{{Name: "timeout", Kind: KindDuration, Default: "10s", Above: true, Doc: "Longest time for one hook."}}
	for _, hook := range []struct{ name, when string }{
		{"on_starting", "before anything is started; a failure stops the start"},
		{"when_ready", "when the first generation is ready"},
		{"on_reload", "when a reload begins"},
		{"pre_fork", "before a worker is started"},
		{"post_fork", "after a worker was started"},
		{"child_exit", "when a worker has ended"},
		{"nworkers_changed", "when the number of workers has changed"},
		{"pre_exec", "before a hot upgrade; a failure stops it"},
		{"on_exit", "when gofork ends"},
		{"companion_exit", "when a companion has ended"},
		{"companion_fatal", "when a companion has become FATAL"},
	} {
		keys = append(keys, Key{Name: hook.name, Kind: KindArgv, Default: []any{}, Doc: "Command to run " + hook.when + "."})
	}
	return in(hooksTable, keys...)
}

// schema is Keys by table, made for one load.
type schema map[string]*table

// table is the keys of one table, with its defaults in their read form.
type table struct {
	names    []string // of the keys and of the tables inside
	keys     map[string]*Key
	defaults map[string]any
}

const defaultsTable = "companion_defaults"

func newSchema() schema {
	s := schema{}
	add := func(name string, k *Key) {
		if s[name] == nil {
			s[name] = &table{keys: map[string]*Key{}, defaults: map[string]any{}}
		}
		s[name].keys[k.Name] = k
		s[name].names = append(s[name].names, k.Name)
	}
	keys := Keys()
	for i := range keys {
		k := &keys[i]
		add(k.Table, k)
		if k.Table == companionTable && !k.Own {
			add(defaultsTable, k)
		}
	}
	for name := range s {
		parent, last := "", name
		if i := strings.LastIndexByte(name, '.'); i >= 0 {
			parent, last = name[:i], name[i+1:]
		}
		if name != "" {
			s[parent].names = append(s[parent].names, last)
		}
	}
	for _, t := range s {
		slices.Sort(t.names) // the same suggestion every time
	}
	return s
}
