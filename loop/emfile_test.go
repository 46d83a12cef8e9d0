package loop

import (
	"bufio"
	"fmt"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/hometrip/gateway/internal/testkit"
)

// fewDescriptors is the environment variable with which TestOutOfDescriptors
// runs its server in a process of its own.
const fewDescriptors = "LOOP_TEST_FEW_DESCRIPTORS"

// A server in a process with 300 descriptors is dialled 3,000 times. It must
// refuse connections with 503 before descriptors run out, because an error of
// accept would end the engine; a connected client must be served, and new
// clients again afterwards.
func TestOutOfDescriptors(t *testing.T) {
	if os.Getenv(fewDescriptors) != "" {
		serveWithFewDescriptors(t)
		return
	}
	cmd := exec.Command(os.Args[0], "-test.run=^TestOutOfDescriptors$", "-test.v")
	cmd.Env = append(os.Environ(), fewDescriptors+"=1")
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(stdout)
	addr := ""
	for addr == "" && lines.Scan() {
		addr, _ = strings.CutPrefix(lines.Text(), "serving on ")
		if addr == lines.Text() {
			addr = ""
		}
	}
	if addr == "" {
		t.Fatal("the server has printed no address")
	}

	// This Server has only the address of the one in the other process, for dial.
	s := &Server{config: Config{Address: addr}}
	ann := connectWS(t, s, "ann")
	var refused atomic.Int64
	var open []net.Conn
	for range 3000 {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			t.Fatalf("dial %d: %v", len(open), err)
		}
		open = append(open, c)
	}
	for _, c := range open {
		go func() {
			var answer [12]byte
			if n, _ := c.Read(answer[:]); string(answer[:n]) == "HTTP/1.1 503" {
				refused.Add(1)
			}
		}()
	}
	const most = 2800
	testkit.Await(t, fmt.Sprintf("%d connections to be refused with 503", most), func() bool { return refused.Load() >= most })
	ann.join("1")
	for _, c := range open {
		c.Close()
	}
	testkit.Await(t, "room for a new client", func() bool {
		c := dial(t, s)
		defer c.conn.Close()
		if _, err := c.conn.Write([]byte(requestText("GET", enginePoll, ""))); err != nil {
			return false
		}
		r, err := c.tryReceive("GET")
		return err == nil && r.status == 200
	})
	connectWS(t, s, "bob").join("1")

	stdin.Close()
	var rest strings.Builder
	for lines.Scan() {
		rest.WriteString(lines.Text() + "\n")
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the server's process: %v\n%s", err, rest.String())
	}
}

func serveWithFewDescriptors(t *testing.T) {
	limit := unix.Rlimit{Cur: 300, Max: 300}
	if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &limit); err != nil {
		t.Fatal(err)
	}
	s := newServer(t, func(c *Config) { c.MaxConnections = 150 })
	fmt.Printf("serving on %s\n", s.Addr())
	_, _ = os.Stdin.Read(make([]byte, 1)) // until the parent closes the pipe
}
