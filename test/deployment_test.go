//go:build linux

package test

import (
	"encoding/json"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// shipped is the path of a file of the repository.
func shipped(t *testing.T, path ...string) string {
	t.Helper()
	return filepath.Join(append([]string{repository(t), "configs"}, path...)...)
}

func TestShippedGraceIsWhatCheckSays(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		config, platform string
		file             []string
		written          func(setting string) string
	}{
		{"container/app.toml", "kubernetes", []string{"container", "kubernetes.yaml"}, func(s string) string { return s + "\n" }},
		{"container/app.toml", "docker", []string{"container", "compose.yaml"}, func(s string) string {
			return "stop_grace_period: " + strings.TrimPrefix(s, "docker run --stop-timeout ") + "s\n"
		}},
		{"systemd/app.toml", "systemd", []string{"systemd", "gofork.service"}, func(s string) string { return s + "\n" }},
	} {
		res := runGofork(t, "", t.TempDir(), "check", "--json", "--platform", c.platform, "-c", shipped(t, filepath.FromSlash(c.config)))
		var found struct {
			Platform struct{ Setting string }
		}
		if err := json.Unmarshal([]byte(res.stdout), &found); err != nil || res.code != 0 {
			t.Fatalf("check %s: %d, %v\n%s%s", c.config, res.code, err, res.stdout, res.stderr)
		}
		if want := c.written(found.Platform.Setting); !strings.Contains(readFile(t, shipped(t, c.file...)), want) {
			t.Errorf("%s has no %q", filepath.Join(c.file...), want)
		}
	}
}

func TestShippedConfigurationsAreGood(t *testing.T) {
	t.Parallel()
	for _, file := range []string{"container/app.toml", "container/python/app.toml", "container/node/app.toml", "systemd/app.toml"} {
		if res := runGofork(t, "", t.TempDir(), "check", "-c", shipped(t, filepath.FromSlash(file))); res.code != 0 {
			t.Errorf("%s: exit code %d\n%s", file, res.code, res.stderr)
		}
	}
}

// Every image starts and probes gofork in the same way, and copies only what is there.
func TestShippedDockerfiles(t *testing.T) {
	t.Parallel()
	copied := regexp.MustCompile(`(?m)^COPY (?:--\S+ )*(.+) \S+$`)
	for _, dir := range []string{"", "python", "node"} {
		path := shipped(t, "container", dir, "Dockerfile")
		text := readFile(t, path)
		for _, want := range []string{
			`ENTRYPOINT ["gofork", "serve", "-c", "/app/app.toml"]`,
			`CMD ["gofork", "status", "--check", "-c", "/app/app.toml"]`, "\nHEALTHCHECK ", "\nUSER ",
		} {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", path, want)
			}
		}
		for _, m := range copied.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[0], "--from") {
				continue
			}
			for file := range strings.FieldsSeq(m[1]) {
				if _, err := os.Stat(filepath.Join(repository(t), file)); err != nil {
					t.Errorf("%s copies %s: %v", path, file, err)
				}
			}
		}
	}
}

func TestDashboardAndAlertsNameMetricsThatExist(t *testing.T) {
	t.Parallel()
	admin := freeAddr(t)
	s := start(t, twoHello+serverTable+`
[companion.beside]
command = ["sleep", "1000"]
startsecs = "0s"
[admin]
bind = "`+admin+`"
`)
	s.ready()
	s.must("reload")
	there := scrape(t, admin)
	metric := regexp.MustCompile(`gofork_[a-z_]+`)
	used := map[string]bool{}
	for _, file := range []string{"grafana.json", "alerts.yaml", "alerts_test.yaml"} {
		text := readFile(t, shipped(t, "monitoring", file))
		if strings.HasSuffix(file, ".json") && !json.Valid([]byte(text)) {
			t.Errorf("%s is no JSON", file)
		}
		for _, name := range metric.FindAllString(text, -1) {
			used[name] = true
			if there[name] == nil && there[strings.TrimSuffix(name, "_bucket")] == nil {
				t.Errorf("%s uses %s, which gofork does not have", file, name)
			}
		}
	}
	if len(used) < 20 {
		t.Errorf("only %d metrics are used: %q", len(used), slices.Sorted(maps.Keys(used)))
	}
}

func TestAlertRules(t *testing.T) {
	t.Parallel()
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		skip(t, "there is no promtool (apt-get install prometheus)")
	}
	for _, args := range [][]string{{"check", "rules", "alerts.yaml"}, {"test", "rules", "alerts_test.yaml"}} {
		cmd := exec.Command(promtool, args...)
		cmd.Dir = shipped(t, "monitoring")
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

func TestUnitsAreGood(t *testing.T) {
	t.Parallel()
	analyze, err := exec.LookPath("systemd-analyze")
	if err != nil {
		skip(t, "there is no systemd-analyze (apt-get install systemd)")
	}
	dir := t.TempDir()
	for _, unit := range []string{"gofork.service", "gofork.socket"} {
		// It looks for the program, too.
		text := strings.ReplaceAll(readFile(t, shipped(t, "systemd", unit)), "/usr/local/bin/gofork", binary(t))
		writeFile(t, filepath.Join(dir, unit), text)
	}
	cmd := exec.Command(analyze, "verify", "./gofork.service", "./gofork.socket")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	// 0 is closed, 10 is open; docs/systemd.md says 1.6.
	cmd = exec.Command(analyze, "security", "--offline=yes", "--threshold=20", "--no-pager", "./gofork.service")
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("systemd-analyze security: %v\n%s", err, out)
	}
}

// A probe each for what it is made for, nothing writable, no rights; and the wait
// before a stop is gofork's own.
func TestManifestForKubernetes(t *testing.T) {
	t.Parallel()
	text := readFile(t, shipped(t, "container", "kubernetes.yaml"))
	for _, want := range []string{
		"readinessProbe:\n            httpGet: {path: /readyz, port: admin}", "livenessProbe:\n            httpGet: {path: /livez, port: admin}",
		"terminationGracePeriodSeconds: ", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "capabilities: {drop: [ALL]}", "runAsNonRoot: true",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("kubernetes.yaml has no %q", want)
		}
	}
	if regexp.MustCompile(`(?m)^\s*preStop:`).MatchString(text) {
		t.Error("kubernetes.yaml has a preStop hook; shutdown_delay is that")
	}
	if config := readFile(t, shipped(t, "container", "app.toml")); !strings.Contains(config, "\nshutdown_delay = ") {
		t.Error("app.toml has no shutdown_delay")
	}
}
