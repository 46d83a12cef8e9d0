package main

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/hometrip/gateway/internal/config"
)

// markdown returns the Markdown pages of the repository by path.
func markdown(t *testing.T) map[string]string {
	t.Helper()
	pages := make(map[string]string)
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "node_modules" || d.Name() == ".git" || d.Name() == "testdata") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".md" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			name, _ := filepath.Rel(repository, path)
			pages[name] = string(text)
		}
		return nil
	})
	if err != nil || len(pages) < 10 {
		t.Fatalf("%v: %d pages", err, len(pages))
	}
	return pages
}

var (
	mdLink    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	mdHeading = regexp.MustCompile(`(?m)^#+ (.+)$`)
	mdFence   = regexp.MustCompile("(?ms)^```.*?^```$")
	mdCode    = regexp.MustCompile("`([^`\n]+)`")
)

// anchors returns the anchors of a page's headings, as GitHub makes them.
func anchors(page string) (list []string) {
	for _, h := range mdHeading.FindAllStringSubmatch(mdFence.ReplaceAllString(page, ""), -1) {
		list = append(list, strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case r == '-' || r == '_' || unicode.IsLetter(r) || unicode.IsDigit(r):
				return unicode.ToLower(r)
			}
			return -1
		}, h[1]))
	}
	return list
}

func TestLinksInTheDocs(t *testing.T) {
	pages := markdown(t)
	for name, text := range pages {
		for _, link := range mdLink.FindAllStringSubmatch(mdFence.ReplaceAllString(text, ""), -1) {
			if strings.Contains(link[1], "://") {
				continue
			}
			file, anchor, _ := strings.Cut(link[1], "#")
			target := name
			if file != "" {
				target = filepath.Join(filepath.Dir(name), file)
			}
			if _, err := os.Stat(filepath.Join(repository, target)); err != nil {
				t.Errorf("%s links %s: %v", name, link[1], err)
			} else if anchor != "" && !slices.Contains(anchors(pages[target]), anchor) {
				t.Errorf("%s links %s: %s has no such heading", name, link[1], target)
			}
		}
	}
}

// Pages and headings of docs/ that strings and comments in the code name exist.
func TestDocsNamedInTheCode(t *testing.T) {
	pages := markdown(t)
	named := regexp.MustCompile(`\bdocs/[\w-]+\.md(?:#([\w-]+))?`)
	eachGoFile(t, func(path, text string) {
		for _, link := range named.FindAllStringSubmatch(text, -1) {
			name, _, _ := strings.Cut(link[0], "#")
			if page, found := pages[name]; !found || link[1] != "" && !slices.Contains(anchors(page), link[1]) {
				t.Errorf("%s names %s, which does not exist", path, link[0])
			}
		}
	})
}

// Every table in the docs has its ruler line below its first line. A blank line within
// a table would end it.
func TestTablesInTheDocsHaveRulers(t *testing.T) {
	ruler := regexp.MustCompile(`^\|(\s*:?-+:?\s*\|)+$`)
	for name, text := range markdown(t) {
		lines := strings.Split(mdFence.ReplaceAllString(text, ""), "\n")
		for i, line := range lines {
			begins := strings.HasPrefix(line, "|") && (i == 0 || !strings.HasPrefix(lines[i-1], "|"))
			if begins && (i+1 == len(lines) || !ruler.MatchString(lines[i+1])) {
				t.Errorf("%s: a table without |---| below its first line: %s", name, line)
			}
		}
	}
}

// Tests, settings, metrics and files that the docs name exist. Reports of benchmarks
// and the changelog are not checked: they describe former versions.
func TestNamesInTheDocs(t *testing.T) {
	tests := goTests(t)
	var known []string
	for _, s := range config.Settings() {
		known = append(known, s.Name)
	}
	metrics := metricsTable(t)
	var (
		test    = regexp.MustCompile(`^(?:Test|Fuzz|Benchmark)[A-Z]\w+$`)
		setting = regexp.MustCompile(`^([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)+)(?:=[^ ]*)?$`)
		metric  = regexp.MustCompile(`^(gateway_\w+)(?:\{.*\})?$`)
		file    = regexp.MustCompile(`^[a-z.][\w./-]*/[\w.-]+\.(?:go|mjs|py|md|yaml|cfg|conf|acl)$`)
	)
	for name, text := range markdown(t) {
		if strings.HasPrefix(name, "bench/results/") || name == "CHANGELOG.md" {
			continue
		}
		for _, code := range mdCode.FindAllStringSubmatch(mdFence.ReplaceAllString(text, ""), -1) {
			switch word := code[1]; {
			case slices.Contains(notNames, word):
			case test.MatchString(word) && !tests[word]:
				t.Errorf("%s names %s, which is not a test", name, word)
			case metric.MatchString(word) && !strings.Contains(metrics, "`"+metric.FindStringSubmatch(word)[1]+"`"):
				t.Errorf("%s names %s, which is not a metric", name, word)
			case setting.MatchString(word) && !slices.Contains(known, setting.FindStringSubmatch(word)[1]):
				t.Errorf("%s names %s, which is not a setting", name, word)
			case file.MatchString(word):
				if _, err := os.Stat(filepath.Join(repository, word)); err != nil {
					t.Errorf("%s names %s: %v", name, word, err)
				}
			}
		}
	}
}

