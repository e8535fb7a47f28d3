package worker

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/gofork/gofork/pkg/worker/workertest"
)

// The client never sends a request twice, as HTTP/2 lets it for those that a GOAWAY
// disclaims.
func TestHTTP2RollingReplacementLosesNothing(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	for name, set := range map[string]func(*http.Protocols, bool){
		"http": (*http.Protocols).SetUnencryptedHTTP2, "https": (*http.Protocols).SetHTTP2,
	} {
		t.Run(name, func(t *testing.T) {
			l, spec := listen(t), testDrain(10*time.Second) // it ends when the clients have heard
			if name == "https" {
				spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
			}
			client := httpClient(t, set)
			client.Transport.(*http.Transport).TLSClientConfig = &tls.Config{RootCAs: pool}
			worker := startWorker(t, spec, Hello, Options{}, share(t, l))
			ctx, cancel := context.WithCancel(t.Context())
			answered := make(chan struct{})
			var load sync.WaitGroup
			for range 8 {
				load.Go(func() {
					for ctx.Err() == nil {
						if err := postOnce(client, name+"://"+l.Addr().String()+"/echo"); err != nil {
							t.Error(err)
						}
						select {
						case answered <- struct{}{}:
						case <-ctx.Done():
						}
					}
				})
			}
			for range 12 {
				for range 100 {
					<-answered
				}
				next := startWorker(t, spec, Hello, Options{}, share(t, l))
				ended := worker.ended
				worker.stop()
				for ended != nil { // under load
					select {
					case <-answered:
					case <-ended:
						ended = nil
					}
				}
				worker.wantExit(t, 0)
				worker = next
			}
			cancel()
			load.Wait()
		})
	}
}

// postOnce posts a body and fails when the transport would have to send it again.
func postOnce(client *http.Client, url string) error {
	req, err := http.NewRequestWithContext(context.Background(), http.MethodPost, url, strings.NewReader("body"))
	if err != nil {
		return err
	}
	resp, err := client.Do(workertest.Once(req))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if got, err := io.ReadAll(resp.Body); err != nil || string(got) != "body" || resp.ProtoMajor != 2 {
		return fmt.Errorf("%s %q %v", resp.Proto, got, err)
	}
	return nil
}

// frame is one of HTTP/2, as it came.
type frame struct {
	kind    byte
	ack     bool
	stream  uint32
	payload []byte
}

const (
	dataFrame, headersFrame, settingsFrame, pingFrame = 0x0, 0x1, 0x4, http2PingType

	// No last stream identifier is larger.
	anyStream = 1<<31 - 1
)

// wireClient speaks just enough HTTP/2 to send a request whenever it likes.
type wireClient struct {
	t    *testing.T
	conn net.Conn
	got  chan frame // closed at the end of the connection
}

func speakHTTP2(t *testing.T, conn net.Conn) *wireClient {
	t.Helper()
	c := &wireClient{t, conn, make(chan frame, 64)}
	go func() {
		defer close(c.got)
		for {
			var head [http2FrameHeader]byte
			if _, err := io.ReadFull(conn, head[:]); err != nil {
				return
			}
			f := frame{kind: head[3], ack: head[4]&http2Ack != 0, stream: binary.BigEndian.Uint32(head[5:])}
			f.payload = make([]byte, int(head[0])<<16|int(head[1])<<8|int(head[2]))
			if _, err := io.ReadFull(conn, f.payload); err != nil {
				return
			}
			c.got <- f
		}
	}()
	if _, err := io.WriteString(conn, http2Preface); err != nil {
		t.Fatal(err)
	}
	c.send(settingsFrame, 0, 0, nil)
	return c
}

func (c *wireClient) send(kind, flags byte, stream uint32, payload []byte) {
	c.t.Helper()
	b := []byte{0, 0, byte(len(payload)), kind, flags}
	b = append(binary.BigEndian.AppendUint32(b, stream), payload...)
	if _, err := c.conn.Write(b); err != nil {
		c.t.Fatal(err)
	}
}

// request sends GET / (RFC 7541, appendix A, has the numbers).
func (c *wireClient) request(stream uint32) {
	c.t.Helper()
	c.send(headersFrame, 0x1|0x4, stream, append([]byte{0x82, 0x86, 0x84, 0x41, 1}, 'x'))
}

