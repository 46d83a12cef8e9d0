package loop

import (
	"bytes"
	"net/netip"
)

// Origins is the set of web origins that may use the gateway. Immutable.
type Origins struct {
	any  bool                // whatever the origin
	list map[string]struct{} // in the form of appendOrigin
}

// NewOrigins returns a set of origins, scheme://host[:port] each. "*" is all.
func NewOrigins(origins ...string) Origins {
	o := Origins{list: make(map[string]struct{}, len(origins))}
	for _, origin := range origins {
		if origin == "*" {
			o.any = true
		}
		if form := appendOrigin(nil, []byte(origin)); form != nil {
			o.list[string(form)] = struct{}{}
		}
	}
	return o
}

// allow reports whether a client that sends this Origin may use the gateway at
// host, the request's Host. A client without an Origin is not a browser, which
// is what CORS protects. An origin with the gateway's own host and port is
// allowed: native clients send it (Starscream with the scheme ws or wss, Go's
// x/net/websocket with a path), and so do pages served by the gateway.
func (o *Origins) allow(origin, host []byte) bool {
	if len(origin) == 0 || o.any {
		return true
	}
	var a, b [128]byte // most origins fit, and then nothing is allocated
	form := appendOrigin(a[:0], origin)
	if form == nil {
		return false
	}
	if _, ok := o.list[string(form)]; ok {
		return true
	}
	// The gateway does not know which scheme a client used towards a TLS proxy.
	scheme := form[:bytes.Index(form, schemeEnd)+len(schemeEnd)]
	return bytes.Equal(form, appendAuthority(append(b[:0], scheme...), host))
}

var schemeEnd = []byte("://")

// appendOrigin appends an origin in the form in which origins are compared:
// lower case, ws as http and wss as https, with the port, without a path. It
// returns nil for what is not an origin, such as "null".
func appendOrigin(dst, origin []byte) []byte {
	scheme, rest, ok := bytes.Cut(origin, schemeEnd)
	if !ok || len(scheme) == 0 {
		return nil
	}
	if end := bytes.IndexAny(rest, "/?#"); end >= 0 {
		rest = rest[:end]
	}
	switch {
	case bytes.EqualFold(scheme, []byte("ws")):
		dst = append(dst, "http"...)
	case bytes.EqualFold(scheme, []byte("wss")):
		dst = append(dst, "https"...)
	default:
		dst = appendLower(dst, scheme)
	}
	return appendAuthority(append(dst, schemeEnd...), rest)
}

// appendAuthority appends host[:port] to scheme://, which is in dst, nil if it
// is not one.
func appendAuthority(dst, authority []byte) []byte {
	host, port, ok := splitAuthority(authority)
	if !ok {
		return nil
	}
	if len(port) == 0 {
		switch string(dst) {
		case "http://":
			port = []byte("80")
		case "https://":
			port = []byte("443")
		}
	}
	if host[0] == '[' { // an IPv6 address has many forms
		addr, err := netip.ParseAddr(string(host[1 : len(host)-1]))
		if err != nil || !addr.Is6() {
			return nil
		}
		dst = append(addr.AppendTo(append(dst, '[')), ']')
	} else {
		dst = appendLower(dst, host)
	}
	if len(port) == 0 {
		return dst
	}
	return append(append(dst, ':'), port...)
}

// splitAuthority splits host[:port]; the host of an IPv6 address keeps its
// brackets. The port of "host:" is empty.
func splitAuthority(b []byte) (host, port []byte, ok bool) {
	host = b
	end := bytes.IndexByte(b, ':')
	if len(b) > 0 && b[0] == '[' {
		end = bytes.IndexByte(b, ']') + 1
		if end == 0 {
			return nil, nil, false
		}
	}
	if end >= 0 && end < len(b) {
		if host, port = b[:end], b[end+1:]; b[end] != ':' {
			return nil, nil, false
		}
	}
	for _, c := range port {
		if c < '0' || c > '9' {
			return nil, nil, false
		}
	}
	return host, port, len(host) > 0 && bytes.IndexByte(host, '@') < 0
}

func appendLower(dst, b []byte) []byte {
	for _, c := range b {
		if 'A' <= c && c <= 'Z' {
			c += 'a' - 'A'
		}
		dst = append(dst, c)
	}
	return dst
}
