//go:build linux

package test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

// image is what the last stage of a Dockerfile says, laid out in a directory.
type image struct {
	root              string
	scratch           bool   // the root is all there is
	user              string // UID:GID
	workdir           string
	env               []string
	entrypoint, probe []string
}

// dockerPath is what a container has for PATH unless its image says otherwise.
const dockerPath = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

// laidOut does what the last stage of a Dockerfile of configs/container says. What
// comes from another stage is the static binary; what the base image brings is
// not there.
func laidOut(t *testing.T, dir string) *image {
	t.Helper()
	im := &image{root: shortTempDir(t), env: []string{dockerPath}}
	text := strings.ReplaceAll(readFile(t, shipped(t, "container", dir, "Dockerfile")), "\\\n", "")
	last := text[strings.LastIndex(text, "\nFROM ")+1:]
	for line := range strings.Lines(last) {
		instruction, rest, _ := strings.Cut(strings.TrimSpace(line), " ")
		words := strings.Fields(rest)
		switch instruction {
		case "EXPOSE", "#", "":
		case "FROM":
			im.scratch = rest == "scratch"
		case "USER":
			im.user = rest
			if rest == "node" { // of the base image
				im.user = "1000:1000"
			}
		case "WORKDIR":
			im.workdir = rest
		case "ENV":
			im.env = append(im.env, words...)
		case "ENTRYPOINT":
			im.entrypoint = argv(t, rest)
		case "HEALTHCHECK":
			im.probe = argv(t, rest[strings.Index(rest, "["):])
		case "COPY":
			im.copy(t, words)
		default:
			t.Fatalf("%s: the test does not know %s", dir, instruction)
		}
	}
	if !im.scratch { // this machine has no /app
		im.env = append(im.env, dockerPath+":"+filepath.Join(im.root, "usr/local/bin"), "TMPDIR=/tmp")
		for _, words := range [][]string{im.entrypoint, im.probe} {
			for i, w := range words {
				words[i] = strings.Replace(w, "/app/", filepath.Join(im.root, "app")+"/", 1)
			}
		}
	}
	return im
}

func (im *image) copy(t *testing.T, words []string) {
	t.Helper()
	to := words[len(words)-1]
	if !filepath.IsAbs(to) {
		to = filepath.Join(im.workdir, to) + "/"
	}
	for _, from := range words[:len(words)-1] {
		target := filepath.Join(im.root, to)
		if strings.HasSuffix(to, "/") {
			target = filepath.Join(target, filepath.Base(from))
		}
		if err := os.MkdirAll(filepath.Dir(target), 0o755); err != nil {
			t.Fatal(err)
		}
		switch {
		case strings.HasPrefix(from, "--from="):
			buildStatic(t, filepath.Join(im.root, to))
			return
		default:
			writeFile(t, target, readFile(t, filepath.Join(repository(t), from)))
		}
	}
}

func argv(t *testing.T, list string) (words []string) {
	t.Helper()
	if err := json.Unmarshal([]byte(list), &words); err != nil {
		t.Fatalf("%s: %v", list, err)
	}
	return words
}

// buildStatic builds gofork as the image's first stage does, but for what makes it
// smaller and would have everything compiled anew.
func buildStatic(t *testing.T, path string) {
	t.Helper()
	cmd := exec.Command("go", "build", "-o", path, modulePath+"/cmd/gofork")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("cannot build gofork: %v\n%s", err, out)
	}
}

