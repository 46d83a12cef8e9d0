package e2e

import (
	"bufio"
	"bytes"
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
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/hometrip/gateway/internal/gatewaytest"
	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/redistest"
)

// proxy is a load balancer with TLS in front of gateways.
type proxy struct {
	name     string
	settings []string // settings the gateways need behind it
	start    func(t *testing.T, edit func(config string) string, gateways ...*gateway) *gateway
}

var proxies = []proxy{
	{"nginx", []string{"TRUSTED_PROXIES=127.0.0.1"}, startNginx},
	{"haproxy", []string{"TRUSTED_PROXIES=127.0.0.1", "PROXY_PROTOCOL=true"}, startHAProxy},
}

func unchanged(config string) string { return config }

// placeholders are the addresses of the gateways in the configurations of deploy/.
var placeholders = []string{"10.0.0.11:3002", "10.0.0.12:3002"}

// configuration returns a file of deploy/ with the test's gateways, port and
// certificate. Lines of placeholders without a gateway are removed.
func configuration(t *testing.T, file string, gateways []*gateway, replace ...string) string {
	t.Helper()
	text, err := os.ReadFile("../../deploy/" + file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for line := range strings.Lines(string(text)) {
		for i, placeholder := range placeholders {
			if !strings.Contains(line, placeholder) {
				continue
			}
			if i >= len(gateways) {
				line = ""
				break
			}
			line = strings.Replace(line, placeholder, gateways[i].Addr, 1)
		}
		b.WriteString(line)
	}
	return strings.NewReplacer(replace...).Replace(b.String())
}

func startNginx(t *testing.T, edit func(string) string, gateways ...*gateway) *gateway {
	t.Helper()
	dir, port := t.TempDir(), gatewaytest.FreePort(t)
	cert := newCertificate(t, dir)
	site := edit(configuration(t, "nginx.conf", gateways,
		"listen 443", fmt.Sprint("listen 127.0.0.1:", port),
		"/etc/ssl/websocket-gateway.pem", cert.pem, "/etc/ssl/websocket-gateway.key", cert.key))
	writeFile(t, filepath.Join(dir, "site.conf"), site)
	var temp strings.Builder
	for _, kind := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "%s_temp_path %s;\n", kind, filepath.Join(dir, kind))
	}
	conf := filepath.Join(dir, "nginx.conf")
	writeFile(t, conf, "user root; daemon off; worker_processes 1; pid "+dir+"/pid; error_log stderr;\n"+
		"events { worker_connections 1024; }\nhttp {\naccess_log off;\n"+temp.String()+"include "+dir+"/site.conf;\n}\n")
	return runProxy(t, port, cert, "/usr/sbin/nginx", "-e", "stderr", "-p", dir, "-c", conf)
}

func startHAProxy(t *testing.T, edit func(string) string, gateways ...*gateway) *gateway {
	t.Helper()
	dir, port := t.TempDir(), gatewaytest.FreePort(t)
	cert := newCertificate(t, dir)
	conf := filepath.Join(dir, "haproxy.cfg")
	writeFile(t, conf, edit(configuration(t, "haproxy-tls.cfg", gateways,
		"bind :443", fmt.Sprint("bind 127.0.0.1:", port), "/etc/haproxy/websocket-gateway.pem", cert.both,
		"fd-hard-limit 200000", "fd-hard-limit 10000")))
	return runProxy(t, port, cert, "/usr/sbin/haproxy", "-f", conf)
}

// runProxy starts a proxy and waits until it forwards to a gateway.
func runProxy(t *testing.T, port int, cert certificate, program string, args ...string) *gateway {
	t.Helper()
	testkit.NeedProgram(t, program)
	p := at(t, "https://localhost:"+strconv.Itoa(port))
	p.Addr, p.trust = "127.0.0.1:"+strconv.Itoa(port), cert
	cmd := exec.Command(program, args...)
	cmd.Stdout, cmd.Stderr = p.Out, p.Out
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGTERM}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM) // both end at once
		<-ended
		if t.Failed() {
			t.Logf("output of %s:\n%s", program, p.Out)
		}
	})
	gatewaytest.Await(t, program+" to reach a gateway", func() bool {
		select {
		case <-ended:
			t.Fatalf("%s exited instead of starting:\n%s", program, p.Out)
		default:
		}
		status, err := p.statusOf("127.0.0.1", "/socket.io/?EIO=4&transport=polling")
		return err == nil && status == 200
	})
	return p
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// certificate is a self-signed certificate for localhost, in files.
type certificate struct {
	pem, key, both string
	pool           *x509.CertPool
}

