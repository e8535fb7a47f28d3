package control_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

// FuzzRequest sends any path, query and body, and wants an answer that says what
// was wrong in the documented form, never a fault of the server.
func FuzzRequest(f *testing.F) {
	for _, seed := range [][3]string{
		{"POST", "/v1/scale", `{"workers": 4}`},
		{"POST", "/v1/stop", `{"quick": tru`},
		{"POST", "/v1/companions/rq:2/restart?wait=false&timeout=1ms", "{}"},
		{"POST", "/v1/companions/%2e%2e/signal?signal=%00", ""},
		{"GET", "/v1/companions/rq/logs?lines=9223372036854775808", ""},
		{"GET", "/v1/companions//", "x"},
		{"HEAD", "/v1/events", ""},
		{"TOSP", "/v1/\xa2\x1d\x1acompanions/rq:2/restart", "\t\t"},
	} {
		f.Add(seed[0], seed[1], seed[2])
	}
	f.Fuzz(func(t *testing.T, method, target, body string) {
		req, err := http.NewRequestWithContext(t.Context(), method, "http://x", strings.NewReader(body))
		if err != nil || strings.ContainsAny(target, " \r\n") || !strings.HasPrefix(target, "/") {
			return // it cannot be sent
		}
		if strings.EqualFold(method, http.MethodConnect) {
			return // answered with a tunnel, if at all
		}
		s := start(t, &fake{}, control.Options{})
		conn, err := net.Dial("unix", s.socket)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = conn.Close() }()
		// As it is: net/http would clean some of it, and refuse control characters.
		// The server may answer before it has read all.
		_, _ = fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", method, target, len(body), body)
		resp, err := http.ReadResponse(bufio.NewReader(conn), req)
		if err != nil {
			t.Fatalf("%s %q: no answer: %v", method, target, err)
		}
		defer func() { _ = resp.Body.Close() }()
		switch {
		case resp.StatusCode == http.StatusOK, req.Method == http.MethodHead:
			return
		case resp.StatusCode >= 500 && resp.StatusCode != http.StatusServiceUnavailable && resp.StatusCode != http.StatusGatewayTimeout:
			t.Fatalf("%s %q: %s", method, target, resp.Status)
		case resp.Header.Get("Content-Type") != "application/json":
			return // net/http itself could not read the request
		}
		var e struct{ Error control.Error }
		if err := json.NewDecoder(resp.Body).Decode(&e); err != nil || e.Error.Code == "" || e.Error.Message == "" {
			t.Fatalf("%s %q: %s without an error in its body: %v", method, target, resp.Status, err)
		}
	})
}

func FuzzParseTarget(f *testing.F) {
	for _, seed := range []string{"rq", "rq:2", "rq:", ":1", "rq:01", "a:b:c", "rq:99999999999999999999"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, s string) {
		name, instance, err := control.ParseTarget(s)
		if err != nil {
			return
		}
		again, n, err := control.ParseTarget(control.Target(name, instance))
		if err != nil || again != name || n != instance {
			t.Errorf("%q is %q %d, written and read again %q %d %v", s, name, instance, again, n, err)
		}
	})
}
