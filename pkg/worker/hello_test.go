package worker

import (
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

func load(t testing.TB, f Factory, options map[string]any) http.Handler {
	t.Helper()
	h, err := f(Context{Options: options, Logger: slog.New(slog.DiscardHandler), Slot: 1, Generation: 3, Name: "app"})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestHello(t *testing.T) {
	h := load(t, Hello, nil)
	pid := fmt.Sprint(os.Getpid())
	line := "hello from gofork: slot 1 pid " + pid + " generation 3\n"
	for _, c := range []struct {
		method, path, body string
		code               int
		want               string
	}{
		{"GET", "/", "", 200, line},
		{"GET", "/any/path", "", 200, line},
		{"GET", "/pid", "", 200, pid},
		{"POST", "/echo", "what I said", 200, "what I said"},
		{"POST", "/echo", "", 200, ""},
		{"GET", "/echo", "", 200, line},
		{"GET", "/sleep?d=0s", "", 200, line},
		{"GET", "/sleep", "", 400, `cannot sleep "": must be a duration from 0s to 1m0s` + "\n"},
		{"GET", "/sleep?d=61s", "", 400, `cannot sleep "61s": must be a duration from 0s to 1m0s` + "\n"},
		{"GET", "/sleep?d=-1s", "", 400, `cannot sleep "-1s": must be a duration from 0s to 1m0s` + "\n"},
		{"GET", "/sleep?d=soon", "", 400, `cannot sleep "soon": must be a duration from 0s to 1m0s` + "\n"},
	} {
		w := httptest.NewRecorder()
		h.ServeHTTP(w, httptest.NewRequest(c.method, c.path, strings.NewReader(c.body)))
		if w.Code != c.code || w.Body.String() != c.want {
			t.Errorf("%s %s: %d %q, want %d %q", c.method, c.path, w.Code, w.Body, c.code, c.want)
		}
	}
}

func TestHelloSleepsAsLongAsItIsAsked(t *testing.T) {
	h := load(t, Hello, nil)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		h.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/sleep?d=60s", nil))
		if d := time.Since(start); d != time.Minute {
			t.Errorf("slept %v", d)
		}
	})
}

func TestOptionsAreChecked(t *testing.T) {
	type o = map[string]any
	for _, c := range []struct {
		handler string
		options o
		want    string // "" = fine
	}{
		{"hello", nil, ""},
		{"hello", o{"a": 1, "b": 2}, `cannot load handler "hello": option "a": cannot use 1: the handler takes no options`},
		{"static", o{"root": "/srv"}, ""},
		{"static", o{}, `cannot load handler "static": option "root": is missing: must be the path of a directory`},
		{"static", o{"root": 5.0}, `cannot load handler "static": option "root": cannot use 5: must be the path of a directory`},
		{"static", o{"root": "/srv", "rot": "x"}, `cannot load handler "static": option "rot": cannot use "x": unknown option, known: root`},
		{"proxy", o{"upstream": "http://127.0.0.1:9000"}, ""},
		{"proxy", o{"upstream": []any{"http://a", "https://b:1/base"}}, ""},
		{"proxy", o{"upstream": []string{"http://a"}}, ""},
		{"proxy", o{}, `cannot load handler "proxy": option "upstream": is missing: must be a URL such as "http://127.0.0.1:9000" or a list of them`},
		{"proxy", o{"upstream": []any{}}, `cannot load handler "proxy": option "upstream": cannot use []: must be a URL such as "http://127.0.0.1:9000" or a list of them`},
		{"proxy", o{"upstream": "127.0.0.1:9000"}, `cannot load handler "proxy": option "upstream": cannot use "127.0.0.1:9000": must be http://HOST[:PORT][/PATH] or the same with https, without query or user`},
		{"proxy", o{"upstream": "http://me:hunter2@a"}, `cannot load handler "proxy": option "upstream": cannot use "http://me:xxxxx@a": must be http://HOST[:PORT][/PATH] or the same with https, without query or user`},
		{"proxy", o{"upstream": []any{"http://a", 7.0}}, `cannot load handler "proxy": option "upstream": cannot use 7: must be http://HOST[:PORT][/PATH] or the same with https, without query or user`},
		{"mine", o{"anything": 1}, ""},
	} {
		err := ValidateOptions(c.handler, c.options)
		if got := fmt.Sprint(err); got != c.want && (err != nil || c.want != "") {
			t.Errorf("%s %v:\n got %s\nwant %s", c.handler, c.options, got, c.want)
		}
		if f, ok := Stock()[c.handler]; ok && c.want != "" {
			if _, err := f(Context{Options: c.options}); err == nil || err.Error() != c.want {
				t.Errorf("%s %v: the factory says %v", c.handler, c.options, err)
			}
		}
	}
}
