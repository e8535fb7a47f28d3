package config

import (
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func TestDiffNamesWhatChanged(t *testing.T) {
	before := loadText(t, `
[server]
bind = [":1", ":2"]
[worker]
command = ["app"]
count = 2
[companion.gone]
command = ["x"]
[companion.same]
command = ["x"]
[companion.scaled]
command = ["x"]
[companion.edited]
command = ["x"]
env = { A = "1", B = "1" }
[companion.parked]
command = ["x"]
`)
	after := loadText(t, `
[server]
bind = [":2", ":3"]
graceful_timeout = "31s"
[worker]
command = ["app"]
count = 3
timeout = 0
[log]
level = "debug"
[companion.new]
command = ["x"]
[companion.same]
command = "x"
[companion.scaled]
command = ["x"]
numprocs = 2
[companion.edited]
command = ["x", "y"]
env = { A = "2", C = "1" }
[companion.parked]
command = ["x"]
autostart = false
`)
	before.Control.Socket, before.Server.RuntimeDir = after.Control.Socket, after.Server.RuntimeDir
	want := Change{
		Added: []string{"new"}, Removed: []string{"gone"}, Changed: []string{"edited"}, Scaled: []string{"scaled"},
		Unchanged: []string{"parked", "same"},
		Keys: map[string][]string{
			"edited": {"command", "env.A", "env.B", "env.C"},
			"scaled": {"numprocs"},
			"parked": {"autostart"},
		},
		ListenersAdded: []string{":3"}, ListenersRemoved: []string{":1"}, ListenersKept: []string{":2"},
		Worker:   []string{"count", "timeout"},
		Settings: []string{"log.level", "server.graceful_timeout"},
	}
	if diff := cmp.Diff(want, Diff(before, after)); diff != "" {
		t.Error(diff)
	}
}

func TestDiffWithNothing(t *testing.T) {
	c := loadText(t, "[worker]\ncommand = [\"x\"]\n[companion.a]\ncommand = [\"x\"]\n")
	up, down := Diff(nil, c), Diff(c, nil)
	if !slices.Equal(up.Added, []string{"a"}) || !slices.Equal(up.Worker, []string{"worker"}) || len(up.ListenersAdded) != 1 {
		t.Errorf("from nothing: %+v", up)
	}
	if !slices.Equal(down.Removed, []string{"a"}) || len(down.ListenersRemoved) != 1 {
		t.Errorf("to nothing: %+v", down)
	}
}

// Every companion of either side is in exactly one list, and a swap of the sides swaps
// added and removed and keeps the rest.
func TestDiffIsAPartition(t *testing.T) {
	companions := rapid.Custom(func(t *rapid.T) *Config {
		c := &Config{}
		for name := range 6 {
			if rapid.Bool().Draw(t, "there") {
				s := Companion{
					Name:     fmt.Sprint("c", name),
					Numprocs: rapid.IntRange(1, 2).Draw(t, "numprocs"),
				}
				s.Process.Nice = rapid.IntRange(0, 1).Draw(t, "nice")
				s.Hash = hashOf(&s)
				c.Companions = append(c.Companions, s)
			}
		}
		return c
	})
	rapid.Check(t, func(t *rapid.T) {
		before, after := companions.Draw(t, "before"), companions.Draw(t, "after")
		c, back := Diff(before, after), Diff(after, before)
		all := slices.Concat(c.Added, c.Removed, c.Changed, c.Scaled, c.Unchanged)
		var names []string
		for _, s := range slices.Concat(before.Companions, after.Companions) {
			names = append(names, s.Name)
		}
		slices.Sort(all)
		slices.Sort(names)
		if !slices.Equal(all, slices.Compact(names)) {
			t.Fatalf("%v is no partition of %v", all, names)
		}
		for _, name := range c.Changed {
			if len(c.Keys[name]) == 0 {
				t.Fatalf("%s has changed and no key says why", name)
			}
		}
		c.Added, c.Removed = c.Removed, c.Added
		if diff := cmp.Diff(c, back); diff != "" {
			t.Fatal(diff)
		}
	})
}
