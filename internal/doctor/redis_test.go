package doctor

import (
	"strings"
	"testing"

	"github.com/redis/rueidis"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster"
)

// startRedis starts a server. The returned function runs the doctor's checks as a
// user.
func startRedis(t *testing.T, args ...string) (*redistest.Server, func(user, password string) []Finding) {
	t.Helper()
	server, err := redistest.Start(nil, args...)
	testkit.Need(t, err)
	t.Cleanup(server.Close)
	return server, func(user, password string) []Finding {
		open := func() (rueidis.Client, error) {
			return cluster.Server{Addresses: []string{server.Addr}, Username: user, Password: password}.Open(1, nil)
		}
		return Redis(t.Context(), open, "ws:", true, true)
	}
}

func TestGoodRedisSettings(t *testing.T) {
	t.Parallel()
	server, look := startRedis(t)
	findings := look("", "")
	for _, check := range []string{"PING", "version", "permissions", "maxmemory-policy", "tracking-table-max-keys"} {
		wantFinding(t, findings, check, OK, "")
	}
	if keys, err := server.CLI("-n", "1", "KEYS", "*"); err != nil || keys != "" {
		t.Errorf("the doctor left the keys %q in Redis (%v)", keys, err)
	}
	server.Kill()
	wantFinding(t, look("", ""), "connection", Fail, "refused")
}

func TestRedisSettingsThatLoseKeys(t *testing.T) {
	t.Parallel()
	_, look := startRedis(t, "--maxmemory", "100mb", "--maxmemory-policy", "volatile-lru", "--tracking-table-max-keys", "1000")
	findings := look("", "")
	wantFinding(t, findings, "maxmemory-policy", Fail, "volatile-lru")
	wantFinding(t, findings, "tracking-table-max-keys", Warn, "1000000")
}

// A user with the gateway's permissions is enough; checks that need more are skipped.
// Missing permissions are reported with the command that lacks them.
func TestRedisUser(t *testing.T) {
	t.Parallel()
	server, look := startRedis(t)
	rules := "on >secret ~ws:* &ws:* -@all +auth +hello +ping +select +client|setname +client|tracking +client|caching " +
		"+cluster|slots +cluster|shards +multi +exec +pttl +smembers +sadd +srem " +
		"+set +mget +del +exists +scan +publish +subscribe +unsubscribe +spublish +ssubscribe +sunsubscribe " +
		"+eval +time +xinfo|stream +xadd +xread +xrange +xlen +xtrim +memory|usage"
	allow := func(rule ...string) {
		t.Helper()
		if _, err := server.CLI(append([]string{"ACL", "SETUSER", "gateway"}, rule...)...); err != nil {
			t.Fatal(err)
		}
	}
	allow(strings.Fields(rules)...)
	findings := look("gateway", "secret")
	wantFinding(t, findings, "permissions", OK, "")
	for _, check := range []string{"version", "maxmemory-policy", "tracking-table-max-keys"} {
		wantFinding(t, findings, check, Skip, "NOPERM")
	}
	allow("-xadd")
	wantFinding(t, look("gateway", "secret"), "permissions", Fail, "eval with time, xadd and xinfo")
	allow("+xadd", "-publish")
	wantFinding(t, look("gateway", "secret"), "permissions", Fail, "publish")
	allow("+publish", "resetchannels")
	wantFinding(t, look("gateway", "secret"), "permissions", Fail, "channel")
	allow("&ws:*", "resetkeys", "~other:*")
	wantFinding(t, look("gateway", "secret"), "permissions", Fail, "set")
}
