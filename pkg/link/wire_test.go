package link

import (
	"reflect"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/gofork/gofork/pkg/control"
)

// filled has a value in every field that travels.
func filled() Message {
	at, code, name := time.Unix(1_700_000_000, 123), 0, "SIGKILL"
	return Message{More: true, Instance: &Instance{
		Companion: control.Companion{
			Name: "rq", Instance: 2, State: control.Running, Desired: control.Up, PID: 14, Hash: "0123456789ab", StartedAt: &at,
			Restarts: 1, Exits: 2, Failures: 3, StopKills: 4, NextRetryAt: &at,
			LastExit: &control.Exit{At: at, Code: &code, Signal: &name, Expected: true, Reason: "exited"},
		},
		Group: 14, StopSignal: syscall.SIGTERM, StopTimeout: time.Minute, StopGroup: true, Piped: []int{1, 2},
	}}
}

func passed(t *testing.T, m Message) Message {
	t.Helper()
	frame, err := appendFrame(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	got, err := readFrame(frame[4], frame[frameHead:], map[string]string{})
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func TestInstancesAndEventsArriveAsTheyWere(t *testing.T) {
	for name, m := range map[string]Message{
		"instance":          filled(),
		"empty instance":    {Instance: &Instance{}},
		"one that is quiet": {Instance: &Instance{Companion: control.Companion{LastExit: &control.Exit{At: time.Unix(1, 0)}}}},
		"event":             {More: true, Event: &Event{Time: time.Unix(5, 6), Level: "INFO", Event: "companion.started", Message: "booting companion", Attrs: Attrs(`{"pid":1}`)}},
		"event of nothing":  {Event: &Event{Time: time.Unix(0, 0)}},
	} {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(m, passed(t, m)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// An uptime is the distance from such a time: it must not change when the clock
// is set.
func TestMomentsKeepTheirDistanceWhenTheClockIsSet(t *testing.T) {
	now := time.Now()
	started, retry := now.Add(-time.Hour), now.Add(time.Minute)
	got := passed(t, Message{Instance: &Instance{Companion: control.Companion{StartedAt: &started, NextRetryAt: &retry}}}).Instance
	for _, pair := range [][2]time.Time{{*got.StartedAt, started}, {*got.NextRetryAt, retry}} {
		arrived, sent := pair[0], pair[1]
		if !arrived.Round(0).Equal(sent.Round(0)) {
			t.Errorf("%v arrived as %v", sent, arrived)
		}
		// Sent and arrived have their readings from two calls of time.Now.
		if !strings.Contains(arrived.String(), " m=") || arrived.Sub(sent).Abs() > time.Second {
			t.Errorf("%v arrived as %v, %v away", sent, arrived, arrived.Sub(sent))
		}
	}
}

// Whoever adds a field has to say how it travels: filled has it then, and the
// test above sees whether it arrives. These are made where they are shown.
func TestEveryFieldOfAnInstanceTravels(t *testing.T) {
	madeElsewhere := map[string]bool{"UptimeSeconds": true, "Description": true, "Essential": true}
	var look func(v reflect.Value)
	look = func(v reflect.Value) {
		for f, value := range v.Fields() {
			switch {
			case f.Anonymous:
				look(value)
			case value.IsZero() != madeElsewhere[f.Name]:
				t.Errorf("%s: empty is %v", f.Name, value.IsZero())
			}
		}
	}
	look(reflect.ValueOf(*filled().Instance))
	look(reflect.ValueOf(*filled().Instance.LastExit))
}

func TestFrameOfTheWrongLengthIsRefused(t *testing.T) {
	m := filled()
	frame, err := appendFrame(nil, &m)
	if err != nil {
		t.Fatal(err)
	}
	payload := frame[frameHead:]
	for n := range payload {
		if _, err := readFrame(kindInstance, payload[:n], map[string]string{}); err == nil {
			t.Errorf("%d of %d bytes were taken for an instance", n, len(payload))
		}
	}
	if _, err := readFrame(kindInstance, append(payload, 0), map[string]string{}); err == nil {
		t.Error("a byte too many was taken")
	}
}

func BenchmarkInstance(b *testing.B) {
	m, words := filled(), map[string]string{}
	var frame []byte
	b.ReportAllocs()
	for b.Loop() {
		frame, _ = appendFrame(frame[:0], &m)
		if _, err := readFrame(frame[4], frame[frameHead:], words); err != nil {
			b.Fatal(err)
		}
	}
}

// A new field that the wire form does not know would be lost without a word.
func TestFilledInstanceHasEveryFieldThatTravels(t *testing.T) {
	made := map[string]string{ // by the arbiter, when it is asked
		"UptimeSeconds": "of the moment", "Description": "of the moment", "Essential": "known from the configuration",
	}
	i := filled().Instance
	for _, part := range []any{i.Companion, *i, *i.LastExit} {
		v := reflect.ValueOf(part)
		for n := range v.NumField() {
			name := v.Type().Field(n).Name
			if v.Field(n).IsZero() != (made[name] != "") && name != "Code" {
				t.Errorf("%s.%s: set %v; does the wire form know it?", v.Type().Name(), name, !v.Field(n).IsZero())
			}
		}
	}
}
