package config

import (
	"io/fs"
	"syscall"
	"time"
)

// Config is one resolved configuration: every default applied, every variable
// expanded, every env file read, every name (user, handler, signal) looked up.
// It is a value: nobody changes it after [Load] returned it, so supervisors may
// keep and compare any number of them.
type Config struct {
	Name string // shown in titles, logs, status; default: the file's base name without extension
	Path string // absolute path of the file, "" when there was none

	Server     Server
	Worker     *Worker // nil: no web tier, nothing bound, companions only
	Manager    Manager
	Companions []Companion // sorted by name
	Log        Log
	Control    Control
	Admin      Admin
	Hooks      Hooks

	// Warnings are what a careful reader should know and that stops nothing,
	// such as a stop budget larger than server.declared_grace.
	Warnings []string
}

// Server is the [server] table: what the arbiter itself needs.
type Server struct {
	Bind            []string // "tcp:HOST:PORT" is written "HOST:PORT"; "unix:PATH"; "fd:N"; in file order, no duplicates
	Backlog         int
	ReusePort       bool
	UnixSocketMode  fs.FileMode
	Chdir           string // absolute, "" = where gofork was started
	Umask           Umask
	Pidfile         string
	RuntimeDir      string // absolute; always set
	GracefulTimeout time.Duration
	ShutdownDelay   time.Duration
	DeclaredGrace   time.Duration     // 0 = unknown
	Env             map[string]string // server.env_file then server.env; for hooks (children have it merged in already)
	EnvFiles        []string          `json:",omitempty"` // absolute; Env has what is in them
}

// Umask is a file mode creation mask; Inherit leaves gofork's own.
type Umask int

// Inherit is the Umask that changes nothing.
const Inherit Umask = -1

// Process is what workers and companions have in common: how one child process
// is set up. It holds no pointer into the file; it can be encoded and hashed.
type Process struct {
	Command []string `json:",omitzero"` // argv; nil when a handler or target is used
	Cwd     string   `json:",omitzero"` // absolute, "" = gofork's
	// Env is what is added to the environment that gofork itself was given:
	// server.env_file, server.env, the child's own env_file, its own env; later wins.
	Env               map[string]string `json:",omitzero"`
	EnvFiles          []string          `json:"-"` // the child's own, absolute; who starts it has Env
	Umask             Umask             `json:",omitzero"`
	Credential        *Credential       `json:",omitzero"` // nil: gofork's own
	NoNewPrivs        bool              `json:",omitzero"`
	Nice              int               `json:",omitzero"` // 0 = unchanged
	OOMScoreAdj       int               `json:",omitzero"` // 0 = unchanged
	Rlimits           []Rlimit          `json:",omitzero"`
	MaxMemory         int64             `json:",omitzero"` // bytes of RSS, 0 = off
	MaxLifetime       time.Duration     `json:",omitzero"` // 0 = off
	MaxLifetimeJitter time.Duration     `json:",omitzero"`
	Stdout            string            `json:",omitzero"` // "inherit", "log", "null", or an absolute path
	Stderr            string            `json:",omitzero"` // the same, or "stdout"
}

// Credential is a looked-up user and group with its supplementary groups.
type Credential struct {
	User   string // as configured, for messages
	UID    uint32
	GID    uint32
	Groups []uint32
	Home   string // the passwd entry's home and login name, "" when there is none
	Login  string
}

// Rlimit is one resource limit of setrlimit(2). RlimInfinity means "unlimited".
type Rlimit struct {
	Name     string // "nofile", "core", … as in the file
	Resource int    // RLIMIT_* number of this platform
	Soft     uint64
	Hard     uint64
}

// RlimInfinity is the value of an unlimited resource (RLIM_INFINITY).
const RlimInfinity = ^uint64(0)

// Worker is the [worker] table.
type Worker struct {
	Process
	Handler           string         // a compiled-in handler; "" when Command is used
	Options           map[string]any // for the handler
	Count             int            // resolved: "auto" is the CPUs usable here
	CountAuto         bool
	Ready             string // "notify", "alive", "auto"
	ReadyAfter        time.Duration
	BootTimeout       time.Duration
	Timeout           time.Duration // heartbeat; 0 = off
	AbortGrace        time.Duration
	DrainDelay        time.Duration
	RequestTimeout    time.Duration // 0 = off
	MaxRequests       int           // 0 = off
	MaxRequestsJitter int
	MaxSurge          MaxSurge
	BootRetries       int
	StopSignal        syscall.Signal
	ReopenSignal      syscall.Signal // 0 = none
	Watch             []string
	HTTP              HTTP
}

