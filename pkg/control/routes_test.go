package control_test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
)

func number(n int) *int { return &n }

func TestEveryRequestReachesTheBackendAsItWasMeant(t *testing.T) {
	for _, tt := range []struct {
		method, target, body string
		asked                any
	}{
		{"POST", "/v1/companions/rq/start", "", control.Action{Op: "start", Name: "rq", Wait: true}},
		{"POST", "/v1/companions/rq:2/stop", "{}", control.Action{Op: "stop", Name: "rq", Instance: 2, Wait: true}},
		{"POST", "/v1/companions/rq/restart?wait=false&timeout=5", "", control.Action{Op: "restart", Name: "rq"}},
		{"POST", "/v1/companions/rq/signal?signal=HUP", "", control.Action{Op: "signal", Name: "rq", Signal: "HUP", Wait: true}},
		{"POST", "/v1/reload", "", control.ReloadRequest{}},
		{"POST", "/v1/reload?dry_run=true", "", control.ReloadRequest{DryRun: true}},
		{"POST", "/v1/reread?timeout=1m", "", control.ReloadRequest{CompanionsOnly: true}},
		{"POST", "/v1/scale", `{"workers": 4}`, control.ScaleRequest{Workers: number(4)}},
		{"POST", "/v1/scale", `{"delta": -1}`, control.ScaleRequest{Delta: number(-1)}},
		{"POST", "/v1/stop", "", control.StopRequest{}},
		{"POST", "/v1/stop", ` {"quick": true} `, control.StopRequest{Quick: true}},
		{"POST", "/v1/reopen", "", "reopen"},
		{"GET", "/v1/companions/rq:2/logs?lines=7&follow=true", "", []any{"rq:2", 7, true}},
		{"GET", "/v1/companions/rq/logs", "", []any{"rq", 100, false}},
	} {
		t.Run(tt.method+" "+tt.target, func(t *testing.T) {
			b := &fake{}
			status, _, body := start(t, b, control.Options{}).do(t, tt.method, tt.target, tt.body)
			if status != http.StatusOK {
				t.Fatalf("status %d, want 200: %s", status, body)
			}
			if diff := cmp.Diff([]any{tt.asked}, b.noted()); diff != "" {
				t.Errorf("the backend was asked (-want +got):\n%s", diff)
			}
		})
	}
}

func TestReadingAnswers(t *testing.T) {
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1\n")) })
	s := start(t, &fake{}, control.Options{Metrics: metrics})
	for _, tt := range []struct{ target, want string }{
		{"/v1/status", `"name":"app"`},
		{"/v1/status", `"list":[]`}, // never null
		{"/v1/status", `"manager":null`},
		{"/v1/companions", `"name":"scheduler"`},
		{"/v1/companions/rq:2", `"pid":15`},
		{"/v1/config", `{"worker":{"count":2,"jitter":0.5}}`},
		{"/v1/companions/rq/logs", "one\ntwo\n"},
		{"/livez", "ok\n"},
		{"/readyz", "ok\n"},
		{"/metrics", "up 1\n"},
	} {
		status, _, body := s.do(t, "GET", tt.target, "")
		if status != http.StatusOK || !strings.Contains(body, tt.want) {
			t.Errorf("GET %s: %d %s, want %s in it", tt.target, status, body, tt.want)
		}
	}
	if _, _, body := s.do(t, "GET", "/v1/companions/rq:2", ""); strings.Count(body, `"name"`) != 1 {
		t.Errorf("GET of one instance answers %s", body)
	}
	if status, _, body := s.do(t, "HEAD", "/v1/status", ""); status != http.StatusOK || body != "" {
		t.Errorf("HEAD: %d %q", status, body)
	}
}

