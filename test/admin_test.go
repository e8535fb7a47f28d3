//go:build linux

package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/gofork/gofork/pkg/control"
)

// serverTable is the [server] table of a configuration with another bind key.
const serverTable = "\n[server]\nbind = [\"@ADDR\"]\n"

// getAdmin asks the admin address for a path.
func getAdmin(addr, path string) answer { return fetch(dialer("tcp", addr), path, nil) }

// post asks the admin address for an action, with a token if there is one.
func post(t *testing.T, addr, path, token string) answer {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+addr+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	res, err := transport.RoundTrip(req)
	if err != nil {
		return answer{err: err}
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	return answer{code: res.StatusCode, body: string(body), err: err}
}

// scraped is what Prometheus makes of /metrics.
type scraped map[string]*dto.MetricFamily

func scrape(t *testing.T, addr string) scraped {
	t.Helper()
	a := getAdmin(addr, "/metrics")
	if a.err != nil || a.code != http.StatusOK {
		t.Fatalf("GET /metrics: %d, %v", a.code, a.err)
	}
	return parseMetrics(t, a.body)
}

func parseMetrics(t *testing.T, text string) scraped {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("Prometheus does not understand the metrics: %v\n%s", err, text)
	}
	return families
}

// value sums up the samples that have these labels: name, value, name, value …
func (s scraped) value(name string, labels ...string) float64 {
	sum := 0.0
	for _, m := range s[name].GetMetric() {
		has := map[string]string{}
		for _, l := range m.GetLabel() {
			has[l.GetName()] = l.GetValue()
		}
		matches := true
		for i := 0; i+1 < len(labels); i += 2 {
			matches = matches && has[labels[i]] == labels[i+1]
		}
		if matches {
			sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return sum
}

// awaitMetric scrapes until a value is as wanted.
func awaitMetric(t *testing.T, addr string, want float64, name string, labels ...string) scraped {
	t.Helper()
	var s scraped
	eventually(t, fmt.Sprintf("%s%q is %v", name, labels, want), func() bool {
		s = scrape(t, addr)
		return s.value(name, labels...) == want
	})
	return s
}

func TestMetricsOutliveTheWorkers(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[admin]
bind = "`+admin+`"
`)
	st := s.ready()
	for range 10 {
		s.mustGet("/")
	}
	if a := s.get("/sleep?d=x"); a.code != http.StatusBadRequest {
		t.Fatalf("%+v", a)
	}
	m := awaitMetric(t, admin, 10, "gofork_http_requests_total", "code", "2xx")
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{1, "gofork_http_requests_total", []string{"code", "4xx"}},
		{11, "gofork_http_request_duration_seconds", nil},
		{2, "gofork_workers_ready", nil},
		{2, "gofork_worker_boot_seconds", nil},
		{0, "gofork_worker_restarts_total", nil},
		{1, "gofork_companion_state", []string{"companion", "beside", "state", "running"}},
		{1, "gofork_manager_state", []string{"state", "running"}},
		{1, "gofork_build_info", nil},
		{0, "gofork_listen_queue_connections", []string{"address", "tcp://" + s.addr}},
	} {
		if got := m.value(c.name, c.labels...); got != c.want {
			t.Errorf("%s%q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	for _, role := range []string{"arbiter", "worker", "manager", "companion"} {
		if m.value("gofork_process_resident_memory_bytes", "role", role) < 1<<16 {
			t.Errorf("%s has no memory", role)
		}
	}
	if len(m["gofork_worker_heartbeat_age_seconds"].GetMetric()) != 2 {
		t.Errorf("heartbeats of %d workers, want 2", len(m["gofork_worker_heartbeat_age_seconds"].GetMetric()))
	}

	// A worker dies with a request in its hands, all others go by a reload.
	held := s.begin("/sleep?d=60s")
	awaitMetric(t, admin, 1, "gofork_http_requests_in_flight")
	for _, pid := range workerPIDs(st) {
		kill(t, mustLookup(t, pid), syscall.SIGKILL)
	}
	if a := s.awaitAnswer(held); a.err == nil {
		t.Errorf("an answer from the dead: %+v", a)
	}
	s.awaitStatus("new workers are ready", func(now control.Status) bool {
		return now.Workers.Ready == 2 && workerPIDs(now)[0] != workerPIDs(st)[0] && workerPIDs(now)[1] != workerPIDs(st)[1]
	})
	s.must("reload")
	s.mustGet("/")
	m = awaitMetric(t, admin, 11, "gofork_http_requests_total", "code", "2xx")
	for _, c := range []struct {
		want   float64
		name   string
		labels []string
	}{
		{1, "gofork_http_requests_lost_total", nil},
		{0, "gofork_http_requests_in_flight", nil},
		{2, "gofork_worker_restarts_total", []string{"reason", "signal"}},
		{2, "gofork_worker_restarts_total", []string{"reason", "reload"}},
		{2, "gofork_worker_exits_total", []string{"reason", "signal", "expected", "false"}},
		{1, "gofork_reloads_total", []string{"result", "ok"}},
		{1, "gofork_last_reload_successful", nil},
		{2, "gofork_generation", nil},
	} {
		if got := m.value(c.name, c.labels...); got != c.want {
			t.Errorf("%s%q is %v, want %v", c.name, c.labels, got, c.want)
		}
	}
	text := getUnix(s.sock, "/metrics").body
	if parseMetrics(t, text).value("gofork_workers_ready") != 2 {
		t.Errorf("the control socket says something else")
	}
	problems, err := promlint.New(bytes.NewReader([]byte(text))).Lint()
	if err != nil || len(problems) > 0 {
		t.Errorf("Prometheus finds fault: %v, %v", problems, err)
	}
	need(t, "promtool")
	promtool := exec.Command("promtool", "check", "metrics")
	promtool.Stdin = strings.NewReader(text)
	if out, err := promtool.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, out)
	}
}

// Answers are for now, and for who asked: no cache keeps them, and no browser
// takes the output of a companion for a page.
func TestAdminAnswersSayHowTheyAreToBeRead(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+"[admin]\nbind = \""+admin+"\"\n")
	s.ready()
	for path, want := range map[string]int{
		"/livez": 200, "/readyz": 200, "/metrics": 200, "/v1/status": 200, "/v1/config": 200,
		"/": 404, "/v1/none": 404, "/../v1/status": 404, "/v1/reload": 405,
	} {
		res, err := http.Get("http://" + admin + path)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != want {
			t.Errorf("GET %s: %d, want %d", path, res.StatusCode, want)
		}
		for key, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff"} {
			if got := res.Header.Get(key); got != want {
				t.Errorf("GET %s has %s %q, want %q", path, key, got, want)
			}
		}
		if res.Header.Get("Content-Type") == "" || res.Header.Get("Server") != "" {
			t.Errorf("GET %s: %v", path, res.Header)
		}
	}
}

func TestAdminTakesActionsWithTheTokenAlone(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+`
[admin]
bind = "`+admin+`"
token_file = "@DIR/token"
`)
	s.ready()
	token := filepath.Join(s.dir, "token")
	ask := func(with string, want int, says string) {
		t.Helper()
		if a := post(t, admin, "/v1/reopen", with); a.code != want || !strings.Contains(a.body, says) {
			t.Errorf("with %q: %d %s, want %d %s", with, a.code, a.body, want, says)
		}
	}
	s.journal.await(t, 0, says("takes no actions"), "that the token file is missing")
	ask("secret", 403, "no such file")
	// It is read at each action.
	if err := os.WriteFile(token, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	ask("secret", 200, "{}")
	ask("", 401, "unauthorized")
	ask("secret2", 401, "unauthorized")
	if err := os.Chmod(token, 0o666); err != nil {
		t.Fatal(err)
	}
	ask("secret", 403, "lets other users write")
	for _, path := range []string{"/livez", "/readyz", "/metrics", "/v1/status", "/v1/config"} {
		if a := getAdmin(admin, path); a.code != http.StatusOK {
			t.Errorf("GET %s without a token: %d", path, a.code)
		}
	}
	if s.journal.printed("secret") {
		t.Error("the token is in the log")
	}
}

func TestAdminAddressThatIsTakenEndsGoforkWithOne(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	began := time.Now()
	s := start(t, twoHello+serverTable+"[admin]\nbind = \""+taken.Addr().String()+"\"\n")
	if code := s.exit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	if took := time.Since(began); took < 4*time.Second {
		t.Errorf("gave up after %v, want 5 tries a second apart", took)
	}
}

func TestAdminAddressThatBecomesFreeIsTaken(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, twoHello+serverTable+"[admin]\nbind = \""+taken.Addr().String()+"\"\n")
	s.journal.await(t, 0, says("address already in use"), "that the address is in use")
	taken.Close()
	s.ready()
	if a := getAdmin(taken.Addr().String(), "/livez"); a.code != 200 {
		t.Errorf("%+v", a)
	}
}

func TestAdminAddressFollowsAReload(t *testing.T) {
	t.Parallel()
	first, second := freeAddr(t), freeAddr(t)
	s := start(t, twoHello+serverTable+"[admin]\nbind = \""+first+"\"\n")
	s.ready()
	change := func(from, to string) {
		t.Helper()
		writeFile(t, s.file, strings.Replace(readFile(t, s.file), from, to, 1))
		s.must("reload")
	}
	answers := func(addr string) bool { return getAdmin(addr, "/livez").code == 200 }

	change(first, second)
	eventually(t, "the new address answers and the old one does not", func() bool { return answers(second) && !answers(first) })

	// The same port on all interfaces: the old one has to go first.
	_, port, _ := net.SplitHostPort(second)
	change(second, ":"+port)
	s.journal.await(t, 0, says("the admin address is open on all interfaces"), "a warning")
	eventually(t, "the address answers", func() bool { return answers(second) })

	// One that cannot be had: the old one stays.
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	change(`bind = ":`+port, `bind = "`+taken.Addr().String())
	s.journal.await(t, 0, says("cannot bind admin.bind"), "that it cannot be bound")
	if !answers(second) {
		t.Error("the old address is gone")
	}

	change("[admin]\nbind = \""+taken.Addr().String()+"\"\n", "")
	eventually(t, "no address answers", func() bool { return !answers(second) })
	s.mustGet("/")
}

func TestReadyzFollowsWorkersAndEssentialCompanions(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, `
[worker]
command = ["@TEST", "ready-on"]
ready = "notify"
count = 2
[server]
bind = ["@ADDR"]
shutdown_delay = "2s"
[companion.heart]
command = ["sleep", "1000"]
startsecs = "0s"
essential = true
[companion.other]
command = ["sleep", "1000"]
startsecs = "0s"
[admin]
bind = "`+admin+`"
`)
	readyz := func(code int, body string) {
		t.Helper()
		eventually(t, fmt.Sprintf("/readyz says %d %s", code, body), func() bool {
			a := getAdmin(admin, "/readyz")
			return a.code == code && strings.TrimSpace(a.body) == body
		})
	}
	var st control.Status
	eventually(t, "two workers wait for their signal", func() bool {
		return strings.Count(s.journal.String(), "waiting for SIGUSR1") == 2
	})
	s.await("companion.running", "companion", "heart")
	readyz(503, "gofork is starting\nno worker is ready, 2 wanted")
	st = s.status()
	first, second := mustLookup(t, st.Workers.List[0].PID), mustLookup(t, st.Workers.List[1].PID)
	kill(t, first, syscall.SIGUSR1)
	readyz(503, "gofork is starting")
	kill(t, second, syscall.SIGUSR1)
	readyz(200, "ok")

	kill(t, second, syscall.SIGKILL)
	readyz(200, "degraded: 1 of 2 workers are ready")
	s.must("companion", "stop", "other")
	readyz(200, "degraded: 1 of 2 workers are ready")
	s.must("companion", "stop", "heart")
	readyz(503, "essential companion heart is STOPPED")
	s.must("companion", "start", "heart")
	readyz(200, "degraded: 1 of 2 workers are ready")

	// Not ready, but alive and serving, while the platform takes notice.
	s.signal(syscall.SIGTERM)
	readyz(503, "gofork is stopping")
	if a := getAdmin(admin, "/livez"); a.code != 200 {
		t.Errorf("/livez during shutdown_delay: %d", a.code)
	}
	if code := s.exit(patience); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

func TestLivezIsSilentWhileTheLoopHangs(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+"[admin]\nbind = \""+admin+"\"\n")
	s.ready()
	s.signal(syscall.SIGSTOP)
	client := &http.Client{Timeout: 500 * time.Millisecond, Transport: &http.Transport{}}
	defer client.CloseIdleConnections()
	if res, err := client.Get("http://" + admin + "/livez"); err == nil {
		res.Body.Close()
		t.Errorf("/livez of a stopped process: %d", res.StatusCode)
	}
	s.signal(syscall.SIGCONT)
	if a := getAdmin(admin, "/livez"); a.code != 200 {
		t.Errorf("/livez afterwards: %d", a.code)
	}
}

func TestNothingIsCountedWithoutAnAdminAddress(t *testing.T) {
	t.Parallel()
	s := start(t, twoHello)
	st := s.ready()
	s.mustGet("/")
	if f := parseMetrics(t, getUnix(s.sock, "/metrics").body)["gofork_http_requests_total"]; f != nil {
		t.Errorf("%v", f)
	}
	for _, pid := range workerPIDs(st) {
		if maps := tryRead(fmt.Sprintf("/proc/%d/maps", pid)); strings.Contains(maps, "gofork-requests") {
			t.Errorf("worker %d has a page", pid)
		}
	}
}
