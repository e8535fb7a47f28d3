package worker

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"regexp"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// modes are the ways through the site; what a request sees must not differ.
var modes = map[string]func(*Spec){
	"bare":     func(*Spec) {},
	"recorded": func(s *Spec) { s.Access = "record" },
	"timed":    func(s *Spec) { s.RequestTimeout = time.Hour },
	"both":     func(s *Spec) { s.Access, s.RequestTimeout = "combined", time.Hour },
}

var protocols = map[string]func(*http.Protocols, bool){
	"HTTP/1": (*http.Protocols).SetHTTP1,
	"h2c":    (*http.Protocols).SetUnencryptedHTTP2,
}

func TestPanicOfOneRequest(t *testing.T) {
	h := http.NewServeMux()
	h.HandleFunc("/before", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "1000")
		panic("before the answer")
	})
	h.HandleFunc("/after", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half an ans")
		panic("in the answer")
	})
	h.HandleFunc("/flushed", func(w http.ResponseWriter, _ *http.Request) {
		io.WriteString(w, "half an ans")
		w.(http.Flusher).Flush()
		panic("in the answer")
	})
	h.HandleFunc("/abort", func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	h.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "fine") })
	for mode, set := range modes {
		for proto, p := range protocols {
			t.Run(mode+" "+proto, func(t *testing.T) {
				spec, log, l := testSpec(), new(lines), listen(t)
				set(&spec)
				startWorker(t, spec, serveHandler(h), Options{Logger: jsonLogger(log)}, l)
				c, url := httpClient(t, p), "http://"+l.Addr().String()
				fetch := func(path string) (int, string, error) {
					resp, err := c.Get(url + path)
					if err != nil {
						return 0, "", err
					}
					defer resp.Body.Close()
					b, err := io.ReadAll(resp.Body)
					return resp.StatusCode, string(b), err
				}
				if code, body, err := fetch("/before"); err != nil || code != 500 || body != "Internal Server Error\n" {
					t.Errorf("panic before the answer: %d %q %v", code, body, err)
				}
				for _, path := range []string{"/after", "/flushed", "/abort"} {
					if code, body, err := fetch(path); err == nil {
						t.Errorf("%s: a whole answer %d %q", path, code, body)
					}
				}
				if code, body, err := fetch("/"); err != nil || code != 200 || body != "fine" {
					t.Errorf("the next request: %d %q %v", code, body, err)
				}
				if n := strings.Count(log.String(), `"event":"request.panic"`); n != 3 {
					t.Errorf("%d panics logged, want 3: %s", n, log)
				}
				if !strings.Contains(log.String(), "site_test.go") || strings.Contains(log.String(), "superfluous") {
					t.Errorf("stack or noise: %s", log)
				}
			})
		}
	}
}

func TestBodyLimit(t *testing.T) {
	for mode, set := range modes {
		t.Run(mode, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			spec.HTTP.MaxBody = 10
			set(&spec)
			startWorker(t, spec, Hello, Options{}, l)
			c, url := httpClient(t), "http://"+l.Addr().String()+"/echo"
			for _, tc := range []struct {
				body io.Reader
				want int
			}{
				{strings.NewReader("0123456789"), 200},
				{strings.NewReader("0123456789a"), 413},
				{struct{ io.Reader }{strings.NewReader("0123456789")}, 200}, // chunked
				{http.NoBody, 200},
			} {
				resp, err := c.Post(url, "text/plain", tc.body)
				if err != nil {
					t.Fatal(err)
				}
				io.Copy(io.Discard, resp.Body)
				resp.Body.Close()
				if resp.StatusCode != tc.want {
					t.Errorf("%T: %d, want %d", tc.body, resp.StatusCode, tc.want)
				}
			}
			resp, err := c.Post(url, "text/plain", struct{ io.Reader }{strings.NewReader(strings.Repeat("x", 100_000))})
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
				if err == nil && resp.StatusCode != 413 {
					t.Errorf("a chunked body over the limit: whole answer %d", resp.StatusCode)
				}
			}
		})
	}
}

