package contract

import (
	"encoding/json"
	"fmt"
	"strconv"
	"strings"
)

// object is a JSON object of a document.
type object = map[string]any

// A typ is the type of a value.
type typ struct {
	ts     string // in TypeScript
	schema object // in JSON Schema
}

// A member is a part of an object.
type member struct {
	name     string
	typ      typ
	optional bool
}

// The types there are.
var (
	text     = typ{"string", object{"type": "string"}}
	whole    = typ{"number", object{"type": "integer"}}
	boolean  = typ{"boolean", object{"type": "boolean"}}
	anything = typ{"unknown", object{}}
	moment   = typ{"string", object{"type": "string", "format": "date-time"}}
	id       = typ{"string | number", object{"type": []string{"string", "number"}}}
)

func orNull(t typ) typ {
	return typ{t.ts + " | null", object{"oneOf": []any{t.schema, object{"type": "null"}}}}
}

func oneOf(words ...string) typ {
	quoted := make([]string, len(words))
	for i, word := range words {
		quoted[i] = strconv.Quote(word)
	}
	return typ{strings.Join(quoted, " | "), object{"type": "string", "enum": words}}
}

func is(value string) typ {
	return typ{strconv.Quote(value), object{"const": value}}
}

func listOf(t typ) typ {
	return typ{"(" + t.ts + ")[]", object{"type": "array", "items": t.schema}}
}

// objectOf returns the type of an object with these members. It may have more.
func objectOf(members ...member) typ {
	properties, required := object{}, []string{}
	parts := make([]string, len(members))
	for i, m := range members {
		properties[m.name] = m.typ.schema
		mark := ""
		if m.optional {
			mark = "?"
		} else {
			required = append(required, m.name)
		}
		parts[i] = fmt.Sprintf("%s%s: %s", property(m.name), mark, m.typ.ts)
	}
	schema := object{"type": "object", "properties": properties}
	if len(required) > 0 {
		schema["required"] = required
	}
	ts := "Record<string, unknown>"
	if len(parts) > 0 {
		ts = "{ " + strings.Join(parts, "; ") + " }"
	}
	return typ{ts, schema}
}

// open returns the type of an object of which only some members are known.
func open(members ...member) typ {
	t := objectOf(members...)
	if len(members) > 0 {
		t.ts += " & Record<string, unknown>"
	}
	return t
}

// property returns a member's name in TypeScript.
func property(name string) string {
	plain := func(r rune) bool {
		return r == '_' || r == '$' || r >= '0' && r <= '9' || r|0x20 >= 'a' && r|0x20 <= 'z'
	}
	if name != "" && !(name[0] >= '0' && name[0] <= '9') && !strings.ContainsFunc(name, func(r rune) bool { return !plain(r) }) {
		return name
	}
	quoted, _ := json.Marshal(name) // a text
	return string(quoted)
}
