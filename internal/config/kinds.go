package config

import (
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/rooms"
	"github.com/hometrip/gateway/rooms/cluster"
	"github.com/hometrip/gateway/upstream/rabbitmq"
)

// A kind is how a setting is read, checked and written.
type kind struct {
	allowed string                     // completes "want …"
	set     func(*Config, string) bool // false: not allowed
	text    func(*Config) string       // as it would be set

	// odd returns what looks mistaken about an allowed text, "" if nothing
	// does. def is the default. It may be nil.
	odd func(text, def string) string
}

func integer(low, high int, field func(*Config) *int) kind {
	return kind{
		allowed: fmt.Sprintf("a whole number from %d to %d", low, high),
		set: func(c *Config, text string) bool {
			n, err := strconv.Atoi(text)
			*field(c) = n
			return err == nil && n >= low && n <= high
		},
		text: func(c *Config) string { return strconv.Itoa(*field(c)) },
	}
}

// millis is the kind of whole milliseconds: a number, or a number with a unit.
func millis(low, high int, field func(*Config) *time.Duration) kind {
	return kind{
		allowed: fmt.Sprintf("milliseconds from %d to %d, or with a unit, such as 90s", low, high),
		set: func(c *Config, text string) bool {
			n, ok := milliseconds(text)
			*field(c) = time.Duration(n) * time.Millisecond
			return ok && n >= low && n <= high
		},
		text: func(c *Config) string { return strconv.FormatInt(field(c).Milliseconds(), 10) },
		odd: func(text, def string) string {
			n, bare := strconv.Atoi(text)
			usual, _ := milliseconds(def)
			if bare != nil || n <= 0 || n*fewer >= usual || n*1000 > high {
				return ""
			}
			return fmt.Sprintf("means %d milliseconds; write %ds for seconds, or %dms", n, n, n)
		},
	}
}

// fewer is how many times smaller than its default a number without a unit must
// be to look as if it were meant in seconds.
const fewer = 100

// milliseconds parses a number of milliseconds, or a duration such as 90s or
// 1m30s of whole milliseconds.
func milliseconds(text string) (n int, ok bool) {
	if n, err := strconv.Atoi(text); err == nil {
		return n, true
	}
	d, err := time.ParseDuration(text)
	return int(d.Milliseconds()), err == nil && d%time.Millisecond == 0
}

func boolean(field func(*Config) *bool) kind {
	return kind{
		allowed: "true or false",
		set: func(c *Config, text string) (ok bool) {
			b, err := strconv.ParseBool(strings.ToLower(text))
			*field(c) = b
			return err == nil
		},
		text: func(c *Config) string { return strconv.FormatBool(*field(c)) },
	}
}

// isSocketPath reports whether a Unix socket can be at a path, together with
// the suffix under which it is created.
func isSocketPath(text string) bool {
	return text == "" || filepath.IsAbs(text) && len(text) <= 100-len(".4194304")
}

// checked is the kind of text that ok accepts.
func checked(allowed string, ok func(string) bool, field func(*Config) *string) kind {
	return kind{
		allowed: allowed,
		set: func(c *Config, text string) bool {
			*field(c) = text
			return ok(text)
		},
		text: func(c *Config) string { return *field(c) },
	}
}

func anyText(field func(*Config) *string) kind {
	return checked("any text", func(string) bool { return true }, field)
}

func oneOf(field func(*Config) *string, words ...string) kind {
	return checked(strings.Join(words, ", "), func(text string) bool { return slices.Contains(words, text) }, field)
}

func host(field func(*Config) *string) kind {
	return checked("a host name or an IP address", isHost, field)
}

func isHost(text string) bool {
	if _, err := netip.ParseAddr(text); err == nil {
		return true
	}
	outside := func(r rune) bool {
		return r != '.' && r != '-' && r != '_' && (r < '0' || r > '9') && (r|0x20 < 'a' || r|0x20 > 'z')
	}
	return text != "" && !strings.ContainsFunc(text, outside)
}

// address is the kind of host:port, which may be empty.
func address(field func(*Config) *string) kind {
	return checked("host:port", func(text string) bool {
		_, port, err := net.SplitHostPort(text)
		n, bad := strconv.Atoi(port)
		return text == "" || err == nil && bad == nil && n >= 0 && n <= 65535
	}, field)
}

// webURL is the kind of a URL, which may be empty.
func webURL(field func(*Config) *string) kind {
	return checked("http://host… or https://host… without user name", func(text string) bool {
		u, err := url.Parse(text)
		return text == "" || err == nil && u.Host != "" && u.User == nil && (u.Scheme == "http" || u.Scheme == "https")
	}, field)
}

// list is the kind of words between commas, at least one.
func list(field func(*Config) *[]string) kind {
	return kind{
		allowed: "one or more names with commas between",
		set: func(c *Config, text string) bool {
			*field(c) = words(text)
			return len(*field(c)) > 0
		},
		text: func(c *Config) string { return strings.Join(*field(c), ",") },
	}
}

