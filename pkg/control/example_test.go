package control_test

import (
	"fmt"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func ExampleParseTarget() {
	for _, s := range []string{"mailer", "mailer:2", "mailer:x"} {
		name, instance, err := control.ParseTarget(s)
		fmt.Println(name, instance, err)
	}
	// Output:
	// mailer 0 <nil>
	// mailer 2 <nil>
	//  0 cannot use companion name "mailer:x": the part after the colon must be an instance number from 1
}

// What stands behind the state in `gofork status`.
func ExampleCompanion_Describe() {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	started, retry, code := now.Add(-time.Hour), now.Add(2500*time.Millisecond), 1
	for _, c := range []control.Companion{
		{State: control.Running, PID: 14, StartedAt: &started},
		{State: control.Backoff, LastExit: &control.Exit{Code: &code}, NextRetryAt: &retry, Failures: 3},
		{State: control.Stopped, Desired: control.Down, Exits: 1},
	} {
		c.Describe(now)
		fmt.Println(c.State, c.Description)
	}
	// Output:
	// RUNNING pid 14, uptime 1:00:00
	// BACKOFF exited with code 1, retrying in 3s (failure 3)
	// STOPPED stopped manually
}
