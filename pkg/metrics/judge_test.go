package metrics

import (
	"bytes"
	"context"
	"errors"
	"math"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"pgregory.net/rapid"

	"github.com/gofork/gofork/pkg/control"
)

// full is a picture with something of everything.
func full() *Picture {
	now := time.Now()
	soon := now.Add(time.Minute)
	return &Picture{
		Status: &control.Status{
			Name: "app", Version: `v1 "x"\`, PID: 1, State: control.StateRunning, StartedAt: now, Generation: 3, StopBudgetSeconds: 31,
			LastReload: &control.Reload{At: now, OK: true, Seconds: 0.4},
			Workers:    control.Workers{Configured: 2, Ready: 1, List: []control.Worker{{Slot: 1, State: control.WorkerReady}, {Slot: 2, State: control.WorkerBackoff}}},
			Manager:    &control.Manager{State: control.ManagerRunning, Restarts: 1},
			Companions: []control.Companion{
				{Name: "queue", Instance: 1, State: control.Running, Desired: control.Up, Essential: true, Restarts: 4, StopKills: 1},
				{Name: "queue", Instance: 2, State: control.Backoff, Desired: control.Up, Failures: 3, NextRetryAt: &soon},
			},
		},
		Beats:  []Beat{{1, 1500 * time.Millisecond}},
		Queues: []Queue{{"tcp://127.0.0.1:8000", 0, 3, 128, 7}, {"tcp://127.0.0.1:8001", 2, 0, 128, 0}},
		Requests: &Requests{
			Answered: map[string]uint64{"2xx": 10, "5xx": 1, NoAnswer: 2}, InFlight: 4, Lost: 5,
			Latency: Histogram{Bounds: []float64{0.1, 1}, Buckets: []uint64{7, 3, 1}, Sum: 12.5},
		},
		Processes: []Process{
			{Role: "arbiter", RSS: 10 << 20, CPU: time.Second},
			{Role: "worker", Slot: 1, RSS: 20 << 20, CPU: 2 * time.Second},
			{Role: "companion", Name: "queue", Instance: 1, RSS: 1, NoCPU: true},
		},
	}
}

// parsed reads an exposition as Prometheus does.
func parsed(t rapid.TB, b []byte) map[string]*dto.MetricFamily {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(bytes.NewReader(b))
	if err != nil {
		t.Fatalf("Prometheus does not understand it: %v\n%s", err, b)
	}
	return families
}

// value finds one sample; labels are name, value, name, value …
func value(t *testing.T, families map[string]*dto.MetricFamily, name string, labels ...string) float64 {
	t.Helper()
	f := families[name]
	if f == nil {
		t.Errorf("there is no %s", name)
		return math.NaN()
	}
	for _, m := range f.GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		same := len(has) == len(labels)/2
		for i := 0; i < len(labels); i += 2 {
			same = same && has[labels[i]] == labels[i+1]
		}
		switch {
		case !same:
		case m.GetCounter() != nil:
			return m.GetCounter().GetValue()
		case m.GetGauge() != nil:
			return m.GetGauge().GetValue()
		case m.GetHistogram() != nil:
			return float64(m.GetHistogram().GetSampleCount())
		}
	}
	t.Errorf("%s has no sample with exactly %q", name, labels)
	return math.NaN()
}

func TestPrometheusFindsNoFaultWithTheNames(t *testing.T) {
	problems, err := promlint.New(bytes.NewReader(NewCounters().Text(full()))).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

func TestEveryNumberOfThePictureIsThere(t *testing.T) {
	f := parsed(t, NewCounters().Text(full()))
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{1, "gofork_state", []string{"state", "running"}},
		{0, "gofork_state", []string{"state", "stopping"}},
		{3, "gofork_generation", nil},
		{31, "gofork_stop_budget_seconds", nil},
		{2, "gofork_workers_configured", nil},
		{1, "gofork_workers_ready", nil},
		{1, "gofork_workers", []string{"state", "backoff"}},
		{0, "gofork_workers", []string{"state", "killing"}},
		{1, "gofork_last_reload_successful", nil},
		{1.5, "gofork_worker_heartbeat_age_seconds", []string{"slot", "1"}},
		{10, "gofork_http_requests_total", []string{"code", "2xx"}},
		{0, "gofork_http_requests_total", []string{"code", "4xx"}},
		{2, "gofork_http_requests_total", []string{"code", "none"}},
		{4, "gofork_http_requests_in_flight", nil},
		{5, "gofork_http_requests_lost_total", nil},
		{11, "gofork_http_request_duration_seconds", nil},
		{3, "gofork_listen_queue_connections", []string{"address", "tcp://127.0.0.1:8000"}},
		{7, "gofork_listen_queue_drops_total", []string{"address", "tcp://127.0.0.1:8000"}},
		{128, "gofork_listen_queue_limit", []string{"address", "tcp://127.0.0.1:8001", "slot", "2"}},
		{1, "gofork_manager_state", []string{"state", "running"}},
		{1, "gofork_manager_restarts_total", nil},
		{1, "gofork_companion_state", []string{"companion", "queue", "instance", "2", "state", "backoff"}},
		{0, "gofork_companion_state", []string{"companion", "queue", "instance", "2", "state", "running"}},
		{1, "gofork_companion_essential", []string{"companion", "queue", "instance", "1"}},
		{4, "gofork_companion_restarts_total", []string{"companion", "queue", "instance", "1"}},
		{3, "gofork_companion_failures", []string{"companion", "queue", "instance", "2"}},
		{0, "gofork_companion_backoff_seconds", []string{"companion", "queue", "instance", "1"}},
		{0, "gofork_companion_exits_total", []string{"companion", "queue", "instance", "1", "expected", "false"}},
		{20 << 20, "gofork_process_resident_memory_bytes", []string{"role", "worker", "slot", "1"}},
		{2, "gofork_process_cpu_seconds_total", []string{"role", "worker", "slot", "1"}},
	} {
		if got := value(t, f, c.name, c.labels...); got != c.want {
			t.Errorf("%s%q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	if got := value(t, f, "gofork_companion_backoff_seconds", "companion", "queue", "instance", "2"); got < 50 || got > 60 {
		t.Errorf("backoff %v, want about a minute", got)
	}
	if n := len(f["gofork_process_cpu_seconds_total"].GetMetric()); n != 2 {
		t.Errorf("%d processes with CPU time, want 2: nothing is better than a counter that falls", n)
	}
	h := f["gofork_http_request_duration_seconds"].GetMetric()[0].GetHistogram()
	if h.GetSampleSum() != 12.5 || h.GetBucket()[1].GetCumulativeCount() != 10 {
		t.Errorf("latency %v", h)
	}
}

func TestWhatIsNotThereHasNoSeries(t *testing.T) {
	f := parsed(t, NewCounters().Text(&Picture{Status: &control.Status{State: control.StateStarting}}))
	for name := range f {
		for _, part := range []string{"_http_", "_queue_", "_manager_", "_companion_", "_heartbeat_", "_last_reload_"} {
			if strings.Contains(name, part) {
				t.Errorf("%s is there", name)
			}
		}
	}
	if got := value(t, f, "gofork_worker_restarts_total", "reason", "signal"); got != 0 {
		t.Errorf("restarts %v before the first one", got)
	}
}

func TestAnyTextIsAValidLabel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		name := rapid.String().Draw(t, "name")
		p := full()
		p.Status.Version = name
		p.Queues[0].Address = name
		parsed(t, NewCounters().Text(p))
	})
}

func TestHandlerSaysWhyThereAreNone(t *testing.T) {
	for _, c := range []struct {
		err    error
		status int
		kind   string
	}{
		{nil, http.StatusOK, contentType},
		{errors.New("gofork has stopped"), http.StatusServiceUnavailable, "text/plain; charset=utf-8"},
	} {
		w := httptest.NewRecorder()
		source := func(context.Context) (*Picture, error) { return full(), c.err }
		Handler(NewCounters(), source).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", http.NoBody))
		if w.Code != c.status || w.Header().Get("Content-Type") != c.kind {
			t.Errorf("%d %q, want %d %q", w.Code, w.Header().Get("Content-Type"), c.status, c.kind)
		}
	}
}
