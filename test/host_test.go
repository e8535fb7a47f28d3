//go:build linux

package test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/gofork/gofork/pkg/control"
)

func TestStalePidfileIsReplaced(t *testing.T) {
	t.Parallel()
	ended := exec.Command("true")
	if err := ended.Run(); err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"dead pid": fmt.Sprintln(ended.Process.Pid), "empty": "", "garbage": "not a pid\n",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, twoHello+"[server]\npidfile = \"@DIR/app.pid\"\n", withFile("app.pid", content))
			s.ready()
			if got := readFile(t, s.path("app.pid")); got != fmt.Sprintln(s.pid()) {
				t.Errorf("the pidfile holds %q, want %d", got, s.pid())
			}
			s.stop(patience)
			s.gone("app.pid")
		})
	}
}

func TestPidfileOfALivingProcessIsRespected(t *testing.T) {
	t.Parallel()
	mine := fmt.Sprintln(os.Getpid())
	s := start(t, twoHello+"[server]\npidfile = \"@DIR/app.pid\"\n", withFile("app.pid", mine))
	if code := s.exit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	s.journal.await(t, 0, errorNaming(os.Getpid()), "the pid of the other")
	if got := readFile(t, s.path("app.pid")); got != mine {
		t.Errorf("the pidfile holds %q, want it untouched", got)
	}
}

// errorNaming matches errors that mention a pid.
func errorNaming(pid int) match {
	return func(r record) bool { return r.Level == "ERROR" && strings.Contains(r.Msg, fmt.Sprint(pid)) }
}

func TestSecondGoforkOnTheSameSocketIsRefused(t *testing.T) {
	t.Parallel()
	first := start(t, twoHello)
	before := first.ready()
	second := start(t, twoHello+fmt.Sprintf("[control]\nsocket = %q\n", first.sock))
	if code := second.exit(patience); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	second.journal.await(t, 0, errorNaming(first.pid()), "the first one's pid")
	if n := len(second.journal.all(is("worker.started"))); n != 0 {
		t.Errorf("the second one has started %d workers", n)
	}
	if after := first.look(); fmt.Sprint(workerPIDs(after)) != fmt.Sprint(workerPIDs(before)) {
		t.Errorf("the first one's workers are %v, want %v", workerPIDs(after), workerPIDs(before))
	}
}

func TestUmaskAndDirectories(t *testing.T) {
	t.Parallel()
	s := start(t, `
[server]
umask = "027"
chdir = "@DIR/run"
`+httpWorkers(1)+`
[companion.elsewhere]
command = ["sleep", "1000"]
cwd = "@DIR"
umask = "077"
startsecs = "0s"
[companion.inherits]
command = ["sleep", "1000"]
startsecs = "0s"
`, withFile("run/placeholder", ""))
	st := s.ready()
	for _, tt := range []struct {
		who        string
		pid        int
		umask, cwd string
	}{
		{"worker", workerPIDs(st)[0], "0027", s.path("run")},
		{"elsewhere", companion(t, st, "elsewhere").PID, "0077", s.dir},
		{"inherits", companion(t, st, "inherits").PID, "0027", s.path("run")},
	} {
		if got := statusLine(tt.pid, "Umask"); got != tt.umask {
			t.Errorf("%s has umask %s, want %s", tt.who, got, tt.umask)
		}
		if got, err := os.Readlink(fmt.Sprintf("/proc/%d/cwd", tt.pid)); err != nil || got != tt.cwd {
			t.Errorf("%s runs in %s (%v), want %s", tt.who, got, err, tt.cwd)
		}
	}
	s.mustReload() // from another directory than it was started in
	s.mustGet("/pid")
}

