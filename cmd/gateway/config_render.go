package main

import (
	"fmt"
	"strings"
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
}

// configList returns the settings with what they mean.
func configList() []describedSetting {
	list := make([]describedSetting, len(settings))
	group := ""
	for i, s := range settings {
		if s.group != "" {
			group = s.group
		}
		list[i] = describedSetting{s.name, group, s.def, s.doc, s.kind.allowed, s.secret}
	}
	return list
}
