package worker

import (
	"bytes"
	"context"
	"log"
	"log/slog"
	"slices"
	"strings"
)

// newErrorLog returns the ErrorLog of something in net/http. Each line becomes a
// record with a constant message: at warn, since net/http goes on after it, but
// at debug if any stranger can cause it, such as a health check that only
// connects to a TLS port.
func newErrorLog(logger *slog.Logger, message string) *log.Logger {
	return log.New(errorLog{logger, message}, "", 0)
}

type errorLog struct {
	log     *slog.Logger
	message string
}

func (l errorLog) Write(line []byte) (int, error) {
	text, level := string(bytes.TrimSpace(line)), slog.LevelWarn
	if slices.ContainsFunc(causedByStrangers[:], func(prefix string) bool { return strings.HasPrefix(text, prefix) }) {
		level = slog.LevelDebug
	}
	l.log.LogAttrs(context.Background(), level, l.message, slog.String("error", text))
	return len(line), nil
}

// causedByStrangers are the beginnings of what net/http says of a connection
// that breaks its protocol.
var causedByStrangers = [...]string{
	"http: TLS handshake error from ",
	"http2: server: error reading preface from client ",
	"http2: server connection error from ",
	"http2: server closing client connection: ",
	"http2: received GOAWAY ",
	"timeout waiting for SETTINGS frames from ",
	"timeout waiting for PING response",
}
