package worker

import (
	"bufio"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/worker/workertest"
)

// strictClient sends requests over keep-alive connections and never retries: a
// connection that breaks is a failed request.
type strictClient struct {
	addr string
	tls  *tls.Config // nil: plain
	conn net.Conn
	r    *bufio.Reader
}

func (c *strictClient) post(body string) error { return c.echo(body, "") }

// echo sends a body in two parts. The second follows when the answer has begun,
// if it is not empty.
func (c *strictClient) echo(first, second string) error {
	request := fmt.Sprintf("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%s", len(first)+len(second), first)
	return c.do(request, second, first+second)
}

// sleep is a request that runs for d.
func (c *strictClient) sleep(d time.Duration) error {
	return c.do(fmt.Sprintf("GET /sleep?d=%s HTTP/1.1\r\nHost: x\r\n\r\n", d), "", "")
}

// do sends a request, then rest when the answer has begun. An empty want is any body.
func (c *strictClient) do(request, rest, want string) error {
	if c.conn == nil {
		conn, err := net.Dial("tcp", c.addr)
		if err != nil {
			return err
		}
		if c.tls != nil {
			conn = tls.Client(conn, c.tls)
		}
		c.conn, c.r = conn, bufio.NewReader(conn)
	}
	if _, err := io.WriteString(c.conn, request); err != nil {
		return fmt.Errorf("write: %w", err)
	}
	resp, err := http.ReadResponse(c.r, nil)
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	if rest != "" {
		if _, err := io.WriteString(c.conn, rest); err != nil {
			return fmt.Errorf("write the rest: %w", err)
		}
	}
	got, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != 200 || want != "" && string(got) != want {
		return fmt.Errorf("answer %d %.100q: %v", resp.StatusCode, got, err)
	}
	if resp.Close {
		c.close()
	}
	return nil
}

func (c *strictClient) close() {
	if c.conn != nil {
		c.conn.Close()
		c.conn = nil
	}
}

// postAside posts while the test goes on.
func postAside(l net.Listener, body string) <-chan error {
	result := make(chan error, 1)
	go func() {
		c := &strictClient{addr: l.Addr().String()}
		defer c.close()
		result <- c.post(body)
	}()
	return result
}

// Quick requests, requests that run when a drain begins, and answers that have
// promised to keep the connection when it does.
func TestRollingReplacementLosesNoKeepAliveRequest(t *testing.T) {
	const clients = 16
	cert, key, pool := workertest.Certificate(t)
	for name, c := range map[string]struct {
		requests int64
		tls      *tls.Config
	}{
		"plain": {20_000, nil},
		"TLS":   {4_000, &tls.Config{RootCAs: pool, ServerName: "127.0.0.1"}},
	} {
		t.Run(name, func(t *testing.T) {
			// The clients pause as long as a busy machine makes them.
			l, spec := listen(t), testDrain(10*time.Second)
			if c.tls != nil {
				spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
			}
			worker := startWorker(t, spec, Hello, Options{}, share(t, l))
			var done, failed, left atomic.Int64
			left.Store(c.requests)
			half := strings.Repeat("half", 4000) // more than the server buffers
			var load sync.WaitGroup
			for range clients {
				load.Go(func() {
					client := &strictClient{addr: l.Addr().String(), tls: c.tls}
					defer client.close()
					for n := left.Add(-1); n >= 0; n = left.Add(-1) {
						var err error
						switch n % 8 {
						case 0:
							err = client.sleep(2 * time.Millisecond)
						case 1:
							err = client.echo(half, half)
						default:
							err = client.post("body")
						}
						if err != nil {
							failed.Add(1)
							t.Errorf("request %d: %v", n, err)
							client.close()
						}
						done.Add(1)
					}
				})
			}
			rounds := 0
			for left.Load() > 0 {
				next := startWorker(t, spec, Hello, Options{}, share(t, l))
				worker.stop()
				worker.wantExit(t, 0)
				worker = next
				rounds++
			}
			load.Wait()
			if done.Load() != c.requests || failed.Load() != 0 || rounds < 2 {
				t.Fatalf("%d of %d requests done, %d failed, %d replacements", done.Load(), c.requests, failed.Load(), rounds)
			}
			t.Logf("%d requests over %d replacements", c.requests, rounds)
		})
	}
}

func TestDrainAcceptsWhatTheKernelHasQueued(t *testing.T) {
	const waiting = 50
	l := listen(t)
	l2 := share(t, l)
	// The connections and their requests are in the queue before the worker is,
	// and the stop signal comes with READY=1.
	var conns []net.Conn
	for range waiting {
		c := dial(t, l)
		io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
		conns = append(conns, c)
	}
	l.Close() // the worker is the only holder
	w := launch(testSpec(), Hello, Options{}, l2)
	w.stopWhenReady(t)
	for i, c := range conns {
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		resp.Body.Close()
	}
	closeConns(conns)
	w.wantExit(t, 0)
}

