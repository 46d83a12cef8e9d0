package redistest

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hometrip/gateway/internal/testkit/freeport"
)

// A Group is several servers that belong together. Owned by one goroutine.
type Group struct {
	Servers []*Server // of a Redis Cluster the masters, then a replica of each; with Sentinel the first master and its replicas
	Guards  []*Server // Sentinels
}

// MasterSet is the name under which the Sentinels of StartSentinel know their
// master.
const MasterSet = "gateway"

// Addresses lists servers.
func Addresses(servers []*Server) (list []string) {
	for _, s := range servers {
		list = append(list, s.Addr)
	}
	return list
}

// Close ends all servers.
func (g *Group) Close() {
	for _, s := range slices.Concat(g.Guards, g.Servers) {
		s.Close()
	}
}

// StartCluster starts a Redis Cluster of three masters with a replica each,
// with these arguments beside its own.
func StartCluster(args ...string) (*Group, error) {
	g := &Group{}
	for range 6 {
		s, err := Start(nil, append([]string{"--cluster-enabled", "yes", "--cluster-node-timeout", "1000", "--repl-diskless-sync-delay", "0"}, args...)...)
		if err != nil {
			g.Close()
			return nil, err
		}
		g.Servers = append(g.Servers, s)
	}
	create := append([]string{"--cluster", "create"}, Addresses(g.Servers)...)
	_, err := g.Servers[0].CLI(append(create, "--cluster-replicas", "1", "--cluster-yes")...)
	for i, s := range g.Servers {
		if err == nil {
			err = s.Until("cluster_state:ok", "CLUSTER", "INFO")
		}
		if err == nil && i >= 3 {
			err = s.Until("master_link_status:up", "INFO", "replication")
		}
	}
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// StartSentinel starts a master, two replicas and a Sentinel that watches them,
// all with this password. The first replica is the one to be promoted first.
func StartSentinel(password string) (*Group, error) {
	g, cli := &Group{}, []string{"--no-auth-warning", "-a", password}
	err := g.startReplicated(cli, password)
	if err != nil {
		g.Close()
		return nil, err
	}
	return g, nil
}

// Await waits until a server is the master of another one, and the Sentinels
// know.
func (g *Group) Await(master, replica int) error {
	port := strconv.Itoa(g.Servers[master].Port)
	if err := g.Servers[replica].Until("master_port:"+port, "INFO", "replication"); err != nil {
		return err
	}
	if err := g.Servers[replica].Until("master_link_status:up", "INFO", "replication"); err != nil {
		return err
	}
	for _, guard := range g.Guards {
		if err := guard.Until(port, "SENTINEL", "GET-MASTER-ADDR-BY-NAME", MasterSet); err != nil {
			return err
		}
	}
	return nil
}

func (g *Group) startReplicated(cli []string, password string) error {
	secret := []string{"--requirepass", password, "--masterauth", password, "--repl-diskless-sync-delay", "0"}
	master, err := Start(cli, secret...)
	if err != nil {
		return err
	}
	g.Servers = append(g.Servers, master)
	for _, priority := range []string{"10", "20"} {
		replica, err := Start(cli, append(secret, "--replicaof", "127.0.0.1 "+strconv.Itoa(master.Port), "--replica-priority", priority)...)
		if err != nil {
			return err
		}
		g.Servers = append(g.Servers, replica)
	}
	for _, replica := range g.Servers[1:] {
		if err := replica.Until("master_link_status:up", "INFO", "replication"); err != nil {
			return err
		}
	}
	file, err := os.CreateTemp("", "gateway-sentinel-*.conf")
	if err != nil {
		return err
	}
	fmt.Fprintf(file, "sentinel monitor %s 127.0.0.1 %d 1\n", MasterSet, master.Port)
	fmt.Fprintf(file, "sentinel auth-pass %s %s\nrequirepass %s\n", MasterSet, password, password)
	fmt.Fprintf(file, "sentinel down-after-milliseconds %s 500\n", MasterSet)
	fmt.Fprintf(file, "sentinel failover-timeout %s 1000\n", MasterSet)
	if err := file.Close(); err != nil {
		return err
	}
	guard, err := startFrom(file.Name(), cli)
	if err != nil {
		return err
	}
	g.Guards = append(g.Guards, guard)
	return guard.Until("slaves=2", "INFO", "sentinel")
}

// startFrom starts a Sentinel, whose file it owns.
func startFrom(file string, cli []string) (*Server, error) {
	port, err := freeport.Find()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "gateway-redis-")
	if err != nil {
		return nil, err
	}
	moved := filepath.Join(dir, "sentinel.conf")
	if err := os.Rename(file, moved); err != nil {
		return nil, err
	}
	s := &Server{Addr: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)), Port: port, dir: dir, cli: cli}
	s.args = []string{moved, "--sentinel", "--port", strconv.Itoa(port), "--bind", "127.0.0.1", "--dir", dir}
	if err := s.Launch(); err != nil {
		s.Close()
		return nil, err
	}
	return s, nil
}

// Until waits until a command's answer contains some text.
func (s *Server) Until(text string, command ...string) error {
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if out, err := s.CLI(command...); err == nil && strings.Contains(out, text) {
			return nil
		}
		time.Sleep(pollInterval)
	}
	return fmt.Errorf("redis at %s: no %s after %v", s.Addr, text, startTimeout)
}

// StartTLS starts a server that speaks TLS only, and returns what trusts it.
func StartTLS() (*Server, *tls.Config, error) {
	cert, key, pool, err := certificate()
	if err != nil {
		return nil, nil, err
	}
	dir, err := os.MkdirTemp("", "gateway-tls-")
	if err != nil {
		return nil, nil, err
	}
	defer os.RemoveAll(dir) // the server has read them when it answers
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	if err := os.WriteFile(certFile, cert, 0o600); err != nil {
		return nil, nil, err
	}
	if err := os.WriteFile(keyFile, key, 0o600); err != nil {
		return nil, nil, err
	}
	s, err := Start([]string{"--tls", "--insecure"}, "--port", "0", "--tls-port", "{port}",
		"--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", certFile, "--tls-auth-clients", "no")
	return s, &tls.Config{RootCAs: pool, ServerName: "localhost", MinVersion: tls.VersionTLS12}, err
}

// certificate makes one for localhost that vouches for itself.
func certificate() (cert, key []byte, pool *x509.CertPool, err error) {
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, nil, nil, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "localhost"}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		return nil, nil, nil, err
	}
	secret, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, nil, nil, err
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, nil, nil, err
	}
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}),
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), pool, nil
}
