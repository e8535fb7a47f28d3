package load

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Every third request is lost by a server that closes the connection, another
// third is answered with an error: neither is tried again, and both are told.
func TestRunTellsOfEveryRequestOnce(t *testing.T) {
	t.Parallel()
	var mu sync.Mutex
	served := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		mu.Lock()
		served++
		nth := served
		mu.Unlock()
		switch nth % 3 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()

	const enough = 30
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	began := time.Now()
	failed, told := 0, 0
	r := Run(ctx, Plan{
		Addr: strings.TrimPrefix(server.URL, "http://"), Path: "/", Conns: 3, Rate: 1000, Timeout: 10 * time.Second,
		Each: func(s Sample) {
			mu.Lock()
			defer mu.Unlock()
			told++
			if s.Err != nil {
				failed++
			}
			if s.Due.Before(began) || s.Took < 0 {
				t.Errorf("due %s after the beginning, took %s", s.Due.Sub(began), s.Took)
			}
			if told == enough {
				cancel()
			}
		},
	})
	if told < enough || told != served || told != r.Requests {
		t.Errorf("told of %d requests, served %d, counted %d", told, served, r.Requests)
	}
	if want := served - (served+1)/3; failed != want || r.Failed != want {
		t.Errorf("%d of %d failed, counted %d; want %d", failed, served, r.Failed, want)
	}
}
