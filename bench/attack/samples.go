package main

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// minSamples is how many are there at least; fewer mean that they are looked
// for in the wrong place.
const minSamples = 300

// readSamples collects what has ever been thought of as malformed: every text
// in the tests of the parsers and of bad clients, and the corpora of the fuzz
// targets.
func readSamples(root string) ([]string, error) {
	var samples []string
	for _, pattern := range []string{"codec/*_test.go", "internal/e2e/bad*_test.go"} {
		files, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			return nil, err
		}
		for _, file := range files {
			if samples, err = appendTexts(samples, file, nil); err != nil {
				return nil, err
			}
		}
	}
	corpora, err := filepath.Glob(filepath.Join(root, "codec/testdata/fuzz/*/*"))
	if err != nil {
		return nil, err
	}
	for _, file := range corpora {
		b, err := os.ReadFile(file)
		if err != nil {
			return nil, err
		}
		// "go test fuzz v1" and a Go expression on each further line.
		_, values, _ := strings.Cut(string(b), "\n")
		source := "package corpus\nvar _ = []any{" + strings.ReplaceAll(strings.TrimSpace(values), "\n", ",") + "}"
		if samples, err = appendTexts(samples, file, source); err != nil {
			return nil, err
		}
	}
	slices.Sort(samples)
	samples = slices.Compact(samples)
	if len(samples) < minSamples {
		return nil, fmt.Errorf("%d malformed samples in %s, there should be %d: their tests have moved", len(samples), root, minSamples)
	}
	return samples, nil
}

// appendTexts appends every string in a Go file; source takes the place of
// its content unless it is nil.
func appendTexts(samples []string, file string, source any) ([]string, error) {
	parsed, err := parser.ParseFile(token.NewFileSet(), file, source, parser.SkipObjectResolution)
	if err != nil {
		return nil, fmt.Errorf("samples: %w", err)
	}
	ast.Inspect(parsed, func(n ast.Node) bool {
		if lit, ok := n.(*ast.BasicLit); ok && lit.Kind == token.STRING {
			if s, err := strconv.Unquote(lit.Value); err == nil && s != "" {
				samples = append(samples, s)
			}
		}
		return true
	})
	return samples, nil
}
