package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"

	"github.com/hometrip/gateway/bench/process"
)

const (
	brokerTimeout = 60 * time.Second
	exchange      = "hometrip_events"
	// Debian's wrapper in /usr/sbin changes the user; this is what it runs.
	rabbitScript = "/usr/lib/rabbitmq/bin/rabbitmq-server"
)

// helper is a Redis or RabbitMQ of the suite's own, on a port of its own.
type helper struct {
	cmd  *exec.Cmd
	port int
}

func (h *helper) portText() string { return strconv.Itoa(h.port) }

// redis starts a Redis that keeps nothing, for the trial's length.
func (t *trial) redis() (*helper, error) {
	if _, err := exec.LookPath("redis-server"); err != nil {
		return nil, unavailable{err.Error()}
	}
	port, err := t.freePort()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command("redis-server", "--port", strconv.Itoa(port), "--bind", "127.0.0.1",
		"--save", "", "--appendonly", "no", "--dir", t.tmp)
	h := &helper{cmd: cmd, port: port}
	if err := t.startOn(anyCore, cmd, cmd.Start); err != nil {
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	t.cleanups = append(t.cleanups, func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	return h, await(startTimeout, func() error { return dialOnce(port) })
}

// rabbit starts a RabbitMQ for the trial's length, with a name, data and ports
// of its own, and leaves nothing running behind it.
func (t *trial) rabbit() (*helper, error) {
	if _, err := exec.LookPath(rabbitScript); err != nil {
		return nil, unavailable{err.Error()}
	}
	var ports [3]int
	for i := range ports {
		port, err := t.freePort()
		if err != nil {
			return nil, err
		}
		ports[i] = port
	}
	dir := filepath.Join(t.tmp, "rabbit-"+strconv.Itoa(ports[0]))
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	epmd := "ERL_EPMD_PORT=" + strconv.Itoa(ports[2])
	cmd := exec.Command(rabbitScript)
	cmd.Env = append(os.Environ(), epmd, "HOME="+dir, "ERL_EPMD_ADDRESS=127.0.0.1",
		"RABBITMQ_NODENAME=bench"+strconv.Itoa(ports[0])+"@localhost",
		"RABBITMQ_NODE_IP_ADDRESS=127.0.0.1", "RABBITMQ_NODE_PORT="+strconv.Itoa(ports[0]),
		"RABBITMQ_DIST_PORT="+strconv.Itoa(ports[1]), "RABBITMQ_MNESIA_BASE="+dir, "RABBITMQ_LOG_BASE="+dir,
		"RABBITMQ_ENABLED_PLUGINS_FILE="+filepath.Join(dir, "plugins"), "RABBITMQ_CONFIG_FILE="+filepath.Join(dir, "none"))
	log, err := os.Create(filepath.Join(dir, "output.log"))
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := t.startOn(anyCore, cmd, cmd.Start); err != nil {
		return nil, fmt.Errorf("rabbitmq-server: %w", err)
	}
	t.cleanups = append(t.cleanups, func() {
		process.KillGroup(cmd)
		// Erlang's name server goes its own way, and refuses to end before it
		// has noticed that its node has.
		_ = await(startTimeout, func() error {
			return exec.Command("epmd", "-port", strconv.Itoa(ports[2]), "-kill").Run()
		})
		_ = log.Close()
	})
	h := &helper{cmd: cmd, port: ports[0]}
	return h, await(brokerTimeout, func() error {
		conn, err := amqp.Dial(h.url())
		if err != nil {
			return err
		}
		return conn.Close()
	})
}

func (h *helper) url() string { return "amqp://guest:guest@127.0.0.1:" + h.portText() + "/" }

func dialOnce(port int) error {
	conn, err := net.Dial("tcp4", "127.0.0.1:"+strconv.Itoa(port))
	if err != nil {
		return err
	}
	return conn.Close()
}

// await tries until it works or the time is over.
func await(limit time.Duration, try func() error) error {
	ctx, cancel := context.WithTimeout(context.Background(), limit)
	defer cancel()
	for {
		err := try()
		if err == nil {
			return nil
		}
		select {
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("not there after %v", limit), err)
		case <-time.After(100 * time.Millisecond):
		}
	}
}