// MaxSurge bounds the extra workers of a reload: a number, or a percentage of
// the count when Percent is set.
type MaxSurge struct {
	N       int
	Percent bool
}

// Of returns how many extra workers are allowed beside count, at least 1.
func (m MaxSurge) Of(count int) int {
	n := m.N
	if m.Percent {
		n = count * m.N / 100
	}
	return max(n, 1)
}

// HTTP is the [worker.http] table, for handler workers.
type HTTP struct {
	TLSCert           string // absolute; both or none
	TLSKey            string
	TrustedProxies    []string // CIDR
	ProxyProtocol     bool
	MaxHeader         int64
	MaxBody           int64 // 0 = no limit
	ReadHeaderTimeout time.Duration
	ReadTimeout       time.Duration
	WriteTimeout      time.Duration
	IdleTimeout       time.Duration
}

// Manager is the [manager] table with its windows derived.
type Manager struct {
	StopTimeout    time.Duration // explicit, else the slowest companion's + ShutdownBuffer, else 0
	ReloadTimeout  time.Duration
	ShutdownBuffer time.Duration
}

// Companion is one [companion.NAME] table with companion_defaults applied.
type Companion struct {
	Name string
	Process
	Target         string         `json:",omitzero"` // a compiled-in function; "" when Command is used
	Options        map[string]any `json:",omitzero"` // for the target
	Numprocs       int            `json:",omitzero"`
	Autostart      bool           `json:",omitzero"`
	Autorestart    Autorestart    `json:",omitzero"`
	SuccessCodes   []int          `json:",omitzero"`
	Startsecs      time.Duration  `json:",omitzero"`
	Startretries   int            `json:",omitzero"` // 0 = never give up
	BackoffInitial time.Duration  `json:",omitzero"`
	BackoffMax     time.Duration  `json:",omitzero"`
	BackoffJitter  float64        `json:",omitzero"` // fraction of the delay, 0 … 1
	BackoffReset   time.Duration  `json:",omitzero"`
	StopSignal     syscall.Signal `json:",omitzero"`
	StopTimeout    time.Duration  `json:",omitzero"`
	ReloadTimeout  time.Duration  `json:",omitzero"`
	StopGroup      bool           `json:",omitzero"`
	Essential      bool           `json:",omitzero"`
	OnReload       OnReload       `json:",omitzero"`
	HashFiles      []HashFile     `json:",omitzero"`
	LogMaxSize     int64          `json:",omitzero"` // bytes, 0 = the child writes the file itself
	LogBackups     int            `json:",omitzero"`

	// Hash identifies the spec: the first 12 hex digits of the SHA-256 over the
	// canonical JSON of everything above but Numprocs, Autostart and EnvFiles.
	Hash string `json:",omitzero"`
}

// HashFile is a file whose content counts as part of a companion's spec.
type HashFile struct {
	Path string
	Sum  string // SHA-256 of the content, hex
}

// Autorestart says which exits of a companion are followed by a restart.
type Autorestart string

// The values of autorestart.
const (
	RestartAlways    Autorestart = "always"
	RestartOnFailure Autorestart = "on-failure"
	RestartNever     Autorestart = "never"
)

// OnReload says what a reload does to a companion whose spec is unchanged.
type OnReload struct {
	Restart bool           // restart it
	Signal  syscall.Signal // send it this signal; 0 = leave it alone
}

// Log is the [log] table.
type Log struct {
	Level  string // debug, info, warn, error
	Format string // auto, text, json
	File   string // "" = standard error
	Access string // off, record, combined
}

// Control is the [control] table.
type Control struct {
	Socket    string // absolute; always set
	Mode      fs.FileMode
	AllowUIDs []uint32
}

// Admin is the [admin] table.
type Admin struct {
	Bind      string // "" = off
	TokenFile string
}

// Hooks is the [hooks] table: argv by hook name.
type Hooks struct {
	Timeout  time.Duration
	Commands map[string][]string
}

// StopBudget is how long a graceful stop may take: shutdown_delay +
// max(graceful_timeout, manager stop window) + 1 s.
func (c *Config) StopBudget() time.Duration {
	return c.Server.ShutdownDelay + max(c.Server.GracefulTimeout, c.Manager.StopTimeout) + time.Second
}

// Companion returns the spec of that name.
func (c *Config) Companion(name string) (Companion, bool) {
	for _, s := range c.Companions {
		if s.Name == name {
			return s, true
		}
	}
	return Companion{}, false
}
