package config

import (
	"bytes"
	"encoding/json"
)

// JSONSchema describes a configuration file as JSON Schema (draft 2020-12), made
// from [Keys], for editors: every key with its meaning, its default and the form of
// its value. It says what one file may hold, not what all layers together need, and
// leaves to [Load] what only a machine can tell, such as users.
func JSONSchema() []byte {
	tables := map[string]object{}
	for _, k := range Keys() {
		add := func(table string) {
			if tables[table] == nil {
				tables[table] = object{}
			}
			tables[table][k.Name] = k.schema()
		}
		add(k.Table)
		if k.Table == companionTable && !k.Own {
			add(defaultsTable)
		}
	}
	root := tables[""]
	for _, name := range []string{"server", "worker", "manager", "log", "control", "admin", hooksTable} {
		root[name] = closed(tableDoc(name), tables[name])
	}
	tables["worker"]["http"] = closed(tableDoc("worker.http"), tables["worker.http"])
	companion := closed(tableDoc(companionTable), tables[companionTable])
	root[companionTable] = object{
		"description": "The companions by name.", "type": "object",
		"patternProperties": object{companionName: companion}, "additionalProperties": false,
	}
	root[defaultsTable] = closed(tableDoc(defaultsTable), tables[defaultsTable])
	schema := closed("Configuration of gofork.", root)
	schema["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	schema["title"] = "gofork"
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	e.SetIndent("", "  ")
	if err := e.Encode(schema); err != nil {
		panic("config: the schema cannot be encoded: " + err.Error()) // it is made of what JSON can write
	}
	return b.Bytes()
}

// companionName is the pattern of a companion's name.
const companionName = `^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$`

// processName is the pattern of name.
const processName = `^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$`

// tableDoc says what a table is for.
func tableDoc(name string) string {
	return map[string]string{
		"server":       "What the arbiter itself needs: sockets, times, what all children share.",
		"worker":       "The web tier. Without this table nothing is bound and only companions run.",
		"worker.http":  "The HTTP server of handler workers.",
		"manager":      "The process that looks after the companions.",
		companionTable: "A process beside the workers. Keys that are not set come from companion_defaults.",
		defaultsTable:  "What every companion starts from; env, options and rlimits merge name by name.",
		"log":          "The log of gofork itself.",
		"control":      "The control socket.",
		"admin":        "The address for probes and metrics.",
		hooksTable:     "Commands that the arbiter runs when something happens.",
	}[name]
}

// object is a JSON object.
type object map[string]any

// closed is the schema of a table that has these keys and no others.
func closed(doc string, keys object) object {
	return object{"description": doc, "type": "object", "properties": keys, "additionalProperties": false}
}

// schema describes the values of one key.
func (k Key) schema() object {
	s := k.form()
	s["description"] = k.Doc
	if k.Default != nil {
		s["default"] = k.Default
	}
	return s
}

const (
	durationPattern = `^\+?(0|(([0-9]+\.?[0-9]*|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+)$`
	sizePattern     = `^[0-9]+(\.[0-9]*)? *([kKmMgGtTpPeE][iI]?)?[bB]?$`
	signalPattern   = `^([sS][iI][gG])?[A-Za-z]+[A-Za-z0-9]*$|^[0-9]+$`
	octalPattern    = `^(0o)?0*[0-7]{1,3}$`
	limitPattern    = `^(unlimited|[0-9]+)(:(unlimited|[0-9]+))?$`
	surgePattern    = `^0*([1-9][0-9]?|100)%$`
	maxSeconds      = 10 * 365 * 24 * 60 * 60 // maxDuration
)

// form is the shape of a key's values: the twin of reader.parse.
func (k Key) form() object {
	empty := func(pattern string) string {
		if k.Default == "" {
			return "^$|" + pattern
		}
		return pattern
	}
	switch k.Kind {
	case KindString:
		if len(k.Enum) > 0 {
			return object{"enum": k.Enum}
		}
		return object{"type": "string"}
	case KindName:
		return object{"type": "string", "pattern": processName}
	case KindBool:
		return object{"type": "boolean"}
	case KindTristate:
		return object{"enum": []any{true, false, "auto"}}
	case KindInt:
		return k.integer()
	case KindFloat:
		return object{"type": "number", "minimum": k.Min, "maximum": k.Max}
	case KindCount:
		return anyOf(k.integer(), object{"const": "auto"})
	case KindSurge:
		return anyOf(k.integer(), matching(surgePattern))
	case KindDuration:
		number := object{"type": "number", "minimum": 0, "maximum": maxSeconds}
		if k.Above {
			delete(number, "minimum")
			number["exclusiveMinimum"] = 0
		}
		return anyOf(matching(empty(durationPattern)), number)
	case KindSize:
		limit := float64(maxSize)
		if k.Max > 0 {
			limit = k.Max
		}
		return anyOf(matching(sizePattern), object{"type": "integer", "minimum": k.Min, "maximum": limit})
	case KindSignal:
		return signalForm(empty(signalPattern))
	case KindOnReload:
		return anyOf(object{"enum": k.Enum}, matching(signalPattern))
	case KindOctal:
		return matching(empty(octalPattern))
	case KindCommand:
		return anyOf(object{"type": "array", "items": object{"type": "string"}, "minItems": 1}, object{"type": "string", "minLength": 1})
	case KindArgv:
		return object{"type": "array", "items": object{"type": "string"}}
	case KindPath, KindAddress:
		return object{"type": "string"}
	case KindPaths, KindCIDRs:
		return object{"type": "array", "items": object{"type": "string", "minLength": 1}}
	case KindOutput:
		return anyOf(object{"enum": k.Enum}, object{"type": "string", "minLength": 1})
	case KindBind:
		return anyOf(object{"type": "array", "items": object{"type": "string", "minLength": 1}}, object{"type": "string"})
	case KindInts:
		return object{"type": "array", "items": k.integer()}
	case KindEnv:
		return object{
			"type": "object", "propertyNames": object{"pattern": "^[^=]+$"},
			"additionalProperties": object{"type": []string{"string", "number", "boolean"}},
		}
	case KindOptions:
		return object{"type": "object"}
	case KindRlimits:
		return object{"type": "object", "additionalProperties": anyOf(object{"type": "integer", "minimum": 0}, matching(limitPattern))}
	case KindUser:
		return anyOf(object{"type": "string"}, object{"type": "integer", "minimum": 0})
	default:
		panic("config: no schema for kind " + string(k.Kind)) // a key in Keys that no editor knows
	}
}

func (k Key) integer() object {
	return object{"type": "integer", "minimum": k.Min, "maximum": k.Max}
}

func signalForm(pattern string) object {
	return anyOf(matching(pattern), object{"type": "integer", "minimum": 1, "maximum": 64})
}

func anyOf(forms ...object) object { return object{"anyOf": forms} }

func matching(pattern string) object { return object{"type": "string", "pattern": pattern} }
