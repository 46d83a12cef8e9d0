// Package brokertest starts RabbitMQ for tests: a node with its own ports,
// name, cookie and data, which can be killed and started again, and which is
// removed at the end of the tests.
package brokertest

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/internal/testkit"
	"github.com/hometrip/gateway/internal/testkit/freeport"
)

const (
	server       = "/usr/lib/rabbitmq/bin/rabbitmq-server" // Debian's /usr/sbin/rabbitmq-server changes the user
	startTimeout = 3 * time.Minute                         // on a busy machine
)

// A Broker is a running node of RabbitMQ. Owned by one goroutine.
type Broker struct {
	Addr string // host:port
	URL  string // with user guest, who may do everything

	dir  string
	port int
	env  []string
	epmd *exec.Cmd // the registry of Erlang nodes, one for this node alone
	node *exec.Cmd
	log  *bytes.Buffer // what the node printed; read after its end
}

// Start starts a node, with these variables in its environment, and waits until
// it accepts connections.
func Start(settings ...string) (*Broker, error) {
	if _, err := os.Stat(server); err != nil {
		return nil, testkit.Missing("rabbitmq-server")
	}
	var ports [3]int
	for i := range ports {
		port, err := freeport.Find()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	dir, err := os.MkdirTemp("", "gateway-rabbitmq-")
	if err != nil {
		return nil, err
	}
	addr := fmt.Sprintf("127.0.0.1:%d", ports[0])
	b := &Broker{dir: dir, port: ports[0], Addr: addr, URL: "amqp://guest:guest@" + addr + "/"}
	b.env = append(environment(dir, ports), settings...)
	if err := b.prepare(ports[2]); err != nil {
		b.Close()
		return nil, err
	}
	if err := b.Launch(); err != nil {
		b.Close()
		return nil, err
	}
	return b, nil
}

// environment separates the node from any other on the machine.
func environment(dir string, ports [3]int) []string {
	in := func(name string) string { return filepath.Join(dir, name) }
	return []string{
		"PATH=" + os.Getenv("PATH"),
		"HOME=" + dir, // the cookie's place
		"LANG=C.UTF-8",
		"RABBITMQ_NODENAME=gateway" + strconv.Itoa(ports[0]) + "@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1",
		"RABBITMQ_NODE_PORT=" + strconv.Itoa(ports[0]),
		"RABBITMQ_DIST_PORT=" + strconv.Itoa(ports[1]),
		"ERL_EPMD_PORT=" + strconv.Itoa(ports[2]),
		"ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_MNESIA_BASE=" + in("data"),
		"RABBITMQ_LOG_BASE=" + in("log"),
		"RABBITMQ_LOGS=-",
		"RABBITMQ_PID_FILE=" + in("pid"),
		"RABBITMQ_ENABLED_PLUGINS_FILE=" + in("plugins"),
		"RABBITMQ_CONFIG_FILE=" + in("rabbitmq"),
		"RABBITMQ_ADVANCED_CONFIG_FILE=" + in("advanced"),
		"RABBITMQ_CONF_ENV_FILE=" + in("environment"),
		"RABBITMQ_ALLOW_INPUT=1",                                                      // the script becomes the node instead of starting it
		"RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS=+sbwt none +sbwtdcpu none +sbwtdio none", // no busy waiting
	}
}

func (b *Broker) prepare(epmdPort int) error {
	files := map[string]string{
		"plugins":         "[].\n",
		"rabbitmq.conf":   "disk_free_limit.absolute = 1MB\nlog.console.level = warning\n",
		"advanced.config": "[].\n",
		"environment":     "",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(b.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	b.epmd = exec.Command("epmd", "-port", strconv.Itoa(epmdPort), "-address", "127.0.0.1")
	b.epmd.Env = b.env
	b.epmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	return b.epmd.Start()
}

// Launch starts the node again after its end.
func (b *Broker) Launch() error {
	b.log = &bytes.Buffer{}
	b.node = exec.Command(server)
	b.node.Dir, b.node.Env = b.dir, b.env
	b.node.Stdout, b.node.Stderr = b.log, b.log
	b.node.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	b.node.WaitDelay = time.Second                // for what its children may still print
	if _, err := b.node.StdinPipe(); err != nil { // open, or its shell would end
		return err
	}
	if err := b.node.Start(); err != nil {
		return err
	}
	ended := make(chan struct{})
	go func() { _ = b.node.Wait(); close(ended) }()
	deadline := time.Now().Add(startTimeout)
	for time.Now().Before(deadline) {
		if conn, err := amqp.Dial(b.URL); err == nil {
			return conn.Close()
		}
		select {
		case <-ended:
			return fmt.Errorf("rabbitmq-server ended at its start:\n%s", b.log)
		case <-time.After(50 * time.Millisecond):
		}
	}
	b.Kill()
	<-ended // and all that it printed is there
	return fmt.Errorf("rabbitmq-server does not serve after %v:\n%s", startTimeout, b.log)
}

// Kill ends the node at once, as a crash does.
func (b *Broker) Kill() { b.end(syscall.SIGKILL) }

// Shutdown ends the node like a restart does.
func (b *Broker) Shutdown() { b.end(syscall.SIGTERM) }

func (b *Broker) end(signal syscall.Signal) {
	if b.node == nil {
		return
	}
	_ = b.node.Process.Signal(signal)
	for b.running() { // the port is free when it is gone
		time.Sleep(10 * time.Millisecond)
	}
	b.node = nil
}

func (b *Broker) running() bool { return b.node.Process.Signal(syscall.Signal(0)) == nil }

// Sync writes to disk what has been declared. RabbitMQ confirms a binding earlier,
// and loses it if it is killed at once.
func (b *Broker) Sync() error {
	_, err := b.Ctl("eval", "catch mnesia:sync_log().")
	return err
}

// Ctl runs rabbitmqctl on the node and returns what it prints.
func (b *Broker) Ctl(args ...string) (string, error) {
	cmd := exec.Command("/usr/lib/rabbitmq/bin/rabbitmqctl", append([]string{"--quiet"}, args...)...)
	cmd.Dir, cmd.Env = b.dir, b.env
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("rabbitmqctl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return string(out), nil
}

// Close ends the node and removes its data.
func (b *Broker) Close() {
	b.Kill()
	if b.epmd != nil && b.epmd.Process != nil {
		_ = b.epmd.Process.Kill()
		_ = b.epmd.Wait()
	}
	_ = os.RemoveAll(b.dir)
}
