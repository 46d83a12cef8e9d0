package load

import (
	"fmt"
	"io"
	"net/rpc"
	"os"
	"os/exec"
	"time"
)

// Client commands one worker process. Its methods block until the phase is
// over and must not be called at the same time.
type Client struct {
	cmd   *exec.Cmd
	rpc   *rpc.Client
	stdin io.Closer
}

// Start runs cmd, which must call Serve on its standard input and output.
func Start(cmd *exec.Cmd) (*Client, error) {
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	cmd.Stderr = os.Stderr
	// A preemption signal would only interrupt the epoll wait.
	cmd.Env = append(os.Environ(), "GODEBUG=asyncpreemptoff=1")
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("worker: %w", err)
	}
	return &Client{cmd: cmd, rpc: rpc.NewClient(duplex{out, in}), stdin: in}, nil
}

// A duplex is a worker's standard output and input as one stream.
type duplex struct {
	io.ReadCloser
	io.Writer
}

// PID is the worker's process id.
func (c *Client) PID() int { return c.cmd.Process.Pid }

// Close ends the worker.
func (c *Client) Close() error {
	_ = c.stdin.Close()
	_ = c.cmd.Process.Kill()
	_ = c.cmd.Wait()
	return c.rpc.Close()
}

func (c *Client) call(method string, args any) (*Result, error) {
	r := new(Result)
	if err := c.rpc.Call("Worker."+method, args, r); err != nil {
		return nil, fmt.Errorf("worker: %s: %w", method, err)
	}
	return r, nil
}

// Setup says whom to connect to and as whom.
func (c *Client) Setup(args SetupArgs) error {
	_, err := c.call("Setup", args)
	return err
}

// Dial opens connections.
func (c *Client) Dial(args DialArgs) (*Result, error) { return c.call("Dial", args) }

// Join lets connections join rooms.
func (c *Client) Join(args JoinArgs) (*Result, error) { return c.call("Join", args) }

// Fanout sends events to one room.
func (c *Client) Fanout(args FanoutArgs) (*Result, error) { return c.call("Fanout", args) }

// Chat lets pairs type to each other.
func (c *Client) Chat(args ChatArgs) (*Result, error) { return c.call("Chat", args) }

// Churn lets slots connect and go.
func (c *Client) Churn(args ChurnArgs) (*Result, error) { return c.call("Churn", args) }

// Idle lets clients answer pings.
func (c *Client) Idle(length time.Duration) (*Result, error) { return c.call("Idle", length) }

// Resume lets stalled clients read on.
func (c *Client) Resume(args ResumeArgs) (*Result, error) { return c.call("Resume", args) }

// Gather lets connections join rooms with those of other workers.
func (c *Client) Gather(args GatherArgs) (*Result, error) { return c.call("Gather", args) }

// Cut closes connections without a goodbye.
func (c *Client) Cut(args Range) error {
	_, err := c.call("Cut", args)
	return err
}

// Crowd has all connections get what was drawn for them.
func (c *Client) Crowd(args CrowdArgs) (*Result, error) { return c.call("Crowd", args) }

// Hangup closes every connection.
func (c *Client) Hangup() error {
	_, err := c.call("Hangup", 0)
	return err
}

// Resident is what the worker's process holds, in bytes.
func (c *Client) Resident() (int64, error) {
	var rss int64
	if err := c.rpc.Call("Worker.Resident", 0, &rss); err != nil {
		return 0, fmt.Errorf("worker: Resident: %w", err)
	}
	return rss, nil
}