func (w *running) stopWhenReady(t testing.TB) { w.await(t, "READY=1"); w.stop() }

func closeConns(conns []net.Conn) {
	for _, c := range conns {
		c.Close()
	}
}

func TestReleasedListenerReturnsTheWholeQueueAndNothingMore(t *testing.T) {
	base := listen(t)
	table := newConnTable()
	l := &listener{Listener: base, table: table, accepting: func() {}}
	for range 20 {
		dial(t, base)
	}
	l.release()
	for i := range 20 {
		c, err := l.Accept()
		if err != nil {
			t.Fatalf("connection %d: %v", i, err)
		}
		defer c.Close()
	}
	if _, err := l.Accept(); err != net.ErrClosed {
		t.Fatalf("empty queue: %v, want %v", err, net.ErrClosed)
	}
}

func TestDrainWithoutConnectionsDoesNotWait(t *testing.T) {
	w := startWorker(t, testDrain(time.Hour), Hello, Options{}, listen(t))
	w.stop()
	w.wantExit(t, 0)
}

func TestDrainAnswersIdleConnectionWithClose(t *testing.T) {
	l := listen(t)
	w := startWorker(t, testDrain(time.Hour), Hello, Options{}, l)
	c := &strictClient{addr: l.Addr().String()}
	defer c.close()
	if err := c.post("before"); err != nil || c.conn == nil {
		t.Fatal(err)
	}
	w.stop()
	w.await(t, "STOPPING=1")
	if err := c.post("while draining"); err != nil {
		t.Fatal(err)
	}
	if c.conn != nil {
		t.Fatal("the answer did not say Connection: close")
	}
	w.wantExit(t, 0)
}

func TestDrainLetsARunningRequestEnd(t *testing.T) {
	entered, proceed := make(chan struct{}), make(chan struct{})
	l := listen(t)
	w := startWorker(t, testDrain(0), serveFunc(func(w http.ResponseWriter, r *http.Request) {
		close(entered)
		<-proceed
		io.Copy(w, r.Body)
	}), Options{}, l)
	result := postAside(l, "slow")
	<-entered
	w.stop()
	w.await(t, "STOPPING=1")
	if c, err := net.Dial("tcp", l.Addr().String()); err == nil {
		c.Close() // accepted while releasing
	}
	w.stop() // a second signal is harmless
	close(proceed)
	if err := <-result; err != nil {
		t.Fatal(err)
	}
	w.wantExit(t, 0)
}

func TestQuickStopCutsARunningRequest(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGQUIT, syscall.SIGINT} {
		entered := make(chan struct{})
		l := listen(t)
		w := startWorker(t, testSpec(), serveFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(entered)
			<-r.Context().Done()
		}), Options{}, l)
		result := postAside(l, "")
		<-entered
		w.stop()
		w.await(t, "STOPPING=1")
		w.signals <- sig
		w.wantExit(t, 0)
		if err := <-result; err == nil {
			t.Fatal("the request was answered")
		}
	}
}

func TestGracefulTimeoutCutsWhatStillRuns(t *testing.T) {
	spec := testSpec()
	spec.GracefulTimeout = 50 * time.Millisecond
	l, log := listen(t), new(lines)
	w := startWorker(t, spec, serveFunc(func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
	}), Options{Logger: jsonLogger(log)}, l)
	c := dial(t, l)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	w.stop()
	w.wantExit(t, 0)
	if !strings.Contains(log.String(), "graceful_timeout ran out") {
		t.Fatalf("log: %s", log)
	}
}

// pipeListener hands out net.Pipe connections, which a synctest bubble can hold.
type pipeListener struct {
	conns chan net.Conn
	once  sync.Once
	quit  chan struct{}
}

func newPipeListener() *pipeListener {
	return &pipeListener{conns: make(chan net.Conn), quit: make(chan struct{})}
}

func (l *pipeListener) Accept() (net.Conn, error) {
	select {
	case c := <-l.conns:
		return c, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}
func (l *pipeListener) Close() error   { l.once.Do(func() { close(l.quit) }); return nil }
func (l *pipeListener) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1)} }
func (l *pipeListener) dial(t *testing.T) net.Conn {
	client, server := net.Pipe()
	t.Cleanup(func() { client.Close() })
	l.conns <- server
	return client
}

// startPiped is startWorker for a bubble.
func startPiped(t *testing.T, spec Spec, f Factory) (*running, *pipeListener) {
	t.Helper()
	l := newPipeListener()
	return startWorker(t, spec, f, Options{}, l), l
}

func get(t *testing.T, c net.Conn, r *bufio.Reader) *http.Response {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(r, nil)
	if err != nil {
		t.Fatal(err)
	}
	io.Copy(io.Discard, resp.Body)
	return resp
}

