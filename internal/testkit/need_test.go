package testkit

import (
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
)

// everywhere has the programs that a test may run without a check: those needed to
// build the gateway, and those that each Linux system has.
var everywhere = map[string]bool{"go": true, "git": true, "bash": true, "sh": true}

// go test ./... must pass on machines without the optional programs. Therefore each
// function that runs one must call Need, NeedProgram or a function with a name like
// that, or return Missing.
func TestFunctionsCheckForTheProgramsTheyRun(t *testing.T) {
	files := token.NewFileSet()
	found := 0
	err := filepath.WalkDir("../..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == "node_modules" {
			return fs.SkipDir
		}
		if !strings.HasSuffix(path, "_test.go") {
			return nil
		}
		file, err := parser.ParseFile(files, path, nil, 0)
		if err != nil {
			return err
		}
		for _, decl := range file.Decls {
			program, asks := runs(decl)
			if program == "" {
				continue
			}
			if found++; !asks {
				t.Errorf("%v runs %s, which may not be installed: call testkit.NeedProgram before", files.Position(decl.Pos()), program)
			}
		}
		return nil
	})
	if err != nil || found < 5 {
		t.Errorf("%d functions run programs, %v; want 5 or more", found, err)
	}
}

// runs returns the name of a program that a declaration runs, "" if there is none, and
// whether it checks for it.
func runs(decl ast.Decl) (program string, asks bool) {
	ast.Inspect(decl, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok {
			return true
		}
		name := calledName(call)
		asks = asks || strings.HasPrefix(strings.ToLower(name), "need") || name == "Missing"
		at := map[string]int{"Command": 0, "CommandContext": 1}
		if i, ok := at[name]; ok && i < len(call.Args) {
			if what := constant(call.Args[i]); what != "" && !everywhere[what] {
				program = what
			}
		}
		return true
	})
	return program, asks
}

func calledName(call *ast.CallExpr) string {
	switch f := call.Fun.(type) {
	case *ast.Ident:
		return f.Name
	case *ast.SelectorExpr:
		return f.Sel.Name
	}
	return ""
}

// constant returns the text of a literal, or the name of a constant that holds the
// path of Python.
func constant(e ast.Expr) string {
	switch e := e.(type) {
	case *ast.BasicLit:
		return strings.Trim(e.Value, "`\"")
	case *ast.Ident:
		if strings.Contains(strings.ToLower(e.Name), "python") {
			return e.Name
		}
	}
	return ""
}