func TestHeaderLimit(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			startWorker(t, spec, Hello, Options{}, l)
			client := httpClient(t, protocol)
			for size, want := range map[int]int{8 << 10: http.StatusOK, 32 << 10: http.StatusRequestHeaderFieldsTooLarge} {
				r, _ := http.NewRequest("GET", "http://"+l.Addr().String(), nil)
				r.Header.Set("X-Large", strings.Repeat("x", size))
				resp, err := client.Do(r)
				if err != nil {
					if want == http.StatusOK {
						t.Errorf("%d bytes: %v", size, err)
					}
					continue // HTTP/2 clients know the limit and do not even send it
				}
				resp.Body.Close()
				if resp.StatusCode != want {
					t.Errorf("%d bytes: %s, want %d", size, resp.Status, want)
				}
			}
		})
	}
}

// Clocks of the file hold whatever the protocol is.
func TestIdleAndWriteTimeouts(t *testing.T) {
	for name, protocol := range protocols {
		t.Run(name, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			spec.HTTP.IdleTimeout, spec.HTTP.WriteTimeout = 200*time.Millisecond, 300*time.Millisecond
			startWorker(t, spec, func(Context) (http.Handler, error) {
				return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
					if r.URL.Path == "/slow" {
						<-time.After(time.Second)
					}
					_, _ = io.WriteString(w, strings.Repeat("x", 1<<20))
				}), nil
			}, Options{}, l)
			client := httpClient(t, protocol)
			resp, err := client.Get("http://" + l.Addr().String() + "/slow")
			if err == nil {
				_, err = io.ReadAll(resp.Body)
				resp.Body.Close()
			}
			if err == nil {
				t.Error("an answer that took longer than write_timeout arrived")
			}
			conn := dial(t, l)
			if name == "h2c" {
				_, _ = io.WriteString(conn, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\x00\x00\x00\x04\x00\x00\x00\x00\x00") // preface, empty SETTINGS
			} else {
				_, _ = io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
			}
			_ = conn.SetReadDeadline(time.Now().Add(10 * time.Second))
			if _, err := io.Copy(io.Discard, conn); err != nil {
				t.Errorf("the idle connection stays open: %v", err)
			}
		})
	}
}

func TestRequestTimeout(t *testing.T) {
	released := make(chan struct{})
	h := http.NewServeMux()
	h.HandleFunc("/obeys", func(_ http.ResponseWriter, r *http.Request) {
		<-r.Context().Done()
		if !errors.Is(context.Cause(r.Context()), ErrRequestTimeout) || !errors.Is(ErrRequestTimeout, context.DeadlineExceeded) {
			t.Error(context.Cause(r.Context()))
		}
	})
	h.HandleFunc("/ignores", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("X-Mine", "never sent")
		<-released
		if _, err := io.WriteString(w, "late"); err != http.ErrHandlerTimeout {
			t.Errorf("late write: %v", err)
		}
	})
	h.HandleFunc("/begun", func(w http.ResponseWriter, r *http.Request) {
		io.WriteString(w, "half")
		w.(http.Flusher).Flush()
		<-r.Context().Done()
	})
	for proto, p := range protocols {
		t.Run(proto, func(t *testing.T) {
			spec, log, l := testSpec(), new(lines), listen(t)
			spec.RequestTimeout = 30 * time.Millisecond
			startWorker(t, spec, serveHandler(h), Options{Logger: jsonLogger(log)}, l)
			c, url := httpClient(t, p), "http://"+l.Addr().String()
			if proto == "HTTP/1" {
				defer func() { close(released) }()
			}
			for _, path := range []string{"/obeys", "/ignores"} {
				if path == "/ignores" && proto != "HTTP/1" {
					continue
				}
				resp, err := c.Get(url + path)
				if err != nil {
					t.Fatal(path, err)
				}
				body, err := io.ReadAll(resp.Body) // whole, while the handler still runs
				resp.Body.Close()
				if err != nil || resp.StatusCode != 503 || string(body) != timeoutBody || resp.Header.Get("X-Mine") != "" {
					t.Errorf("%s: %s %q %v", path, resp.Status, body, err)
				}
			}
			resp, err := c.Get(url + "/begun")
			if err != nil {
				t.Fatal(err)
			}
			if body, err := io.ReadAll(resp.Body); err == nil {
				t.Errorf("an answer that was cut looks whole: %q", body)
			}
			resp.Body.Close()
			if !strings.Contains(log.String(), `"clock":"request_timeout"`) || !strings.Contains(log.String(), `"answered":"cut"`) {
				t.Errorf("log: %s", log)
			}
			if strings.Contains(log.String(), `"timeout":"`) {
				t.Errorf("the timeout is text, not a duration: %s", log)
			}
		})
	}
}

