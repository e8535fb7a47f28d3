package cli

import (
	"bytes"
	"context"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
)

func exited() control.Event {
	return control.Event{
		Seq: 1, Time: *at("2026-01-02T03:04:05Z"), Event: "companion.exited", Role: "manager", Level: "ERROR",
		Message: "companion has ended", Attrs: map[string]any{"pid": 14, "companion": "rq", "reason": "killed by SIGKILL", "uptime": 1.5004},
	}
}

func TestEventsAreALineEach(t *testing.T) {
	clock := at("2026-01-02T03:04:05Z").Local().Format(time.TimeOnly)
	for _, tt := range []struct{ flag, want string }{
		{"--json=false", clock + ` ERROR companion.exited     companion has ended companion=rq pid=14 reason="killed by SIGKILL" uptime=1.5` + "\n"},
		{"--json", `{"time":"2026-01-02T03:04:05Z","level":"ERROR","msg":"companion has ended","event":"companion.exited","role":"manager",` +
			`"companion":"rq","pid":14,"reason":"killed by SIGKILL","uptime":1.5004}` + "\n"},
	} {
		f := newFake()
		f.events <- exited()
		socket := startFake(t, f)
		ctx, cancel := context.WithCancel(t.Context())
		out := &page{drawn: make(chan struct{}, 1)}
		code := make(chan int, 1)
		go func() {
			code <- App{}.Run(ctx, []string{"events", tt.flag, "-s", socket}, Stdio{Out: out, Err: out})
		}()
		<-out.drawn
		cancel()
		if c := <-code; c != 0 || out.buf.String() != tt.want {
			t.Errorf("exit code %d, prints\n%swant\n%s", c, out.buf.String(), tt.want)
		}
	}
}

// The stream of a reader that is too slow ends as that of a gofork that ends: only
// one of them is what the reader waits for.
func TestEventsThatAreCutShortAreAFailure(t *testing.T) {
	f := newFake()
	f.events <- exited()
	close(f.events) // dropped: the gofork itself goes on answering
	code, stdout, stderr := gofork(t, nil, "events", "-s", startFake(t, f))
	if code != ExitFailed || !strings.Contains(stdout, "companion.exited") || !strings.Contains(stderr, "too slow") {
		t.Errorf("exit code %d, prints\n%s%s", code, stdout, stderr)
	}
}

func TestLogsThatAreCutShortAreAFailure(t *testing.T) {
	code, stdout, stderr := gofork(t, nil, "logs", "broken", "-s", startFake(t, newFake()))
	if code != ExitFailed || stdout != "half\n" || !strings.Contains(stderr, "too slow") || strings.Contains(stderr, "EOF") {
		t.Errorf("exit code %d, prints\n%s%s", code, stdout, stderr)
	}
}

// page collects what is drawn and tells when there is something new.
type page struct {
	mu    sync.Mutex
	buf   bytes.Buffer
	drawn chan struct{}
}

func (p *page) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.drawn <- struct{}{}
	return p.buf.Write(b)
}

func TestWatchRedrawsWhenSomethingHappens(t *testing.T) {
	f := newFake()
	socket := startFake(t, f)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &page{drawn: make(chan struct{}, 16)}
	code := make(chan int, 1)
	go func() {
		code <- App{}.Run(ctx, []string{"status", "--watch", "rq-default", "-s", socket}, Stdio{Out: out, Err: out})
	}()
	<-out.drawn
	f.mu.Lock()
	up := f.status.Companions[0]
	up.State, up.Description = control.Running, "pid 20, uptime 0:00:00"
	f.status.Companions = append([]control.Companion{up}, f.status.Companions[1:]...)
	f.mu.Unlock()
	f.events <- exited()
	<-out.drawn
	cancel()
	if c := <-code; c != ExitOK {
		t.Errorf("exit code %d", c)
	}
	want := "rq-default       BACKOFF   exited with code 1, retrying in 3s (failure 3)\n\n" +
		"rq-default       RUNNING   pid 20, uptime 0:00:00\n\n"
	if got := out.buf.String(); got != want {
		t.Errorf("drawn\n%swant\n%s", got, want)
	}
}

func TestWatchEndsWhenGoforkDoes(t *testing.T) {
	f := newFake()
	path := filepath.Join(t.TempDir(), "app.sock")
	out := &page{drawn: make(chan struct{}, 16)}
	code := make(chan int, 1)
	ok := t.Run("while it runs", func(t *testing.T) {
		serveFake(t, f, path)
		go func() {
			code <- App{}.Run(context.Background(), []string{"status", "--watch", "-s", path}, Stdio{Out: out, Err: &bytes.Buffer{}})
		}()
		<-out.drawn
	})
	if !ok {
		t.FailNow()
	}
	if c := <-code; c != ExitUnreachable {
		t.Errorf("exit code %d", c)
	}
}

func TestNotifyTellsTheSupervisor(t *testing.T) {
	path := filepath.Join(t.TempDir(), "notify")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	read := make(chan string, 2)
	go func() {
		defer close(read)
		for range 2 {
			buf := make([]byte, 100)
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			read <- string(buf[:n])
		}
	}()
	code, _, stderr := gofork(t, []string{"NOTIFY_SOCKET=" + path}, "notify", "READY=1", "STATUS=serving 3 queues")
	if code != 0 {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	for _, want := range []string{"READY=1\nSTATUS=serving 3 queues", "BARRIER=1"} { // the second waits for the first to be read
		if got := <-read; got != want {
			t.Errorf("sent %q, want %q", got, want)
		}
	}
	if code, _, stderr := gofork(t, []string{"NOTIFY_SOCKET=" + path + "-none"}, "notify", "READY=1"); code != ExitFailed || !strings.Contains(stderr, "cannot notify") {
		t.Errorf("to nobody: exit code %d: %s", code, stderr)
	}
}

func TestNegativeNumbersAreNoFlags(t *testing.T) {
	for _, tt := range []struct{ args, want string }{
		{"scale -1", "scale -- -1"},
		{"scale -1 --json", "scale --json -- -1"},
		{"-s x scale -12 -c y", "-s x scale -c y -- -12"},
		{"scale -- -1", "scale -- -1"},
		{"scale +1", "scale +1"},
		{"logs -n 5 x", "logs -n 5 x"},
		{"logs -5", "logs -5"},
	} {
		if got := strings.Join(numbersLast(strings.Fields(tt.args)), " "); got != tt.want {
			t.Errorf("%q becomes %q, want %q", tt.args, got, tt.want)
		}
	}
}

func TestColumnsAlignWhateverTheColours(t *testing.T) {
	rows := [][]cell{{{"a", green}, {"long", ""}, {}}, {{"äöü", ""}, {"x", red}, {"end", ""}}}
	var plain, coloured bytes.Buffer
	table(&plain, func(_, text string) string { return text }, rows)
	table(&coloured, func(color, text string) string {
		if color == "" {
			return text
		}
		return "<" + color + ">" + text
	}, rows)
	if want := "a    long\näöü  x     end\n"; plain.String() != want {
		t.Errorf("plain\n%swant\n%s", plain.String(), want)
	}
	if got := strings.NewReplacer("<31>", "", "<32>", "").Replace(coloured.String()); got != plain.String() {
		t.Errorf("coloured\n%swant\n%s", got, plain.String())
	}
}
