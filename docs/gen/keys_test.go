// Package gen holds the generator of docs/keys.md, and the test that the page is
// in step with the keys that gofork reads.
package gen

//go:generate sh -c "go run main.go > ../keys.md"

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	// What the generator reads: without it a cached result would outlive a new key.
	_ "github.com/gofork/gofork/pkg/config"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestPageOfKeysIsInStepWithTheSchema(t *testing.T) {
	t.Parallel()
	if _, err := os.Stat("main.go"); err != nil { // the cache watches what is looked at
		t.Fatal(err)
	}
	command := exec.Command("go", "run", "main.go")
	var stderr strings.Builder
	command.Stderr = &stderr
	made, err := command.Output()
	if err != nil {
		t.Fatalf("cannot run the generator: %v\n%s", err, &stderr)
	}
	page, err := os.ReadFile("../keys.md")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(page), string(made)); diff != "" {
		t.Errorf("docs/keys.md is out of step: go generate ./docs/gen (-page +generated)\n%s", diff)
	}
}
