package test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

const modulePath = "github.com/gofork/gofork"

// edges are the imports that are allowed between the packages of this project,
// each with its reason. Paths are relative to the module. A package that is not
// listed may import none of the others, and a new edge needs a line here: it is
// a decision about the shape of the program, not a detail of a change.
//
// What is not here is the point: everything points from cli downwards, arbiter
// and companion meet as processes and never as packages, and what the operating
// system is asked to do goes through proc.
var edges = map[string]map[string]string{
	"cmd/gofork": {
		"pkg/cli":       "the program is its command tree and an exit code",
		"pkg/worker":    "names the stock handlers, as a user's own program names its own",
		"pkg/companion": "names the stock targets, likewise",
	},

	"examples/embed": {
		"pkg/cli":       "a user's own program is gofork's command tree",
		"pkg/worker":    "with a handler of its own",
		"pkg/companion": "and companions of its own",
	},

	"test/picture": {
		"pkg/control":     "asks for reloads and for the status, as any client",
		"test/bench/load": "the clients of the figures",
	},

	"pkg/cli": {
		"pkg/arbiter":   "gofork serve",
		"pkg/companion": "the manager process, and the compiled-in targets",
		"pkg/worker":    "the handler worker process, and the compiled-in handlers",
		"pkg/control":   "the client commands",
		"pkg/config":    "check, config, init, and where the socket is",
		"pkg/importer":  "gofork import",
		"pkg/handoff":   "gofork notify; the sockets that serve was given",
		"pkg/launch":    "which role this process was started in",
		"pkg/link":      "the manager process takes up its end of the line",
		"pkg/output":    "opens the log file as it opens those of children",
		"pkg/proc":      "the runtime that serve hands to its supervisor",
	},

	"pkg/arbiter": {
		"pkg/metrics": "what monitoring sees of it",
		"pkg/quiet":   "when memory can be given back",
		"pkg/tally":   "counts of requests that outlive the worker",
		"pkg/config":  "what to run",
		"pkg/control": "answers requests",
		"pkg/handoff": "sockets and the notify socket for workers",
		"pkg/proc":    "starts, signals and reaps workers and the manager",
		"pkg/restart": "when a worker or the manager starts again",
		"pkg/link":    "feeds the manager and hears from it",
		"pkg/launch":  "turns a configured process into one to start",
	},
	"pkg/companion": {
		"pkg/config":  "what to run",
		"pkg/control": "the shape of an instance in the status",
		"pkg/handoff": "the notify socket for companions",
		"pkg/proc":    "starts, signals and reaps companions",
		"pkg/restart": "when a companion starts again",
		"pkg/link":    "is fed by the arbiter and reports to it",
		"pkg/quiet":   "when memory can be given back",
		"pkg/launch":  "turns a configured process into one to start",
	},

	"pkg/worker": {
		"pkg/tally":   "counts requests where the arbiter can read them",
		"pkg/config":  "limits and timeouts of the HTTP server",
		"pkg/handoff": "takes over the sockets",
	},
	"pkg/importer": {
		"pkg/config": "values and signals as a file has them",
	},
	"pkg/link": {
		"pkg/config":  "apply carries specs",
		"pkg/control": "records carry an instance as the status shows it",
	},
	"pkg/launch": {
		"pkg/config":  "from a configured process",
		"pkg/handoff": "the environment a child is handed",
		"pkg/output":  "where its output goes",
		"pkg/proc":    "to a process to start",
	},
	"pkg/proc": {
		"pkg/proc/nofile": "the limit that a child gets back",
	},
	"pkg/metrics": {
		"pkg/control": "the status and the events that it makes numbers of",
	},
}

// listed is what `go list -json` says of a package, as far as it is asked here.
type listed struct {
	ImportPath, Dir                    string
	Imports, Deps                      []string
	GoFiles, TestGoFiles, XTestGoFiles []string
	IgnoredGoFiles                     []string
	TestImports, XTestImports          []string
	Incomplete                         bool
	Error                              *struct{ Err string }
}

// name is the path below the module, "" for a package that is not ours.
func name(importPath string) string {
	rest, ok := strings.CutPrefix(importPath, modulePath+"/")
	if !ok {
		return ""
	}
	return rest
}

// forTests reports whether a package exists for tests alone, by the custom of
// httptest, iotest and fstest.
func forTests(path string) bool { return strings.HasSuffix(path, "test") }

// packages lists the packages of this module as goos sees them.
func packages(t *testing.T, goos string) []listed {
	t.Helper()
	cmd := exec.Command("go", "list", "-e", "-json", modulePath+"/...")
	cmd.Env = append(os.Environ(), "GOOS="+goos, "CGO_ENABLED=0")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("cannot list packages: %v\n%s", err, &stderr)
	}
	var all []listed
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p listed
		err := dec.Decode(&p)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
	if len(all) == 0 {
		t.Fatal("go list names no package")
	}
	return all
}