func TestEveryErrorHasItsStatusAndCode(t *testing.T) {
	b := &fake{act: func(ctx context.Context, a control.Action) ([]control.Companion, error) {
		switch a.Name {
		case "conflict":
			return nil, control.Conflictf("cannot start conflict: exited with code 1")
		case "slow":
			<-ctx.Done()
			return nil, ctx.Err()
		case "broken":
			return nil, errors.New("cannot think")
		case "panic":
			panic("a fault")
		}
		return nil, control.UnknownCompanion(a.Target())
	}}
	s := start(t, b, control.Options{})
	huge := `{"quick": false, "x": "` + strings.Repeat("x", 1<<20) + `"}`
	for _, tt := range []struct {
		method, target, body string
		status               int
		code                 string
	}{
		{"GET", "/", "", 404, "not_found"},
		{"GET", "/v1", "", 404, "not_found"},
		{"GET", "/v1/status/", "", 404, "not_found"},
		{"GET", "//v1/status", "", 404, "not_found"},
		{"GET", "/v1/x/../status", "", 404, "not_found"},
		{"GET", "/v1/companions/a%2Fb", "", 404, "unknown_companion"},
		{"POST", "/v1/companions/rq/dance", "", 404, "not_found"},
		{"GET", "/metrics", "", 404, "not_found"},
		{"GET", "/v1/companions/nobody", "", 404, "unknown_companion"},
		{"GET", "/v1/companions/rq:3", "", 404, "unknown_companion"},
		{"POST", "/v1/companions/nobody/start", "", 404, "unknown_companion"},
		{"POST", "/v1/status", "", 405, "method_not_allowed"},
		{"DELETE", "/v1/companions/rq", "", 405, "method_not_allowed"},
		{"GET", "/v1/reload", "", 405, "method_not_allowed"},
		{"GET", "/v1/status?verbose=1", "", 400, "bad_request"},
		{"GET", "/v1/status?%zz", "", 400, "bad_request"},
		{"GET", "/v1/companions/rq:0", "", 400, "bad_request"},
		{"GET", "/v1/companions/rq/logs?lines=-1", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?wait=perhaps", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?timeout=soon", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?timeout=0", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?timeout=NaN", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?timeout=1e300", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start?timeout=1&timeout=2", "", 400, "bad_request"},
		{"POST", "/v1/companions/rq/start", `{"x":1}`, 400, "bad_request"},
		{"POST", "/v1/companions/rq/signal", "", 400, "bad_request"},
		{"POST", "/v1/reload?dry_run=ja", "", 400, "bad_request"},
		{"POST", "/v1/scale", "", 400, "bad_request"},
		{"POST", "/v1/scale", `{}`, 400, "bad_request"},
		{"POST", "/v1/scale", `{"workers":1,"delta":1}`, 400, "bad_request"},
		{"POST", "/v1/scale", `{"workers":0}`, 400, "bad_request"},
		{"POST", "/v1/scale", `{"workers":"4"}`, 400, "bad_request"},
		{"POST", "/v1/scale", `{"workers":4} {}`, 400, "bad_request"},
		{"POST", "/v1/scale", `[4]`, 400, "bad_request"},
		{"POST", "/v1/scale", `null`, 400, "bad_request"},
		{"POST", "/v1/scale", `{"workers":`, 400, "bad_request"},
		{"POST", "/v1/stop", `{"quik":true}`, 400, "bad_request"},
		{"POST", "/v1/stop", huge, 413, "too_large"},
		{"GET", "/v1/events", "", 503, "not_supported"},
		{"POST", "/v1/companions/conflict/start", "", 409, "conflict"},
		{"POST", "/v1/companions/slow/start?timeout=20ms", "", 504, "timeout"},
		{"POST", "/v1/companions/slow/start?timeout=0.02", "", 504, "timeout"},
		{"POST", "/v1/companions/broken/start", "", 500, "internal"},
		{"POST", "/v1/companions/panic/start", "", 500, "internal"},
	} {
		name := tt.method + " " + tt.target
		status, header, body := s.do(t, tt.method, tt.target, tt.body)
		var got struct{ Error control.Error }
		if err := json.Unmarshal([]byte(body), &got); err != nil {
			t.Errorf("%s: body %q: %v", name, body, err)
		}
		if status != tt.status || got.Error.Code != tt.code || got.Error.Message == "" {
			t.Errorf("%s: %d %s, want %d %s", name, status, body, tt.status, tt.code)
		}
		if ct := header.Get("Content-Type"); ct != "application/json" {
			t.Errorf("%s: content type %q", name, ct)
		}
		if want := map[bool]string{true: "POST", false: "GET, HEAD"}[tt.method == "GET"]; status == 405 && header.Get("Allow") != want {
			t.Errorf("%s: Allow %q, want %q", name, header.Get("Allow"), want)
		}
	}
}

