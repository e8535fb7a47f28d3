package companion

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

func TestExitCodeOfATarget(t *testing.T) {
	stopped := func(err error) Func {
		return func(ctx context.Context, _ Target) error {
			if err := syscall.Kill(syscall.Getpid(), syscall.SIGUSR2); err != nil {
				return err
			}
			<-ctx.Done()
			return err
		}
	}
	for _, tt := range []struct {
		name   string
		run    Func
		code   int
		logged string
	}{
		{"nil", func(context.Context, Target) error { return nil }, 0, ""},
		{"error", func(context.Context, Target) error { return errors.New("it broke") }, 1, "companion failed"},
		{"panic", func(context.Context, Target) error { panic("oh no") }, 1, "companion panicked"},
		{"stopped", stopped(nil), 0, ""},
		{"stopped, the context's error", stopped(context.Canceled), 0, ""},
		{"stopped, another error", stopped(errors.New("it broke")), 1, "companion failed"},
		{"canceled unasked", func(context.Context, Target) error { return context.Canceled }, 1, "companion failed"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var log strings.Builder
			spec := TargetSpec{Target: "t", Name: "a", Instance: 2, StopSignal: syscall.SIGUSR2}
			if code := RunTarget(spec, tt.run, slog.New(slog.NewTextHandler(&log, nil))); code != tt.code {
				t.Errorf("code %d, want %d", code, tt.code)
			}
			if got := log.String(); tt.logged == "" && got != "" || !strings.Contains(got, tt.logged) {
				t.Errorf("logged %q, want %q", got, tt.logged)
			}
		})
	}
}

func TestTargetIsToldOfItself(t *testing.T) {
	spec := TargetSpec{Target: "t", Name: "a", Instance: 2, Options: map[string]any{"k": "v"}, StopSignal: syscall.SIGUSR2}
	RunTarget(spec, func(_ context.Context, got Target) error {
		if got.Name != "a" || got.Instance != 2 || got.Options["k"] != "v" || got.Logger == nil {
			t.Errorf("%+v", got)
		}
		return nil
	}, slog.New(slog.DiscardHandler))
}

func TestTickerTicksUntilItIsStopped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log strings.Builder
		ctx, stop := context.WithTimeout(t.Context(), 10*time.Second)
		defer stop()
		target := Target{Options: map[string]any{"interval": "3s"}, Logger: slog.New(slog.NewTextHandler(&log, nil))}
		if err := Ticker(ctx, target); err != nil {
			t.Error(err)
		}
		if n := strings.Count(log.String(), "msg=tick"); n != 3 {
			t.Errorf("%d ticks in 10 s of 3, want 3", n)
		}
	})
}

func TestTickerIntervals(t *testing.T) {
	for _, tt := range []struct {
		options map[string]any
		want    time.Duration // 0 = refused
	}{
		{nil, 5 * time.Second},
		{map[string]any{"interval": "250ms"}, 250 * time.Millisecond},
		{map[string]any{"interval": int64(2)}, 2 * time.Second},
		{map[string]any{"interval": 0.5}, time.Second / 2},
		{map[string]any{"interval": "soon"}, 0},
		{map[string]any{"interval": "0s"}, 0},
		{map[string]any{"interval": int64(-1)}, 0},
		{map[string]any{"interval": true}, 0},
		{map[string]any{"intervall": "1s"}, 0},
	} {
		got, err := tickerInterval(tt.options)
		if got != tt.want || (err != nil) != (tt.want == 0) {
			t.Errorf("%v: %v, %v; want %v", tt.options, got, err, tt.want)
		}
		if err != nil && !strings.HasPrefix(err.Error(), "cannot use ") {
			t.Errorf("%v: %v", tt.options, err)
		}
	}
}
