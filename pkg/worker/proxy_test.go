package worker

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"strings"
	"testing"
	"time"
)

func proxyTo(t *testing.T, urls ...string) http.Handler {
	t.Helper()
	list := make([]any, len(urls))
	for i, u := range urls {
		list[i] = u
	}
	h := load(t, Proxy, map[string]any{"upstream": list})
	t.Cleanup(h.(*httputil.ReverseProxy).Transport.(*upstreams).transport.CloseIdleConnections)
	return h
}

func backend(t *testing.T, h http.HandlerFunc) string {
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.URL
}

// dead is the URL of an address where nobody listens.
func dead(t *testing.T) string {
	l := listen(t)
	l.Close()
	return "http://" + l.Addr().String()
}

func TestProxyTellsTheUpstreamWhoAsks(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		h := r.Header
		fmt.Fprint(w, r.Method, " ", r.URL, " ", r.Host, " ", h.Get("X-Forwarded-For"), " ", h.Get("X-Forwarded-Proto"), " ", h.Get("X-Forwarded-Host"), " ", h.Get("Forwarded"))
		b, _ := io.ReadAll(r.Body)
		w.Write(b)
	})
	spec, l := testSpec(), listen(t)
	startWorker(t, spec, func(Context) (http.Handler, error) { return proxyTo(t, up+"/base"), nil }, Options{}, l)
	r, _ := http.NewRequest("POST", "http://"+l.Addr().String()+"/a%2Fb?q=1", strings.NewReader("body"))
	r.Host = "example.org"
	r.Header.Set("X-Forwarded-For", "6.6.6.6, 203.0.113.9")
	r.Header.Set("X-Forwarded-Proto", "https")
	r.Header.Set("X-Forwarded-Host", "outer.example.org")
	resp, err := httpClient(t).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	body, _ := io.ReadAll(resp.Body)
	resp.Body.Close()
	if want := "POST /base/a%2Fb?q=1 example.org 203.0.113.9 https outer.example.org body"; string(body) != want {
		t.Errorf("got  %s\nwant %s", body, want)
	}
}

func TestProxyGoesToTheNextUpstream(t *testing.T) {
	alive := backend(t, func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		fmt.Fprint(w, "alive", string(b))
	})
	breaks := backend(t, func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) })
	for _, c := range []struct {
		name, method, body string
		upstreams          []string
		want               map[int]bool
	}{
		{"dead, any method", "POST", "x", []string{dead(t), alive}, map[int]bool{200: true}},
		{"breaks, idempotent", "GET", "", []string{breaks, alive}, map[int]bool{200: true}},
		{"breaks, may have been done", "POST", "x", []string{breaks, breaks, alive}, map[int]bool{200: true, 502: true}},
		{"all dead", "GET", "", []string{dead(t), dead(t)}, map[int]bool{502: true}},
	} {
		t.Run(c.name, func(t *testing.T) {
			h := proxyTo(t, c.upstreams...)
			seen := map[int]bool{}
			for range 6 {
				w := httptest.NewRecorder()
				h.ServeHTTP(w, httptest.NewRequest(c.method, "/", strings.NewReader(c.body)))
				seen[w.Code] = true
				if w.Code == 200 && w.Body.String() != "alive"+c.body {
					t.Errorf("body %q", w.Body)
				}
			}
			if fmt.Sprint(seen) != fmt.Sprint(c.want) {
				t.Errorf("answers %v, want %v", seen, c.want)
			}
		})
	}
}

func TestProxyAnswersGatewayTimeout(t *testing.T) {
	l := listen(t) // accepts, never answers
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			defer c.Close()
		}
	}()
	h := proxyTo(t, "http://"+l.Addr().String())
	h.(*httputil.ReverseProxy).Transport.(*upstreams).transport.ResponseHeaderTimeout = 20 * time.Millisecond
	w := httptest.NewRecorder()
	h.ServeHTTP(w, httptest.NewRequest("GET", "/", nil))
	if w.Code != 504 {
		t.Error(w.Code)
	}
	l.Close()
}

func TestProxyPassesWebSockets(t *testing.T) {
	up := backend(t, func(w http.ResponseWriter, r *http.Request) {
		c, rw, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer c.Close()
		io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
		io.Copy(c, rw)
	})
	for mode, set := range modes {
		t.Run(mode, func(t *testing.T) {
			spec, l := testSpec(), listen(t)
			set(&spec)
			if spec.RequestTimeout > 0 {
				spec.RequestTimeout = 50 * time.Millisecond // no clock over a WebSocket
			}
			startWorker(t, spec, func(Context) (http.Handler, error) { return proxyTo(t, up), nil }, Options{}, l)
			c := dial(t, l)
			io.WriteString(c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
			r := bufio.NewReader(c)
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != 101 {
				t.Fatal(resp, err)
			}
			for end := time.Now().Add(100 * time.Millisecond); time.Now().Before(end); {
				io.WriteString(c, "ping\n")
				if line, err := r.ReadString('\n'); line != "ping\n" {
					t.Fatalf("%q %v", line, err)
				}
			}
		})
	}
}

// passed is what an upstream below a path is asked for when a client asks for this.
func passed(t *testing.T, base, target string) (status int, uri string) {
	t.Helper()
	up := backend(t, func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.RequestURI) })
	h := proxyTo(t, up+base)
	front := httptest.NewServer(h)
	t.Cleanup(front.Close)
	c, err := net.Dial("tcp", front.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", target) // as it is: clients clean it
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, strings.TrimSpace(string(b))
}

func TestProxyPassesTheTargetAsItIs(t *testing.T) {
	for _, c := range []struct{ base, target, want string }{
		{"", "/a//b/?x", "/a//b/?x"},
		{"", "/a/../b", "/a/../b"}, // the upstream's business
		{"", "/%2e%2e/b", "/%2e%2e/b"},
		{"", "/?a=1;b=2&c=%zz", "/?a=1;b=2&c=%zz"},
		{"", "/?", "/?"},
		{"", "/a%2Fb%20c", "/a%2Fb%20c"},
		{"/base", "/", "/base/"},
		{"/base/", "/a//b%2Fc/", "/base/a//b%2Fc/"},
		{"/b%20c", "/a", "/b%20c/a"},
		{"/base", "/..a/b../.../c", "/base/..a/b../.../c"},
	} {
		if status, uri := passed(t, c.base, c.target); status != 200 || uri != c.want {
			t.Errorf("%s below %q: asked for %s (%d), want %s", c.target, c.base, uri, status, c.want)
		}
	}
}

// An upstream with a path is that path and what is below it, nothing beside it.
func TestProxyIsNotLedOutOfItsUpstreamsPath(t *testing.T) {
	for _, target := range []string{"/../admin", "/a/../../admin", "/%2e%2e/admin", "/.%2E/admin", "/a%2f..%2f..%2fadmin", "/..", `/..\..\admin`, "/..%5cadmin"} {
		if status, uri := passed(t, "/base", target); status != 400 {
			t.Errorf("%s: asked for %s (%d), want 400", target, uri, status)
		}
	}
}
