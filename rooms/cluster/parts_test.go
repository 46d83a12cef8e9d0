package cluster

import (
	"fmt"
	"strings"
	"testing"
)

func TestParseURL(t *testing.T) {
	for text, want := range map[string]struct {
		addresses       string
		db              int
		user, password  string
		tls, unix       bool
		masters, secret string
	}{
		"redis://redis":                                {addresses: "[redis:6379]", db: -1},
		"redis://:p%40ss@redis:7000/3":                 {addresses: "[redis:7000]", db: 3, password: "p@ss"},
		"redis://ann:pw@redis?db=4":                    {addresses: "[redis:6379]", db: 4, user: "ann", password: "pw"},
		"rediss://redis:7000/":                         {addresses: "[redis:7000]", db: -1, tls: true},
		"redis://a:1?addr=b:2&addr=c:3":                {addresses: "[a:1 b:2 c:3]", db: -1},
		"redis://a:1/0?master_set=m":                   {addresses: "[a:1]", masters: "m"},
		"redis://a:1?master_set=m&sentinel_password=s": {addresses: "[a:1]", db: -1, masters: "m", secret: "s"},
		"unix:///run/redis.sock?db=5":                  {addresses: "[/run/redis.sock]", db: 5, unix: true},
	} {
		s, db, err := ParseURL(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if fmt.Sprint(s.Addresses) != want.addresses || db != want.db || s.Username != want.user || s.Password != want.password ||
			(s.TLS != nil) != want.tls || s.Unix != want.unix || s.MasterSet != want.masters || s.SentinelPassword != want.secret {
			t.Errorf("%s: %+v, database %d, want %+v", text, s, db, want)
		}
	}
	for _, text := range []string{"", "redis", "http://redis", "redis://redis/x", "redis://redis/1/2", "redis://u:secret@a b"} {
		if _, _, err := ParseURL(text); err == nil {
			t.Errorf("%q was accepted, want an error", text)
		} else if strings.Contains(err.Error(), "secret") {
			t.Errorf("the error contains the password: %v", err)
		}
	}
}

func TestNewRefusesBraces(t *testing.T) {
	if _, err := New(Config{Prefix: "a{b}", Server: Server{Addresses: []string{"x:1"}}}); err == nil {
		t.Error("a prefix with braces was accepted, want an error")
	}
}
