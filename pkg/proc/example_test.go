package proc_test

import (
	"errors"
	"fmt"
	"io/fs"

	"github.com/gofork/gofork/pkg/proc"
)

// A program is looked for in the child's own PATH, not in the supervisor's.
func ExampleLookPath() {
	path, err := proc.LookPath("sh", "", []string{"PATH=/nowhere:/bin"})
	fmt.Println(path, err)
	_, err = proc.LookPath("sh", "", []string{"PATH=/nowhere"})
	fmt.Println(errors.Is(err, fs.ErrNotExist))
	// Output:
	// /bin/sh <nil>
	// true
}
