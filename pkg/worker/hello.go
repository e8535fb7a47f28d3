package worker

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"
)

// maxSleep bounds /sleep of the hello handler.
const maxSleep = time.Minute

// Hello is the factory of the handler "hello", which shows who answers:
//
//	/pid          the process id alone
//	/sleep?d=2s   answers after d, 60 s at most
//	POST /echo    the request's body
//	anything else one line with slot, pid and generation
func Hello(c Context) (http.Handler, error) {
	if err := parseHello(c.Options); err != nil {
		return nil, err
	}
	pid := os.Getpid()
	return &hello{
		line: fmt.Sprintf("hello from gofork: slot %d pid %d generation %d\n", c.Slot, pid, c.Generation),
		pid:  strconv.Itoa(pid),
	}, nil
}

type hello struct{ line, pid string }

func (h *hello) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/pid":
		answer(w, h.pid)
	case "/sleep":
		h.sleep(w, r)
	case "/echo":
		if r.Method == http.MethodPost {
			echo(w, r)
			return
		}
		answer(w, h.line)
	default:
		answer(w, h.line)
	}
}

func answer(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	_, _ = io.WriteString(w, text)
}

func (h *hello) sleep(w http.ResponseWriter, r *http.Request) {
	text := r.URL.Query().Get("d")
	d, err := time.ParseDuration(text)
	if err != nil || d < 0 || d > maxSleep {
		http.Error(w, fmt.Sprintf("cannot sleep %q: must be a duration from 0s to %s", text, maxSleep), http.StatusBadRequest)
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		answer(w, h.line)
	case <-r.Context().Done():
		// Nobody reads the answer, or the request timeout has given it.
	}
}

func echo(w http.ResponseWriter, r *http.Request) {
	// Without it the server reads the whole body before it answers, or gives up.
	_ = http.NewResponseController(w).EnableFullDuplex()
	w.Header().Set("Content-Type", "application/octet-stream")
	if r.ContentLength >= 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(r.ContentLength, 10))
	}
	n, err := io.Copy(w, r.Body)
	switch {
	case err == nil:
	case n == 0 && bodyTooLarge(err):
		clearContent(w.Header())
		refuseBody(w, r)
	default:
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	}
}
