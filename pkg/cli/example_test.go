package cli_test

import (
	"context"
	"errors"
	"fmt"
	"log"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/gofork/gofork/pkg/cli"
	"github.com/gofork/gofork/pkg/companion"
	"github.com/gofork/gofork/pkg/worker"
)

func newShop(worker.Context) (http.Handler, error)       { return http.NotFoundHandler(), nil }
func mail(ctx context.Context, _ companion.Target) error { <-ctx.Done(); return nil }
func checkOptions(handler string, options map[string]any) error {
	if handler == "shop" && options["greeting"] == nil {
		return errors.New(`the handler "shop" needs the option "greeting"`)
	}
	return nil
}

// A program with a handler and a companion of its own is a gofork with all of its
// commands. A test of the program checks the file that it is deployed with.
func ExampleApp_Run() {
	dir, err := os.MkdirTemp("", "shop-")
	if err != nil {
		log.Fatal(err)
	}
	defer os.RemoveAll(dir)
	file := filepath.Join(dir, "shop.toml")
	const text = "[worker]\nhandler = \"shop\"\noptions = { greting = \"hi\" }\ncount = 2\n[companion.mailer]\ntarget = \"mailr\"\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		log.Fatal(err)
	}
	app := cli.App{
		Name:           "shop",
		Handlers:       map[string]worker.Factory{"shop": newShop},
		HandlerOptions: checkOptions,
		Companions:     map[string]companion.Func{"mailer": mail},
	}
	var out strings.Builder
	code := app.Run(context.Background(), []string{"check", "-c", file}, cli.Stdio{Out: &out, Err: &out})
	fmt.Print(strings.ReplaceAll(out.String(), dir+"/", ""))
	fmt.Println(code == cli.ExitUsage)
	// Output:
	// shop.toml:3: worker.options: the handler "shop" needs the option "greeting"
	// shop.toml:6: companion.mailer.target: cannot use "mailr": must be "mailer" (did you mean "mailer"?)
	// shop.toml: 2 errors
	// true
}
