package loop

import "bytes"

// localPage reports whether an origin belongs to the browser's own machine,
// with any port. Pages from elsewhere cannot have such an origin.
func localPage(origin []byte) bool {
	scheme, rest, ok := bytes.Cut(bytes.ToLower(origin), []byte("://"))
	if !ok || string(scheme) != "http" && string(scheme) != "https" {
		return false
	}
	for _, host := range []string{"localhost", "127.0.0.1", "[::1]"} {
		if port, ok := bytes.CutPrefix(rest, []byte(host)); ok && (len(port) == 0 || isPort(port)) {
			return true
		}
	}
	return false
}

// isPort reports whether text is a colon and a number.
func isPort(text []byte) bool {
	if len(text) < 2 || text[0] != ':' {
		return false
	}
	for _, c := range text[1:] {
		if c < '0' || c > '9' {
			return false
		}
	}
	return true
}
