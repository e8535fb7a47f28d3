package companion

import (
	"context"
	"fmt"
	"time"
)

// Ticker is the target "ticker" of the stock binary: it logs a line each
// interval (option "interval": a duration string or a number of seconds,
// default 5 s), until it is told to stop.
func Ticker(ctx context.Context, t Target) error {
	interval, err := tickerInterval(t.Options)
	if err != nil {
		return err
	}
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for n := 1; ; n++ {
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
			t.Logger.Info("tick", "n", n)
		}
	}
}

func tickerInterval(options map[string]any) (time.Duration, error) {
	for name := range options {
		if name != "interval" {
			return 0, fmt.Errorf("cannot use option %q: the ticker knows interval only", name)
		}
	}
	interval := 5 * time.Second
	switch v := options["interval"].(type) {
	case nil:
	case string:
		d, err := time.ParseDuration(v)
		if err != nil {
			return 0, fmt.Errorf("cannot use interval %q: must be a duration such as \"5s\"", v)
		}
		interval = d
	case int64:
		interval = time.Duration(v) * time.Second
	case float64: // every number, once it has been JSON
		interval = time.Duration(v * float64(time.Second))
	default:
		return 0, fmt.Errorf("cannot use interval %v: must be a duration such as \"5s\"", v)
	}
	if interval < time.Millisecond {
		return 0, fmt.Errorf("cannot use interval %v: must be at least 1ms", interval)
	}
	return interval, nil
}
