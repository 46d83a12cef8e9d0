package cluster

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
	"github.com/hometrip/gateway/rooms/cluster/clustertest"
)

// The tests of this file run the cluster with the set-ups of Redis that
// production uses. They take the longest, so they are in the first file and
// begin first.

// useServer sets the server that all nodes of a world use.
func (w *world) useServer(s Server) { w.server = &s }

// restartNodes stops all nodes, and changes the prefix, so that new nodes find
// no keys.
func (w *world) restartNodes() {
	for _, n := range w.nodes {
		n.halt()
	}
	w.nodes, w.prefix = nil, w.prefix+"again:"
}

// wantWorkingCluster runs the model test on the world's server, and checks the
// directory.
func wantWorkingCluster(t *testing.T, w *world) {
	t.Helper()
	m := clustertest.Model{Log: t.Logf, Start: func() (clustertest.Node, error) { return w.modelNode(0), nil }}
	if err := m.Run(1, 40); err != nil {
		t.Fatal(err, w.stats())
	}
	w.awaitRight()
}

func TestTLS(t *testing.T) {
	t.Parallel()
	redis, trust, err := redistest.StartTLS()
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	w := &world{t: t, redis: redis, prefix: newPrefix(t)}
	w.useServer(Server{Addresses: []string{redis.Addr}, TLS: trust})
	wantWorkingCluster(t, w)
}

func TestUnixSocket(t *testing.T) {
	dir, err := os.MkdirTemp("", "gateway-unix-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	w := newOwnWorld(t, "--unixsocket", dir+"/redis.sock")
	s, db, err := ParseURL("unix://" + dir + "/redis.sock?db=3")
	if err != nil || db != 3 {
		t.Fatalf("database %d, %v", db, err)
	}
	w.useServer(s)
	wantWorkingCluster(t, w)
}

// useACLUser has the nodes connect as the user of deploy/redis.acl, which the
// servers have read. At the end of the test no command may have been denied.
func (w *world) useACLUser(t *testing.T, servers ...*redistest.Server) {
	t.Helper()
	w.prefix, w.server.Username, w.server.Password = "ws:", "gateway", "secret"
	t.Cleanup(func() {
		for _, s := range servers {
			if log, err := s.CLI("ACL", "LOG"); err != nil || log != "" {
				t.Errorf("denied: %s %v", log, err)
			}
		}
	})
}

// acl returns the arguments with which a server reads deploy/redis.acl.
func acl(t *testing.T) []string {
	t.Helper()
	path, err := filepath.Abs("../../deploy/redis.acl")
	if err != nil {
		t.Fatal(err)
	}
	return []string{"--aclfile", path}
}

func TestRedisUserWithLeastRights(t *testing.T) {
	w := newOwnWorld(t, acl(t)...)
	w.useServer(Server{Addresses: []string{w.redis.Addr}})
	w.useACLUser(t, w.redis)
	wantWorkingCluster(t, w)
}

func TestRedisCluster(t *testing.T) {
	t.Parallel()
	group, err := redistest.StartCluster(acl(t)...)
	testkit.Need(t, err)
	t.Cleanup(group.Close)
	w := &world{t: t, redis: group.Servers[0], prefix: newPrefix(t)}
	w.useServer(Server{Addresses: redistest.Addresses(group.Servers[:1])}) // the others are found
	w.useACLUser(t, group.Servers...)
	wantWorkingCluster(t, w)
	w.restartNodes()
	proxies := announceProxies(t, group)
	if cs := w.node().cluster.connections(); !cs.sharded {
		t.Fatal("the node does not use sharded channels, want it to detect a Redis Cluster")
	}
	for _, proxy := range proxies { // replies of different servers arrive at different times
		proxy.Lag(2 * time.Millisecond)
	}
	wantWorkingCluster(t, w)
	for _, proxy := range proxies {
		proxy.Lag(0)
	}
	w.restartNodes()
	p := &pair{world: w}
	p.startPair()
	group.Servers[1].Kill()
	if err := group.Servers[1].Launch(); err != nil {
		t.Fatal(err)
	}
	p.wantConnectedPair()
	group.Servers[2].Kill() // a replica is promoted
	if err := group.Servers[0].Until("cluster_state:fail", "CLUSTER", "INFO"); err != nil {
		t.Fatal(err)
	}
	if err := group.Servers[0].Until("cluster_state:ok", "CLUSTER", "INFO"); err != nil {
		t.Fatal(err)
	}
	p.wantConnectedPair()
	if err := group.Servers[2].Launch(); err != nil { // as a replica
		t.Fatal(err)
	}
	p.wantConnectedPair()
}

// announceProxies has each server announce the port of a proxy, through which
// clients connect then.
func announceProxies(t *testing.T, group *redistest.Group) (proxies []*testkit.Proxy) {
	t.Helper()
	for _, s := range group.Servers {
		proxy := newProxy(t, s)
		_, port, _ := strings.Cut(proxy.Addr, ":")
		if _, err := s.CLI("CONFIG", "SET", "cluster-announce-port", port); err != nil {
			t.Fatal(err)
		}
		proxies = append(proxies, proxy)
	}
	for _, s := range group.Servers {
		testkit.Await(t, "the servers to know the proxies of each other", func() bool {
			slots, err := s.CLI("CLUSTER", "SLOTS")
			return err == nil && !slices.ContainsFunc(proxies, func(p *testkit.Proxy) bool {
				_, port, _ := strings.Cut(p.Addr, ":")
				return !strings.Contains(slots, port)
			})
		})
	}
	return proxies
}

func TestSentinelFailover(t *testing.T) {
	t.Parallel()
	const password = "secret"
	group, err := redistest.StartSentinel(password)
	testkit.Need(t, err)
	t.Cleanup(group.Close)
	w := &world{t: t, redis: group.Servers[0], prefix: newPrefix(t)}
	w.useServer(Server{
		Addresses: redistest.Addresses(group.Guards), MasterSet: redistest.MasterSet,
		Password: password, SentinelPassword: password,
	})
	wantWorkingCluster(t, w)
	w.restartNodes()
	p := &pair{world: w}
	p.startPair()
	if _, err := group.Guards[0].CLI("SENTINEL", "FAILOVER", redistest.MasterSet); err != nil {
		t.Fatal(err)
	}
	for _, n := range w.nodes {
		testkit.Await(t, n.name+" on the other server", func() bool { return n.cluster.Stats().Sessions > 1 })
	}
	p.wantConnectedPair()

	if err := group.Await(1, 2); err != nil { // the third server follows the second
		t.Fatal(err)
	}
	before := []int64{p.a.cluster.Stats().Sessions, p.b.cluster.Stats().Sessions}
	group.Servers[1].Kill()
	for i, n := range w.nodes {
		testkit.Await(t, n.name+" on the third server", func() bool { return n.cluster.Stats().Sessions > before[i] })
	}
	testkit.Await(t, "a message to get through on the third server", func() bool {
		p.ann.send("typing", "1")
		p.settle()
		return slices.ContainsFunc(p.bob.all(), func(packet string) bool { return strings.HasPrefix(packet, `42["user_typing"`) })
	})
	p.wantConnectedPair()
}
