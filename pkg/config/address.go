package config

import (
	"net"
	"net/netip"
	"runtime"
	"strconv"
	"strings"
)

// parseBind reads listener addresses into the form of Server.Bind. Paths of unix
// sockets are still relative. A string is a list with commas, as flags and variables
// give it.
func (r *reader) parseBind(at string, raw any) (any, bool) {
	list, isList := raw.([]any)
	if s, ok := raw.(string); ok {
		for part := range strings.SplitSeq(s, ",") {
			if part = strings.TrimSpace(part); part != "" {
				list = append(list, part)
			}
		}
	} else if !isList {
		return nil, r.bad(at, raw, "must be an array of addresses")
	}
	out := make([]string, 0, len(list))
	ok := true
	for i, e := range list {
		where := at
		if isList {
			where = index(at, i)
		}
		s, isString := e.(string)
		if !isString {
			ok = r.bad(where, e, "must be a string")
			continue
		}
		address, rule := r.parseListener(s)
		if rule != "" {
			ok = r.bad(where, s, rule)
			continue
		}
		out = append(out, address)
	}
	return out, ok
}

func (r *reader) parseListener(s string) (address, rule string) {
	if path, ok := strings.CutPrefix(s, "unix:"); ok {
		path = strings.TrimPrefix(path, "//")
		path, err := r.expand(path)
		switch {
		case err != nil:
			return "", err.Error()
		case path == "" || strings.IndexByte(path, 0) >= 0:
			return "", `must be "unix:PATH"`
		case path[0] == '@':
			return "", "must be a path: abstract sockets are not supported"
		}
		return "unix:" + path, ""
	}
	if number, ok := strings.CutPrefix(s, "fd:"); ok {
		n, err := strconv.ParseUint(number, 10, 16)
		if err != nil || n < 3 {
			return "", `must be "fd:N" with an inherited descriptor from 3`
		}
		return "fd:" + strconv.FormatUint(n, 10), ""
	}
	address, rule = parseHostPort(strings.TrimPrefix(s, "tcp:"))
	if rule != "" {
		rule = `must be "HOST:PORT", "[IPV6]:PORT", ":PORT", "unix:PATH" or "fd:N"` + rule
	}
	return address, rule
}

// parseHostPort checks HOST:PORT and writes IP addresses and ports in their usual form.
// rule is what to add to a caller's own about the form.
func parseHostPort(s string) (address, rule string) {
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		return "", "; it has no port or too many colons"
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return "", "; the port must be a number from 0 to 65535"
	}
	if ip, err := netip.ParseAddr(host); err == nil {
		host = ip.String()
	} else if !isHostname(host) {
		return "", "; the host must be a name or an IP address"
	}
	return net.JoinHostPort(host, strconv.FormatUint(n, 10)), ""
}

// isHostname accepts names, and the empty host of ":8000", but nothing that looks
// like a mistyped IPv4 address.
func isHostname(host string) bool {
	digits := host != ""
	for i := range len(host) {
		c := host[i]
		if !isLetterOrDigit(c) && c != '-' && c != '_' && c != '.' {
			return false
		}
		digits = digits && (c == '.' || '0' <= c && c <= '9')
	}
	return !digits && len(host) <= 253
}

// everywhere reports whether an address listens on all interfaces.
func everywhere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		return false
	}
	ip, err := netip.ParseAddr(host)
	return host == "" || err == nil && ip.IsUnspecified()
}

func parseCIDR(s string) (prefix, rule string) {
	if p, err := netip.ParsePrefix(s); err == nil {
		return p.Masked().String(), ""
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || ip.Zone() != "" {
		return "", `must be a network such as "10.0.0.0/8" or an IP address`
	}
	return netip.PrefixFrom(ip, ip.BitLen()).String(), ""
}

// maxSocketPath is how long the path of a unix socket may be: sun_path of unix(7)
// less its terminating NUL.
func maxSocketPath() int {
	if runtime.GOOS == "linux" {
		return 107
	}
	return 103
}
