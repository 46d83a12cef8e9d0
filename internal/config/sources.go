package config

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"regexp"
	"slices"
	"strings"

	"github.com/joho/godotenv"
)

// FromDefault is the source of a setting that is not set.
const FromDefault = "default"

// An envFile is a file of NAME=value lines. Immutable.
type envFile struct {
	path   string
	values map[string]string
	lines  map[string]int // of each name, from 1
}

// Sources are the places that the settings of one process come from. The first
// environment that has a name wins, then the last file that has it.
type Sources struct {
	environments []Environ
	Paths        []string // of the files, read at each parse
	optional     bool     // a file that is not there counts as empty
}

// An Environ is a set of variables with a name for messages.
type Environ struct {
	Name   string
	values map[string]string
	own    bool // everything in it is meant for the gateway
}

// A Loaded has the settings, where each comes from, and warnings.
type Loaded struct {
	Config
	Sources      Sources
	From         map[string]string // by setting: a file and line, an environment, or fromDefault
	Warnings     []string
	Installation *Installation // nil: the program is not where its package puts it
	files        []envFile     // that were there
}

// ownEnvironment returns the variables of this process.
func ownEnvironment() Environ {
	values := make(map[string]string)
	for _, word := range os.Environ() {
		name, value, _ := strings.Cut(word, "=")
		values[name] = value
	}
	return Environ{Name: "environment", values: values}
}

// ProcessSources returns the sources of a gateway started here: the
// environment, then files; .env if none is named.
func ProcessSources(files []string) Sources {
	in := Sources{environments: []Environ{ownEnvironment()}, Paths: files}
	if len(files) == 0 {
		in.Paths, in.optional = []string{".env"}, true
	}
	return in
}

// Parse reads the files and returns the settings. The error names everything
// that is wrong, a line for each.
func (in Sources) Parse() (Loaded, error) {
	files, err := in.read()
	if err != nil {
		return Loaded{}, Error{Err: err}
	}
	return in.settle(files)
}

// settle is parse with the files read.
func (in Sources) settle(files []envFile) (Loaded, error) {
	l := Loaded{Sources: in, files: files, From: make(map[string]string, len(settings))}
	var wrong []error
	for _, s := range settings {
		text, from := in.find(s, files)
		l.From[s.Name] = from
		if !s.kind.set(&l.Config, text) {
			wrong = append(wrong, fmt.Errorf("%s=%q: want %s", s.Name, s.Show(text), s.kind.allowed))
		} else if s.kind.odd != nil && from != FromDefault {
			if odd := s.kind.odd(text, s.Default); odd != "" {
				l.Warnings = append(l.Warnings, s.Name+"="+text+": "+odd)
			}
		}
	}
	wrong = append(wrong, l.contradictions()...)
	for _, stranger := range in.strangers(files) {
		if l.Deployed() {
			wrong = append(wrong, errors.New(stranger))
		} else {
			l.Warnings = append(l.Warnings, stranger)
		}
	}
	if err := errors.Join(wrong...); err != nil {
		return Loaded{}, Error{Err: err}
	}
	l.makeUpSecret()
	return l, nil
}

