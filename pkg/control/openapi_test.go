package control_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gofork/gofork/pkg/control"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

var update = flag.Bool("update", false, "write docs/openapi.json")

const openAPIFile = "../../docs/openapi.json"

// object is a JSON object.
type object = map[string]any

// operation is one request, as the document describes it. Everything else about it
// comes from the types.
type operation struct {
	id, summary string
	query       []string // names in parameters
	body        any      // nil: none
	answer      any      // a type, or a media type as a string
	fails       []string // statuses beyond those that every request can have
}

func operations() map[string]operation {
	waits := []string{"wait", "timeout"}
	list := control.CompanionList{}
	done := struct{}{}
	return map[string]operation{
		"GET /v1/status":                       {"status", "One consistent picture of the arbiter, its workers, the manager and the companions.", nil, nil, control.Status{}, nil},
		"GET /v1/companions":                   {"listCompanions", "All instances of all companions.", nil, nil, list, nil},
		"GET /v1/companions/{target}":          {"getCompanion", "The instances that the target means.", nil, nil, list, []string{"404"}},
		"POST /v1/companions/{target}/start":   {"startCompanion", "Starts instances and answers when they are RUNNING. One that is up already is done.", waits, nil, list, []string{"404", "409", "504"}},
		"POST /v1/companions/{target}/stop":    {"stopCompanion", "Stops instances and answers when their process groups are gone.", waits, nil, list, []string{"404", "409", "504"}},
		"POST /v1/companions/{target}/restart": {"restartCompanion", "Stops and starts instances and answers when the new ones are RUNNING.", waits, nil, list, []string{"404", "409", "504"}},
		"POST /v1/companions/{target}/signal":  {"signalCompanion", "Sends a signal to instances; 409 when one is not up.", append([]string{"signal"}, waits...), nil, list, []string{"404", "409", "504"}},
		"GET /v1/companions/{target}/logs":     {"companionLogs", "The last lines that a companion printed, and with follow those to come.", []string{"lines", "follow"}, nil, "text/plain", []string{"404", "409"}},
		"POST /v1/reload":                      {"reload", "Reads the configuration again and rolls it out, all or nothing. Waits for the result.", []string{"dry_run", "timeout"}, nil, control.Reload{}, []string{"409", "504"}},
		"POST /v1/reread":                      {"reread", "Reads the configuration again and applies it to the companions alone.", []string{"dry_run", "timeout"}, nil, control.Reload{}, []string{"409", "504"}},
		"POST /v1/scale":                       {"scale", "Changes the number of workers; does not wait for them to be ready.", nil, control.ScaleRequest{}, control.Workers{}, []string{"409"}},
		"POST /v1/stop":                        {"stop", "Begins to stop gofork and everything it runs.", nil, control.StopRequest{}, done, nil},
		"POST /v1/reopen":                      {"reopen", "Opens the log files again, after they were moved.", nil, nil, done, nil},
		"POST /v1/upgrade":                     {"upgrade", "Starts the binary that is on disk now beside this one, on the same sockets.", []string{"timeout"}, nil, control.UpgradeResult{}, []string{"409", "504"}},
		"GET /v1/events":                       {"events", "Server-sent events: one \"snapshot\", which is a Status, then every lifecycle event under its own name.", nil, nil, "text/event-stream", nil},
		"GET /v1/config":                       {"config", "The effective configuration with the keys of a file; values of variables and secrets are masked.", nil, nil, object{}, nil},
		"GET /livez":                           {"livez", "200 while the arbiter answers.", nil, nil, "text/plain", nil},
		"GET /readyz":                          {"readyz", "200 while requests to the web tier would be served.", nil, nil, "text/plain", nil},
		"GET /metrics":                         {"metrics", "Metrics in the format of Prometheus.", nil, nil, "text/plain", nil},
	}
}

