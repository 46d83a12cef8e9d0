package routes

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/hometrip/gateway/codec"
)

const (
	maxRoutesFile = 1 << 20 // bytes
	maxYAMLDepth  = 32      // lists and mappings around a value
)

// LoadTable returns the built-in routes and those of a file; path "" means no
// file. The error names the file and the line.
func LoadTable(path string) (*Table, error) {
	if path == "" {
		return NewTable(nil)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("routes file: %w", err)
	}
	table, err := ParseTable(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return table, nil
}

// ParseTable parses a routes file, whose form the package comment describes,
// and returns its routes and client events together with the built-in routes.
// Everything is checked; the error begins with the line.
func ParseTable(text []byte) (*Table, error) {
	top, err := parseFile(text)
	if err != nil {
		return nil, err
	}
	routes, err := parseRoutes(top["routes"])
	if err != nil {
		return nil, err
	}
	t, err := NewTable(routes)
	if err != nil {
		return nil, err
	}
	t.clientEvents, err = t.parseClientEvents(top["client_events"])
	return t, err
}

func parseRoutes(list []ast.Node) (routes []Route, err error) {
	lines := make(map[string]int)
	for _, node := range list {
		r, err := parseRoute(node)
		if err != nil {
			return nil, err
		}
		if first, twice := lines[r.Event]; twice {
			return nil, atLine(node, "event %s has a route in line %d already", r.Event, first)
		}
		check := r
		if err := check.compile(); err != nil {
			return nil, atLine(node, "%w", err)
		}
		lines[r.Event] = lineOf(node)
		routes = append(routes, r)
	}
	return routes, nil
}

// parseFile returns the elements of the lists in a file, by name.
func parseFile(text []byte) (lists map[string][]ast.Node, err error) {
	if len(text) > maxRoutesFile {
		return nil, fmt.Errorf("%d bytes, at most %d are allowed", len(text), maxRoutesFile)
	}
	file, err := parser.ParseBytes(text, 0)
	if bad, ok := errors.AsType[yaml.Error](err); ok && bad.GetToken() != nil {
		return nil, fmt.Errorf("line %d: %s", bad.GetToken().Position.Line, bad.GetMessage())
	}
	if err != nil {
		return nil, err
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		return nil, errors.New("line 1: want one document with the lists routes and client_events")
	}
	top, err := members(file.Docs[0].Body, "routes", "client_events")
	if err != nil {
		return nil, err
	}
	lists = make(map[string][]ast.Node)
	for name, node := range top {
		list, ok := node.(*ast.SequenceNode)
		if !ok {
			return nil, atLine(node, "%s: want a list", name)
		}
		lists[name] = list.Values
	}
	return lists, nil
}

func parseRoute(node ast.Node) (Route, error) {
	var r Route
	m, err := members(node, "event", "rooms", "emit", "fields", "volatile", "latest")
	if err != nil {
		return r, err
	}
	for _, name := range []string{"event", "rooms", "emit", "fields"} {
		if _, ok := m[name]; !ok {
			return r, atLine(node, "the route has no %s", name)
		}
	}
	if r.Event, err = textOf(m["event"]); err != nil {
		return r, err
	}
	if r.Rooms, err = textsOf(m["rooms"]); err != nil {
		return r, err
	}
	if r.Emit, err = textOf(m["emit"]); err != nil {
		return r, err
	}
	if r.Fields, r.All, err = fieldsOf(m["fields"]); err != nil {
		return r, err
	}
	if r.Volatile, err = flagOf(m, "volatile"); err != nil {
		return r, err
	}
	if value, ok := m["latest"]; ok {
		if r.Latest, err = textOf(value); err != nil {
			return r, err
		}
		if r.Latest == "" {
			return r, atLine(value, "latest: want a template such as {bookingId}")
		}
	}
	return r, nil
}

// flagOf reads a member that is true or false; false if it is missing.
func flagOf(m map[string]ast.Node, name string) (bool, error) {
	value, ok := m[name]
	if !ok {
		return false, nil
	}
	flag, ok := value.(*ast.BoolNode)
	if !ok {
		return false, atLine(value, "%s: want true or false", name)
	}
	return flag.Value, nil
}

// fieldsOf reads "all" or a list of names and of {name, from, default}.
func fieldsOf(node ast.Node) (list []Field, all bool, err error) {
	sequence, ok := node.(*ast.SequenceNode)
	if !ok {
		if text, err := textOf(node); err == nil && text == "all" {
			return nil, true, nil
		}
		return nil, false, atLine(node, "fields: want a list, or all")
	}
	for _, value := range sequence.Values {
		f, err := fieldOf(value)
		if err != nil {
			return nil, false, err
		}
		list = append(list, f)
	}
	return list, false, nil
}

func fieldOf(node ast.Node) (f Field, err error) {
	if f.Name, err = textOf(node); err == nil {
		return f, nil
	}
	m, err := members(node, "name", "from", "default")
	if err != nil {
		return f, err
	}
	if _, ok := m["name"]; !ok {
		return f, atLine(node, "the field has no name")
	}
	if f.Name, err = textOf(m["name"]); err != nil {
		return f, err
	}
	if from, ok := m["from"]; ok {
		text, err := textOf(from)
		if err != nil {
			return f, err
		}
		if f.From = strings.Split(text, "|"); slices.Contains(f.From, "") {
			return f, atLine(from, "from %q: want a member's name, or several with | between", text)
		}
	}
	if def, ok := m["default"]; ok {
		text, err := appendJSON(nil, def, 0)
		if err != nil {
			return f, err
		}
		f.Default = string(text)
	}
	return f, nil
}

// members returns the members of a mapping, all of which must be allowed.
func members(node ast.Node, allowed ...string) (map[string]ast.Node, error) {
	mapping, ok := node.(ast.MapNode)
	if !ok {
		return nil, atLine(node, "want a mapping with %s", strings.Join(allowed, ", "))
	}
	m := make(map[string]ast.Node)
	for iter := mapping.MapRange(); iter.Next(); {
		name, err := textOf(iter.Key())
		if err != nil || !slices.Contains(allowed, name) {
			return nil, atLine(iter.Key(), "unknown %s, want %s", iter.Key(), strings.Join(allowed, ", "))
		}
		if _, twice := m[name]; twice {
			return nil, atLine(iter.Key(), "%s is there twice", name)
		}
		m[name] = iter.Value()
	}
	return m, nil
}

func textOf(node ast.Node) (string, error) {
	switch n := node.(type) {
	case *ast.StringNode:
		return n.Value, nil
	case *ast.LiteralNode:
		return n.Value.Value, nil
	}
	return "", atLine(node, "%s: want text (put quotes around it)", node)
}

// textsOf reads a text or a list of them.
func textsOf(node ast.Node) (list []string, err error) {
	values := []ast.Node{node}
	if sequence, ok := node.(*ast.SequenceNode); ok {
		values = sequence.Values
	}
	for _, value := range values {
		text, err := textOf(value)
		if err != nil {
			return nil, err
		}
		list = append(list, text)
	}
	return list, nil
}

// appendJSON appends a value as JSON text.
func appendJSON(b []byte, node ast.Node, depth int) ([]byte, error) {
	if depth > maxYAMLDepth {
		return nil, atLine(node, "more than %d lists and mappings in each other", maxYAMLDepth)
	}
	switch n := node.(type) {
	case *ast.NullNode:
		return append(b, "null"...), nil
	case *ast.BoolNode:
		return strconv.AppendBool(b, n.Value), nil
	case *ast.IntegerNode, *ast.FloatNode:
		number := n.GetToken().Value // digit for digit
		if !codec.ValidJSON([]byte(number)) {
			return nil, atLine(node, "number %s: want it as JSON has it", number)
		}
		return append(b, number...), nil
	case *ast.SequenceNode:
		return appendJSONArray(b, n, depth)
	case ast.MapNode:
		return appendJSONObject(b, n, depth)
	}
	text, err := textOf(node)
	return codec.AppendString(b, text), err
}

func appendJSONArray(b []byte, n *ast.SequenceNode, depth int) (_ []byte, err error) {
	b = append(b, '[')
	for i, value := range n.Values {
		if i > 0 {
			b = append(b, ',')
		}
		if b, err = appendJSON(b, value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, ']'), nil
}

func appendJSONObject(b []byte, n ast.MapNode, depth int) ([]byte, error) {
	b = append(b, '{')
	start := len(b)
	for iter := n.MapRange(); iter.Next(); {
		if len(b) > start {
			b = append(b, ',')
		}
		name, err := textOf(iter.Key())
		if err != nil {
			return nil, err
		}
		b = append(codec.AppendString(b, name), ':')
		if b, err = appendJSON(b, iter.Value(), depth+1); err != nil {
			return nil, err
		}
	}
	return append(b, '}'), nil
}

func lineOf(node ast.Node) int {
	if node == nil || node.GetToken() == nil {
		return 1
	}
	return node.GetToken().Position.Line
}

func atLine(node ast.Node, format string, args ...any) error {
	return fmt.Errorf("line %d: "+format, append([]any{lineOf(node)}, args...)...)
}
