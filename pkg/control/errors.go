package control

import (
	"context"
	"errors"
	"fmt"
	"net/http"
)

// The codes of an [Error]: stable, for programs; the message is for people.
const (
	CodeBadRequest       = "bad_request"        // 400
	CodeUnauthorized     = "unauthorized"       // 401: the admin address, no or wrong token
	CodeForbidden        = "forbidden"          // 403
	CodeNotFound         = "not_found"          // 404: no such path
	CodeUnknownCompanion = "unknown_companion"  // 404
	CodeMethodNotAllowed = "method_not_allowed" // 405
	CodeConflict         = "conflict"           // 409: not in this state, or the action failed
	CodeReloadFailed     = "reload_failed"      // 409: the result of the reload is beside the error
	CodeTooLarge         = "too_large"          // 413
	CodeInternal         = "internal"           // 500: a fault of gofork
	CodeUnavailable      = "unavailable"        // 503: gofork has as good as ended, or too much is going on
	CodeNotSupported     = "not_supported"      // 503: not by this gofork
	CodeTimeout          = "timeout"            // 504: a wait timed out; the work goes on
)

// Errorf makes an Error; %w is not understood, an Error wraps nothing.
func Errorf(status int, code, format string, args ...any) *Error {
	return &Error{Status: status, Code: code, Message: fmt.Sprintf(format, args...)}
}

// UnknownCompanion is the error for a target that no companion or instance has.
func UnknownCompanion(target string) *Error {
	return Errorf(http.StatusNotFound, CodeUnknownCompanion, "cannot find companion %q: not in the configuration", target)
}

// Conflictf is the error of an action that the present state refuses, or that was tried and failed.
func Conflictf(format string, args ...any) *Error {
	return Errorf(http.StatusConflict, CodeConflict, format, args...)
}

// Unavailablef is the error of a request that comes too early, too late, or when too
// much is going on.
func Unavailablef(format string, args ...any) *Error {
	return Errorf(http.StatusServiceUnavailable, CodeUnavailable, format, args...)
}

// errorOf says how err is answered.
func errorOf(err error) *Error {
	var e *Error
	switch {
	case errors.As(err, &e):
		return e
	case errors.Is(err, context.DeadlineExceeded):
		return Errorf(http.StatusGatewayTimeout, CodeTimeout, "cannot wait any longer: the timeout is over, the work goes on")
	case errors.Is(err, context.Canceled):
		return Unavailablef("cannot answer: gofork is ending the connection")
	}
	return Errorf(http.StatusInternalServerError, CodeInternal, "%v", err)
}
