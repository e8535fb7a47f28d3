package worker

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"
)

// The PROXY protocol, versions 1 and 2, as HAProxy's proxy-protocol.txt defines
// it (2020/03/05). It is read here and not by a library because the drain has to
// know which bytes of a connection belong to a request.

const (
	maxProxyV1 = 107  // "PROXY TCP6 …\r\n", the longest line
	maxProxyV2 = 4096 // header, addresses and TLVs; the standard allows 64 KiB
	proxyWait  = 10 * time.Second
)

var proxyV2Signature = []byte("\r\n\r\n\x00\r\nQUIT\n")

// proxyPolicy says which peers send a PROXY header. A trusted one must: a
// receiver that guesses can be lied to. Any other is an ordinary client, whose
// PROXY header is a bad request.
type proxyPolicy struct {
	trusted trustedProxies
	wait    time.Duration // for the header; 0 = proxyWait
	log     *slog.Logger
}

// expect returns the header to read from a new connection, nil for none.
func (p *proxyPolicy) expect(peer net.Addr) *proxyHeader {
	text := ""
	if peer != nil {
		text = peer.String()
	}
	if !p.trusted.peer(text) {
		return nil
	}
	wait := p.wait
	if wait <= 0 {
		wait = proxyWait
	}
	return &proxyHeader{peer: text, wait: wait, log: p.log}
}

// proxyHeader is read once, by whoever first asks for an address or for bytes.
type proxyHeader struct {
	peer string
	wait time.Duration
	log  *slog.Logger

	once     sync.Once
	src, dst net.Addr // nil: the connection's own
	rest     []byte   // what came behind the header
	err      error
}

func (h *proxyHeader) source(c net.Conn) net.Addr      { h.read(c); return h.src }
func (h *proxyHeader) destination(c net.Conn) net.Addr { h.read(c); return h.dst }

// readRest returns what came with the header, then 0 and nil. It belongs to the
// connection's reader.
func (h *proxyHeader) readRest(c net.Conn, p []byte) (int, error) {
	h.read(c)
	if h.err != nil {
		return 0, h.err
	}
	n := copy(p, h.rest)
	h.rest = h.rest[n:]
	return n, nil
}

func (h *proxyHeader) read(c net.Conn) {
	h.once.Do(func() {
		_ = c.SetReadDeadline(time.Now().Add(h.wait))
		h.err = h.parseFrom(c)
		_ = c.SetReadDeadline(time.Time{})
		if h.err != nil && !errors.Is(h.err, io.EOF) { // a health check only connects
			h.log.Warn("cannot read PROXY header", "peer", h.peer, "error", h.err)
		}
	})
}

func (h *proxyHeader) parseFrom(r io.Reader) error {
	buf := make([]byte, 0, 536)
	for {
		p, err := parseProxy(buf)
		if err == nil {
			h.src, h.dst, h.rest = p.src, p.dst, buf[p.size:]
			return nil
		}
		if !errors.Is(err, errProxyShort) {
			return err
		}
		if len(buf) == cap(buf) {
			buf = append(buf, 0)[:len(buf)] // grow; parseProxy bounds the size
		}
		n, err := r.Read(buf[len(buf):cap(buf)])
		buf = buf[:len(buf)+n]
		if n == 0 && err != nil {
			if errors.Is(err, io.EOF) && len(buf) > 0 {
				err = io.ErrUnexpectedEOF
			}
			return err
		}
	}
}

// parsedProxy is one header: its length in bytes and what it tells.
type parsedProxy struct {
	size     int
	src, dst net.Addr
}

var errProxyShort = errors.New("PROXY header is incomplete")

// parseProxy reads the header at the start of b. errProxyShort asks for more.
func parseProxy(b []byte) (parsedProxy, error) {
	switch {
	case hasPrefixOrIsPrefix(b, proxyV2Signature):
		return parseProxyV2(b)
	case hasPrefixOrIsPrefix(b, []byte("PROXY ")):
		return parseProxyV1(b)
	}
	return parsedProxy{}, errors.New("no PROXY header")
}

