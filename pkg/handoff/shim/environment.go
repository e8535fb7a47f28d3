package shim

// environment is what the program gets: without [Variable], and with its own pid
// in LISTEN_PID and WATCHDOG_PID when it asked for that. Their readers ignore
// what does not carry their pid (sd_listen_fds(3), sd_watchdog_enabled(3)), and
// the pid is known only after the fork: this is why listeners need a shim.
func environment(environ []string, ownPID bool, pid int) []string {
	env := make([]string, 0, len(environ)+2)
	watchdog := false
	for _, v := range environ {
		switch key, _, _ := cut(v, '='); key {
		case Variable:
			continue
		case "LISTEN_PID", "WATCHDOG_PID":
			if ownPID {
				continue
			}
		case "WATCHDOG_USEC":
			watchdog = true
		}
		env = append(env, v)
	}
	if ownPID {
		own := string(appendUint(nil, uint64(pid)))
		env = append(env, "LISTEN_PID="+own)
		if watchdog {
			env = append(env, "WATCHDOG_PID="+own)
		}
	}
	return env
}
