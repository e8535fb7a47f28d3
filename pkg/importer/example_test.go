package importer_test

import (
	"fmt"
	"log"

	"github.com/gofork/gofork/pkg/importer"
)

func ExampleProcfile() {
	result, err := importer.Procfile("Procfile", "worker: rq worker default\nclock: sh clock.sh | logger\n")
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.TOML)
	// Output:
	// # From Procfile. Commands that need a shell get one; all others are run as they are.
	// # Variables of a .env file: env_file = [".env"] in a [server] table.
	//
	// [companion.worker]
	// command = ["rq", "worker", "default"]
	// stdout = "log"
	// stderr = "log"
	//
	// [companion.clock]
	// command = ["sh", "-c", "sh clock.sh | logger"]
	// stdout = "log"
	// stderr = "log"
}

func ExampleSupervisord_Import() {
	result, err := importer.Supervisord{
		Name: "supervisord.conf",
		Here: "/etc/supervisor",
		Text: "[program:mailer]\ncommand = %(here)s/mailer --queue=%(ENV_QUEUE)s\nstopwaitsecs = 30\npriority = 1\n",
	}.Import()
	if err != nil {
		log.Fatal(err)
	}
	fmt.Print(result.TOML)
	fmt.Println(result.Unmapped, "not mapped")
	// Output:
	// # From supervisord.conf.
	//
	// # What supervisord does with a program that does not say otherwise.
	// [companion_defaults]
	// autorestart = "on-failure"
	// startretries = 3
	// backoff_reset = "1s"           # its startretries count failures to start only
	// stop_timeout = "10s"
	// reload_timeout = "10s"
	// stop_group = false             # the signal; SIGKILL always reaches the whole group
	// no_new_privs = false           # "auto" is safer, where no program uses sudo and the like
	// stdout = "log"
	// stderr = "log"
	//
	// # not mapped: [program:mailer] priority = 1: companions start and stop at the same time
	// [companion.mailer]
	// command = ["/etc/supervisor/mailer", "--queue=${QUEUE}"] # a variable does not become several words
	// stop_timeout = "30s"
	// reload_timeout = "30s"
	// 1 not mapped
}
