// Package secret removes secrets from texts that are shown.
package secret

import (
	"regexp"
	"strings"
)

// Hidden replaces a secret.
const Hidden = "[hidden]"

// address matches what looks like a URL, well-formed or not: its scheme, all up
// to the last @, host and path, the query and the fragment.
var address = regexp.MustCompile(`([A-Za-z][A-Za-z0-9+.-]*://)([^\s"'<>]*@)?([^\s"'<>?#]*)(\?[^\s"'<>#]*)?(#[^\s"'<>]*)?`)

// HideInURLs returns text with the user information, the query and the fragment
// of each URL in it hidden, because they may contain passwords and keys. Of
// several URLs without a space between them, the last one's host is shown.
func HideInURLs(text string) string {
	if !strings.Contains(text, "://") {
		return text
	}
	return address.ReplaceAllStringFunc(text, func(url string) string {
		part := address.FindStringSubmatch(url)
		shown := part[1]
		if part[2] != "" {
			shown += Hidden + "@"
		}
		shown += part[3]
		if part[4] != "" {
			shown += "?" + Hidden
		}
		if part[5] != "" {
			shown += "#" + Hidden
		}
		return shown
	})
}
