package config

import (
	"reflect"
	"syscall"
	"testing"
	"time"
)

// A hash that another release computes differently restarts every companion at the
// upgrade. These two must never change.
func TestHashIsStableOverReleases(t *testing.T) {
	plain := Companion{
		Name: "mailer", Numprocs: 1, Autostart: true, Autorestart: RestartAlways, SuccessCodes: []int{0},
		Process:   Process{Command: []string{"mailer"}, Env: map[string]string{}, Umask: Inherit, Stdout: "inherit", Stderr: "inherit"},
		Startsecs: time.Second, BackoffInitial: time.Second, BackoffMax: 30 * time.Second, BackoffReset: 30 * time.Second,
		StopSignal: syscall.SIGTERM, StopTimeout: time.Minute, ReloadTimeout: time.Minute, StopGroup: true, LogBackups: 10,
	}
	full := plain
	full.Target, full.Options = "ticker", map[string]any{"interval": "5s", "b": int64(1), "a": []any{1.5}}
	full.Env = map[string]string{"B": "2", "A": "1"}
	full.Credential = &Credential{User: "www", UID: 33, GID: 33, Groups: []uint32{33}, Home: "/var/www", Login: "www"}
	full.Rlimits = []Rlimit{{Name: "nofile", Resource: 7, Soft: 1, Hard: RlimInfinity}}
	full.HashFiles = []HashFile{{Path: "/x", Sum: "00"}}
	full.OnReload = OnReload{Signal: syscall.SIGHUP}
	full.Essential, full.NoNewPrivs, full.MaxMemory = true, true, 1<<30
	for name, tt := range map[string]struct {
		c    Companion
		want string
	}{
		"plain": {plain, "7432ce2dae44"},
		"full":  {full, "53e5436dbb43"},
	} {
		if got := hashOf(&tt.c); got != tt.want {
			t.Errorf("%s: got %s, want %s", name, got, tt.want)
		}
	}
}

func TestHashLeavesOutScaleAndStart(t *testing.T) {
	a := Companion{Name: "a", Numprocs: 1, Autostart: true}
	b := Companion{Name: "a", Numprocs: 9, Hash: "old"}
	b.Rlimits = []Rlimit{}
	if hashOf(&a) != hashOf(&b) {
		t.Error("numprocs, autostart or the hash itself counts")
	}
}

// Every field of a companion but those counts (of env files what is in them does): a new field that is forgotten in
// canonical would make a changed spec look unchanged.
func TestHashCountsEveryField(t *testing.T) {
	ignored := map[string]bool{"Numprocs": true, "Autostart": true, "Hash": true, "Resource": true, "EnvFiles": true}
	var zero Companion
	base := hashOf(&zero)
	var try func(v reflect.Value, path string, c *Companion)
	try = func(v reflect.Value, path string, c *Companion) {
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			f := v.Field(i)
			if ignored[name] {
				continue
			}
			before := reflect.New(f.Type()).Elem()
			before.Set(f)
			switch f.Kind() {
			case reflect.Struct:
				try(f, path+name+".", c)
				continue
			case reflect.String:
				f.SetString("x")
			case reflect.Int, reflect.Int64:
				f.SetInt(77)
			case reflect.Float64:
				f.SetFloat(0.5)
			case reflect.Bool:
				f.SetBool(true)
			case reflect.Pointer:
				f.Set(reflect.New(f.Type().Elem()))
			case reflect.Slice:
				f.Set(reflect.MakeSlice(f.Type(), 1, 1))
			case reflect.Map:
				m := reflect.MakeMap(f.Type())
				m.SetMapIndex(reflect.ValueOf("k"), reflect.Zero(f.Type().Elem()))
				f.Set(m)
			default:
				t.Fatalf("%s%s: kind %s is not tried", path, name, f.Kind())
			}
			if hashOf(c) == base {
				t.Errorf("%s%s does not count", path, name)
			}
			f.Set(before)
		}
	}
	try(reflect.ValueOf(&zero).Elem(), "", &zero)
}
