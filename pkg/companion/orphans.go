package companion

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
		l.record(record{level: slog.LevelInfo, event: "orphan.reaped", message: "reaped orphan", attrs: []slog.Attr{slog.Int("pid", reaped[0].PID), slog.Int("count", 1)}})
	default:
		l.record(record{level: slog.LevelInfo, event: "orphan.reaped", message: "reaped orphans", attrs: []slog.Attr{slog.Int("count", len(reaped))}})
	}
}
