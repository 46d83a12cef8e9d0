package config

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

const (
	packagedProgram = "/usr/bin/gateway"
	packagedUnit    = "websocket-gateway.service"
)

// An Installation is the service that the Debian package has set up: what its
// unit passes to the process. Paths begin with root.
type Installation struct {
	root        string // where the package is unpacked; "" is /
	Unit        string // path of the unit
	variables   map[string]string
	files       []string // of settings, the last wins
	Directory   string   // the process works in
	Descriptors uint64   // LimitNOFILE; 0: not set
}

// FindInstallation returns the installation that program belongs to, nil if it
// was not installed by the package.
func FindInstallation(program string) *Installation {
	root, packaged := strings.CutSuffix(program, packagedProgram)
	if !packaged {
		return nil
	}
	install := &Installation{root: root, variables: make(map[string]string)}
	for _, dir := range []string{"/etc/systemd/system/", "/usr/lib/systemd/system/"} {
		if _, err := os.Stat(root + dir + packagedUnit); err == nil {
			install.Unit = root + dir + packagedUnit
			break
		}
	}
	if install.Unit == "" {
		return nil
	}
	install.apply(install.Unit)
	for _, dir := range []string{"/usr/lib/systemd/system/", "/etc/systemd/system/"} {
		changes, _ := filepath.Glob(root + dir + packagedUnit + ".d/*.conf")
		for _, change := range changes {
			install.apply(change)
		}
	}
	return install
}

// apply applies the settings and limits in a unit or a drop-in.
func (i *Installation) apply(path string) {
	text, err := os.ReadFile(path)
	if err != nil {
		return
	}
	var variables map[string]string
	for line := range strings.Lines(strings.ReplaceAll(string(text), "\\\n", " ")) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		switch name {
		case "Environment":
			for _, word := range unitWords(value) {
				name, value, _ := strings.Cut(word, "=")
				i.variables[name] = value
			}
		case "EnvironmentFile":
			file, err := readEnvFile(i.root + strings.TrimPrefix(value, "-"))
			if err == nil {
				variables = file.values
			}
		case "ExecStart":
			i.files = append(i.files, i.namedFiles(unitWords(value))...)
			if value == "" {
				i.files = nil
			}
		case "WorkingDirectory":
			i.Directory = i.root + strings.Replace(strings.TrimPrefix(value, "-"), "%S", "/var/lib", 1)
		case "LimitNOFILE":
			soft, _, _ := strings.Cut(value, ":")
			i.Descriptors, _ = strconv.ParseUint(soft, 10, 64)
		}
	}
	for name, value := range variables { // which win over Environment=
		i.variables[name] = value
	}
}

// namedFiles returns the files of --env-file in a command line.
func (i *Installation) namedFiles(words []string) (files []string) {
	for n, word := range words {
		if file, ok := strings.CutPrefix(word, "--env-file="); ok {
			files = append(files, i.root+file)
		} else if word == "--env-file" && n+1 < len(words) {
			files = append(files, i.root+words[n+1])
		}
	}
	return files
}

// unitWords splits a line of a unit at spaces outside of quotes.
func unitWords(line string) (words []string) {
	var word strings.Builder
	quote, inside := rune(0), false
	for _, r := range line + " " {
		switch {
		case quote == 0 && (r == '"' || r == '\''):
			quote, inside = r, true
		case r == quote:
			quote = 0
		case quote == 0 && (r == ' ' || r == '\t'):
			if inside {
				words = append(words, word.String())
			}
			word.Reset()
			inside = false
		default:
			word.WriteRune(r)
			inside = true
		}
	}
	return words
}

// Sources returns the sources of the service's settings.
func (i *Installation) Sources() Sources {
	in := Sources{Paths: slices.Clone(i.files)}
	in.environments = []Environ{{Name: i.Unit, values: i.variables, own: true}}
	if len(in.Paths) == 0 {
		in.Paths, in.optional = []string{filepath.Join(i.Directory, ".env")}, true
	}
	return in
}
