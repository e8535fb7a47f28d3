package config

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	tomlparser "github.com/knadh/koanf/parsers/toml/v2"
	"github.com/knadh/koanf/v2"
)

// Source is where a configuration comes from.
type Source struct {
	Path    string    // the file; "" = none, only variables and settings
	Environ []string  // gofork's own environment, as os.Environ gives it
	Set     []Setting // the command line, in order
	Dir     string    // where gofork was started; "" = the working directory
}

// Setting is one key from the command line. Value is a TOML value if it parses as
// one, else a string.
type Setting struct {
	Key   string // dotted, as in TOML
	Value string
	Flag  string // what errors call it: "--set", "--bind"
}

// Known are the names that the binary was compiled with.
type Known struct {
	Handlers []string // for worker.handler
	Targets  []string // for companion.NAME.target

	// HandlerOptions says what is wrong with worker.options for a handler, without
	// touching the system; nil: nothing is known of them.
	HandlerOptions func(handler string, options map[string]any) error
}

// maxFile bounds the configuration file, which is held in memory.
const maxFile = 8 << 20

// Load reads, checks and resolves a configuration. What is wrong with it comes
// back whole, as [Problems]; any other error means that the working directory
// cannot be found. It reads files and looks up users, and changes nothing.
func Load(src Source, known Known) (*Config, error) {
	return load(src, known, thisHost())
}

// load takes what differs from machine to machine.
func load(src Source, known Known, host host) (*Config, error) {
	dir, err := startDir(src.Dir)
	if err != nil {
		return nil, err
	}
	environ := environMap(src.Environ)
	in := newInput(src.Path)
	tree := in.read(src, dir, environ)
	if len(in.problems) > 0 && tree == nil {
		return nil, in.located(nil)
	}
	l := newResolver(dir, nameOf(src.Path), environ, host)
	l.known = known
	l.warnings = missedVariables(environ, l.schema)
	c := l.resolve(tree)
	if all := in.located(l.problems); len(all) > 0 {
		return nil, all
	}
	if src.Path != "" {
		c.Path = absolute(dir, src.Path)
	}
	return c, nil
}

// startDir is where gofork was started, as an absolute path.
func startDir(dir string) (string, error) {
	if filepath.IsAbs(dir) {
		return dir, nil
	}
	wd, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("cannot find the working directory: %w", err)
	}
	return filepath.Join(wd, dir), nil
}

// SocketOf finds the control socket that a file and the variables lead to, whatever
// else is wrong with them: the gofork that is asked for may run with what was there
// before. An error means that the file cannot be read.
func SocketOf(src Source) (string, error) {
	dir, err := startDir(src.Dir)
	if err != nil {
		return "", err
	}
	name := nameOf(src.Path)
	environ := environMap(src.Environ)
	in := newInput(src.Path)
	in.lenient = true
	tree := in.read(src, dir, environ)
	if tree == nil && src.Path != "" {
		if _, err := readConfig(absolute(dir, src.Path)); err != nil {
			return "", fmt.Errorf("cannot read %s: %w", src.Path, err)
		}
		src.Path = "" // nothing of it is TOML, and the variables may tell
		tree = newInput("").read(src, dir, environ)
	}
	return newResolver(dir, name, environ, thisHost()).resolve(tree).Control.Socket, nil
}

// nameOf is the default of name: the file's base name without extension, in the
// letters that a name may have.
func nameOf(path string) string {
	base := filepath.Base(path)
	name := strings.Map(func(r rune) rune {
		if r < 128 && (isLetterOrDigit(byte(r)) || strings.ContainsRune("_.-", r)) {
			return r
		}
		return '-'
	}, strings.TrimSuffix(base, filepath.Ext(base)))
	name = strings.TrimLeft(name[:min(len(name), 64)], "_.-")
	if path == "" || name == "" {
		return "gofork"
	}
	return name
}

// input is the layers on their way to one tree, and who set what.
type input struct {
	path     string
	lenient  bool // leave out lines that are no TOML
	doc      []byte
	from     map[string]string // dotted key of a value → the variable or flag that set it
	tables   map[string]string // dotted key of a table → the first variable or flag inside
	problems Problems          // with their places
}

// layer is a nested map as a koanf provider.
type layer map[string]any

func (l layer) Read() (map[string]any, error) { return l, nil }
func (layer) ReadBytes() ([]byte, error)      { return nil, errors.New("a layer has no bytes") }

func newInput(path string) *input {
	return &input{path: path, from: map[string]string{}, tables: map[string]string{}}
}

