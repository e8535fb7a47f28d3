package worker

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
)

// trustedProxies are the peers whose word about the client counts.
type trustedProxies []netip.Prefix

func parseTrusted(list []string) (trustedProxies, error) {
	trusted := make(trustedProxies, 0, len(list))
	for _, text := range list {
		p, err := netip.ParsePrefix(text)
		if err != nil {
			a, aerr := netip.ParseAddr(text)
			if aerr != nil {
				return nil, fmt.Errorf("cannot set up worker.http.trusted_proxies: %q: must be an address or a CIDR", text)
			}
			p = netip.PrefixFrom(a, a.BitLen())
		}
		trusted = append(trusted, p.Masked())
	}
	return trusted, nil
}

func (t trustedProxies) contains(a netip.Addr) bool {
	a = a.Unmap().WithZone("")
	for _, p := range t {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

// peer reports whether a RemoteAddr is trusted. A unix socket has no addresses;
// who may connect is decided by its mode, so its peers are.
func (t trustedProxies) peer(remoteAddr string) bool {
	if remoteAddr == "" || remoteAddr[0] == '@' || remoteAddr[0] == '/' {
		return true
	}
	a, err := netip.ParseAddrPort(remoteAddr)
	return err == nil && t.contains(a.Addr())
}

// forwarding makes a request look as the client sent it to the first proxy, as
// far as trusted proxies tell, and removes from it what others claim.
type forwarding struct {
	trusted   trustedProxies
	requestID bool // X-Request-Id of an untrusted peer is a claim as well
}

type schemeKey struct{}

// Scheme is "https" or "http": how the client spoke to this worker, or to the
// first proxy if trusted proxies are in between.
func Scheme(r *http.Request) string {
	if s, ok := r.Context().Value(schemeKey{}).(string); ok {
		return s
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// apply returns the request to handle, r itself unless its scheme differs.
func (f *forwarding) apply(r *http.Request) *http.Request {
	claims := false
	for k := range r.Header {
		switch {
		case f.isClaim(k):
			claims = true
		case f.isTwin(k):
			delete(r.Header, k)
		}
	}
	if !claims {
		return r
	}
	if !f.trusted.peer(r.RemoteAddr) {
		for k := range r.Header {
			if f.isClaim(k) {
				delete(r.Header, k)
			}
		}
		return r
	}
	hops, protos := elements(r.Header["X-Forwarded-For"]), elements(r.Header["X-Forwarded-Proto"])
	if len(hops) == 0 && len(protos) == 0 {
		hops, protos = parseForwarded(elements(r.Header["Forwarded"]))
	}
	at := len(hops)
	// From the nearest proxy outwards: each hop was written by the one before
	// it, so the first that is not trusted is the client.
	for at > 0 {
		client, ok := parseHop(hops[at-1])
		if !ok {
			break // "unknown" or nonsense: what is further away is hearsay
		}
		at--
		r.RemoteAddr = client.String()
		if !f.trusted.contains(client.Addr()) {
			break
		}
	}
	if scheme := schemeAt(protos, at, len(hops)); scheme != "" && scheme != Scheme(r) {
		r = r.WithContext(context.WithValue(r.Context(), schemeKey{}, scheme))
	}
	return r
}

func (f *forwarding) isClaim(key string) bool {
	return strings.HasPrefix(key, "X-Forwarded-") || key == "Forwarded" || f.requestID && key == requestIDHeader
}

// isTwin finds what an upstream that follows CGI (WSGI, Rack, PHP) cannot tell from a
// claim: X_Forwarded_For is HTTP_X_FORWARDED_FOR there as well, and no proxy that
// sets the one removes the other.
func (f *forwarding) isTwin(key string) bool {
	return strings.IndexByte(key, '_') >= 0 && f.isClaim(http.CanonicalHeaderKey(strings.ReplaceAll(key, "_", "-")))
}

// schemeAt is the scheme of the hop at an index, if each of the n hops told one;
// else the one that the nearest proxy told.
func schemeAt(protos []string, at, n int) string {
	if len(protos) == 0 {
		return ""
	}
	p := protos[len(protos)-1]
	if len(protos) == n && at < n {
		p = protos[at]
	}
	if p = strings.ToLower(p); p == "http" || p == "https" {
		return p
	}
	return ""
}

// elements splits header lines at commas outside of quotes.
func elements(lines []string) []string {
	var list []string
	for _, line := range lines {
		for line != "" {
			var e string
			e, line = cutUnquoted(line, ',')
			if e = strings.TrimSpace(e); e != "" {
				list = append(list, e)
			}
		}
	}
	return list
}

func cutUnquoted(s string, sep byte) (before, after string) {
	quoted := false
	for i := 0; i < len(s); i++ {
		switch {
		case quoted && s[i] == '\\':
			i++
		case s[i] == '"':
			quoted = !quoted
		case s[i] == sep && !quoted:
			return s[:i], s[i+1:]
		}
	}
	return s, ""
}

// parseForwarded reads the for and proto parameters of RFC 7239 elements; both
// lists have one entry an element.
func parseForwarded(list []string) (hops, protos []string) {
	for _, e := range list {
		var hop, proto string
		for e != "" {
			var pair string
			pair, e = cutUnquoted(e, ';')
			name, value, _ := strings.Cut(strings.TrimSpace(pair), "=")
			value = strings.Trim(value, `"`)
			switch strings.ToLower(name) {
			case "for":
				hop = value
			case "proto":
				proto = value
			}
		}
		hops, protos = append(hops, hop), append(protos, proto)
	}
	return hops, protos
}

// parseHop reads "192.0.2.1", "192.0.2.1:80", "2001:db8::1", "[2001:db8::1]:80";
// a port that is not told is 0. An IPv4 address that a proxy with an IPv6 socket
// wrote as ::ffff:192.0.2.1 is one again, as net has it for a peer.
func parseHop(s string) (netip.AddrPort, bool) {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port()), true
	}
	if strings.HasPrefix(s, "[") && strings.HasSuffix(s, "]") {
		s = s[1 : len(s)-1]
	}
	a, err := netip.ParseAddr(s)
	return netip.AddrPortFrom(a.Unmap(), 0), err == nil
}