func queryParameters() object {
	query := func(name, doc string, schema object) object {
		return object{"name": name, "in": "query", "description": doc, "schema": schema}
	}
	signal := query("signal", "A name with or without SIG, or a number.", object{"type": "string"})
	signal["required"] = true
	return object{
		"target": object{
			"name": "target", "in": "path", "required": true, "schema": object{"type": "string"},
			"description": "NAME means all instances of a companion, NAME:2 its second.",
		},
		"wait":    query("wait", "Answer when it is done, not when it has begun.", object{"type": "boolean", "default": true}),
		"timeout": query("timeout", "How long to wait: a duration such as 1m30s, or seconds. After it the answer is 504, and the work goes on.", object{"type": "string"}),
		"dry_run": query("dry_run", "Only say what would change.", object{"type": "boolean", "default": false}),
		"lines":   query("lines", "How many lines.", object{"type": "integer", "minimum": 0, "maximum": 100000, "default": 100}),
		"follow":  query("follow", "Go on with what it prints from now on.", object{"type": "boolean", "default": false}),
		"signal":  signal,
	}
}

// enums are the values of strings that have a fixed set of them.
func enums() map[string][]string {
	return map[string][]string{
		"Status.state":      {control.StateStarting, control.StateRunning, control.StateReloading, control.StateUpgrading, control.StateStopping},
		"Worker.state":      {control.WorkerBooting, control.WorkerReady, control.WorkerDraining, control.WorkerKilling, control.WorkerBackoff},
		"Manager.state":     {control.ManagerStarting, control.ManagerRunning, control.ManagerStopping, control.ManagerKilling, control.ManagerBackoff, control.ManagerStopped},
		"Companion.state":   {control.Stopped, control.Starting, control.Running, control.Backoff, control.Stopping, control.Exited, control.Fatal},
		"Companion.desired": {control.Up, control.Down},
		"Error.code": {
			control.CodeBadRequest, control.CodeUnauthorized, control.CodeForbidden, control.CodeNotFound, control.CodeUnknownCompanion,
			control.CodeMethodNotAllowed, control.CodeConflict, control.CodeReloadFailed, control.CodeTooLarge, control.CodeInternal,
			control.CodeUnavailable, control.CodeNotSupported, control.CodeTimeout,
		},
	}
}

// builder writes schemas of Go types, with their comments as descriptions.
type builder struct {
	docs    map[string]string // "Status" and "Status.PID" → comment
	schemas object
}

// schema is the schema of a type: a reference for a struct, which is then in schemas.
func (b *builder) schema(t reflect.Type) object {
	switch {
	case t == reflect.TypeFor[time.Time]():
		return object{"type": "string", "format": "date-time"}
	case t.Kind() == reflect.Pointer:
		inner := b.schema(t.Elem())
		if inner["$ref"] != nil {
			return object{"anyOf": []any{inner, object{"type": "null"}}}
		}
		inner["type"] = []any{inner["type"], "null"}
		return inner
	}
	switch t.Kind() {
	case reflect.Bool:
		return object{"type": "boolean"}
	case reflect.Int, reflect.Int64:
		return object{"type": "integer"}
	case reflect.Float64:
		return object{"type": "number"}
	case reflect.String:
		return object{"type": "string"}
	case reflect.Slice:
		return object{"type": "array", "items": b.schema(t.Elem())}
	case reflect.Map:
		return object{"type": "object"}
	case reflect.Struct:
		if t.NumField() == 0 {
			return object{"type": "object"}
		}
		name := strings.ToUpper(t.Name()[:1]) + t.Name()[1:]
		if b.schemas[name] == nil {
			b.schemas[name] = object{} // before its fields: types may contain each other
			b.schemas[name] = b.structure(name, t)
		}
		return object{"$ref": "#/components/schemas/" + name}
	default:
		panic("no schema for " + t.String())
	}
}

func (b *builder) structure(name string, t reflect.Type) object {
	properties, required := object{}, []any{}
	for f := range t.Fields() {
		tag, options, _ := strings.Cut(f.Tag.Get("json"), ",")
		if tag == "-" {
			continue
		}
		s := b.schema(f.Type)
		if values := enums()[name+"."+tag]; values != nil {
			s["enum"] = values
		}
		if options == "" {
			required = append(required, tag)
		} else if f.Type.Kind() == reflect.Pointer { // left out instead of null
			s = b.schema(f.Type.Elem())
		}
		if doc := b.docs[t.Name()+"."+f.Name]; doc != "" {
			s["description"] = doc
		}
		properties[tag] = s
	}
	s := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		s["required"] = required
	}
	if doc := b.docs[t.Name()]; doc != "" {
		s["description"] = doc
	}
	return s
}