func newCertificate(t *testing.T, dir string) certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: "localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	c := certificate{filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem"), filepath.Join(dir, "both.pem"), x509.NewCertPool()}
	c.pool.AppendCertsFromPEM(certPEM)
	writeFile(t, c.pem, string(certPEM))
	writeFile(t, c.key, string(keyPEM))
	writeFile(t, c.both, string(append(certPEM, keyPEM...)))
	return c
}

// hold makes a request from this local address and returns the status and the open
// connection.
func (g *gateway) hold(from, target string, headers ...string) (int, net.Conn, error) {
	dialer := tls.Dialer{
		NetDialer: &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}, Timeout: patience},
		Config:    &tls.Config{RootCAs: g.trust.pool, ServerName: "localhost"},
	}
	conn, err := dialer.Dial("tcp", g.Addr)
	if err != nil {
		return 0, nil, err
	}
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n", target, strings.Join(append(headers, ""), "\r\n"))
	head := make([]byte, 64)
	n, err := conn.Read(head)
	words := bytes.Fields(head[:n])
	if err != nil || len(words) < 2 {
		conn.Close()
		return 0, nil, fmt.Errorf("answer %q, %v", head[:n], err)
	}
	status, err := strconv.Atoi(string(words[1]))
	return status, conn, err
}

func (g *gateway) statusOf(from, target string) (int, error) {
	status, conn, err := g.hold(from, target)
	if err == nil {
		conn.Close()
	}
	return status, err
}

// Unmodified clients connect through each proxy to two gateways that share rooms.
func TestClientsThroughProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is one node")
	redis, err := redistest.Start(nil)
	testkit.Need(t, err)
	t.Cleanup(redis.Close)
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			settings := append([]string{"USE_REDIS=true", "REDIS_HOST=127.0.0.1", "REDIS_PORT=" + strconv.Itoa(redis.Port), "KEY_PREFIX=" + p.name}, p.settings...)
			a, b := start(t, settings...), start(t, settings...)
			front := p.start(t, unchanged, a, b)
			clients(t, front, "rooms.mjs", "FLEET_URLS="+a.URL+" "+b.URL)
		})
	}
}

// The connection limit per address applies to the address of the client, not of the
// proxy. /metrics is not reachable through the proxy.
func TestClientAddressComesThroughProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it has no limit by address")
	const limit = 2
	webSocket := []string{"Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
		"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==", "X-Forwarded-For: 192.0.2.1"}
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			front := p.start(t, unchanged, start(t, append(p.settings, "MAX_CONNECTIONS_PER_IP="+strconv.Itoa(limit))...))
			want := func(from string, want int) {
				t.Helper()
				status, conn, err := front.hold(from, "/socket.io/?EIO=4&transport=websocket", webSocket...)
				if err != nil || status != want {
					t.Errorf("from %s: %d %v, want %d", from, status, err, want)
				}
				if conn != nil {
					t.Cleanup(func() { conn.Close() })
				}
			}
			for range limit {
				want("127.0.0.2", 101)
			}
			want("127.0.0.2", 503)
			want("127.0.0.3", 101)
			if status, err := front.statusOf("127.0.0.4", "/metrics"); err != nil || status != 404 {
				t.Errorf("/metrics through the proxy: %d %v, want 404", status, err)
			}
		})
	}
}

