package config

import (
	"errors"
	"fmt"
	"sort"
	"strconv"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// lines says on which line of a file a key stands: of a table its header or, without
// one, its first key. It is made only when something is wrong, because it costs
// about as much as decoding.
type lines map[string]int

// of returns the line of key or else of the table around it, 0 when the file has neither.
func (ls lines) of(key string) int {
	for key != "" {
		if n, ok := ls[key]; ok {
			return n
		}
		key = parentOf(key)
	}
	return 0
}

// linesOf finds the keys of a document as far as its syntax is right.
func linesOf(doc []byte) lines {
	found := lines{}
	walkKeys(doc, func(key string, line int, _ expression) {
		if _, seen := found[key]; !seen {
			found[key] = line
		}
	})
	return found
}

// expression is one statement of a document: a header or a key with its value.
type expression struct {
	key    string
	header bool
	start  int            // offset of its first key
	value  *unstable.Node // nil for a header; only good while it is visited
}

// walkKeys calls visit for every key of doc, in order, elements of arrays included.
func walkKeys(doc []byte, visit func(key string, line int, e expression)) {
	starts := []int{0}
	for i, c := range doc {
		if c == '\n' {
			starts = append(starts, i+1)
		}
	}
	lineAt := func(offset uint32) int {
		return sort.Search(len(starts), func(i int) bool { return starts[i] > int(offset) })
	}
	var p unstable.Parser
	p.Reset(doc)
	table := ""
	for p.NextExpression() {
		node := p.Expression()
		if node.Kind == unstable.Comment {
			continue
		}
		prefix := table
		e := expression{header: node.Kind != unstable.KeyValue}
		if e.header {
			prefix = ""
		}
		key, first := visitKey(node.Key(), prefix, func(string, uint32) {})
		e.key, e.start = key, int(first)
		if !e.header {
			e.value = node.Value()
		}
		report := func(key string, offset uint32) { visit(key, lineAt(offset), e) }
		visitKey(node.Key(), prefix, report)
		if e.header {
			table = key
			continue
		}
		visitValue(node.Value(), key, first, report)
	}
}

// visitKey reports each step of a dotted key and returns the whole and its offset.
func visitKey(parts unstable.Iterator, prefix string, visit func(string, uint32)) (string, uint32) {
	key, first, started := prefix, uint32(0), false
	for parts.Next() {
		if !started {
			first, started = parts.Node().Raw.Offset, true
		}
		key = join(key, string(parts.Node().Data))
		visit(key, first)
	}
	return key, first
}

// visitValue reports what is inside an array or an inline table. Arrays have no
// position of their own; offset is that of the key.
func visitValue(v *unstable.Node, key string, offset uint32, visit func(string, uint32)) {
	switch v.Kind {
	case unstable.Array:
		i := 0
		for elems := v.Children(); elems.Next(); i++ {
			n := elems.Node()
			if n.Kind == unstable.Comment {
				i--
				continue
			}
			at := offset
			if n.Raw.Length > 0 {
				at = n.Raw.Offset
			}
			elem := index(key, i)
			visit(elem, at)
			visitValue(n, elem, at, visit)
		}
	case unstable.InlineTable:
		for pairs := v.Children(); pairs.Next(); {
			n := pairs.Node()
			if n.Kind != unstable.KeyValue {
				continue
			}
			sub, first := visitKey(n.Key(), key, visit)
			visitValue(n.Value(), sub, first, visit)
		}
	default: // a scalar has nothing inside
	}
}

// parseDocument decodes a document with parse and reports what stops it. Broken syntax
// is one problem, because what follows it cannot be trusted. What is wrong with one
// statement (a key or table set twice, a number too large) is blanked out and the rest
// read on, so that one mistake does not hide the others; rest is what was decoded.
func parseDocument(doc []byte, parse func([]byte) (map[string]any, error)) (tree map[string]any, problems Problems, rest []byte) {
	const enough = 20 // a file with more is not read to its end
	for range enough {
		tree, err := parse(doc)
		if err == nil {
			return tree, problems, doc
		}
		var bad *toml.DecodeError
		if !errors.As(err, &bad) {
			return nil, append(problems, Problem{Rule: err.Error()}), doc
		}
		row, column := bad.Position()
		message := strings.TrimPrefix(bad.Error(), "toml: ")
		blanked, ok := blank(doc, row)
		if !ok {
			return nil, append(problems, Problem{Line: row, Rule: fmt.Sprintf("cannot read column %d: %s", column, message)}), doc
		}
		problems = append(problems, decodeProblem(doc, row, message))
		doc = blanked
	}
	return nil, problems, doc
}

// decodeProblem names the statement on a line and, when it is a second one, the first.
func decodeProblem(doc []byte, row int, message string) Problem {
	key, value := "", ""
	walkKeys(doc, func(_ string, line int, e expression) {
		if line != row || key != "" {
			return
		}
		key = e.key
		if path, ok := splitKey(key); ok && e.value != nil {
			value = show(unknownValue(path, nodeValue(e.value)))
		}
	})
	if first := linesOf(doc)[key]; first > 0 && first != row && (strings.Contains(message, "already") || strings.Contains(message, "should be a table")) {
		message = "is already set in line " + strconv.Itoa(first)
	}
	return Problem{Line: row, Key: key, Value: value, Rule: message}
}

// nodeValue is what a value of a document means, as far as an error shows it.
func nodeValue(n *unstable.Node) any {
	switch n.Kind {
	case unstable.String:
		return string(n.Data)
	case unstable.InlineTable:
		return map[string]any{}
	case unstable.Array:
		list := []any{}
		for elems := n.Children(); elems.Next(); {
			if e := elems.Node(); e.Kind != unstable.Comment {
				list = append(list, nodeValue(e))
			}
		}
		return list
	default:
		return description(n.Data) // as it is written, too large or not
	}
}

// blank overwrites the statement on a line, a header with all that belongs to it, by
// spaces. It reports false when the document's syntax is broken or the line has none.
func blank(doc []byte, row int) ([]byte, bool) {
	var p unstable.Parser
	p.Reset(doc)
	for p.NextExpression() {
	}
	if p.Error() != nil {
		return nil, false
	}
	var es []expression
	target := -1
	walkKeys(doc, func(_ string, line int, e expression) {
		if len(es) == 0 || es[len(es)-1].start != e.start {
			es = append(es, e)
		}
		if line == row && target < 0 {
			target = len(es) - 1
		}
	})
	if target < 0 {
		return nil, false
	}
	end := len(doc)
	for _, e := range es[target+1:] {
		if e.header || !es[target].header {
			end = e.start
			break
		}
	}
	out := append([]byte(nil), doc...)
	start := es[target].start
	if es[target].header {
		start = lineStart(doc, start)
	}
	if end < len(doc) {
		end = lineStart(doc, end) // the "[" of the next header, and what is before it, stay
	}
	for i := start; i < end; i++ {
		if out[i] != '\n' {
			out[i] = ' '
		}
	}
	return out, true
}

func lineStart(doc []byte, offset int) int {
	for offset > 0 && doc[offset-1] != '\n' {
		offset--
	}
	return offset
}

// join writes a dotted key as TOML does, so that a name with a dot stays one step.
func join(table string, names ...string) string {
	for _, name := range names {
		if !isBare(name) {
			name = strconv.Quote(name)
		}
		if table == "" {
			table = name
		} else {
			table += "." + name
		}
	}
	return table
}

func index(key string, i int) string { return key + "[" + strconv.Itoa(i) + "]" }

// parentOf cuts the last step of a key that join and index made.
func parentOf(key string) string {
	quoted := false
	last := 0
	for i := 0; i < len(key); i++ {
		switch c := key[i]; {
		case c == '\\' && quoted:
			i++
		case c == '"':
			quoted = !quoted
		case (c == '.' || c == '[') && !quoted:
			last = i
		}
	}
	return key[:last]
}

func isBare(name string) bool {
	for i := range len(name) {
		if c := name[i]; !isLetterOrDigit(c) && c != '_' && c != '-' {
			return false
		}
	}
	return name != ""
}

func isLetterOrDigit(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
