package worker

import (
	"net/http"
	"net/http/httptest"
	"testing"
)

func TestForwardedClient(t *testing.T) {
	trusted, err := parseTrusted([]string{"127.0.0.0/8", "10.0.0.0/8", "::1"})
	if err != nil {
		t.Fatal(err)
	}
	f := forwarding{trusted: trusted, requestID: true}
	type h = map[string]string
	for name, c := range map[string]struct {
		peer           string
		header         h
		remote, scheme string
		kept           int
	}{
		"nothing said":           {"127.0.0.1:5", h{"Accept": "x"}, "127.0.0.1:5", "http", 1},
		"stranger's claims":      {"192.0.2.1:5", h{"X-Forwarded-For": "1.1.1.1", "X-Forwarded-Prefix": "/x", "Forwarded": "for=1.1.1.1", "X-Request-Id": "a"}, "192.0.2.1:5", "http", 0},
		"twins of a stranger":    {"192.0.2.1:5", h{"X_Forwarded_For": "6.6.6.6", "X-Forwarded_proto": "https", "X_request_id": "a", "X_Other": "x"}, "192.0.2.1:5", "http", 1},
		"twins beside the truth": {"127.0.0.1:5", h{"X-Forwarded-For": "203.0.113.9", "X_forwarded_For": "6.6.6.6", "X_FORWARDED_PROTO": "https"}, "203.0.113.9:0", "http", 1},
		"one hop":                {"127.0.0.1:5", h{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}, "203.0.113.9:0", "https", 2},
		"with port":              {"127.0.0.1:5", h{"X-Forwarded-For": "203.0.113.9:77"}, "203.0.113.9:77", "http", 1},
		"spoofed, then ours":     {"127.0.0.1:5", h{"X-Forwarded-For": "6.6.6.6, 203.0.113.9, 10.0.0.2"}, "203.0.113.9:0", "http", 1},
		"all trusted":            {"127.0.0.1:5", h{"X-Forwarded-For": "10.0.0.3, 10.0.0.2"}, "10.0.0.3:0", "http", 1},
		"nonsense":               {"127.0.0.1:5", h{"X-Forwarded-For": "6.6.6.6, unknown"}, "127.0.0.1:5", "http", 1},
		"scheme of the client":   {"127.0.0.1:5", h{"X-Forwarded-For": "203.0.113.9, 10.0.0.2", "X-Forwarded-Proto": "https, http"}, "203.0.113.9:0", "https", 2},
		"scheme of the nearest":  {"127.0.0.1:5", h{"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https, http"}, "203.0.113.9:0", "http", 2},
		"odd scheme":             {"127.0.0.1:5", h{"X-Forwarded-Proto": "gopher"}, "127.0.0.1:5", "http", 1},
		"rfc 7239":               {"[::1]:5", h{"Forwarded": `for="[2001:db8::1]:80";proto=https;by=x, for=10.0.0.2`}, "[2001:db8::1]:80", "https", 1},
		"rfc 7239 every scheme":  {"[::1]:5", h{"Forwarded": `For="[2001:db8::1]";Proto=https, for=10.0.0.2;proto=http`}, "[2001:db8::1]:0", "https", 1},
		"rfc 7239 quoted commas": {"[::1]:5", h{"Forwarded": `for="a,b\",c"`}, "[::1]:5", "http", 1},
		"unix socket":            {"@", h{"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9:0", "http", 1},
		"mapped client":          {"127.0.0.1:5", h{"X-Forwarded-For": "::ffff:203.0.113.9"}, "203.0.113.9:0", "http", 1},
		"mapped peer":            {"[::ffff:127.0.0.1]:5", h{"X-Forwarded-For": "203.0.113.9"}, "203.0.113.9:0", "http", 1},
	} {
		t.Run(name, func(t *testing.T) {
			r := httptest.NewRequest("GET", "/", nil)
			r.RemoteAddr = c.peer
			for k, v := range c.header {
				r.Header.Set(k, v)
			}
			r = f.apply(r)
			if r.RemoteAddr != c.remote || Scheme(r) != c.scheme || len(r.Header) != c.kept {
				t.Errorf("%s %s %v, want %s %s", r.RemoteAddr, Scheme(r), r.Header, c.remote, c.scheme)
			}
		})
	}
}

func TestRequestIDFromOutsideIsChecked(t *testing.T) {
	for id, ok := range map[string]bool{"abc-1": true, "": false, "a b": false, "a\"": false, string(make([]byte, 200)): false} {
		r := &http.Request{Header: http.Header{"X-Request-Id": {id}}}
		got := requestID(r)
		if (got == id) != ok || r.Header.Get("X-Request-Id") != got {
			t.Errorf("%q: %q", id, got)
		}
	}
}

func FuzzForwarded(f *testing.F) {
	f.Add(`for="[2001:db8::1]:80";proto=https, for=10.0.0.2`, "1.1.1.1, 2.2.2.2:3", "https")
	trusted, _ := parseTrusted([]string{"0.0.0.0/0", "::/0"})
	fw := forwarding{trusted: trusted}
	f.Fuzz(func(t *testing.T, forwarded, xff, proto string) {
		r := httptest.NewRequest("GET", "/", nil)
		r.Header["Forwarded"], r.Header["X-Forwarded-For"], r.Header["X-Forwarded-Proto"] = []string{forwarded}, []string{xff}, []string{proto}
		r = fw.apply(r)
		if !trusted.peer(r.RemoteAddr) {
			t.Errorf("remote %q", r.RemoteAddr)
		}
		if s := Scheme(r); s != "http" && s != "https" {
			t.Errorf("scheme %q", s)
		}
	})
}