func TestRequestTimeoutEndsAWriteToAClientThatDoesNotRead(t *testing.T) {
	spec, l := testSpec(), listen(t)
	spec.RequestTimeout = 50 * time.Millisecond
	ended := make(chan error, 1)
	startWorker(t, spec, serveFunc(func(w http.ResponseWriter, _ *http.Request) {
		b := make([]byte, 1<<20)
		for {
			if _, err := w.Write(b); err != nil {
				ended <- err
				return
			}
		}
	}), Options{}, l)
	c := dial(t, l)
	io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
	select {
	case <-ended:
	case <-time.After(20 * time.Second):
		t.Fatal("the write goes on for ever")
	}
}

func TestTimedAnswersAreWhatTheHandlerSaid(t *testing.T) {
	spec, l := testSpec(), listen(t)
	spec.RequestTimeout = time.Hour
	h := http.NewServeMux()
	h.HandleFunc("/silent", func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("X-A", "1") })
	h.HandleFunc("/trailer", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Trailer", "X-Sum")
		io.WriteString(w, "x")
		w.Header().Set("X-Sum", "42")
	})
	h.HandleFunc("/hint", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Link", "</a>")
		w.WriteHeader(http.StatusEarlyHints)
		w.WriteHeader(http.StatusTeapot)
	})
	h.HandleFunc("/hijack", func(w http.ResponseWriter, r *http.Request) {
		c, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		io.WriteString(c, "HTTP/1.1 204 No Content\r\n\r\n")
		c.Close()
	})
	startWorker(t, spec, serveHandler(h), Options{}, l)
	c, url := httpClient(t), "http://"+l.Addr().String()
	for path, check := range map[string]func(*http.Response) bool{
		"/silent":  func(r *http.Response) bool { return r.StatusCode == 200 && r.Header.Get("X-A") == "1" },
		"/trailer": func(r *http.Response) bool { return r.Trailer.Get("X-Sum") == "42" },
		"/hint":    func(r *http.Response) bool { return r.StatusCode == 418 },
		"/hijack":  func(r *http.Response) bool { return r.StatusCode == 204 },
	} {
		resp, err := c.Get(url + path)
		if err != nil {
			t.Fatal(path, err)
		}
		io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
		if !check(resp) {
			t.Errorf("%s: %v %v", path, resp, resp.Trailer)
		}
	}
}

func TestAccessRecord(t *testing.T) {
	spec, log, l := testSpec(), new(lines), listen(t)
	spec.Access = "record"
	w := startWorker(t, spec, Hello, Options{Logger: jsonLogger(log)}, l)
	r, _ := http.NewRequest("GET", "http://"+l.Addr().String()+"/pid?x=1", nil)
	r.Header.Set("X-Request-Id", "given")
	r.Header.Set("X-Forwarded-For", "203.0.113.9")
	r.Header.Set("X-Forwarded-Proto", "https")
	resp, err := httpClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	w.stop()
	w.wantExit(t, 0)
	var got map[string]any
	for line := range strings.Lines(log.String()) {
		if strings.Contains(line, `"event":"request"`) {
			json.Unmarshal([]byte(line), &got)
		}
	}
	delete(got, "time")
	delete(got, "seconds")
	want := map[string]any{
		"level": "INFO", "msg": "request", "event": "request", "method": "GET", "path": "/pid", "proto": "HTTP/1.1",
		"scheme": "https", "host": l.Addr().String(), "status": 200.0, "bytes": float64(len(body)),
		"remote": "203.0.113.9:0", "user_agent": "Go-http-client/1.1", "request_id": "given",
	}
	if fmt.Sprint(got) != fmt.Sprint(want) || resp.Header.Get("X-Request-Id") != "given" {
		t.Errorf("got  %v\nwant %v", got, want)
	}
}

