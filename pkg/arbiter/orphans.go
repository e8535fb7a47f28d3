package arbiter

import (
	"log/slog"

	"github.com/gofork/gofork/pkg/proc"
)

// orphans says how many processes were reaped that had lost their parent: one
// record for all that were found at once, for they may be a thousand.
func (l *loop) orphans(reaped []proc.Exit) {
	switch len(reaped) {
	case 0:
	case 1:
		l.log(record{slog.LevelInfo, "orphan.reaped", "reaped orphan", []slog.Attr{slog.Int("pid", reaped[0].PID), slog.Int("count", 1)}})
	default:
		l.log(record{slog.LevelInfo, "orphan.reaped", "reaped orphans", []slog.Attr{slog.Int("count", len(reaped))}})
	}
}
