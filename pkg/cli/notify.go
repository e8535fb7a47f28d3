package cli

import (
	"errors"
	"strings"

	"github.com/gofork/gofork/pkg/handoff"
	"github.com/spf13/cobra"
)

var errNobodyToNotify = errors.New("cannot notify: NOTIFY_SOCKET is not set, this is no child of a supervisor")

func (r *run) notifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "notify STATE…",
		Short: "Tell the supervisor of this process how it is",
		Long: "Notify sends assignments such as READY=1, WATCHDOG=1 or STATUS=… to the socket in\n" +
			"NOTIFY_SOCKET, as sd_notify(3) does. It is for scripts that run as a worker or\n" +
			"companion; elsewhere there is nobody to tell.",
		Example: r.examples("notify READY=1", `notify READY=1 "STATUS=serving 3 queues"`),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return usagef("notify needs a state, such as READY=1")
			}
			for _, a := range args {
				if name, _, ok := strings.Cut(a, "="); !ok || name == "" {
					return usagef("cannot send %q: must be NAME=VALUE, such as READY=1", a)
				}
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error {
			socket := r.getenv("NOTIFY_SOCKET")
			if socket == "" {
				return errNobodyToNotify
			}
			return handoff.NotifyRead(socket, strings.Join(args, "\n"))
		},
	}
}
