package secret

import (
	"strings"
	"testing"
)

func TestHideInURLs(t *testing.T) {
	for text, want := range map[string]string{
		"":                                                        "",
		"no address, a?b=c, user@example.com":                     "no address, a?b=c, user@example.com",
		"https://keys.example.com/jwks":                           "https://keys.example.com/jwks",
		"https://h/p?key=sesame":                                  "https://h/p?[hidden]",
		"https://h?key=sesame#sesame":                             "https://h?[hidden]#[hidden]",
		"redis://:sesame@h:6379/1":                                "redis://[hidden]@h:6379/1",
		"amqp://u:sesame@h:1,amqp://u:sesame@h:2":                 "amqp://[hidden]@h:2",
		"amqps://u:ses/ame@h/v":                                   "amqps://[hidden]@h/v",
		"redis://u:se?s#esame@h":                                  "redis://[hidden]@h",
		"unix://u:sesame@/run/redis?db=1":                         "unix://[hidden]@/run/redis?[hidden]",
		`Get "https://h/p?key=sesame": dial tcp: lookup h`:        `Get "https://h/p?[hidden]": dial tcp: lookup h`,
		`parse "redis://u:%zzsesame@h": invalid URL escape`:       `parse "redis://[hidden]@h": invalid URL escape`,
		`a "http://x?k=sesame" and wss://y/z?k=sesame, and so on`: `a "http://x?[hidden]" and wss://y/z?[hidden] and so on`,
	} {
		got := HideInURLs(text)
		if got != want {
			t.Errorf("%s\n got %s\nwant %s", text, got, want)
		}
		if strings.Contains(got, "sesame") {
			t.Errorf("%s shows the secret", got)
		}
	}
}