// notNames look like names of metrics but are something else.
var notNames = []string{"gateway_only"} // value of a label

// goTests returns the names of all tests, fuzz tests and benchmarks.
func goTests(t *testing.T) map[string]bool {
	t.Helper()
	names := make(map[string]bool)
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	eachGoFile(t, func(path, text string) {
		for _, found := range declared.FindAllStringSubmatch(text, -1) {
			names[found[1]] = true
		}
	})
	return names
}

func eachGoFile(t *testing.T, do func(path, text string)) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && d.Name() == "node_modules" {
			return filepath.SkipDir
		}
		if filepath.Ext(path) == ".go" {
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			files++
			do(path, string(text))
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%v: %d files", err, files)
	}
}

// Every error that clients are refused with is explained in the docs for them.
func TestRefusalsAreDocumented(t *testing.T) {
	pages := markdown(t)
	explained := pages["docs/clients.md"] + pages["docs/recovery.md"]
	refusal := regexp.MustCompile(`errors\.New\("([A-Z][^"]+)"\)`)
	files, _ := filepath.Glob(filepath.Join(repository, "rooms/*.go"))
	found := 0
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(file, "_test.go") {
			continue
		}
		for _, words := range refusal.FindAllStringSubmatch(string(text), -1) {
			found++
			if !strings.Contains(explained, words[1]) {
				t.Errorf("%s: clients are refused with %q, which docs/clients.md and docs/recovery.md do not have", file, words[1])
			}
		}
	}
	if found < 10 {
		t.Errorf("%d refusals found, want 10 or more", found)
	}
}

// Commands that the docs name exist.
func TestCommandsInTheDocs(t *testing.T) {
	call := regexp.MustCompile("^gateway ([a-z-]+(?: [a-z-]+)?)")
	for name, text := range markdown(t) {
		for _, code := range mdCode.FindAllStringSubmatch(text, -1) {
			words := call.FindStringSubmatch(code[1])
			if words == nil || strings.HasPrefix(words[1], "completion") {
				continue
			}
			target, _, err := newCommand(nil).Find(strings.Fields(words[1]))
			if err != nil || !target.HasParent() {
				t.Errorf("%s: %s: %v", name, code[1], err)
			}
		}
	}
}

// Files and directories in the file map of ARCHITECTURE.md exist. A name without a
// directory is in the directory of the name before.
func TestFileMap(t *testing.T) {
	_, table, found := strings.Cut(markdown(t)["ARCHITECTURE.md"], "\n## Files\n")
	table, _, _ = strings.Cut(table, "\n## ")
	if !found {
		t.Fatal("ARCHITECTURE.md has no chapter Files")
	}
	folder := ""
	for line := range strings.Lines(table) {
		names, _, _ := strings.Cut(strings.TrimPrefix(line, "|"), "|")
		for _, code := range mdCode.FindAllStringSubmatch(names, -1) {
			path := code[1]
			if !strings.Contains(path, "/") && path != "bench" {
				path = filepath.Join(folder, path)
			}
			info, err := os.Stat(filepath.Join(repository, path))
			if err != nil {
				t.Errorf("ARCHITECTURE.md names %s: %v", path, err)
				continue
			}
			if strings.Contains(code[1], "/") {
				folder = path
				if !info.IsDir() {
					folder = filepath.Dir(path)
				}
			}
		}
	}
}

// Targets of make that the docs name are in the Makefile.
func TestMakeTargetsInTheDocs(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(repository, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	call := regexp.MustCompile("(?m)(?:^|^    |`)make ([a-z][a-z-]*)\\b(?: [A-Z]|`| +#|$)")
	named := 0
	for name, text := range markdown(t) {
		for _, target := range call.FindAllStringSubmatch(text, -1) {
			named++
			if !strings.Contains(string(makefile), "\n"+target[1]+":") {
				t.Errorf("%s names make %s, which is not a target", name, target[1])
			}
		}
	}
	if named < 10 {
		t.Errorf("%d targets are named in the docs, want 10 or more", named)
	}
}
