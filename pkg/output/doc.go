// Package output is what happens to the things children print.
//
// A child's standard output or error is one of
//
//	"inherit"                  gofork's own descriptor; nothing to do here
//	"null"                     the null device; nothing to do here
//	a path                     [OpenAppend]: the child writes the file itself
//	"log"                      [Pipe] + [Captures.Records] or [Captures.Prefixed]
//	a path with log_max_size   [Pipe] + [Captures.File] over a [File]
//	stderr = "stdout"          the same descriptor twice; nothing to do here
//
// # Pipe and capture
//
//	child ──write end──▶ pipe ──read end──▶ Capture ──whole lines──▶ sink
//	                      ▲                    └─▶ last lines, followers
//	          the supervisor keeps the write end too
//
// A [Capture] belongs to one stream of one instance, not to one process: the
// supervisor keeps the write end, so the reader sees no end of file between two
// children and no line in the pipe is lost with its writer. When a child has
// been reaped, [Capture.Settle] takes what it left behind and ends its last
// line. A duplicate of the read end, held elsewhere, keeps the child alive when
// the process that captures dies (its next write would be a SIGPIPE).
//
// Each capture is one goroutine parked on the netpoller: it holds neither a
// thread nor a buffer while its child is silent, and nothing ever ticks.
//
// # Lines
//
// Sinks see whole lines. The unfinished last line waits in memory until its
// newline arrives, its child is gone (Settle) or the capture closes. A line
// longer than [MaxLine] is split, never inside a UTF-8 sequence, and every piece
// but the last ends with [SplitMark]. How the bytes arrived makes no difference
// to the lines.
//
// # Files
//
// [File] rotates by size: NAME is renamed to NAME.1, NAME.1 to NAME.2 and so on.
// It exists because the kept rotating writer (DeRuina/timberjack) does not fit:
// its backups carry timestamps instead of numbers, its sizes are whole
// megabytes, it refuses a write that is larger than a file, it does not see that
// its file was moved away, a full disk is every caller's error, and its
// housekeeping goroutine lives until Close even when nothing rotates.
//
// Bytes are copied with read and write, not moved with splice(2): between a pipe
// and a page cache splice copies as well, page by page, and took a fifth to a
// half more time and CPU than reads of 1 MiB. Reading also leaves the lines
// where they can be counted. Newlines are not searched one by one on the way to
// a file: one look backwards from the end of each 64 KiB proves that no line in
// it is too long.
//
// # Invariants
//
//   - Every byte that was read reaches the sink exactly once and in order, but
//     for the newline and the mark added by a split, the newline added by Settle
//     and Close, and lines that a failing disk refused, which are counted.
//   - A file and its backups consist of whole lines. A file is larger than its
//     limit only when it holds a single line.
//   - Nothing here blocks a child for longer than its sink takes: followers that
//     do not keep up are dropped, a full disk drops lines.
//   - Memory of one capture is bounded: 64 KiB of unfinished line, 256 KiB of
//     last lines, and read buffers that are shared and only held while reading.
//   - Close waits for the goroutine it ends.
package output
