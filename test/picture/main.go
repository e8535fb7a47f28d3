package main

import (
	"context"
	"flag"
	"fmt"
	"log"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
)

func main() {
	if err := run(); err != nil {
		log.Fatal(err)
	}
}

func run() error {
	var s scene
	var err error
	gofork := flag.String("gofork", "bin/gofork", "the `binary` to show")
	app := flag.String("app", "configs/node/server.js", "the Node.js `program` that its workers run")
	out := flag.String("o", "docs/reload.svg", "the `file` to write")
	flag.Parse()
	if s.gofork, err = filepath.Abs(*gofork); err != nil {
		return err
	}
	if s.release, err = os.ReadFile(*app); err != nil {
		return fmt.Errorf("cannot read the application: %w", err)
	}
	// Short: the control socket is below.
	if s.dir, err = os.MkdirTemp("", "picture-"); err != nil {
		return err
	}
	defer os.RemoveAll(s.dir)
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	t, err := s.shoot(ctx)
	if err != nil {
		return err
	}
	picture := draw(t)
	if err := os.WriteFile(*out, picture, 0o644); err != nil {
		return err
	}
	fmt.Printf("%s: %d bytes\n%s\n%s\n", *out, len(picture), t.outcome(), t.about)
	return nil
}
