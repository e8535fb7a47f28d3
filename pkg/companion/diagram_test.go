package companion

import (
	"go/parser"
	"go/token"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/config"
	"github.com/gofork/gofork/pkg/control"
	"github.com/gofork/gofork/pkg/link"
)

// none is the phase of an instance that is not there.
const none phase = "none"

// arrow is a line of the table in doc.go.
type arrow struct {
	from    phase
	members bool
	on      string
	to      phase
}

var space = regexp.MustCompile(`\s{2,}|\s+(none)$`)

// arrows reads the table of doc.go.
func arrows(t testing.TB) []arrow {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "doc.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	var found []arrow
	inTable := false
	for line := range strings.Lines(file.Doc.Text()) {
		f := space.Split(strings.TrimSpace(space.ReplaceAllString(strings.TrimSpace(line), "  $1")), -1)
		switch {
		case len(f) == 3 && f[0] == "from":
			inTable = true
		case inTable && len(f) == 3:
			from, members := strings.CutSuffix(f[0], ", members")
			found = append(found, arrow{phase(from), members, f[1], phase(f[2])})
		default:
			inTable = false
		}
	}
	if len(found) < 30 {
		t.Fatalf("doc.go has a table of %d arrows only: %v", len(found), found)
	}
	return found
}

func (r *rig) phase() phase {
	if i := r.find("a"); i != nil {
		return i.phase
	}
	return none
}

// Every arrow of the diagram can be walked, by what stands at it.
func TestEveryArrowOfTheDiagramCanBeWalked(t *testing.T) {
	noRetries := func(s *config.Companion) { s.Startretries, s.BackoffInitial = 1, 0 }
	never := func(s *config.Companion) { s.Autorestart = config.RestartNever }
	atOnce := func(s *config.Companion) { s.BackoffInitial = 0 }
	lived := func(s *config.Companion) { s.MaxLifetime = time.Minute }
	walks := map[string]func(r *rig){
		"start":                      func(r *rig) { r.act(opStart, "a") },
		"delay over":                 func(r *rig) { r.pass(time.Second) },
		"up for startsecs":           func(r *rig) { r.passTo(time.Second) },
		"READY=1":                    func(r *rig) { r.do(readyReceived{r.get("a").id()}) },
		"exit, restart wanted":       func(r *rig) { r.exit("a", crash) },
		"exit, backoff_initial 0":    func(r *rig) { r.exit("a", crash) },
		"exit, autorestart no":       func(r *rig) { r.exit("a", crash) },
		"exit, retries used up":      func(r *rig) { r.exit("a", crash) },
		"stop":                       func(r *rig) { r.act(opStop, "a") },
		"stop before its process":    func(r *rig) { r.act(opStop, "a") },
		"max_lifetime":               func(r *rig) { r.passTo(time.Minute) },
		"group gone":                 func(r *rig) { r.gone("a") },
		"group gone, restart":        func(r *rig) { r.gone("a") },
		"group gone, removed":        func(r *rig) { r.gone("a") },
		"removed":                    func(r *rig) { r.apply() },
		"removed before its process": func(r *rig) { r.apply() },
		"apply":                      func(r *rig) { r.apply(specOf("a")) },
		"apply, autostart off":       func(r *rig) { r.apply(specOf("a", byHand)) },
	}
	for _, a := range arrows(t) {
		t.Run(string(a.from)+" "+a.on+" "+string(a.to), func(t *testing.T) {
			spec := func(*config.Companion) {}
			switch a.on {
			case "exit, backoff_initial 0":
				spec = atOnce
			case "exit, autorestart no":
				spec = never
			case "exit, retries used up":
				spec = noRetries
			case "max_lifetime":
				spec = lived
			}
			var r *rig
			switch {
			case a.from == none:
				r = newRig(t)
			case a.members:
				r = map[phase]func() *rig{
					backoff: func() *rig { return newRig(t, specOf("a")).up("a") },
					exited:  func() *rig { return newRig(t, specOf("a", never)).up("a") },
					fatal:   func() *rig { return newRig(t, specOf("a", noRetries)).up("a").exit("a", crash).up("a") },
				}[a.from]().exitLeaving("a", crash)
			case strings.Contains(a.on, "before its process"):
				r = newRig(t, specOf("a"))
			case a.from == starting || a.from == running:
				r = newRig(t, specOf("a", spec)).begin("a")
				if a.on == "exit, retries used up" {
					r.exit("a", crash).begin("a")
				}
				if a.from == running {
					r.do(readyReceived{r.get("a").id()})
				}
			case a.from == stopping:
				r = newRig(t, specOf("a")).up("a")
				switch a.on {
				case "group gone":
					r.act(opStop, "a")
				case "group gone, restart":
					r.act(opRestart, "a")
				case "group gone, removed":
					r.apply()
				}
				r.exitLeaving("a", exitStatus{})
			default:
				r = situations()[a.from](t)
			}
			if r.phase() != a.from {
				t.Fatalf("it begins in %s", r.phase())
			}
			if a.on == "apply, remembered" {
				r.applyAll(link.Apply{Specs: []config.Companion{specOf("a")}, Remembered: []link.Instance{{Companion: control.Companion{
					Name: "a", Instance: 1, State: string(a.to), Desired: control.Up, Hash: "1",
				}}}})
			} else if walk := walks[a.on]; walk != nil {
				walk(r)
			} else {
				t.Fatalf("no walk is known for %q", a.on)
			}
			if r.phase() != a.to {
				t.Errorf("it ends in %s", r.phase())
			}
		})
	}
}
