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
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"
)

// call is one request on its way to its answer, read and checked as far as that is
// the same for all.
type call struct {
	*http.Request
	query url.Values // of the parameters that its endpoint knows, each once
	body  []byte
}

// callOf reads what the endpoint knows, and refuses what it does not.
func callOf(r *http.Request, e endpoint) (*call, error) {
	c := &call{Request: r}
	c.body, _ = r.Context().Value(bodyKey{}).([]byte)
	if e.probe {
		return c, nil
	}
	var err error
	if c.query, err = queryOf(r, e.params...); err != nil {
		return nil, err
	}
	if e.method == http.MethodPost && !e.hasBody {
		return c, decode(c.body, &struct{}{})
	}
	return c, nil
}

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

// boolean is a parameter that is true or false.
func (c *call) boolean(name string, unset bool) (bool, error) {
	if !c.query.Has(name) {
		return unset, nil
	}
	v, err := strconv.ParseBool(c.query.Get(name))
	if err != nil {
		return false, badRequest("cannot use %s=%q: must be true or false", name, c.query.Get(name))
	}
	return v, nil
}

// number is a parameter that is a whole number up to limit.
func (c *call) number(name string, unset, limit int) (int, error) {
	if !c.query.Has(name) {
		return unset, nil
	}
	v, err := strconv.Atoi(c.query.Get(name))
	if err != nil || v < 0 || v > limit {
		return 0, badRequest("cannot use %s=%q: must be a number from 0 to %d", name, c.query.Get(name), limit)
	}
	return v, nil
}

// target is the companion that the path names.
func (c *call) target() (name string, instance int, err error) {
	name, instance, err = ParseTarget(c.PathValue("target"))
	if err != nil {
		return "", 0, badRequest("%v", err)
	}
	return name, instance, nil
}

// waiting is the context of a request that waits: it ends when the peer goes away
// and after ?timeout=, a duration ("1m30s") or a number of seconds.
func (c *call) waiting() (context.Context, context.CancelFunc, error) {
	if !c.query.Has("timeout") {
		ctx, cancel := context.WithCancel(c.Context())
		return ctx, cancel, nil
	}
	d, err := parseTimeout(c.query.Get("timeout"))
	if err != nil {
		return nil, nil, err
	}
	ctx, cancel := context.WithTimeout(c.Context(), d)
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
		var wrong *json.UnmarshalTypeError
		if errors.As(err, &wrong) && wrong.Field != "" {
			return badRequest("cannot use %s in %q: must be %s", wrong.Value, wrong.Field, inJSON(wrong.Type))
		}
		return badRequest("cannot read the body: %s", strings.TrimPrefix(err.Error(), "json: "))
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return badRequest("cannot read the body: something follows the JSON object")
	}
	return nil
}

// inJSON is the form of a type's values for people who know JSON and not Go.
func inJSON(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int:
		return "a whole number"
	default:
		return "a " + t.Kind().String()
	}
}