func words(text string) (list []string) {
	for word := range strings.SplitSeq(text, ",") {
		if word = strings.TrimSpace(word); word != "" {
			list = append(list, word)
		}
	}
	return list
}

// origins is the kind of a list of web origins. An entry without a scheme
// becomes two, and "*" makes the others superfluous.
func origins(field func(*Config) *[]string) kind {
	return kind{
		allowed: "origins with commas between, such as localhost:3000,https://app.example.com, or *",
		set: func(c *Config, text string) bool {
			entries := words(text)
			ok := len(entries) > 0
			for _, entry := range entries {
				expanded := originsOf(entry)
				*field(c) = append(*field(c), expanded...)
				ok = ok && expanded != nil
			}
			if slices.Contains(entries, "*") {
				*field(c) = []string{"*"}
			}
			return ok
		},
		text: func(c *Config) string { return strings.Join(*field(c), ",") },
	}
}

// originsOf returns entry in the form of browsers (RFC 6454 section 6.2): lower
// case, no default port, no path. It returns nil for what cannot be an origin.
func originsOf(entry string) []string {
	entry = strings.ToLower(strings.TrimSuffix(entry, "/"))
	if entry == "*" {
		return []string{entry}
	}
	if !strings.Contains(entry, "://") {
		return slices.Concat(originsOf("http://"+entry), originsOf("https://"+entry))
	}
	u, err := url.Parse(entry)
	if err != nil || u.Hostname() == "" || mistypedScheme(u.Scheme) || entry != u.Scheme+"://"+u.Host ||
		strings.HasSuffix(entry, ":") || strings.ContainsAny(entry, " *") {
		return nil
	}
	if u.Scheme == "http" && u.Port() == "80" || u.Scheme == "https" && u.Port() == "443" {
		entry = strings.TrimSuffix(entry, ":"+u.Port())
	}
	return []string{entry}
}

// mistypedScheme reports whether a scheme is most likely a mistyped http or
// https. Others are accepted: apps have their own, such as capacitor://.
func mistypedScheme(scheme string) bool {
	return scheme != "http" && scheme != "https" && (edits(scheme, "http") <= 1 || edits(scheme, "https") <= 2)
}

// logLevels has the names of winston, which the Node gateway's files use.
var logLevels = map[string]slog.Level{
	"error": slog.LevelError, "warn": slog.LevelWarn, "info": slog.LevelInfo, "debug": slog.LevelDebug,
	"http": slog.LevelDebug, "verbose": slog.LevelDebug, "silly": slog.LevelDebug,
}

func logLevel(field func(*Config) *slog.Level) kind {
	return kind{
		allowed: "error, warn, info, debug (http, verbose and silly mean debug)",
		set: func(c *Config, text string) bool {
			level, ok := logLevels[strings.ToLower(text)]
			*field(c) = level
			return ok
		},
		text: func(c *Config) string { return strings.ToLower(field(c).String()) },
	}
}

// redisURL is the kind of an address of Redis, which may be empty.
func redisURL(field func(*Config) *string) kind {
	return checked("redis://user:password@host:port/db, rediss:// with TLS, unix://path; &addr= for more, ?master_set= with Sentinel",
		func(text string) bool {
			_, _, err := cluster.ParseURL(text)
			return text == "" || err == nil
		}, field)
}

// prefixes is the kind of a list of addresses and networks, which may be empty.
func prefixes(field func(*Config) *[]netip.Prefix) kind {
	return kind{
		allowed: "IP addresses and networks with commas between, such as 10.0.0.0/8,192.0.2.7",
		set: func(c *Config, text string) bool {
			for _, word := range words(text) {
				p, err := netip.ParsePrefix(word)
				if err != nil {
					var a netip.Addr
					if a, err = netip.ParseAddr(word); err == nil {
						p = netip.PrefixFrom(a, a.BitLen())
					}
				}
				if err != nil {
					return false
				}
				*field(c) = append(*field(c), p.Masked())
			}
			return true
		},
		text: func(c *Config) string {
			list := slices.Clone(*field(c))
			texts := make([]string, len(list))
			for i, p := range list {
				texts[i] = p.String()
			}
			return strings.Join(texts, ",")
		},
	}
}

func alphabet(field func(*Config) *rooms.Alphabet) kind {
	return kind{
		allowed: "characters and ranges of them, such as a-zA-Z0-9_-",
		set: func(c *Config, text string) (ok bool) {
			a, err := rooms.ParseAlphabet(text)
			*field(c) = a
			return err == nil
		},
		text: func(c *Config) string { return field(c).String() },
	}
}

// amqpURLs is the kind of a list of addresses of RabbitMQ, which may be empty.
func amqpURLs(field func(*Config) *[]string) kind {
	return kind{
		allowed: "amqp://user:password@host:port/vhost or amqps://…, several with commas between",
		set: func(c *Config, text string) bool {
			*field(c) = words(text)
			for _, address := range *field(c) {
				if rabbitmq.CheckAddress(address) != nil {
					return false
				}
			}
			return true
		},
		text: func(c *Config) string { return strings.Join(*field(c), ",") },
	}
}