func TestCombinedLineCannotBeForged(t *testing.T) {
	r := httptest.NewRequest("GET", "/a", nil)
	r.RequestURI = "/a\"\n"
	r.RemoteAddr = "192.0.2.1:99"
	r.Header.Set("User-Agent", "x\" \\ \x1b\xff")
	r.SetBasicAuth("a b", "secret")
	start := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	got := string(appendCombined(nil, r, 200, 0, start))
	want := `192.0.2.1 - a\x20b [02/Jan/2026:03:04:05 +0000] "GET /a\"\x0a HTTP/1.1" 200 - "-" "x\" \\ \x1b\xff"` + "\n"
	if got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestAccessCombined(t *testing.T) {
	spec, out, l := testSpec(), new(lines), listen(t)
	spec.Access = "combined"
	w := startWorker(t, spec, Hello, Options{Stdout: out}, l)
	resp, err := httpClient(t).Post("http://"+l.Addr().String()+"/echo", "text/plain", strings.NewReader("12345"))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	w.stop()
	w.wantExit(t, 0)
	if !regexp.MustCompile(`^127\.0\.0\.1 - - \[[^]]+\] "POST /echo HTTP/1\.1" 200 5 "-" "Go-http-client/1\.1"\n$`).MatchString(out.String()) {
		t.Errorf("line: %q", out)
	}
	if id := resp.Header.Get("X-Request-Id"); !regexp.MustCompile(`^[0-9a-f]{32}$`).MatchString(id) {
		t.Errorf("request id %q", id)
	}
}

// The ways in which an answer begins, each of them after the drain has.
func TestRunningRequestIsAnsweredWithClose(t *testing.T) {
	answers := map[string]func(http.ResponseWriter){
		"silent":      func(http.ResponseWriter) {},
		"Write":       func(w http.ResponseWriter) { w.Write([]byte("x")) },
		"WriteString": func(w http.ResponseWriter) { io.WriteString(w, "x") },
		"WriteHeader": func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) },
		"Flush":       func(w http.ResponseWriter) { w.(http.Flusher).Flush() },
		"ReadFrom":    func(w http.ResponseWriter) { io.Copy(w, io.LimitReader(strings.NewReader("x"), 1)) },
		"early hints": func(w http.ResponseWriter) { w.WriteHeader(http.StatusEarlyHints); io.WriteString(w, "x") },
		"panic":       func(http.ResponseWriter) { panic("before the answer") },
	}
	for mode, set := range modes {
		for name, answer := range answers {
			t.Run(mode+" "+name, func(t *testing.T) {
				spec, l := testDrain(time.Hour), listen(t)
				set(&spec)
				entered, proceed := make(chan struct{}), make(chan struct{})
				w := startWorker(t, spec, serveFunc(func(w http.ResponseWriter, _ *http.Request) {
					close(entered)
					<-proceed
					answer(w)
				}), Options{}, l)
				c := dial(t, l)
				io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n")
				<-entered
				w.stop()
				w.await(t, "STOPPING=1")
				close(proceed)
				r := bufio.NewReader(c)
				resp, err := http.ReadResponse(r, nil)
				for err == nil && resp.StatusCode < 200 {
					resp, err = http.ReadResponse(r, nil)
				}
				if err != nil || !resp.Close {
					t.Fatal(resp, err)
				}
				w.wantExit(t, 0)
			})
		}
	}
}

