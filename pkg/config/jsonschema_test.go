package config

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/pelletier/go-toml/v2"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemaFile = "../../configs/gofork.schema.json"

func TestSchemaFileIsInStep(t *testing.T) {
	if *update {
		if err := os.WriteFile(schemaFile, JSONSchema(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	file, err := os.ReadFile(schemaFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(file), string(JSONSchema())); diff != "" {
		t.Errorf("configs/gofork.schema.json is not what Keys says; `make schema` writes it (-file +keys):\n%s", diff)
	}
}

func compileSchema(t *testing.T) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("gofork.schema.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("gofork.schema.json") // against the meta-schema, too
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// validate says what the schema has against a TOML document.
func validate(t *testing.T, s *jsonschema.Schema, doc string) error {
	t.Helper()
	var tree map[string]any
	if err := toml.Unmarshal([]byte(doc), &tree); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(tree)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return s.Validate(v)
}

func TestExamplesFitTheSchemaAndNameIt(t *testing.T) {
	s := compileSchema(t)
	paths, err := filepath.Glob("../../configs/*.toml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, path := range paths {
		doc, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, string(doc)); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		if line, _, _ := strings.Cut(string(doc), "\n"); line != "#:schema ./gofork.schema.json" {
			t.Errorf("%s begins with %q, which names no schema", path, line)
		}
	}
}

// What load accepts, an editor must not underline; nor what config show writes.
func TestGoodFilesFitTheSchema(t *testing.T) {
	s := compileSchema(t)
	eachCase(t, "testdata/good/*.txtar", func(t *testing.T, c *goldenCase) {
		for _, f := range c.files {
			if f.name == "app.toml" {
				if err := validate(t, s, f.content); err != nil {
					t.Error(err)
				}
			}
		}
		loaded, err := load(c.src, testKnown(), testHost())
		if err != nil {
			t.Fatal(err)
		}
		if err := validate(t, s, FormatTOML(loaded.Effective())); err != nil {
			t.Error(err)
		}
	})
}

func TestDefaultsFitTheSchema(t *testing.T) {
	s := compileSchema(t)
	for _, k := range Keys() {
		if k.Default == nil {
			continue
		}
		table := map[string]string{"": "", companionTable: "[companion.a]\n"}[k.Table]
		if table == "" && k.Table != "" {
			table = "[" + k.Table + "]\n"
		}
		if err := validate(t, s, table+k.Name+" = "+FormatValue(k.Default)); err != nil {
			t.Errorf("%s: %v", k.Path(), err)
		}
	}
}

func TestSchemaRefuses(t *testing.T) {
	s := compileSchema(t)
	for _, doc := range []string{
		"nam = 'x'", "name = '-x'", "name = 1",
		"[server]\nbind = 80", "[server]\numask = '999'", "[server]\nbacklog = 0", "[server]\nreuse_port = 'yes'",
		"[server]\ngraceful_timeout = 'soon'", "[server]\ngraceful_timeout = -1", "[server]\ngraceful_timeout = '-1s'",
		"[server]\nenv = { A = [] }", "[server]\nbacklg = 1",
		"[worker]\ncount = 'many'", "[worker]\ncount = 0", "[worker]\nmax_surge = '101%'", "[worker]\nboot_timeout = 0",
		"[worker]\nready = 'now'", "[worker]\nstop_signal = 'SIG TERM'", "[worker]\ncommand = []", "[worker]\ncommand = ['a', 1]",
		"[worker]\nmax_memory = '1 GiBs'", "[worker]\nrlimits = { core = 'much' }", "[worker.http]\nmax_header = 1", "[worker.htp]",
		"[companion]\ncommand = 'x'", "[companion.'a b']\ncommand = 'x'", "[companion.a]\nnumprocs = 1.5",
		"[companion.a]\nsuccess_codes = [256]", "[companion.a]\nno_new_privs = 'maybe'", "[companion.a]\non_reload = ''",
		"[companion_defaults]\ncommand = 'x'", "[hooks]\non_exit = 'x'", "[control]\nallow_uids = [-1]",
	} {
		if validate(t, s, doc) == nil {
			t.Errorf("accepts %q", doc)
		}
	}
}
