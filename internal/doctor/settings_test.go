package doctor

import (
	"fmt"
	"strings"
	"testing"
)

const good = "b3Jh7Vq1XzPzYk0u9mQ2sT4wE6rLcNaD5fGhJkMx"

func TestSettings(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Settings)
		check  string
		want   Verdict
		says   string
	}{
		{"a good secret", func(*Settings) {}, "JWT_SECRET", OK, "40 bytes"},
		{"a well-known one", func(s *Settings) { s.Secret = "Your-256-Bit-Secret" }, "JWT_SECRET", Fail, "well-known"},
		{"a well-known one in development", func(s *Settings) { s.Secret, s.Production = "secret", false }, "JWT_SECRET", Warn, "well-known"},
		{"a short one", func(s *Settings) { s.Secret = "x7Kp2" }, "JWT_SECRET", Fail, "5 bytes"},
		{"a middling one", func(s *Settings) { s.Secret = good[:24] }, "JWT_SECRET", Warn, "24 bytes"},
		{"a long and simple one", func(s *Settings) { s.Secret = strings.Repeat("ab", 30) }, "JWT_SECRET", Warn, "60 bits"},
		{"one for the run", func(s *Settings) { s.Ephemeral = true }, "JWT_SECRET", Skip, "created at"},
		{"another key", func(s *Settings) { s.Secret = "" }, "JWT_SECRET", Skip, "public key"},
		{"all origins", func(s *Settings) { s.Origins = []string{"*"} }, "CORS_ORIGIN", Fail, "any page"},
		{"an origin without TLS", func(s *Settings) { s.Origins = append(s.Origins, "http://a.example") }, "CORS_ORIGIN", Warn, "http://a.example"},
		{"the same in development", func(s *Settings) { s.Origins, s.Production = []string{"http://a.example"}, false }, "CORS_ORIGIN", OK, "a.example"},
		{"open rooms", func(s *Settings) { s.OpenRooms = true }, "ROOM_POLICY", Warn, "every room"},
		{"open rooms in development", func(s *Settings) { s.OpenRooms, s.Production = true, false }, "ROOM_POLICY", OK, "open"},
		{"metrics for everybody", func(s *Settings) { s.MetricsToken = "" }, "METRICS_TOKEN", Warn, "ADMIN_ADDR"},
		{"metrics elsewhere", func(s *Settings) { s.Metrics, s.MetricsToken = false, "" }, "METRICS_TOKEN", OK, "not on PORT"},
		{"a short token", func(s *Settings) { s.PublishToken = "abc" }, "PUBLISH_TOKEN", Warn, "3 characters"},
		{"nobody may publish", func(s *Settings) { s.PublishToken = "" }, "PUBLISH_TOKEN", OK, "closed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := Settings{
				Production: true, Secret: good, Origins: []string{"https://a.example"},
				Metrics: true, MetricsToken: good, PublishToken: good,
			}
			c.change(&s)
			findings := s.Check()
			wantFinding(t, findings, c.check, c.want, c.says)
			if s.Secret != "" && strings.Contains(fmt.Sprint(findings), s.Secret) && s.Secret != "secret" {
				t.Errorf("the secret is shown: %v", findings)
			}
		})
	}
}
