package config

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

func octal(mode fs.FileMode) string { return fmt.Sprintf("%#04o", uint32(mode)) }

// FormatDuration writes "1m30s" and "5m", where time.Duration writes "5m0s".
func FormatDuration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

// FormatSize is a size as a file has it: with the largest unit that is exact, or as a
// number of bytes.
func FormatSize(n int64) any {
	units := []string{"", "KiB", "MiB", "GiB", "TiB", "PiB"}
	i := 0
	for ; n > 0 && n%1024 == 0 && i < len(units)-1; i++ {
		n /= 1024
	}
	if i == 0 {
		return n
	}
	return strconv.FormatInt(n, 10) + units[i]
}

// formatSignal writes a name, or the number of a signal that has none.
func formatSignal(s syscall.Signal) any {
	switch name := unix.SignalName(s); {
	case s == 0:
		return ""
	case name == "":
		return int64(s)
	default:
		return name
	}
}

// FormatTOML writes a configuration as [Config.Effective] gives it as a TOML file,
// in the order of its documentation. Keys that are not in [Keys] are left out.
func FormatTOML(tree map[string]any) string {
	var b strings.Builder
	write := func(table, path string) {
		t := tableAt(tree, path)
		if t == nil {
			return
		}
		var keys []Key
		for _, k := range Keys() {
			if _, ok := t[k.Name]; ok && k.Table == table {
				keys = append(keys, k)
			}
		}
		if path != "" && len(keys) > 0 {
			fmt.Fprintf(&b, "\n[%s]\n", path)
		}
		for _, k := range keys {
			fmt.Fprintf(&b, "%s = %s\n", k.Name, FormatValue(t[k.Name]))
		}
	}
	for _, table := range []string{"", "server", "worker", "worker.http", "manager"} {
		write(table, table)
	}
	companions, _ := tree[companionTable].(map[string]any)
	for _, name := range slices.Sorted(maps.Keys(companions)) {
		write(companionTable, join(companionTable, name))
	}
	for _, table := range []string{"log", "control", "admin", hooksTable} {
		write(table, table)
	}
	return b.String()
}

// tableAt is the table at a dotted path, nil when it is not there.
func tableAt(tree map[string]any, path string) map[string]any {
	if path == "" {
		return tree
	}
	for step := range strings.SplitSeq(path, ".") {
		tree, _ = tree[step].(map[string]any)
	}
	return tree
}

// FormatValue writes a string, bool, number, array or table as a TOML value on one
// line. Bytes that are not UTF-8, which TOML cannot write, become U+FFFD.
func FormatValue(v any) string {
	switch v := v.(type) {
	case string:
		return quote(v)
	case float64:
		return strconv.FormatFloat(v, 'g', -1, 64) // a whole one without fraction, as JSON has it
	case []string:
		return FormatValue(list(v))
	case []any:
		words := make([]string, len(v))
		for i, e := range v {
			words[i] = FormatValue(e)
		}
		return "[" + strings.Join(words, ", ") + "]"
	case map[string]any:
		var pairs []string
		for _, name := range slices.Sorted(maps.Keys(v)) {
			pairs = append(pairs, formatKey(name)+" = "+FormatValue(v[name]))
		}
		if len(pairs) == 0 {
			return "{}"
		}
		return "{ " + strings.Join(pairs, ", ") + " }"
	case fmt.Stringer: // a date or time; go-toml's are
		return v.String()
	default:
		return fmt.Sprint(v)
	}
}

// formatKey writes a key, quoted where it has to be.
func formatKey(name string) string {
	if isBare(name) {
		return name
	}
	return quote(name)
}

// quote writes a basic string. (strconv.Quote has escapes that TOML has not.)
func quote(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, c := range s {
		switch {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteRune(c)
		case c == '\n':
			b.WriteString(`\n`)
		case c == '\t':
			b.WriteString(`\t`)
		case c == '\r':
			b.WriteString(`\r`)
		case c < ' ' || c == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, c)
		default:
			b.WriteRune(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}
