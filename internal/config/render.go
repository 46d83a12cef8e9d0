package config

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Markdown returns the settings as the tables of docs/settings.md.
func Markdown() string {
	var b strings.Builder
	for _, s := range settings {
		if s.Group != "" {
			fmt.Fprintf(&b, "\n## %s\n\n| Setting | Default | Meaning | Allowed | Reload |\n|---|---|---|---|---|\n", s.Group)
		}
		def, reload := "", ""
		if s.Default != "" {
			def = "`" + s.Default + "`"
		}
		if s.Reload {
			reload = "yes"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", s.Name, def, EscapeCell(s.Doc), EscapeCell(s.kind.allowed), reload)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// Text returns the settings for reading on a terminal.
func Text() string {
	var b strings.Builder
	for _, s := range settings {
		if s.Group != "" {
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(s.Group))
		}
		fmt.Fprintf(&b, "\n  %s=%s\n      %s\n      Allowed: %s.\n", s.Name, s.Default, s.Doc, s.kind.allowed)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// EscapeCell returns text for a cell of a Markdown table, in which a star would
// mean emphasis and a bar end the cell.
func EscapeCell(text string) string {
	return strings.NewReplacer("*", `\*`, "|", `\|`).Replace(text)
}

// Env returns the settings as a .env file in which every line is a comment. An
// unchanged copy therefore has the defaults, also those of a later version.
func Env() string {
	var b strings.Builder
	b.WriteString("# Copy to .env and remove the # in front of what you change.\n")
	for _, s := range settings {
		if s.Group != "" {
			fmt.Fprintf(&b, "\n# ---- %s ----\n", s.Group)
		}
		fmt.Fprintf(&b, "\n# %s\n# Allowed: %s.\n#%s=%s\n", s.Doc, s.kind.allowed, s.Name, s.Default)
	}
	return b.String()
}

// A Described is a setting as JSON.
type Described struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Default string `json:"default"`
	Meaning string `json:"meaning"`
	Allowed string `json:"allowed"`
	Secret  bool   `json:"secret"`
	Reload  bool   `json:"reload"` // SIGHUP applies it

	// The value in effect; absent if only the defaults are asked for.
	Value *string `json:"value,omitempty"`
	From  string  `json:"from,omitempty"`
}

// List returns the settings with their descriptions.
func List() []Described {
	list := make([]Described, len(settings))
	group := ""
	for i, s := range settings {
		if s.Group != "" {
			group = s.Group
		}
		list[i] = Described{Name: s.Name, Group: group, Default: s.Default, Meaning: s.Doc, Allowed: s.kind.allowed, Secret: s.Secret, Reload: s.Reload}
	}
	return list
}

// shown returns the value of a setting with secrets hidden, and where it comes
// from.
func (l *Loaded) shown(s Setting) (value, from string) {
	from = l.From[s.Name]
	if s.Name == "JWT_SECRET" && l.Auth.EphemeralSecret {
		from = "made up for this run"
		if l.Auth.SecretFile != "" {
			from = l.Auth.SecretFile
		}
	}
	return s.Show(s.kind.text(&l.Config)), from
}

// List returns the settings in effect, for JSON.
func (l *Loaded) List() []Described {
	list := List()
	for i, s := range settings {
		value, from := l.shown(s)
		list[i].Value, list[i].From = &value, from
	}
	return list
}

// Print prints the settings in effect, a line for each.
func (l *Loaded) Print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		if s.Group != "" {
			fmt.Fprintf(w, "# %s\n", s.Group)
		}
		value, from := l.shown(s)
		fmt.Fprintf(w, "%s=%s\t# %s\n", s.Name, value, from)
	}
	for _, warning := range l.Warnings {
		fmt.Fprintf(w, "# warning: %s\n", warning)
	}
	return w.Flush()
}
