package control_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
)

func sample(seq uint64) control.Event {
	return control.Event{
		Seq: seq, Time: time.Unix(1700000000, 0).UTC(), Event: "companion.running", Role: "manager", Level: "INFO",
		Message: "companion is up", Attrs: map[string]any{"companion": "rq", "pid": float64(14)},
	}
}

func TestEventsAreOneSnapshotAndThenEachEvent(t *testing.T) {
	events := make(chan control.Event, 2)
	events <- sample(7)
	events <- sample(8)
	s := start(t, &fake{events: func(context.Context) (*control.Status, <-chan control.Event, error) {
		return picture(), events, nil
	}}, control.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	c := control.Dial(s.socket)
	defer c.Close()
	snapshot, got, err := c.Events(ctx)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(len(picture().Companions), len(snapshot.Companions)); diff != "" {
		t.Errorf("snapshot (-want +got):\n%s", diff)
	}
	for seq := uint64(7); seq <= 8; seq++ {
		if diff := cmp.Diff(sample(seq), <-got); diff != "" {
			t.Errorf("event (-want +got):\n%s", diff)
		}
	}
	close(events) // the backend drops the reader
	if e, ok := <-got; ok {
		t.Errorf("event %v after the end", e)
	}
}

func TestEventsOnTheWire(t *testing.T) {
	events := make(chan control.Event, 1)
	events <- sample(7)
	close(events)
	s := start(t, &fake{events: func(context.Context) (*control.Status, <-chan control.Event, error) {
		return &control.Status{Name: "app"}, events, nil
	}}, control.Options{})
	status, header, body := s.do(t, "GET", "/v1/events", "")
	if status != 200 || header.Get("Content-Type") != "text/event-stream" {
		t.Errorf("answer %d, %s", status, header.Get("Content-Type"))
	}
	if !strings.HasPrefix(body, "event: snapshot\ndata: {\"name\":\"app\",") {
		t.Errorf("stream begins %.60q", body)
	}
	want := "\n\nid: 7\nevent: companion.running\ndata: " +
		`{"time":"2023-11-14T22:13:20Z","level":"INFO","msg":"companion is up","event":"companion.running","role":"manager","companion":"rq","pid":14}` + "\n\n"
	if !strings.HasSuffix(body, want) {
		t.Errorf("stream ends\n%s\nwant\n%s", body, want)
	}
}

func TestServerEndsItsStreams(t *testing.T) {
	s := start(t, &fake{events: func(ctx context.Context) (*control.Status, <-chan control.Event, error) {
		return picture(), make(chan control.Event), nil
	}}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	_, events, err := c.Events(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	begun := time.Now()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(begun); took > 900*time.Millisecond {
		t.Errorf("the stream held the server up for %s", took)
	}
	if _, ok := <-events; ok {
		t.Error("an event came from an ended server")
	}
}

func TestLogsFollowUntilTheReaderGoes(t *testing.T) {
	closed := make(chan struct{})
	s := start(t, &fake{logs: func(ctx context.Context, _ string, _ int, _ bool) (io.ReadCloser, error) {
		r, w := io.Pipe()
		go func() {
			_, _ = io.WriteString(w, "first\n")
			<-ctx.Done()
			_ = w.CloseWithError(ctx.Err())
			close(closed)
		}()
		return r, nil
	}}, control.Options{})
	ctx, cancel := context.WithCancel(t.Context())
	c := control.Dial(s.socket)
	defer c.Close()
	text, err := c.Logs(ctx, "rq:2", 10, true)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(text).ReadString('\n')
	if line != "first\n" || err != nil {
		t.Errorf("line %q, %v", line, err)
	}
	cancel()
	_ = text.Close()
	<-closed
}

func TestLogsThatBreakOffAreNotTakenForTheWhole(t *testing.T) {
	s := start(t, &fake{logs: func(context.Context, string, int, bool) (io.ReadCloser, error) {
		return io.NopCloser(io.MultiReader(strings.NewReader("half"), brokenReader{})), nil
	}}, control.Options{})
	c := control.Dial(s.socket)
	defer c.Close()
	text, err := c.Logs(t.Context(), "rq", 10, false)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = text.Close() }()
	if b, err := io.ReadAll(text); err == nil {
		t.Errorf("read %q as if that was all", b)
	}
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("broken") }

func TestEventKeepsItsCommonKeys(t *testing.T) {
	e := sample(1)
	e.Attrs["msg"] = "not this"
	b, err := e.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	if n := strings.Count(string(b), `"msg"`); n != 1 || !strings.Contains(string(b), "companion is up") {
		t.Errorf("event %s", b)
	}
}

func TestFaultAmidAStreamCutsIt(t *testing.T) {
	events := make(chan control.Event, 1)
	events <- control.Event{Event: "worker.ready", Attrs: map[string]any{"fault": faulty{}}}
	s := start(t, &fake{events: func(context.Context) (*control.Status, <-chan control.Event, error) {
		return picture(), events, nil
	}}, control.Options{})
	resp, err := s.http.Get("http://x/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = resp.Body.Close() }()
	if b, err := io.ReadAll(resp.Body); err == nil || strings.Contains(string(b), `"error":{`) {
		t.Errorf("read %.80q, %v: as if it had ended well", b, err)
	}
}

type faulty struct{}

func (faulty) MarshalJSON() ([]byte, error) { panic("a fault") }
