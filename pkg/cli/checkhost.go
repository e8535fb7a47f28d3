package cli

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"golang.org/x/sys/unix"
)

// probeTimeout is how long check waits for a gofork that may be running.
const probeTimeout = 2 * time.Second

// hostWarnings are about this machine: what gofork could not do here and now. They
// are no errors, because a file is often checked where it will not run.
func (r *run) hostWarnings(ctx context.Context, c *config.Config) []string {
	warnings := r.commandWarnings(c)
	warnings = append(warnings, fileWarnings(c)...)
	return append(warnings, bindWarnings(ctx, c)...)
}

// bindWarnings are about addresses that somebody else listens on. The gofork that
// this configuration is for may be running: what it listens on is in good hands.
func bindWarnings(ctx context.Context, c *config.Config) []string {
	var warnings []string
	var own map[string]bool
	look := func(key, address string) {
		err := bindable(ctx, address)
		if err == nil {
			return
		}
		if errors.Is(err, unix.EADDRINUSE) {
			if own == nil {
				own = addressesOf(ctx, c.Control.Socket)
			}
			if own[endOf(address)] {
				return
			}
			err = errors.New("in use by another program")
		}
		warnings = append(warnings, fmt.Sprintf("%s: cannot listen on %s: %v", key, address, err))
	}
	for _, address := range c.Server.Bind {
		look("server.bind", address)
	}
	if c.Admin.Bind != "" {
		look("admin.bind", c.Admin.Bind)
	}
	return warnings
}

// endOf is what two ways to write an address have in common: the path of a unix
// socket, or the port, because a host has a name, a number and "all".
func endOf(address string) string {
	address = strings.TrimPrefix(address, "tcp://")
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return "unix:" + strings.TrimPrefix(path, "//")
	}
	if i := strings.LastIndexByte(address, ':'); i >= 0 {
		return address[i:]
	}
	return address
}

// addressesOf are the ends of what the gofork at a socket listens on, none when none
// answers.
func addressesOf(ctx context.Context, socket string) map[string]bool {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	client := control.Dial(socket)
	defer client.Close()
	ends := map[string]bool{}
	if s, err := client.Status(ctx); err == nil {
		for _, address := range s.Listeners {
			ends[endOf(address)] = true
		}
	}
	if answer, err := client.Config(ctx); err == nil {
		tree, _ := answer.(map[string]any)
		admin, _ := tree["admin"].(map[string]any)
		if bind, _ := admin["bind"].(string); bind != "" {
			ends[endOf(bind)] = true
		}
	}
	return ends
}

// bindable says why an address could not be listened on. It binds and lets go: it
// never listens, so that no connection is taken from a server that just starts.
func bindable(ctx context.Context, address string) error {
	if strings.HasPrefix(address, "fd:") {
		return nil // handed over when gofork is started
	}
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		return unixBindable(ctx, path)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil || port == "0" {
		return err
	}
	number, err := net.DefaultResolver.LookupPort(ctx, "tcp", port)
	if err != nil {
		return err
	}
	if host == "" {
		if err := bindTCP(net.IPv6unspecified, "", number); !errors.Is(err, unix.EAFNOSUPPORT) && !errors.Is(err, unix.EADDRNOTAVAIL) {
			return err
		}
		return bindTCP(net.IPv4zero, "", number)
	}
	found, err := net.DefaultResolver.LookupIPAddr(ctx, host)
	if err != nil {
		var dns *net.DNSError
		if errors.As(err, &dns) {
			return errors.New(dns.Err)
		}
		return err
	}
	return bindTCP(found[0].IP, found[0].Zone, number)
}

func bindTCP(ip net.IP, zone string, port int) error {
	var address unix.Sockaddr
	family := unix.AF_INET6
	if v4 := ip.To4(); v4 != nil {
		family = unix.AF_INET
		address = &unix.SockaddrInet4{Port: port, Addr: [4]byte(v4)}
	} else {
		v6 := &unix.SockaddrInet6{Port: port, Addr: [16]byte(ip.To16())}
		if zone != "" {
			nic, err := net.InterfaceByName(zone)
			if err != nil {
				return err
			}
			v6.ZoneId = uint32(nic.Index)
		}
		address = v6
	}
	fd, err := unix.Socket(family, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	defer func() { _ = unix.Close(fd) }() // nothing was sent
	unix.CloseOnExec(fd)
	// As a listener has it: connections of the past do not count.
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1); err != nil {
		return err
	}
	return unix.Bind(fd, address)
}

// unixBindable tells a socket that somebody answers at from one that was left.
func unixBindable(ctx context.Context, path string) error {
	dialer := net.Dialer{Timeout: probeTimeout}
	if conn, err := dialer.DialContext(ctx, "unix", path); err == nil {
		_ = conn.Close() // nothing was sent
		return unix.EADDRINUSE
	}
	return writable(filepath.Dir(path))
}

// fileWarnings are about files that could not be written, or read, here.
func fileWarnings(c *config.Config) []string {
	var warnings []string
	look := func(key, path string) {
		if !filepath.IsAbs(path) {
			return // "inherit", "log", "null", "stdout", nothing
		}
		target := path
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			target = filepath.Dir(path)
		}
		if err := writable(target); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: cannot write %s: %v", key, path, folderError(path, target, err)))
		}
	}
	look("log.file", c.Log.File)
	look("server.pidfile", c.Server.Pidfile)
	read := func(key, path string) {
		if path == "" {
			return
		}
		if err := access(path, unix.R_OK); err != nil {
			warnings = append(warnings, fmt.Sprintf("%s: cannot read %s: %v", key, path, err))
		}
	}
	read("admin.token_file", c.Admin.TokenFile)
	process := func(key string, p *config.Process) {
		look(key+".stdout", p.Stdout)
		look(key+".stderr", p.Stderr)
	}
	if w := c.Worker; w != nil {
		process("worker", &w.Process)
		read("worker.http.tls_cert", w.HTTP.TLSCert)
		read("worker.http.tls_key", w.HTTP.TLSKey)
	}
	for i := range c.Companions {
		process("companion."+c.Companions[i].Name, &c.Companions[i].Process)
	}
	slices.Sort(warnings)
	return warnings
}

// folderError says that it is the folder that is at fault, and not a file in it.
func folderError(path, target string, err error) error {
	if path == target {
		return err
	}
	return fmt.Errorf("the folder %s: %w", target, err)
}

func writable(path string) error { return access(path, unix.W_OK) }

// access asks for the effective user, as whom gofork will try.
func access(path string, mode uint32) error {
	return unix.Faccessat(unix.AT_FDCWD, path, mode, unix.AT_EACCESS)
}
