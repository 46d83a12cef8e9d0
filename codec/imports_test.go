package codec

import (
	"go/parser"
	"go/token"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// forbiddenImports are packages that a package of pure functions must not use.
var forbiddenImports = map[string]string{
	"net":          "bytes come from the caller",
	"net/http":     "a head is parsed in place, and the server is ours",
	"time":         "no clock: what depends on it belongs to the caller",
	"sync":         "no state between calls, so nothing to lock",
	"sync/atomic":  "no state between calls, so nothing to count",
	"context":      "nothing here waits",
	"log":          "errors are returned, and counted by the caller",
	"log/slog":     "errors are returned, and counted by the caller",
	"os":           "no I/O",
	"io":           "no I/O: parsers take slices",
	"bufio":        "no I/O: parsers take slices",
	"math/rand":    "the same bytes always mean the same",
	"math/rand/v2": "the same bytes always mean the same",
	"reflect":      "values are read by hand",
	"unsafe":       "views are slices",
}

func TestImportsAreThoseOfPureFunctions(t *testing.T) {
	files, err := filepath.Glob("*.go")
	if err != nil || len(files) == 0 {
		t.Fatalf("source files: %v, %v", files, err)
	}
	for _, file := range files {
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		tree, err := parser.ParseFile(token.NewFileSet(), file, nil, parser.ImportsOnly)
		if err != nil {
			t.Fatal(err)
		}
		for _, spec := range tree.Imports {
			path, err := strconv.Unquote(spec.Path.Value)
			if err != nil {
				t.Fatal(err)
			}
			if reason, bad := forbiddenImports[path]; bad {
				t.Errorf("%s imports %s: %s", file, path, reason)
			}
			if strings.Contains(path, ".") && path != "github.com/gobwas/ws" {
				t.Errorf("%s imports %s: want only the standard library and github.com/gobwas/ws", file, path)
			}
		}
	}
}