func TestAWrongTypeIsToldInTheWordsOfJSON(t *testing.T) {
	s := start(t, &fake{}, control.Options{})
	for _, tt := range []struct{ target, body, message string }{
		{"/v1/scale", `{"workers":"4"}`, `cannot use string in "workers": must be a whole number`},
		{"/v1/scale", `{"delta":1.5}`, `cannot use number 1.5 in "delta": must be a whole number`},
		{"/v1/stop", `{"quick":1}`, `cannot use number in "quick": must be true or false`},
	} {
		_, _, body := s.do(t, "POST", tt.target, tt.body)
		var got struct{ Error control.Error }
		if err := json.Unmarshal([]byte(body), &got); err != nil || got.Error.Message != tt.message {
			t.Errorf("%s: %s, want %q", tt.body, body, tt.message)
		}
	}
}

func TestFailedReloadIsAConflictWithItsResult(t *testing.T) {
	failed := &control.Reload{At: time.Unix(1700000000, 0).UTC(), Error: "cannot reload: worker slot 2 exited before ready", Seconds: 0.5}
	s := start(t, &fake{reload: func(context.Context, control.ReloadRequest) (*control.Reload, error) { return failed, nil }}, control.Options{})
	status, _, body := s.do(t, "POST", "/v1/reload", "")
	want := `{"error":{"code":"reload_failed","message":"cannot reload: worker slot 2 exited before ready"},` +
		`"at":"2023-11-14T22:13:20Z","ok":false,"seconds":0.5,"companions":{"added":[],"removed":[],"restarted":[],"unchanged":[]}}` + "\n"
	if status != http.StatusConflict || body != want {
		t.Errorf("answer %d\n%s\nwant 409\n%s", status, body, want)
	}
}

func TestReadyzSaysWhatIsMissing(t *testing.T) {
	for _, tt := range []struct {
		name   string
		change func(*control.Status)
		err    error
		status int
		body   string
	}{
		{"some workers ready", func(s *control.Status) { s.Workers.Ready = 1 }, nil, 200, "degraded: 1 of 2 workers are ready"},
		{"essential companion down", func(s *control.Status) {
			s.Companions[0].Essential, s.Companions[0].State = true, control.Backoff
		}, nil, 503, "essential companion rq is BACKOFF"},
		{"essential companion up", func(s *control.Status) { s.Companions[0].Essential, s.Companions[0].State = true, control.Running }, nil, 200, "ok"},
		{"any other companion down", func(s *control.Status) { s.Companions[0].State = control.Fatal }, nil, 200, "ok"},
		{"everything down", func(s *control.Status) {
			s.State, s.Workers.Ready = control.StateStopping, 0
			s.Companions[0].Essential, s.Companions[0].State = true, control.Stopped
		}, nil, 503, "gofork is stopping\nno worker is ready, 2 wanted\nessential companion rq is STOPPED"},
		{"reloading", func(s *control.Status) { s.State = control.StateReloading }, nil, 200, "ok"},
		{"companions only", func(s *control.Status) { s.Listeners, s.Workers = nil, control.Workers{} }, nil, 200, "ok"},
		{"starting", func(s *control.Status) { s.State = control.StateStarting }, nil, 503, "gofork is starting"},
		{"stopping", func(s *control.Status) { s.State = control.StateStopping }, nil, 503, "gofork is stopping"},
		{"no worker", func(s *control.Status) { s.Workers.Ready = 0 }, nil, 503, "no worker is ready, 2 wanted"},
		{"workers wound down", func(s *control.Status) { s.Workers = control.Workers{} }, nil, 503, "no worker is ready, 0 wanted"},
		{"no answer", nil, errors.New("cannot tell"), 503, "cannot tell"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := start(t, &fake{status: func(context.Context) (*control.Status, error) {
				p := picture()
				if tt.change != nil {
					tt.change(p)
				}
				return p, tt.err
			}}, control.Options{})
			status, header, body := s.do(t, "GET", "/readyz", "")
			if status != tt.status || body != tt.body+"\n" {
				t.Errorf("answer %d %q, want %d %q", status, body, tt.status, tt.body)
			}
			if !strings.HasPrefix(header.Get("Content-Type"), "text/plain") {
				t.Errorf("content type %q", header.Get("Content-Type"))
			}
		})
	}
}