func TestHandlerCanAnswerForAReaderThatFailsAtOnce(t *testing.T) {
	for mode, set := range modes {
		t.Run(mode, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			set(&spec)
			startWorker(t, spec, serveFunc(func(w http.ResponseWriter, _ *http.Request) {
				if _, err := io.Copy(w, iotest.ErrReader(errors.New("no disk"))); err != nil {
					http.Error(w, "failed", http.StatusInsufficientStorage)
				}
			}), Options{}, l)
			resp, err := httpClient(t).Get("http://" + l.Addr().String())
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if body, err := io.ReadAll(resp.Body); err != nil || resp.StatusCode != http.StatusInsufficientStorage || string(body) != "failed\n" {
				t.Errorf("%s %q %v", resp.Status, body, err)
			}
		})
	}
}

// sink stands for the server's ResponseWriter.
type sink struct {
	http.ResponseWriter
	from []io.Reader
	text string
}

func (s *sink) Header() http.Header               { return nil }
func (s *sink) WriteHeader(int)                   {}
func (s *sink) Write(p []byte) (int, error)       { s.text += string(p); return len(p), nil }
func (s *sink) WriteString(t string) (int, error) { s.text += t; return len(t), nil }
func (s *sink) ReadFrom(r io.Reader) (int64, error) {
	s.from = append(s.from, r)
	return io.Copy(struct{ io.Writer }{s}, r)
}

// The kernel can only send a file when the connection is given the file itself.
func TestFileReachesTheServerAsItIs(t *testing.T) {
	file, err := os.Open("site_test.go")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	want, err := os.ReadFile("site_test.go")
	if err != nil {
		t.Fatal(err)
	}
	for name, status := range map[string]int{"begun": http.StatusOK, "not begun": 0} {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			t.Fatal(err)
		}
		s := new(sink)
		rec := &recorder{ResponseWriter: s, table: newConnTable(), status: status}
		body := &io.LimitedReader{R: file, N: int64(len(want))}
		if n, err := rec.ReadFrom(body); n != int64(len(want)) || err != nil || s.text != string(want) || rec.bytes != n {
			t.Errorf("%s: %d of %d bytes, %d counted: %v", name, n, len(want), rec.bytes, err)
		}
		if len(s.from) != 1 || s.from[0] != io.Reader(body) {
			t.Errorf("%s: the server got %v", name, s.from)
		}
	}
}

func TestWriteAfterTheRequestFailsWithoutHarm(t *testing.T) {
	spec, l := testSpec(), listen(t)
	writers := make(chan http.ResponseWriter, 1)
	first := true
	startWorker(t, spec, serveFunc(func(w http.ResponseWriter, _ *http.Request) {
		if first {
			first = false
			writers <- w
		}
		io.WriteString(w, "x")
	}), Options{}, l)
	c := httpClient(t)
	for range 2 {
		resp, err := c.Get("http://" + l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if string(body) != "x" || err != nil {
			t.Errorf("%q %v", body, err)
		}
	}
	w := <-writers
	w.Header().Set("X-Late", "1")
	w.WriteHeader(http.StatusTeapot)
	if _, err := io.WriteString(w, "late"); !errors.Is(err, errEnded) {
		t.Errorf("late write: %v", err)
	}
}

func TestSiteAllocatesNothing(t *testing.T) {
	s, err := newSite(testSpec(), Options{}, nil, newConnTable(), nil)
	if err != nil {
		t.Fatal(err)
	}
	s.handler = http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(http.StatusOK)
		io.WriteString(w, "x")
	})
	c := &conn{table: s.table}
	r := httptest.NewRequest("GET", "/", new(bytes.Buffer)).WithContext(withConn(t.Context(), c))
	r.Header.Set("User-Agent", "x")
	w := httptest.NewRecorder()
	w.Body = nil
	if n := testing.AllocsPerRun(100, func() { s.ServeHTTP(w, r) }); n != 0 {
		t.Errorf("%v allocations a request", n)
	}
}