// await returns the next frame of a kind.
func (c *wireClient) await(kind byte) frame {
	c.t.Helper()
	for f := range c.got {
		if f.kind == kind {
			return f
		}
		if f.kind == http2GoAwayType {
			c.t.Fatalf("GOAWAY %d, want a frame of kind %d", lastStream(f), kind)
		}
	}
	c.t.Fatalf("the connection ended without a frame of kind %d", kind)
	return frame{}
}

func (c *wireClient) answered(stream uint32) {
	c.t.Helper()
	const status200 = 0x88
	if f := c.await(headersFrame); f.stream != stream || f.payload[0] != status200 {
		c.t.Fatalf("%+v, want 200 on stream %d", f, stream)
	}
	if f := c.await(dataFrame); f.stream != stream || !bytes.HasPrefix(f.payload, []byte("hello from gofork")) {
		c.t.Fatalf("%+v, want a greeting on stream %d", f, stream)
	}
}

func lastStream(goAway frame) uint32 { return binary.BigEndian.Uint32(goAway.payload) }

func TestHTTP2RequestThatCrossesTheGoAwayIsAnswered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testDrain(time.Second)
		w, l := startPiped(t, spec, Hello)
		c := speakHTTP2(t, l.dial(t))
		c.request(1)
		c.answered(1)
		began := time.Now()
		w.stop()
		if last := lastStream(c.await(http2GoAwayType)); last != anyStream {
			t.Errorf("the drain begins with GOAWAY %d, which drops what is on its way", last)
		}
		time.Sleep(spec.DrainDelay - time.Nanosecond)
		c.request(3)
		c.answered(3)
		for range 3 { // none is a request: it waits all the same
			c.send(pingFrame, 0, 0, make([]byte, 8))
			for !c.await(pingFrame).ack { // the farewell's comes first
			}
		}
		if last := lastStream(c.await(http2GoAwayType)); last != 3 {
			t.Errorf("the last GOAWAY is %d, want 3", last)
		}
		for range c.got { // to its end
		}
		w.wantExit(t, 0)
		if took := time.Since(began); took != spec.DrainDelay+drainLook {
			t.Errorf("the idle connection was closed after %s, want %s", took, spec.DrainDelay+drainLook)
		}
	})
}

// Most clients answer the PING behind the first GOAWAY. Then nobody waits for the
// drain delay.
func TestHTTP2ClientThatHasHeardEndsTheDrain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testDrain(time.Hour)
		w, l := startPiped(t, spec, Hello)
		c := speakHTTP2(t, l.dial(t))
		c.request(1)
		c.answered(1)
		w.stop()
		c.await(http2GoAwayType)
		ping := c.await(pingFrame)
		time.Sleep(spec.GracefulTimeout / 2)
		c.send(pingFrame, http2Ack, 0, ping.payload)
		began := time.Now()
		time.Sleep(http2Settle - time.Nanosecond)
		c.request(3)
		c.answered(3)
		if last := lastStream(c.await(http2GoAwayType)); last != 3 {
			t.Errorf("the last GOAWAY is %d, want 3", last)
		}
		for range c.got {
		}
		w.wantExit(t, 0)
		if took := time.Since(began); took != http2Settle+drainLook {
			t.Errorf("it took %s from then on", took)
		}
	})
}

// A client that speaks up while the worker drains is told, too: after the
// SETTINGS, which come first.
func TestHTTP2ConnectionOfTheBacklogIsAnsweredWhileDraining(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		spec := testDrain(time.Second)
		w, l := startPiped(t, spec, Hello)
		conn := l.dial(t)
		synctest.Wait()
		w.stop()
		time.Sleep(spec.DrainDelay - time.Nanosecond)
		c := speakHTTP2(t, conn)
		began := time.Now()
		if last := lastStream(c.await(http2GoAwayType)); last != anyStream {
			t.Errorf("GOAWAY %d", last)
		}
		time.Sleep(spec.DrainDelay / 2)
		c.request(1)
		c.answered(1)
		for range c.got {
		}
		w.wantExit(t, 0)
		if took := time.Since(began); took < spec.DrainDelay || took > spec.DrainDelay+2*drainLook {
			t.Errorf("it was closed after %s, want a drain delay of its own", took)
		}
	})
}

func TestHTTP2RequestThatRunsOutlivesTheDrainDelay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, l := startPiped(t, testDrain(time.Second), serveFunc(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(5 * time.Second)
			io.WriteString(w, "hello from gofork")
		}))
		c := speakHTTP2(t, l.dial(t))
		c.request(1)
		synctest.Wait()
		w.stop()
		for _, want := range []uint32{anyStream, 1} {
			if last := lastStream(c.await(http2GoAwayType)); last != want {
				t.Errorf("GOAWAY %d, want %d", last, want)
			}
		}
		c.answered(1)
		w.wantExit(t, 0)
	})
}

