package worker

import (
	"net"
	"net/http"
	"testing"
)

// BenchmarkHello compares the hello handler served by this package with the same
// handler served by net/http alone, in turns within one run.
func BenchmarkHello(b *testing.B) {
	plain := func(b *testing.B) net.Addr {
		l := listen(b)
		s := &http.Server{Handler: load(b, Hello, nil)}
		done := make(chan struct{})
		go func() { s.Serve(l); close(done) }()
		b.Cleanup(func() { s.Close(); <-done })
		return l.Addr()
	}
	worker := func(b *testing.B) net.Addr {
		l := listen(b)
		startWorker(b, testSpec(), Hello, Options{}, l)
		return l.Addr()
	}
	for _, turn := range []string{"1", "2", "3"} {
		b.Run("plain/"+turn, func(b *testing.B) { keepAliveLoad(b, plain(b)) })
		b.Run("worker/"+turn, func(b *testing.B) { keepAliveLoad(b, worker(b)) })
	}
}

// keepAliveLoad sends b.N requests over keep-alive connections, with as little work on
// the client's side as possible.
func keepAliveLoad(b *testing.B, addr net.Addr) {
	request := []byte("GET / HTTP/1.1\r\nHost: x\r\nUser-Agent: bench\r\nAccept: */*\r\n\r\n")
	b.ReportAllocs()
	b.SetParallelism(4)
	b.RunParallel(func(pb *testing.PB) {
		c, err := net.Dial("tcp", addr.String())
		if err != nil {
			b.Error(err)
			return
		}
		defer c.Close()
		var answer [4096]byte
		for pb.Next() {
			if _, err := c.Write(request); err != nil {
				b.Error(err)
				return
			}
			// A small answer arrives whole.
			if _, err := c.Read(answer[:]); err != nil {
				b.Error(err)
				return
			}
		}
	})
}
