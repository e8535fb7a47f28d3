package workertest

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync/atomic"
)

// Once makes a request with a body fail where its transport would have to send it a
// second time, as HTTP/2 lets it for those that a GOAWAY disclaims.
func Once(req *http.Request) *http.Request {
	sent := new(atomic.Bool)
	req = req.WithContext(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{WroteHeaders: func() { sent.Store(true) }}))
	again := req.GetBody
	req.GetBody = func() (io.ReadCloser, error) {
		if sent.Load() {
			return nil, errors.New("sent, and not answered")
		}
		return again() // the connection that was chosen was no good any more
	}
	return req
}