// The groups come from the system's files, so gofork sees some of the test's own.
func TestUserGroupAndSupplementaryGroups(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	dir := shortTempDir(t)
	etc := map[string]string{
		"passwd": "root:x:0:0:root:/root:/bin/sh\nweb:x:54001:54001:web:/nonexistent:/bin/sh\nqueue:x:54002:54002:queue:/nonexistent:/bin/sh\n",
		"group":  "root:x:0:\nweb:x:54001:\nqueue:x:54002:\nmedia:x:54010:web,queue\nmail:x:54011:web\nother:x:54012:root\n",
	}
	script := ""
	for name, content := range etc {
		writeFile(t, filepath.Join(dir, name), content)
		script += fmt.Sprintf("mount --bind %s/%s /etc/%s && ", dir, name, name)
	}
	mounts := []string{"unshare", "--mount", "sh", "-c", script + `exec "$@"`, "sh"}
	if out, err := exec.Command(mounts[0], append(mounts[1:], "true")...).CombinedOutput(); err != nil {
		skip(t, fmt.Sprintf("no mount namespace may be made here: %v %s", err, out))
	}
	s := start(t, `
[server]
user = "web"
`+sleepWorkers(1)+`
[companion.queue]
command = ["sleep", "1000"]
user = "queue"
group = "other"
startsecs = "0s"
[companion.web]
command = ["sleep", "1000"]
startsecs = "0s"
`, withWrapper(mounts...))
	st := s.ready()
	for _, tt := range []struct {
		who      string
		pid      int
		uid, gid string
		groups   []string
	}{
		{"worker", workerPIDs(st)[0], "54001", "54001", []string{"54001", "54010", "54011"}},
		{"companion web", companion(t, st, "web").PID, "54001", "54001", []string{"54001", "54010", "54011"}},
		{"companion queue", companion(t, st, "queue").PID, "54002", "54012", []string{"54010", "54012"}},
		{"gofork", s.pid(), "0", "0", nil},
		{"manager", st.Manager.PID, "0", "0", nil},
	} {
		for key, want := range map[string]string{"Uid": tt.uid, "Gid": tt.gid} {
			if got := strings.Fields(statusLine(tt.pid, key)); !slices.Equal(got, []string{want, want, want, want}) {
				t.Errorf("%s has %s %v, want %s", tt.who, key, got, want)
			}
		}
		groups := strings.Fields(statusLine(tt.pid, "Groups"))
		for _, want := range tt.groups {
			if !slices.Contains(groups, want) {
				t.Errorf("%s has the groups %v, want %v", tt.who, groups, tt.groups)
			}
		}
		if tt.groups != nil && slices.Contains(groups, "0") {
			t.Errorf("%s has kept root's group: %v", tt.who, groups)
		}
	}
	s.stop(patience)
}

// "auto": for children of root that run as somebody else, and the key decides.
func TestNoNewPrivs(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		skip(t, "only root can become another user")
	}
	s := start(t, sleepWorkers(1, `user = "54321"`, `group = "54321"`)+`
[companion_defaults]
startsecs = "0s"
[companion.other]
command = ["sleep", "1000"]
user = "54321"
group = "54321"
[companion.off]
command = ["sleep", "1000"]
user = "54321"
group = "54321"
no_new_privs = false
[companion.root]
command = ["sleep", "1000"]
[companion.on]
command = ["sleep", "1000"]
no_new_privs = true
`)
	st := s.ready()
	pids := map[string]int{"worker": workerPIDs(st)[0], "gofork": s.pid(), "manager": st.Manager.PID}
	for _, c := range st.Companions {
		pids[c.Name] = c.PID
	}
	for who, want := range map[string]string{"worker": "1", "other": "1", "off": "0", "root": "0", "on": "1", "gofork": "0", "manager": "0"} {
		given(t, s, pids[who]) // once it is the program
		if got := statusLine(pids[who], "NoNewPrivs"); got != want {
			t.Errorf("%s has NoNewPrivs %s, want %s", who, got, want)
		}
	}
}

func TestWebConcurrencyCountsWhereTheFileDoesNot(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		count string
		want  int
	}{{"", 3}, {"count = 1", 1}} {
		t.Run(tt.count, func(t *testing.T) {
			t.Parallel()
			s := start(t, "[worker]\ncommand = [\"@TEST\", \"http\"]\nready = \"notify\"\n"+tt.count, withEnv("WEB_CONCURRENCY=3"))
			if st := s.ready(); st.Workers.Configured != tt.want {
				t.Errorf("%d workers, want %d", st.Workers.Configured, tt.want)
			}
		})
	}
}

// gofork that cannot serve, but lives, must be seen to be so.
func TestReadinessTellsALostTier(t *testing.T) {
	t.Parallel()
	s := start(t, appWorkers(1))
	pid := workerPIDs(s.ready())[0]
	writeFile(t, s.path("app"), "exit 9")
	kill(t, mustLookup(t, pid), syscall.SIGKILL)
	s.await("worker.backoff")
	st := s.awaitStatus("no worker is ready", func(st control.Status) bool { return st.Workers.Ready == 0 })
	if w := st.Workers.List; len(w) != 1 || w[0].LastExit == nil {
		t.Errorf("the workers are %+v, want one with its last exit", w)
	}
	if a := getUnix(s.sock, "/readyz"); a.code != 503 {
		t.Errorf("/readyz is %d, want 503", a.code)
	}
	if a := getUnix(s.sock, "/livez"); a.code != 200 {
		t.Errorf("/livez is %d, want 200", a.code)
	}
	writeFile(t, s.path("app"), "good")
	s.awaitStatus("the worker is back", func(st control.Status) bool { return st.Workers.Ready == 1 })
}