func TestIdleConnectionIsClosedExactlyAtTheEndOfTheDrainDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := startPiped(t, testDrain(time.Second), Hello)
		idle := l.dial(t)
		r := bufio.NewReader(idle)
		get(t, idle, r)
		l.dial(t) // a connection that never sent anything
		synctest.Wait()
		w.stop()
		synctest.Wait()
		time.Sleep(time.Second - time.Nanosecond)
		synctest.Wait()
		select {
		case code := <-w.exit:
			t.Fatalf("ended early with %d", code)
		default:
		}
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		select {
		case code := <-w.exit:
			if code != 0 {
				t.Fatalf("exit code %d", code)
			}
		default:
			t.Fatal("did not end with the drain delay")
		}
		if _, err := r.ReadByte(); err != io.EOF {
			t.Fatalf("idle connection: %v", err)
		}
	})
}

func TestConnectionThatWasPromisedKeepAliveGetsAFullDrainDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := true
		w, l := startPiped(t, testDrain(time.Second), serveFunc(func(w http.ResponseWriter, r *http.Request) {
			if slow {
				slow = false
				w.WriteHeader(200) // the header is decided before the drain
				time.Sleep(10 * time.Second)
			}
		}))
		c := l.dial(t)
		r := bufio.NewReader(c)
		go func() { synctest.Wait(); w.stop() }()
		if resp := get(t, c, r); resp.Close {
			t.Fatal("the answer to a request from before the drain already closes: the test proves nothing")
		}
		time.Sleep(time.Second - time.Millisecond)
		if resp := get(t, c, r); !resp.Close {
			t.Fatal("the answer while draining does not close")
		}
		w.wantExit(t, 0)
	})
}

// A worker that freezes as soon as it is ready has sent the beat from which on its
// silence counts.
func TestFirstHeartbeatGoesBeforeReady(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testSpec()
		spec.HeartbeatInterval = time.Second
		w := launch(spec, Hello, Options{}, newPipeListener())
		for _, want := range []string{"WATCHDOG=1", "READY=1"} {
			if got := <-w.messages; got != want {
				t.Errorf("got %q, want %q", got, want)
			}
		}
		w.stop()
		w.wantExit(t, 0)
	})
}

func TestHeartbeatContinuesThroughTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testSpec()
		spec.HeartbeatInterval, spec.DrainDelay = time.Second, 10*time.Second
		w, l := startPiped(t, spec, Hello)
		c := l.dial(t)
		get(t, c, bufio.NewReader(c))
		time.Sleep(5500 * time.Millisecond)
		w.stop()
		w.wantExit(t, 0)
		beats := 0
		for len(w.messages) > 0 {
			if <-w.messages == "WATCHDOG=1" {
				beats++
			}
		}
		if beats != 15 { // at 1 s … 15 s; the one at 0 s went before READY=1
			t.Fatalf("%d beats", beats)
		}
	})
}

func TestHijackedConnectionIsWaitedFor(t *testing.T) {
	l := listen(t)
	w := startWorker(t, testDrain(0), serveFunc(func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := http.NewResponseController(w).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
		line, _ := rw.ReadString('\n')
		io.WriteString(c, line)
	}), Options{}, l)
	c := dial(t, l)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(c)
	if resp, err := http.ReadResponse(r, nil); err != nil || resp.StatusCode != 101 {
		t.Fatal(resp, err)
	}
	w.stop()
	w.await(t, "STOPPING=1")
	io.WriteString(c, "still here\n")
	if line, err := r.ReadString('\n'); err != nil || line != "still here\n" {
		t.Fatalf("%q %v", line, err)
	}
	w.wantExit(t, 0)
}

func TestExpireSparesAConnectionWithQueuedBytes(t *testing.T) {
	l := listen(t)
	client := dial(t, l)
	nc, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	table := newConnTable()
	c := table.add(nc, nil)
	io.WriteString(client, "G")
	var b [1]byte
	for !hasBytes(nc) { // the loopback delivers
	}
	c.expire()
	if _, err := c.Read(b[:]); err != nil || c.state.Load() != busy {
		t.Fatalf("the request was cut off: %v", err)
	}
	c.expire()
	io.WriteString(client, "E")
	if _, err := c.Read(b[:]); err != nil {
		t.Fatalf("a busy connection was closed: %v", err)
	}
	table.follow(c, http.StateIdle)
	c.expire()
	if table.len() != 1 {
		t.Fatal("closed before the server has looked for a request in its buffers")
	}
	ended := make(chan error, 1)
	go func() {
		var b [1]byte
		_, err := c.Read(b[:])
		ended <- err
	}()
	for c.state.Load() != waiting { // until the server reads
		runtime.Gosched()
	}
	c.expire()
	if err := <-ended; err == nil {
		t.Fatal("a waiting connection was not closed")
	}
	if table.len() != 0 {
		t.Fatal("the table still has it")
	}
}