// tlsRaw opens a raw connection with TLS.
func (g *gateway) tlsRaw(t *testing.T) *raw {
	t.Helper()
	conn, err := tls.Dial("tcp", g.Addr, &tls.Config{RootCAs: g.trust.pool, ServerName: "localhost"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(2 * patience))
	return &raw{t: t, conn: conn, in: bufio.NewReader(conn)}
}

// Clients outside of browsers send the gateway's own address as Origin, each in
// another form. They must be accepted, and other origins refused, directly and through
// each proxy, which must pass on the Host header. The proxies do not listen on port
// 443.
func TestOriginsOfNativeClientsAreAccepted(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it compares origins with its list")
	type head struct{ client, host, origin string }
	heads := func(scheme, webSocket, host, standard string) []head {
		return []head{
			{"python-socketio", host, scheme + "://" + host},
			{"Starscream", host, webSocket + "://" + host},
			{"Starscream on the standard port", "gw.example.com:" + standard, webSocket + "://gw.example.com"},
			{"a browser behind $host:$server_port", "gw.example.com:" + standard, scheme + "://gw.example.com"},
			{"golang.org/x/net/websocket", host, scheme + "://" + host + "/socket.io/?eio=4"},
			{"no browser", host, ""},
		}
	}
	strangers := func(scheme, webSocket, host string) []head {
		return []head{
			{"another host", host, scheme + "://evil.example"},
			{"another port", host, webSocket + "://" + strings.Split(host, ":")[0] + ":1"},
			{"the host in the path", host, scheme + "://evil.example/" + host},
			{"nobody", host, "null"},
		}
	}
	try := func(t *testing.T, dial func(t *testing.T) *raw, h head, want int) {
		t.Helper()
		lines := []string{}
		if h.origin != "" {
			lines = append(lines, "Origin: "+h.origin)
		}
		r := dial(t)
		r.host = h.host
		if status, body := r.handshake("/socket.io/?EIO=4&transport=websocket", lines...); status != want {
			t.Errorf("%s: Host %s, Origin %q: %d %s, want %d", h.client, h.host, h.origin, status, body, want)
		}
		r = dial(t)
		r.send("GET " + engineTarget + " HTTP/1.1\r\nHost: " + h.host + "\r\n" + strings.Join(append(lines, ""), "\r\n") + "\r\n")
		if status, body := r.response(); (status == 200) != (want == 101) || status != 200 && status != want {
			t.Errorf("%s by polling: Host %s, Origin %q: %d %s", h.client, h.host, h.origin, status, body)
		}
	}
	t.Run("directly", func(t *testing.T) {
		t.Parallel()
		g := start(t)
		for _, h := range heads("http", "ws", g.Addr, "80") {
			try(t, g.raw, h, 101)
		}
		for _, h := range strangers("http", "ws", g.Addr) {
			try(t, g.raw, h, 403)
		}
	})
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			front := p.start(t, unchanged, start(t, p.settings...))
			host := strings.TrimPrefix(front.URL, "https://")
			for _, h := range heads("https", "wss", host, "443") {
				try(t, front.tlsRaw, h, 101)
			}
			for _, h := range strangers("https", "wss", host) {
				try(t, front.tlsRaw, h, 403)
			}
		})
	}
}

// A polling session whose handshake had an empty sid is on one of two gateways. The
// proxy must send its later requests to the same one.
func TestEmptySessionIDThroughProxies(t *testing.T) {
	t.Parallel()
	notOnReference(t, "it is one node")
	for _, p := range proxies {
		t.Run(p.name, func(t *testing.T) {
			t.Parallel()
			front := p.start(t, unchanged, start(t, p.settings...), start(t, p.settings...))
			for range 8 {
				r := front.tlsRaw(t)
				r.send("GET " + engineTarget + "&sid= HTTP/1.1\r\nHost: localhost\r\n\r\n")
				sid := strings.Split(r.wantStatus(200), `"`)[3]
				for range 3 {
					r = front.tlsRaw(t)
					r.send(post(engineTarget+"&sid="+sid, "40"))
					r.wantStatus(200)
					r = front.tlsRaw(t)
					r.send("GET " + engineTarget + "&sid=" + sid + " HTTP/1.1\r\nHost: localhost\r\n\r\n")
					r.wantStatus(200)
				}
			}
		})
	}
}
