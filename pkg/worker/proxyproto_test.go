package worker

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

func v2(command, family byte, payload ...byte) string {
	b := append([]byte(nil), proxyV2Signature...)
	b = append(b, 0x20|command, family)
	b = binary.BigEndian.AppendUint16(b, uint16(len(payload)))
	return string(append(b, payload...))
}

func TestParseProxyHeader(t *testing.T) {
	v4 := []byte{203, 0, 113, 9, 10, 0, 0, 1, 0x01, 0x02, 0x01, 0xbb}
	v6 := append(append(net.ParseIP("2001:db8::1"), net.ParseIP("2001:db8::2")...), 0, 80, 1, 187)
	for name, c := range map[string]struct{ in, want string }{
		"v1 ipv4":         {"PROXY TCP4 203.0.113.9 10.0.0.1 258 443\r\n", "203.0.113.9:258 10.0.0.1:443"},
		"v1 ipv6":         {"PROXY TCP6 2001:db8::1 2001:db8::2 80 443\r\n", "[2001:db8::1]:80 [2001:db8::2]:443"},
		"v1 unknown":      {"PROXY UNKNOWN ignored\r\n", "<nil> <nil>"},
		"v1 short":        {"PROXY TCP4 203.", "PROXY header is incomplete"},
		"v1 long":         {"PROXY TCP4 " + strings.Repeat("1", 200), "PROXY line: must be at most 107 bytes"},
		"v1 wrong family": {"PROXY TCP4 2001:db8::1 2001:db8::2 80 443\r\n", "must be of the announced family"},
		"v1 port":         {"PROXY TCP4 1.1.1.1 1.1.1.1 80 65536\r\n", "must be a number from 0 to 65535"},
		"v1 fields":       {"PROXY TCP4 1.1.1.1\r\n", "must be PROXY TCP4|TCP6"},
		"v2 ipv4":         {v2(1, 0x11, v4...), "203.0.113.9:258 10.0.0.1:443"},
		"v2 ipv6":         {v2(1, 0x21, v6...), "[2001:db8::1]:80 [2001:db8::2]:443"},
		"v2 with TLV":     {v2(1, 0x11, append(v4, 4, 0, 1, 0)...), "203.0.113.9:258 10.0.0.1:443"},
		"v2 local":        {v2(0, 0x00), "<nil> <nil>"},
		"v2 unix":         {v2(1, 0x31, make([]byte, 216)...), "<nil> <nil>"},
		"v2 truncated":    {v2(1, 0x11, v4[:4]...), "must be at least 12"},
		"v2 short":        {v2(1, 0x11, v4...)[:20], "PROXY header is incomplete"},
		"v2 large":        {v2(0, 0, make([]byte, 5000)...), "must be at most 4096"},
		"v2 command":      {v2(7, 0x11, v4...), "must be 0x20 or 0x21"},
		"plain HTTP":      {"GET / HTTP/1.1\r\n", "no PROXY header"},
		"nothing":         {"", "PROXY header is incomplete"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := parseProxy([]byte(c.in + "REST"))
			if strings.HasSuffix(name, "short") || name == "nothing" {
				p, err = parseProxy([]byte(c.in))
			}
			if err != nil {
				if !strings.Contains(err.Error(), c.want) {
					t.Errorf("%v, want %s", err, c.want)
				}
				return
			}
			if got := fmt.Sprint(p.src, " ", p.dst); got != c.want || p.size != len(c.in) {
				t.Errorf("%s, %d bytes; want %s, %d bytes", got, p.size, c.want, len(c.in))
			}
		})
	}
}

func FuzzProxyHeader(f *testing.F) {
	f.Add([]byte("PROXY TCP4 203.0.113.9 10.0.0.1 258 443\r\n"))
	f.Add([]byte(v2(1, 0x11, 203, 0, 113, 9, 10, 0, 0, 1, 1, 2, 1, 187)))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := parseProxy(b)
		if errors.Is(err, errProxyShort) && len(b) >= maxProxyV2 {
			t.Error("asks for more without end")
		}
		if err != nil {
			return
		}
		if p.size < 1 || p.size > len(b) || (p.src == nil) != (p.dst == nil) {
			t.Errorf("%+v of %d bytes", p, len(b))
		}
		for n := range p.size { // what is whole now was incomplete before
			if _, err := parseProxy(b[:n]); !errors.Is(err, errProxyShort) {
				t.Errorf("first %d of %d bytes: %v", n, p.size, err)
			}
		}
	})
}

func TestProxyProtocol(t *testing.T) {
	show := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprint(w, r.RemoteAddr, " ", r.Context().Value(http.LocalAddrContextKey))
	})
	ask := func(t *testing.T, l net.Listener, pieces ...string) (int, string) {
		c := dial(t, l)
		defer c.Close()
		for _, p := range pieces {
			io.WriteString(c, p)
		}
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			return 0, ""
		}
		body, _ := io.ReadAll(resp.Body)
		return resp.StatusCode, string(body)
	}
	const header, request = "PROXY TCP4 203.0.113.9 10.0.0.1 258 443\r\n", "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
	t.Run("trusted", func(t *testing.T) {
		spec, l := testSpec(), listen(t)
		spec.HTTP.ProxyProtocol = true
		w := startWorker(t, spec, serveHandler(show), Options{}, l)
		for _, pieces := range [][]string{{header + request}, {header, request}, {header[:7], header[7:] + request[:5], request[5:]}} {
			if code, body := ask(t, l, pieces...); code != 200 || body != "203.0.113.9:258 10.0.0.1:443" {
				t.Errorf("%q: %d %s", pieces, code, body)
			}
		}
		if code, _ := ask(t, l, request); code != 400 {
			t.Errorf("without a header: %d", code)
		}
		w.stop()
		w.wantExit(t, 0)
	})
	t.Run("stranger", func(t *testing.T) {
		spec, l := testSpec(), listen(t)
		spec.HTTP.ProxyProtocol, spec.HTTP.TrustedProxies = true, []string{"192.0.2.0/24"}
		startWorker(t, spec, serveHandler(show), Options{}, l)
		if code, body := ask(t, l, request); code != 200 || !strings.HasPrefix(body, "127.0.0.1:") {
			t.Errorf("plain request: %d %s", code, body)
		}
		if code, _ := ask(t, l, header+request); code != 400 {
			t.Errorf("PROXY header: %d", code)
		}
	})
}