func TestImportsFollowTheRules(t *testing.T) {
	t.Parallel()
	for _, goos := range []string{"linux", "darwin"} {
		for _, p := range packages(t, goos) {
			from := name(p.ImportPath)
			if forTests(from) {
				continue
			}
			for _, imported := range p.Imports {
				to := name(imported)
				switch {
				case to == "":
				case forTests(to):
					t.Errorf("%s: %s imports %s, which is for tests", goos, from, to)
				case edges[from][to] != "":
				case strings.HasPrefix(to, from+"/"):
					// A package may be made of smaller ones.
				default:
					t.Errorf("%s: %s imports %s, which no rule allows (see edges in this file)", goos, from, to)
				}
			}
		}
	}
}

// A rule that nobody needs is a door that somebody will use.
func TestEveryRuleIsNeeded(t *testing.T) {
	t.Parallel()
	used := map[string]map[string]bool{}
	for _, goos := range []string{"linux", "darwin"} {
		for _, p := range packages(t, goos) {
			from := name(p.ImportPath)
			if used[from] == nil {
				used[from] = map[string]bool{}
			}
			for _, imported := range p.Imports {
				used[from][name(imported)] = true
			}
		}
	}
	for from, to := range edges {
		for imported := range to {
			if !used[from][imported] {
				t.Errorf("%s may import %s, and does not", from, imported)
			}
		}
	}
}

// The two supervisors are two programs in one binary. Not even through a third
// package may one lean on the other.
func TestArbiterAndCompanionMeetAsProcesses(t *testing.T) {
	t.Parallel()
	apart := map[string]string{"pkg/arbiter": "pkg/companion", "pkg/companion": "pkg/arbiter"}
	for _, p := range packages(t, "linux") {
		if other, ok := apart[name(p.ImportPath)]; ok && slices.Contains(p.Deps, modulePath+"/"+other) {
			t.Errorf("%s depends on %s", name(p.ImportPath), other)
		}
	}
}

// processCalls are what only proc may use: whoever else starts, signals or
// waits for a process competes with its pid table.
var processCalls = map[string][]string{
	"os":                    {"StartProcess", "FindProcess"},
	"syscall":               {"ForkExec", "StartProcess", "Wait4", "Kill"},
	"golang.org/x/sys/unix": {"Wait4", "Waitid", "Kill", "Tgkill", "PidfdOpen", "PidfdSendSignal"},
}

// ownSignals are the uses that reach nobody but the process itself.
var ownSignals = map[string]string{
	"pkg/worker/abort_linux.go": "a worker that was told to abort dies by that very signal",
	"pkg/worker/abort_other.go": "the same",
}

func TestOnlyProcStartsSignalsAndWaits(t *testing.T) {
	t.Parallel()
	for _, p := range packages(t, "linux") {
		from := name(p.ImportPath)
		if from != "cmd" && !strings.HasPrefix(from, "cmd/") && !strings.HasPrefix(from, "pkg/") || forTests(from) {
			continue
		}
		inProc := from == "pkg/proc" || strings.HasPrefix(from, "pkg/proc/")
		// Files of other platforms too, so not only GoFiles.
		for _, file := range slices.Concat(p.GoFiles, p.IgnoredGoFiles) {
			if strings.HasSuffix(file, "_test.go") || ownSignals[from+"/"+file] != "" {
				continue
			}
			for _, use := range restrictedUses(t, filepath.Join(p.Dir, file)) {
				if !inProc || strings.HasPrefix(use, "os/exec") {
					t.Errorf("%s/%s uses %s", from, file, use)
				}
			}
		}
	}
}

// restrictedUses returns what a file has of processCalls, and os/exec, each
// with its line.
func restrictedUses(t *testing.T, path string) []string {
	t.Helper()
	fset := token.NewFileSet()
	file, err := parser.ParseFile(fset, path, nil, parser.SkipObjectResolution)
	if err != nil {
		t.Fatal(err)
	}
	var uses []string
	local := map[string]string{} // the name in this file → the import path
	for _, spec := range file.Imports {
		imported, err := strconv.Unquote(spec.Path.Value)
		if err != nil {
			t.Fatal(err)
		}
		if imported == "os/exec" {
			uses = append(uses, fmt.Sprintf("os/exec (line %d)", fset.Position(spec.Pos()).Line))
		}
		if _, restricted := processCalls[imported]; restricted {
			as := imported[strings.LastIndexByte(imported, '/')+1:]
			if spec.Name != nil {
				as = spec.Name.Name
			}
			local[as] = imported
		}
	}
	ast.Inspect(file, func(n ast.Node) bool {
		sel, ok := n.(*ast.SelectorExpr)
		if !ok {
			return true
		}
		if x, ok := sel.X.(*ast.Ident); ok && slices.Contains(processCalls[local[x.Name]], sel.Sel.Name) {
			uses = append(uses, fmt.Sprintf("%s.%s (line %d)", x.Name, sel.Sel.Name, fset.Position(sel.Pos()).Line))
		}
		return true
	})
	return uses
}
