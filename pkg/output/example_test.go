package output_test

import (
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"github.com/gofork/gofork/pkg/output"
)

// A supervisor keeps both ends of the pipe. A child that dies leaves its last line
// unfinished; Settle ends it, and the next child begins a line of its own.
func ExampleCaptures_Records() {
	r, w, err := output.Pipe()
	if err != nil {
		log.Fatal(err)
	}
	var captures output.Captures
	c, err := captures.Records(r, output.Records{Line: func(line []byte, _ bool) { fmt.Printf("%q\n", line) }})
	if err != nil {
		log.Fatal(err)
	}
	printed := func(text string) { // by a child
		if _, err := unix.Write(w, []byte(text)); err != nil {
			log.Fatal(err)
		}
	}
	printed("one\ntw")
	printed("o\nthe end of the fi")
	c.Settle() // it has been reaped
	printed("the next child\n")
	if err := c.Close(time.Second); err != nil {
		log.Fatal(err)
	}
	unix.Close(w)
	fmt.Printf("%q\n", c.Tail(1))
	// Output:
	// "one"
	// "two"
	// "the end of the fi"
	// "the next child"
	// ["the next child"]
}

func ExampleFile() {
	dir, err := os.MkdirTemp("", "output-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	f, err := output.OpenFile(output.FileConfig{Path: filepath.Join(dir, "mailer.log"), MaxSize: 20, Backups: 2})
	if err != nil {
		log.Fatal(err)
	}
	for n := range 5 {
		f.WriteLines(fmt.Appendf(nil, "mail %d sent\n", n+1)) // 12 bytes
	}
	if err := f.Close(); err != nil {
		log.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil {
		log.Fatal(err)
	}
	for _, name := range names {
		text, err := os.ReadFile(name)
		fmt.Printf("%s %q %v\n", filepath.Base(name), text, err)
	}
	// Output:
	// mailer.log "mail 5 sent\n" <nil>
	// mailer.log.1 "mail 4 sent\n" <nil>
	// mailer.log.2 "mail 3 sent\n" <nil>
}