func hasPrefixOrIsPrefix(b, prefix []byte) bool {
	n := min(len(b), len(prefix))
	return bytes.Equal(b[:n], prefix[:n])
}

func parseProxyV1(b []byte) (parsedProxy, error) {
	line, _, ok := bytes.Cut(b, []byte("\r\n"))
	if len(line)+2 > maxProxyV1 {
		return parsedProxy{}, fmt.Errorf("PROXY line: must be at most %d bytes", maxProxyV1)
	}
	if !ok {
		return parsedProxy{}, errProxyShort
	}
	p := parsedProxy{size: len(line) + 2}
	f := strings.Split(string(line), " ")
	if len(f) >= 2 && f[1] == "UNKNOWN" {
		return p, nil // the rest of the line is to be ignored
	}
	if len(f) != 6 || f[1] != "TCP4" && f[1] != "TCP6" {
		return parsedProxy{}, fmt.Errorf("PROXY line %q: must be PROXY TCP4|TCP6 SOURCE DESTINATION PORT PORT", line)
	}
	var err error
	if p.src, err = proxyAddr(f[2], f[4], f[1] == "TCP4"); err != nil {
		return parsedProxy{}, fmt.Errorf("PROXY line %q: %w", line, err)
	}
	if p.dst, err = proxyAddr(f[3], f[5], f[1] == "TCP4"); err != nil {
		return parsedProxy{}, fmt.Errorf("PROXY line %q: %w", line, err)
	}
	return p, nil
}

func proxyAddr(host, port string, v4 bool) (net.Addr, error) {
	a, err := netip.ParseAddr(host)
	if err != nil || a.Is4() != v4 || a.Zone() != "" {
		return nil, fmt.Errorf("address %q: must be of the announced family", host)
	}
	n, err := strconv.ParseUint(port, 10, 16)
	if err != nil {
		return nil, fmt.Errorf("port %q: must be a number from 0 to 65535", port)
	}
	return net.TCPAddrFromAddrPort(netip.AddrPortFrom(a, uint16(n))), nil
}

func parseProxyV2(b []byte) (parsedProxy, error) {
	const fixed = 16 // signature, version and command, family and transport, length
	if len(b) < fixed {
		return parsedProxy{}, errProxyShort
	}
	size := fixed + int(binary.BigEndian.Uint16(b[14:]))
	if size > maxProxyV2 {
		return parsedProxy{}, fmt.Errorf("PROXY v2 header of %d bytes: must be at most %d", size, maxProxyV2)
	}
	version, command, family := b[12]>>4, b[12]&15, b[13]
	if version != 2 || command > 1 {
		return parsedProxy{}, fmt.Errorf("PROXY v2 version and command %#02x: must be 0x20 or 0x21", b[12])
	}
	if len(b) < size {
		return parsedProxy{}, errProxyShort
	}
	p := parsedProxy{size: size}
	if command == 0 {
		return p, nil // LOCAL: the proxy itself, a health check
	}
	var width int
	switch family {
	case 0x11: // TCP over IPv4
		width = 4
	case 0x21: // TCP over IPv6
		width = 16
	default:
		return p, nil // UNSPEC, UDP, UNIX: accepted, the addresses are not used
	}
	addrs := b[fixed:size]
	if len(addrs) < 2*width+4 {
		return parsedProxy{}, fmt.Errorf("PROXY v2 addresses of %d bytes: must be at least %d", len(addrs), 2*width+4)
	}
	src, _ := netip.AddrFromSlice(addrs[:width])
	dst, _ := netip.AddrFromSlice(addrs[width : 2*width])
	ports := addrs[2*width:]
	p.src = net.TCPAddrFromAddrPort(netip.AddrPortFrom(src, binary.BigEndian.Uint16(ports)))
	p.dst = net.TCPAddrFromAddrPort(netip.AddrPortFrom(dst, binary.BigEndian.Uint16(ports[2:])))
	return p, nil
}
