package worker

import (
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// monotonic reports whether a time keeps its distance from others when the clock
// of the machine is set: it has a reading of the one that cannot be.
func monotonic(t time.Time) bool { return strings.Contains(t.String(), " m=") }

func TestTheDrainDelayIsNoLongerWhenTheClockIsSetBack(t *testing.T) {
	client, server := net.Pipe()
	defer client.Close()
	table := newConnTable()
	close(table.draining)
	start := time.Now()
	c := table.add(server, nil)
	defer c.Close()
	due, ok := c.dueAt(start, time.Second)
	if !ok || !monotonic(due) {
		t.Errorf("due %v, %t: the wall clock decides", due, ok)
	}
	if rest := due.Sub(start); rest < time.Second || rest > 2*time.Second {
		t.Errorf("due %v after the start of the drain, want a second", rest)
	}
}

func TestADeadUpstreamRestsNoLongerWhenTheClockIsSetBack(t *testing.T) {
	gone, err := url.Parse(dead(t))
	if err != nil {
		t.Fatal(err)
	}
	u := &upstreams{list: []*upstream{{url: gone}}, transport: &http.Transport{}}
	if resp, err := u.RoundTrip(httptest.NewRequest("GET", "/", nil)); err == nil {
		resp.Body.Close()
		t.Fatal("a dead upstream has answered")
	}
	if until := u.list[0].until.Load(); until == nil || !monotonic(*until) {
		t.Errorf("it rests until %v: the wall clock decides", until)
	}
}