// The images' files, user, command and probe, as PID 1 with nothing to write: the
// one from scratch with its whole root, the others with this machine in place of
// the base image.
func TestImagesServeProbeAndStop(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	// One after the other: they share a network namespace, and so the names of
	// abstract control sockets.
	for _, c := range []struct{ name, dir, needs, answers string }{
		{"scratch", "", "sh", "hello from gofork"},
		{"python", "python", "python3", "hello from python"},
		{"node", "node", "node", `"slot":`},
	} {
		t.Run(c.name, func(t *testing.T) {
			need(t, c.needs)
			im := laidOut(t, c.dir)
			s, arbiter := im.start(t)
			if got := s.mustGet("/"); !strings.Contains(got, c.answers) {
				t.Errorf("it answered %q, want %q", got, c.answers)
			}
			said := ""
			eventually(t, "the probe of the image succeeds", func() bool {
				out, err := im.inside(arbiter, im.probe...).CombinedOutput()
				said = string(out)
				return err == nil
			})
			for key, want := range map[string]string{"Uid": im.uid(), "Gid": im.gid()} {
				if got := statusLine(arbiter.PID, key); got != strings.Join(slices.Repeat([]string{want}, 4), "\t") {
					t.Errorf("it runs with %s %s, want %s", key, got, want)
				}
			}
			if got := statusLine(arbiter.PID, "CapEff"); strings.Trim(got, "0") != "" {
				t.Errorf("it has capabilities: %s", got)
			}
			kill(t, arbiter, syscall.SIGTERM)
			if code := s.exit(patience); code != 0 {
				t.Errorf("exit code %d, want 0; the probe said %s", code, said)
			}
		})
	}
}

// start runs the image's entrypoint as PID 1, on addresses of the test's own.
func (im *image) start(t *testing.T) (s *server, arbiter process) {
	t.Helper()
	addr := freeAddr(t)
	config := filepath.Join(im.root, "app", "app.toml")
	writeFile(t, config, strings.NewReplacer(`[":8000"]`, fmt.Sprintf("[%q]", addr), `bind = ":9090"`, fmt.Sprintf("bind = %q", freeAddr(t)),
		`shutdown_delay = "5s"`, `shutdown_delay = "100ms"`).Replace(readFile(t, config)))

	script := "mount --make-rprivate / || exit 90\n"
	root, wd := "/", filepath.Join(im.root, im.workdir)
	if im.scratch {
		root, wd = im.root, im.workdir
		for _, dir := range []string{"proc", "dev"} {
			if err := os.Mkdir(filepath.Join(root, dir), 0o755); err != nil {
				t.Fatal(err)
			}
		}
		writeFile(t, filepath.Join(root, "dev", "null"), "")
		script += fmt.Sprintf("mount --bind %[1]s %[1]s && mount -t proc proc %[1]s/proc && mount --bind /dev/null %[1]s/dev/null && mount -o remount,bind,ro %[1]s || exit 90\n", root)
	} else {
		script += "mount -t proc proc /proc || exit 90\n" + readOnlyRoot
	}
	apart := []string{"unshare", "--mount", "--pid", "--fork", "--kill-child", "sh", "-c"}
	if out, err := exec.Command(apart[0], append(slices.Clone(apart[1:]), script)...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no root of its own can be made here: %v %s", err, out))
	}
	// What the harness would start stands behind and is left out.
	script += fmt.Sprintf("exec unshare --root %s --wd %s --setgid %s --setuid %s %s\n", root, wd, im.gid(), im.uid(), strings.Join(im.entrypoint, " "))
	s = start(t, "", inNamespace(append(apart, script)...), withDir("/"), withEnv(im.env...))
	s.addr = addr
	s.await("server.ready")
	return s, s.first()
}

// inside is a command as docker exec runs it.
func (im *image) inside(arbiter process, argv ...string) *exec.Cmd {
	cmd := exec.Command("nsenter", append([]string{
		"--target", strconv.Itoa(arbiter.PID), "--mount", "--pid", "--root", "--wd",
		"--setuid", im.uid(), "--setgid", im.gid(),
	}, argv...)...)
	cmd.Env = append(cleanEnv(), im.env...)
	return cmd
}

func (im *image) uid() string { uid, _, _ := strings.Cut(im.user, ":"); return uid }
func (im *image) gid() string { _, gid, _ := strings.Cut(im.user, ":"); return gid }