// What TLS tells of a connection reaches the handler, and only who begins as HTTP/2
// does is served.
func TestHTTP2OverTLSIsWhatTLSSays(t *testing.T) {
	cert, key, pool := workertest.Certificate(t)
	spec, l := testSpec(), listen(t)
	spec.HTTP.TLSCert, spec.HTTP.TLSKey = cert, key
	seen := make(chan *http.Request, 1)
	startWorker(t, spec, serveFunc(func(w http.ResponseWriter, r *http.Request) {
		seen <- r
		io.WriteString(w, "hello from gofork")
	}), Options{}, l)
	dial := func() *tls.Conn {
		conn, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return conn
	}
	conn := dial()
	c := speakHTTP2(t, conn)
	c.request(1)
	c.answered(1)
	if r := <-seen; r.TLS == nil || r.TLS.NegotiatedProtocol != "h2" || r.RemoteAddr != conn.LocalAddr().String() || r.ProtoMajor != 2 {
		t.Errorf("the handler sees %s from %s with TLS %+v", r.Proto, r.RemoteAddr, r.TLS)
	}

	stranger := dial()
	if _, err := io.WriteString(stranger, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	answer, err := io.ReadAll(stranger)
	if bytes.Contains(answer, []byte("200")) || len(seen) > 0 {
		t.Errorf("a client that does not begin as HTTP/2 does was answered %q (%v)", answer, err)
	}
}

// An answer that ends an HTTP/1 connection ends one request of an HTTP/2
// connection: others may be on their way.
func TestHTTP2ConnectionOutlivesAFailedRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		fail := true
		_, l := startPiped(t, testSpec(), serveFunc(func(w http.ResponseWriter, _ *http.Request) {
			if fail {
				fail = false
				panic("for once")
			}
			io.WriteString(w, "hello from gofork")
		}))
		c := speakHTTP2(t, l.dial(t))
		c.request(1)
		c.await(dataFrame) // of the 500
		c.request(3)
		c.answered(3)
	})
}

func TestFarewellGoesBetweenFrames(t *testing.T) {
	settings := "\x00\x00\x06\x04\x00\x00\x00\x00\x00" + "\x00\x03\x00\x00\x00\x64"
	empty := "\x00\x00\x00\x04\x01\x00\x00\x00\x00"
	last := "\x00\x00\x08\x07\x00\x00\x00\x00\x00" + "\x00\x00\x00\x05\x00\x00\x00\x00"
	for name, c := range map[string]struct {
		written []string
		ask     int // after so many of them
		want    string
	}{
		"after whole frames":      {[]string{settings, empty}, 2, settings + empty + http2Farewell},
		"not before the first":    {[]string{settings, empty}, 0, settings + http2Farewell + empty},
		"not within a header":     {[]string{settings, empty[:3], empty[3:], empty}, 2, settings + empty + http2Farewell + empty},
		"not within a length":     {[]string{settings, empty[:1], empty[1:]}, 2, settings + empty + http2Farewell},
		"not within a payload":    {[]string{settings[:12], settings[12:]}, 1, settings + http2Farewell},
		"frames in one write":     {[]string{settings + empty + settings[:2], settings[2:]}, 1, settings + empty + settings + http2Farewell},
		"never after the last":    {[]string{settings + last, empty}, 1, settings + last + empty},
		"the last ends a pending": {[]string{settings[:9], settings[9:] + last}, 1, settings + last},
	} {
		t.Run(name, func(t *testing.T) {
			wire := new(written)
			h := &http2Conn{Conn: wire, table: newConnTable()}
			for i, p := range c.written {
				if i == c.ask {
					h.farewell()
				}
				if n, err := h.Write([]byte(p)); n != len(p) || err != nil {
					t.Fatal(n, err)
				}
			}
			h.farewell() // once is enough
			if got := wire.String(); got != c.want {
				t.Errorf("%q, want %q", got, c.want)
			}
		})
	}
}

// written is a connection that keeps what is written to it.
type written struct {
	net.Conn
	bytes.Buffer
}

func (w *written) Write(p []byte) (int, error) { return w.Buffer.Write(p) }
func (w *written) Read(p []byte) (int, error)  { return w.Buffer.Read(p) }