// comments reads the documentation of the package's types.
func comments(t *testing.T) map[string]string {
	t.Helper()
	docs := map[string]string{}
	paths, err := fs.Glob(os.DirFS("."), "*.go")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if strings.HasSuffix(path, "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ParseComments)
		if err != nil {
			t.Fatal(err)
		}
		for _, decl := range file.Decls {
			d, ok := decl.(*ast.GenDecl)
			if !ok {
				continue
			}
			for _, spec := range d.Specs {
				ts, ok := spec.(*ast.TypeSpec)
				if !ok {
					continue
				}
				docs[ts.Name.Name] = oneLine(d.Doc.Text())
				st, ok := ts.Type.(*ast.StructType)
				if !ok {
					continue
				}
				for _, f := range st.Fields.List {
					for _, name := range f.Names {
						docs[ts.Name.Name+"."+name.Name] = oneLine(f.Doc.Text() + f.Comment.Text())
					}
				}
			}
		}
	}
	return docs
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// openAPI is the document, made from the routes, the types and their comments.
func openAPI(t *testing.T) []byte {
	t.Helper()
	b := &builder{docs: comments(t), schemas: object{}}
	failure := func(doc string) object {
		return object{"description": doc, "content": object{"application/json": object{"schema": b.schema(reflect.TypeFor[control.ErrorBody]())}}}
	}
	responses := object{
		"400": failure("The request is wrong."), "403": failure("The peer is not root, gofork's own user or an allowed one."),
		"404": failure("There is no such companion."), "409": failure("Not in this state, or it was tried and failed. A reload that failed has its result beside the error."),
		"503": failure("gofork is starting or stopping, or cannot do that."), "504": failure("The wait timed out; the work goes on."),
	}
	paths := object{}
	for route, o := range operations() {
		method, path, _ := strings.Cut(route, " ")
		item, ok := paths[path].(object)
		if !ok {
			item = object{}
			if strings.Contains(path, "{target}") {
				item["parameters"] = []any{object{"$ref": "#/components/parameters/target"}}
			}
			paths[path] = item
		}
		op := object{"operationId": o.id, "summary": o.summary}
		var parameters []any
		for _, q := range o.query {
			parameters = append(parameters, object{"$ref": "#/components/parameters/" + q})
		}
		if parameters != nil {
			op["parameters"] = parameters
		}
		if o.body != nil {
			op["requestBody"] = object{"content": object{"application/json": object{"schema": b.schema(reflect.TypeOf(o.body))}}}
		}
		media, schema := "application/json", object{"type": "string"}
		if text, ok := o.answer.(string); ok {
			media = text
		} else {
			schema = b.schema(reflect.TypeOf(o.answer))
		}
		answers := object{"200": object{"description": "Done.", "content": object{media: object{"schema": schema}}}}
		statuses := append([]string{"400", "403", "503"}, o.fails...)
		if !strings.HasPrefix(path, "/v1/") {
			statuses = []string{"403"}
			answers["503"] = object{"description": "Why not.", "content": object{"text/plain": object{"schema": object{"type": "string"}}}}
		}
		for _, status := range statuses {
			answers[status] = object{"$ref": "#/components/responses/" + status}
		}
		op["responses"] = answers
		item[strings.ToLower(method)] = op
	}
	b.schemas["Event"] = object{
		"description": b.docs["Event"], "type": "object", "required": []any{"time", "level", "msg", "event", "role"},
		"properties": object{
			"time": object{"type": "string", "format": "date-time"}, "level": object{"enum": []any{"DEBUG", "INFO", "WARN", "ERROR"}},
			"msg": object{"type": "string"}, "event": object{"type": "string"}, "role": object{"type": "string"},
		},
	}
	doc := object{
		"openapi": "3.1.0",
		"info": object{
			"title": "gofork control API", "version": "v1",
			"description": "HTTP/1.1 and JSON on the control socket of a running gofork, a unix socket. Unknown members may be added to answers; unknown parameters and members of requests are refused.",
		},
		"servers": []any{object{"url": "http://gofork", "description": "curl --unix-socket SOCKET http://gofork/v1/status"}},
		"paths":   paths,
		"components": object{
			"parameters": queryParameters(), "responses": responses, "schemas": b.schemas,
		},
	}
	var out bytes.Buffer
	e := json.NewEncoder(&out)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(doc); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func TestOpenAPIDocumentIsInStepWithTheTypes(t *testing.T) {
	want := openAPI(t)
	if *update {
		if err := os.WriteFile(openAPIFile, want, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(got), string(want)); diff != "" {
		t.Errorf("docs/openapi.json is not what the types say, run with -update (-file +types):\n%s", diff)
	}
}

func TestOpenAPIDocumentHasEveryRoute(t *testing.T) {
	var described []string
	for route := range operations() {
		described = append(described, route)
	}
	served := control.Endpoints()
	slices.Sort(described)
	slices.Sort(served)
	if diff := cmp.Diff(served, described); diff != "" {
		t.Errorf("routes (-served +described):\n%s", diff)
	}
}

// What the server really answers has to be what the document promises.
func TestAnswersFitTheOpenAPIDocument(t *testing.T) {
	file, err := os.ReadFile(openAPIFile)
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(file))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	full := &fake{status: fullPicture}
	s := start(t, full, control.Options{Metrics: http.NotFoundHandler()})
	for route, o := range operations() {
		method, path, _ := strings.Cut(route, " ")
		if _, isText := o.answer.(string); isText {
			continue
		}
		body := map[string]string{"/v1/scale": `{"workers":4}`}[path]
		target := strings.ReplaceAll(path, "{target}", "rq")
		if slices.Contains(o.query, "signal") {
			target += "?signal=HUP"
		}
		for status, request := range map[string]string{"200": target, "400": target + "?%zz"} {
			pointer := fmt.Sprintf("openapi.json#/paths/%s/%s/responses/200/content/application~1json/schema",
				strings.NewReplacer("/", "~1", "{", "%7B", "}", "%7D").Replace(path), strings.ToLower(method))
			if status == "400" {
				pointer = "openapi.json#/components/responses/400/content/application~1json/schema"
			}
			schema, err := c.Compile(pointer)
			if err != nil {
				t.Errorf("%s: %v", route, err)
				continue
			}
			code, _, text := s.do(t, method, request, body)
			if fmt.Sprint(code) != status {
				t.Errorf("%s %s: %d %s, want %s", method, request, code, text, status)
				continue
			}
			answer, err := jsonschema.UnmarshalJSON(strings.NewReader(text))
			if err != nil {
				t.Errorf("%s: %v", route, err)
				continue
			}
			if err := schema.Validate(answer); err != nil {
				t.Errorf("%s: %v\n%s", route, err, text)
			}
		}
	}
}

// fullPicture has everything that a status can have.
func fullPicture(context.Context) (*control.Status, error) {
	s := picture()
	now, code, signal := time.Unix(1700000000, 0).UTC(), 1, "SIGKILL"
	exit := &control.Exit{At: now, Code: &code, Reason: "exited"}
	s.LastReload = &control.Reload{At: now, OK: true, Plan: &control.Plan{
		Workers:    "new generation",
		Listeners:  []control.PlanListener{{Address: "127.0.0.1:8000", Action: "keep"}},
		Companions: []control.PlanCompanion{{Name: "rq", Action: "none"}},
	}}
	s.Workers.List = []control.Worker{
		{Slot: 1, PID: 11, State: control.WorkerReady, StartedAt: &now, Status: "busy", LastExit: &control.Exit{At: now, Signal: &signal}},
		{Slot: 2, State: control.WorkerBackoff, NextRetryAt: &now, LastExit: exit},
	}
	s.Manager = &control.Manager{PID: 13, State: control.ManagerRunning, LastExit: exit, NextRetryAt: &now}
	for i := range s.Companions {
		s.Companions[i].StartedAt, s.Companions[i].LastExit = &now, exit
	}
	return s, nil
}
