package config

import (
	"fmt"
	"math"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
)

const (
	// maxDuration bounds every duration, so that sums of them cannot overflow.
	maxDuration = 10 * 365 * 24 * time.Hour
	// maxSize bounds every size: 1 PiB.
	maxSize = 1 << 50
	// unset is the duration of a key that is derived from others when it is empty.
	unset time.Duration = -1
)

const durationRule = `must be a duration such as "30s", "5m" or "1h30m", or a number of seconds`

// parseDuration reads a string with units or a number of seconds.
func parseDuration(k *Key, raw any) (time.Duration, string) {
	var d time.Duration
	switch v := raw.(type) {
	case string:
		if v == "" && k.Default == "" {
			return unset, ""
		}
		var err error
		if d, err = time.ParseDuration(v); err != nil {
			return 0, durationRule
		}
	case int64:
		if v > int64(maxDuration/time.Second) {
			return 0, "must be at most 10 years"
		}
		if v < 0 {
			return 0, "must not be negative"
		}
		d = time.Duration(v) * time.Second
	case float64:
		if math.IsNaN(v) {
			return 0, durationRule
		}
		if v > maxDuration.Seconds() {
			return 0, "must be at most 10 years"
		}
		if v < 0 {
			return 0, "must not be negative"
		}
		d = time.Duration(math.Round(v * float64(time.Second)))
	default:
		return 0, durationRule
	}
	switch {
	case d < 0:
		return 0, "must not be negative"
	case d > maxDuration:
		return 0, "must be at most 10 years"
	case k.Above && d == 0:
		return 0, "must be above 0"
	}
	return d, ""
}

// parseSize reads a string with a unit or a number of bytes.
func parseSize(k *Key, raw any) (int64, string) {
	const rule = `must be a size such as "512MiB", "64KiB" or "10MB", or a number of bytes`
	limit := int64(maxSize)
	if k.Max > 0 {
		limit = int64(k.Max)
	}
	var n int64
	switch v := raw.(type) {
	case string:
		if strings.HasPrefix(v, "-") {
			return 0, "must not be negative"
		}
		u, err := humanize.ParseBytes(v)
		if err != nil && strings.HasPrefix(err.Error(), "too large") {
			u = math.MaxInt64
		} else if err != nil || strings.Contains(v, ",") { // "1,5" would be 15
			return 0, rule
		}
		n = int64(min(u, math.MaxInt64))
	case int64:
		n = v
	default:
		return 0, rule
	}
	switch {
	case n < 0:
		return 0, "must not be negative"
	case float64(n) < k.Min:
		return 0, fmt.Sprintf("must be at least %s", humanize.IBytes(uint64(k.Min)))
	case n > limit:
		return 0, fmt.Sprintf("must be at most %s", humanize.IBytes(uint64(limit)))
	}
	return n, ""
}
