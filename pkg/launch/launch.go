package launch

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"syscall"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/handoff"
	"github.com/gofork/gofork/pkg/proc"
)

// Values of stdout and stderr.
const (
	Inherit  = "inherit"
	Captured = "log"
	Null     = "null"
	Joined   = "stdout" // stderr only
)

// Environment is what every child of this process is given. It is made once and
// not changed: a thousand children share it.
type Environment struct {
	base  []string
	place map[string]int // of a name in base
}

// NewEnvironment takes gofork's own environment.
func NewEnvironment(own []string) Environment {
	e := Environment{place: map[string]int{}}
	for _, kv := range handoff.Scrub(own) {
		name, _, ok := strings.Cut(kv, "=")
		if at, twice := e.place[name]; twice {
			e.base[at] = kv
		} else if ok {
			e.place[name] = len(e.base)
			e.base = append(e.base, kv)
		}
	}
	return e
}

// Of is a child's environment: the base, what the configuration adds, and what
// the child is told of itself ("KEY=value").
func (e Environment) Of(p *config.Process, told ...string) []string {
	env := make([]string, len(e.base), len(e.base)+len(p.Env)+len(told)+3)
	copy(env, e.base)
	add := func(kv string) { env = e.with(env, kv) }
	// As systemd does for User=: a program looks for its files in its own home.
	if c := p.Credential; c != nil && c.Login != "" {
		add("USER=" + c.Login)
		add("LOGNAME=" + c.Login)
		add("HOME=" + c.Home)
	}
	for _, name := range slices.Sorted(maps.Keys(p.Env)) {
		add(name + "=" + p.Env[name])
	}
	for _, kv := range told {
		add(kv)
	}
	return env
}

// with gives a variable its value in env, which begins with the base. Of one that
// is set twice the last value counts, in the first place.
func (e Environment) with(env []string, kv string) []string {
	name, _, ok := strings.Cut(kv, "=")
	if !ok {
		return env
	}
	if at, known := e.place[name]; known {
		env[at] = kv
		return env
	}
	for at := len(e.base); at < len(env); at++ {
		if strings.HasPrefix(env[at], name) && env[at][len(name)] == '=' {
			env[at] = kv
			return env
		}
	}
	return append(env, kv)
}

// Command sets up a child that runs argv. The standard streams are left to the caller.
func Command(p *config.Process, argv, env []string) (proc.Command, error) {
	path, err := proc.LookPath(argv[0], p.Cwd, env)
	if err != nil {
		return proc.Command{}, err
	}
	return command(p, path, argv, env), nil
}

// Self sets up a child that runs this very binary. Title is its argv[0], for ps.
func Self(p *config.Process, self, title string, env []string) proc.Command {
	return command(p, self, []string{title}, env)
}

func command(p *config.Process, path string, argv, env []string) proc.Command {
	c := proc.Command{
		Path:        path,
		Args:        argv,
		Env:         env,
		Dir:         p.Cwd,
		Umask:       int(p.Umask),
		NoNewPrivs:  p.NoNewPrivs,
		Nice:        p.Nice,
		OOMScoreAdj: p.OOMScoreAdj,
	}
	if p.Credential != nil {
		c.Credential = &proc.Credential{UID: p.Credential.UID, GID: p.Credential.GID, Groups: p.Credential.Groups}
	}
	for _, r := range p.Rlimits {
		c.Rlimits = append(c.Rlimits, proc.Rlimit{Name: r.Name, Resource: r.Resource, Soft: r.Soft, Hard: r.Hard})
	}
	return c
}

// FailureCode is the exit code of a program that could not be started, as a
// shell gives it: 127 not found, 126 found but not to be run.
func FailureCode(err error) int {
	if errors.Is(err, os.ErrNotExist) || errors.Is(err, syscall.ENOENT) {
		return 127
	}
	return 126
}

// FailureReason is the sentence for such a failure.
func FailureReason(argv []string, err error) string {
	name := "the program"
	if len(argv) > 0 {
		name = argv[0]
	}
	text := err.Error()
	if strings.HasPrefix(text, "cannot ") {
		return text
	}
	return fmt.Sprintf("cannot start %s: %s", name, text)
}

// Private variables by which gofork tells its own binary what to be.
const (
	EnvRole = "GOFORK_ROLE"
	EnvSpec = "GOFORK_SPEC" // JSON, of the role's own form
)

// Roles of the binary beside the command line.
const (
	RoleWorker  = "worker"
	RoleManager = "manager"
	RoleTarget  = "target"
)