// read merges the layers. It returns nil when the file cannot be read.
func (in *input) read(src Source, dir string, environ map[string]string) map[string]any {
	file := map[string]any{}
	if src.Path != "" {
		var ok bool
		if file, ok = in.readFile(absolute(dir, src.Path)); !ok {
			return nil
		}
	}
	k := koanf.New("\x00") // dots are part of names here, such as those of variables
	for i, l := range []layer{file, in.fromEnviron(environ, file), in.fromSettings(src.Set)} {
		if len(l) == 0 {
			continue
		}
		if i > 0 {
			in.clash(nil, file, l)
		}
		if err := k.Load(l, nil); err != nil {
			in.problems = append(in.problems, Problem{File: in.path, Rule: err.Error()})
			return nil
		}
	}
	tree := k.Raw()
	in.platform(tree, environ)
	return tree
}

func (in *input) readFile(path string) (map[string]any, bool) {
	doc, err := readConfig(path)
	if err != nil {
		in.problems = append(in.problems, Problem{File: in.path, Rule: "cannot read it: " + err.Error()})
		return nil, false
	}
	tree, problems, rest := parseDocument(doc, tomlparser.Parser().Unmarshal)
	for tries := 0; in.lenient && tree == nil && len(problems) > 0 && tries < 20; tries++ {
		doc = withoutLine(doc, problems[len(problems)-1].Line)
		tree, problems, rest = parseDocument(doc, tomlparser.Parser().Unmarshal)
	}
	for _, p := range problems {
		p.File = in.path
		in.problems = append(in.problems, p)
	}
	in.doc = rest
	if tree == nil && len(problems) > 0 {
		return nil, false
	}
	return tree, true
}

// withoutLine empties a line, so that the others keep their numbers.
func withoutLine(doc []byte, number int) []byte {
	lines := bytes.SplitAfter(doc, []byte("\n"))
	if number < 1 || number > len(lines) {
		return doc
	}
	lines[number-1] = []byte("\n")
	return bytes.Join(lines, nil)
}

// readConfig refuses a named pipe, on which a reload would wait for a writer; /dev/stdin
// is open already and may be one.
func readConfig(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err == nil && info.Mode()&fs.ModeNamedPipe != 0 && !strings.HasPrefix(path, "/dev/") {
		return nil, errors.New("not a regular file")
	}
	return readAll(path, maxFile)
}

// clash reports values of the file where a later layer has a table, which the merge
// would replace without a word.
func (in *input) clash(table []string, file, later map[string]any) {
	for name, value := range later {
		inner, isTable := value.(map[string]any)
		under := file[name]
		if !isTable || under == nil {
			continue
		}
		path := append(slices.Clip(table), name)
		if sub, ok := under.(map[string]any); ok {
			in.clash(path, sub, inner)
			continue
		}
		key := join("", path...)
		in.problems = append(in.problems, Problem{File: in.path, Line: linesOf(in.doc)[key], Key: key, Value: show(unknownValue(path, under)), Rule: "must be a table"})
	}
}

// readAll reads a file of at most limit bytes; its errors do not repeat the path.
func readAll(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, cause(err)
	}
	defer f.Close() // nothing was written
	data, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, cause(err)
	}
	if int64(len(data)) > limit {
		return nil, fmt.Errorf("it is larger than %d MiB", limit>>20)
	}
	return data, nil
}

// cause strips the path from an error that is shown beside it.
func cause(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// platform applies PORT and WEB_CONCURRENCY where a worker has nothing of its own.
func (in *input) platform(tree map[string]any, environ map[string]string) {
	worker, ok := tree["worker"].(map[string]any)
	if !ok {
		return
	}
	if n := strings.TrimSpace(environ["WEB_CONCURRENCY"]); n != "" && worker["count"] == nil {
		worker["count"] = text(n)
		in.from["worker.count"] = "WEB_CONCURRENCY"
	}
	server, ok := tree["server"].(map[string]any)
	if tree["server"] == nil {
		server, ok = map[string]any{}, true
	}
	port := strings.TrimSpace(environ["PORT"])
	if !ok || port == "" || server["bind"] != nil {
		return
	}
	if _, err := strconv.ParseUint(port, 10, 16); err != nil {
		in.problems = append(in.problems, Problem{File: "PORT", Key: "server.bind", Value: show(port), Rule: "must be a port from 0 to 65535"})
		return
	}
	server["bind"] = []any{"0.0.0.0:" + port}
	tree["server"] = server
	in.from["server.bind"] = "PORT"
}

// located gives each problem of a key its place and returns all in order, nil for none.
func (in *input) located(ps Problems) Problems {
	var found lines
	all := in.problems
	for _, p := range ps {
		if from := in.origin(p.Key); from != "" {
			p.File = from
		} else {
			if found == nil {
				found = linesOf(in.doc)
			}
			p.File, p.Line = in.path, found.of(p.Key)
			if from := in.tables[p.Key]; found[p.Key] == 0 && from != "" {
				p.File, p.Line = from, 0
			}
		}
		all = append(all, p)
	}
	return all.sorted()
}

// origin returns the variable or flag that set key or the value around it.
func (in *input) origin(key string) string {
	for ; key != ""; key = parentOf(key) {
		if from := in.from[key]; from != "" {
			return from
		}
	}
	return ""
}
