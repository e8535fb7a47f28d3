package control

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"math"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

func badRequest(format string, args ...any) *Error {
	return Errorf(http.StatusBadRequest, CodeBadRequest, format, args...)
}

// queryOf parses the query; a parameter that the path does not know is an error,
// for a misspelt one must not mean "yes, now".
func queryOf(r *http.Request, allowed ...string) (url.Values, error) {
	q, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, badRequest("cannot read the query: %v", err)
	}
	for name, values := range q {
		switch {
		case len(allowed) == 0:
			return nil, badRequest("cannot use parameter %q: %s takes none", name, r.URL.Path)
		case !slices.Contains(allowed, name):
			return nil, badRequest("cannot use parameter %q: only %s", name, strings.Join(allowed, ", "))
		case len(values) != 1:
			return nil, badRequest("cannot use parameter %q: given %d times", name, len(values))
		}
	}
	return q, nil
}

func boolParam(q url.Values, name string, unset bool) (bool, error) {
	if !q.Has(name) {
		return unset, nil
	}
	v, err := strconv.ParseBool(q.Get(name))
	if err != nil {
		return false, badRequest("cannot use %s=%q: must be true or false", name, q.Get(name))
	}
	return v, nil
}

func intParam(q url.Values, name string, unset, limit int) (int, error) {
	if !q.Has(name) {
		return unset, nil
	}
	v, err := strconv.Atoi(q.Get(name))
	if err != nil || v < 0 || v > limit {
		return 0, badRequest("cannot use %s=%q: must be a number from 0 to %d", name, q.Get(name), limit)
	}
	return v, nil
}

// waitOf is the context of a request that waits: it ends when the peer goes away
// and after ?timeout=, a duration ("1m30s") or a number of seconds.
func waitOf(r *http.Request, q url.Values) (context.Context, context.CancelFunc, error) {
	if !q.Has("timeout") {
		ctx, cancel := context.WithCancel(r.Context())
		return ctx, cancel, nil
	}
	d, err := parseTimeout(q.Get("timeout"))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(r.Context(), d)
	return ctx, cancel, nil
}

func parseTimeout(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	if seconds, numErr := strconv.ParseFloat(s, 64); numErr == nil {
		if math.IsNaN(seconds) || math.Abs(seconds) > math.MaxInt64/float64(time.Second)/2 {
			return 0, badRequest("cannot use timeout=%q: must be a duration or a number of seconds", s)
		}
		d, err = time.Duration(seconds*float64(time.Second)), nil
	}
	switch {
	case err != nil:
		return 0, badRequest("cannot use timeout=%q: must be a duration or a number of seconds", s)
	case d <= 0:
		return 0, badRequest("cannot use timeout=%q: must be more than 0", s)
	}
	return d, nil
}

// targetOf is the companion that the path names.
func targetOf(r *http.Request) (name string, instance int, err error) {
	name, instance, err = ParseTarget(r.PathValue("target"))
	if err != nil {
		return "", 0, badRequest("%v", err)
	}
	return name, instance, nil
}

// decode reads a JSON body strictly; an empty one leaves v as it is.
func decode(body []byte, v any) error {
	body = bytes.TrimSpace(body)
	if len(body) == 0 {
		return nil
	}
	if body[0] != '{' {
		return badRequest("cannot read the body: must be a JSON object")
	}
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(v); err != nil {
		return badRequest("cannot read the body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("cannot read the body: something follows the JSON object")
	}
	return nil
}
