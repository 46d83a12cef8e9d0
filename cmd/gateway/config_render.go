package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// configMarkdown returns the settings as the table of the README.
func configMarkdown() string {
	var b strings.Builder
	for _, s := range settings {
		if s.group != "" {
			fmt.Fprintf(&b, "\n**%s**\n\n| Setting | Default | Meaning | Allowed |\n|---|---|---|---|\n", s.group)
		}
		def := ""
		if s.def != "" {
			def = "`" + s.def + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", s.name, def, escapeCell(s.doc), escapeCell(s.kind.allowed))
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// configText returns the settings for reading on a terminal.
func configText() string {
	var b strings.Builder
	for _, s := range settings {
		if s.group != "" {
			fmt.Fprintf(&b, "\n%s\n", strings.ToUpper(s.group))
		}
		fmt.Fprintf(&b, "\n  %s=%s\n      %s\n      Allowed: %s.\n", s.name, s.def, s.doc, s.kind.allowed)
	}
	return strings.TrimPrefix(b.String(), "\n")
}

// escapeCell keeps a star from meaning emphasis and a bar from ending a cell.
func escapeCell(text string) string {
	return strings.NewReplacer("*", `\*`, "|", `\|`).Replace(text)
}

// configEnv returns the settings as a .env file in which every line is a
// comment: who copies it and changes nothing gets the defaults, also those of
// a later version.
func configEnv() string {
	var b strings.Builder
	b.WriteString("# Copy to .env and take away the # in front of what you change.\n")
	for _, s := range settings {
		if s.group != "" {
			fmt.Fprintf(&b, "\n# ---- %s ----\n", s.group)
		}
		fmt.Fprintf(&b, "\n# %s\n# Allowed: %s.\n#%s=%s\n", s.doc, s.kind.allowed, s.name, s.def)
	}
	return b.String()
}

// A describedSetting is a setting for machines.
type describedSetting struct {
	Name    string `json:"name"`
	Group   string `json:"group"`
	Default string `json:"default"`
	Meaning string `json:"meaning"`
	Allowed string `json:"allowed"`
	Secret  bool   `json:"secret"`
	Reload  bool   `json:"reload"` // SIGHUP applies it

	// What is in effect; empty where only the defaults are asked for.
	Value *string `json:"value,omitempty"`
	From  string  `json:"from,omitempty"`
}

// configList returns the settings with what they mean.
func configList() []describedSetting {
	list := make([]describedSetting, len(settings))
	group := ""
	for i, s := range settings {
		if s.group != "" {
			group = s.group
		}
		list[i] = describedSetting{Name: s.name, Group: group, Default: s.def, Meaning: s.doc, Allowed: s.kind.allowed, Secret: s.secret, Reload: s.reload}
	}
	return list
}

// shown returns the value of a setting as people may see it, and where it
// comes from.
func (l *loaded) shown(s setting) (value, from string) {
	from = l.from[s.name]
	if s.name == "JWT_SECRET" && l.EphemeralSecret {
		from = "made up for this run"
		if l.SecretFile != "" {
			from = l.SecretFile
		}
	}
	return s.show(s.kind.text(&l.Config)), from
}

// list returns the settings in effect for machines.
func (l *loaded) list() []describedSetting {
	list := configList()
	for i, s := range settings {
		value, from := l.shown(s)
		list[i].Value, list[i].From = &value, from
	}
	return list
}

// print prints the settings in effect, a line for each.
func (l *loaded) print(out io.Writer) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range settings {
		if s.group != "" {
			fmt.Fprintf(w, "# %s\n", s.group)
		}
		value, from := l.shown(s)
		fmt.Fprintf(w, "%s=%s\t# %s\n", s.name, value, from)
	}
	for _, warning := range l.warnings {
		fmt.Fprintf(w, "# warning: %s\n", warning)
	}
	return w.Flush()
}