func (in Sources) read() (files []envFile, err error) {
	for _, path := range in.Paths {
		file, err := readEnvFile(path)
		if errors.Is(err, fs.ErrNotExist) && in.optional {
			continue
		}
		if err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	return files, nil
}

// find returns the text of a setting and where it is. An empty one counts as
// not set, unless empty has a meaning.
func (in Sources) find(s Setting, files []envFile) (text, from string) {
	for _, env := range in.environments {
		if text, ok := env.values[s.Name]; ok && (text != "" || s.blank) {
			return text, env.Name
		}
	}
	for _, file := range slices.Backward(files) {
		if text, ok := file.values[s.Name]; ok && (text != "" || s.blank) {
			return text, file.at(s.Name)
		}
	}
	return s.Default, FromDefault
}

// at returns the place of a name, as file:line.
func (f envFile) at(name string) string {
	if line := f.lines[name]; line > 0 {
		return fmt.Sprintf("%s:%d", f.path, line)
	}
	return f.path
}

// strangers returns a sentence for each name that is not a setting: every such
// name in a file, and in the environment, which other programs use too, those
// that look like a mistyped setting.
func (in Sources) strangers(files []envFile) (sentences []string) {
	for _, file := range files {
		for _, name := range slices.Sorted(maps.Keys(file.values)) {
			if why := stranger(name); why != "" {
				sentences = append(sentences, file.at(name)+": "+name+": "+why)
			}
		}
	}
	for _, env := range in.environments {
		for _, name := range slices.Sorted(maps.Keys(env.values)) {
			if why := stranger(name); why != "" && (mistyped(name) || env.own && !forRuntime(name)) {
				sentences = append(sentences, env.Name+": "+name+": "+why)
			}
		}
	}
	return sentences
}

// forRuntime reports whether Go's runtime or libraries read a variable.
func forRuntime(name string) bool {
	switch name {
	case "GOMEMLIMIT", "GOGC", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy":
		return true
	}
	return false
}

// stranger says why a name in a file has no effect, "" if it has one.
func stranger(name string) string {
	switch {
	case isSetting(name):
		return ""
	case forRuntime(name):
		return "is read from the environment alone: with systemd Environment= in the unit (systemctl edit)"
	}
	if near := nearest(name); near != "" {
		return "there is no such setting: " + near + "?"
	}
	return `there is no such setting: "gateway config --defaults" lists them`
}

func isSetting(name string) bool {
	return slices.ContainsFunc(settings, func(s Setting) bool { return s.Name == name })
}

const (
	// farthest is how many edits the nearest setting may be away to be
	// suggested.
	farthest = 3

	// minMistyped is how long a name in the environment must be to count as a
	// mistyped setting; shorter ones may be anything.
	minMistyped = 6
)

// nearest returns the setting whose name is most similar to name, "" if none is
// similar.
func nearest(name string) string {
	best, least := "", farthest+1
	for _, s := range settings {
		if n := edits(strings.ToUpper(name), s.Name); n < least && n < len(s.Name)/2 {
			best, least = s.Name, n
		}
	}
	return best
}

// mistyped reports whether a variable of the environment looks as if it were
// meant for the gateway.
func mistyped(name string) bool {
	near := nearest(name)
	if near == "" {
		return false
	}
	plain := func(text string) string { return strings.ReplaceAll(strings.ToUpper(text), "_", "") }
	return plain(name) == plain(near) || len(name) >= minMistyped && edits(name, near) == 1
}

// edits returns how many characters must be inserted, deleted, replaced or
// swapped with the next one to make a into b.
func edits(a, b string) int {
	before, row := make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := 1; i <= len(a); i++ {
		next := make([]int, len(b)+1)
		next[0] = i
		for j := 1; j <= len(b); j++ {
			replace := row[j-1]
			if a[i-1] != b[j-1] {
				replace++
			}
			next[j] = min(row[j]+1, next[j-1]+1, replace)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				next[j] = min(next[j], before[j-2]+1)
			}
		}
		before, row = row, next
	}
	return row[len(b)]
}

var assignment = regexp.MustCompile(`^\s*(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*[=:]`)

// readEnvFile reads a file of NAME=value lines, as npm's dotenv does.
func readEnvFile(path string) (envFile, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrPermission) {
		return envFile{}, fmt.Errorf("%w: run this as root, or name a file of your own with --env-file", err)
	}
	if err != nil {
		return envFile{}, err
	}
	file := envFile{path: path, lines: make(map[string]int)}
	file.values, err = godotenv.Unmarshal(literalDollars(string(text)))
	if err != nil {
		// The parser quotes the rest of the file, and with it secrets.
		reason, _, _ := strings.Cut(err.Error(), " near ")
		return envFile{}, fmt.Errorf("%s: %s", path, reason)
	}
	for i, line := range strings.Split(string(text), "\n") {
		if found := assignment.FindStringSubmatch(line); found != nil {
			file.lines[found[1]] = i + 1
		}
	}
	return file, nil
}

// literalDollars keeps "$" from meaning a variable. It does not mean one for
// the Node gateway, whose .env files must work unchanged.
func literalDollars(text string) string {
	lines := strings.SplitAfter(text, "\n")
	for i, line := range lines {
		if _, value, _ := strings.Cut(line, "="); !strings.HasPrefix(strings.TrimSpace(value), "'") {
			lines[i] = strings.ReplaceAll(line, "$", `\$`)
		}
	}
	return strings.Join(lines, "")
}

// An Error says which settings are wrong, a line for each.
type Error struct{ Err error }

// Error implements error.
func (e Error) Error() string { return e.Err.Error() }

// Unwrap returns the errors.
func (e Error) Unwrap() error { return e.Err }
