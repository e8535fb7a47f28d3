package link

import (
	"encoding/json"
	"log/slog"
	"strconv"
)

// Attrs are the attributes of an event as one JSON object, nil when there are
// none. They are written once and read only when somebody follows the events or
// a hook is about one: with a thousand companions mostly nobody does.
type Attrs []byte

// AttrsOf writes attributes; a duration becomes a number of seconds. What JSON
// cannot say (NaN, a channel) is left out.
func AttrsOf(attrs []slog.Attr) Attrs {
	if len(attrs) == 0 {
		return nil
	}
	b := append(make(Attrs, 0, 128), '{')
	for _, a := range attrs {
		end := len(b)
		if end > 1 {
			b = append(b, ',')
		}
		b = append(appendString(b, a.Key), ':')
		var ok bool
		if b, ok = appendValue(b, a.Value); !ok {
			b = b[:end]
		}
	}
	return append(b, '}')
}

// Map reads the attributes.
func (a Attrs) Map() map[string]any {
	var m map[string]any
	_ = json.Unmarshal(a, &m) // nil where there are none; AttrsOf wrote the others
	return m
}

func appendValue(b []byte, v slog.Value) (_ []byte, ok bool) {
	switch v.Kind() {
	case slog.KindString:
		return appendString(b, v.String()), true
	case slog.KindInt64:
		return strconv.AppendInt(b, v.Int64(), 10), true
	case slog.KindUint64:
		return strconv.AppendUint(b, v.Uint64(), 10), true
	case slog.KindBool:
		return strconv.AppendBool(b, v.Bool()), true
	case slog.KindDuration:
		return appendJSON(b, v.Duration().Seconds())
	default:
		return appendJSON(b, v.Any())
	}
}

// appendString quotes plain text itself and leaves the rest to encoding/json.
func appendString(b []byte, s string) []byte {
	for i := range len(s) {
		if c := s[i]; c < ' ' || c > '~' || c == '"' || c == '\\' {
			b, _ = appendJSON(b, s) // a string can always be written
			return b
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func appendJSON(b []byte, v any) (_ []byte, ok bool) {
	text, err := json.Marshal(v)
	if err != nil {
		return b, false
	}
	return append(b, text...), true
}
