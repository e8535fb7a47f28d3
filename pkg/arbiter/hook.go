package arbiter

import (
	"strconv"

	"github.com/gofork/gofork/pkg/proc"
)

// hook runs a hook if one is configured. What it does is beside the point of
// everything else: its end is not an event of the core.
func (c *core) hook(name string, env ...string) {
	if len(c.config.Hooks.Commands[name]) > 0 {
		c.do(runHook{name, env})
	}
}

func workerEnv(w *worker) []string {
	env := []string{"GOFORK_WORKER_SLOT=" + strconv.Itoa(w.slot), "GOFORK_GENERATION=" + strconv.Itoa(w.generation.number)}
	if w.pid != 0 {
		env = append(env, "GOFORK_WORKER_PID="+strconv.Itoa(w.pid))
	}
	return env
}

func exitEnv(s exitStatus) []string {
	if s.signal != 0 {
		return []string{"GOFORK_WORKER_EXIT_SIGNAL=" + proc.SignalName(s.signal)}
	}
	return []string{"GOFORK_WORKER_EXIT_CODE=" + strconv.Itoa(s.code)}
}
