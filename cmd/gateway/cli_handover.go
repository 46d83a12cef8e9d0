package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strconv"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/hometrip/gateway/internal/config"
	"github.com/hometrip/gateway/internal/handover"
)

func newHandoverCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "handover",
		Short: "Start a gateway that takes the place of the one that runs; no client notices",
		Long: `Starts "gateway serve" with this program and the settings of now, which takes over
the connections of the gateway that listens at HANDOVER_SOCKET, and returns when
that is decided. The new process goes on in the background.

It exits with 0 when the new process serves, 1 when the one before serves on, 2
when a setting is wrong.`,
		Example: `  gateway handover
  gateway handover --env-file /etc/gateway.env`,
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			l, err := readServing(c)
			switch {
			case err != nil:
				return err
			case l.Shutdown.HandoverSocket == "":
				return config.Error{Err: errors.New("HANDOVER_SOCKET is not set: there is no process to take over from")}
			}
			if err := handover.CheckFolder(l.Shutdown.HandoverSocket); err != nil {
				return err
			}
			return takePlace(c, namedEnvFiles(c))
		},
	}
}

// takePlace runs the new process until it serves, or has ended.
func takePlace(c *cobra.Command, files []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	progress, report, err := os.Pipe()
	if err != nil {
		return err
	}
	defer progress.Close()
	args := []string{"serve"}
	for _, file := range files {
		args = append(args, "--env-file", file)
	}
	child := exec.Command(program, args...)
	child.Stdout, child.Stderr = os.Stdout, os.Stderr
	child.ExtraFiles = []*os.File{report}
	child.Env = append(os.Environ(), reportVariable+"="+strconv.Itoa(firstExtraFile))
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true} // it outlives this terminal
	err = child.Start()
	report.Close()
	if err != nil {
		return err
	}
	fmt.Fprintf(c.OutOrStdout(), "process %d starts\n", child.Process.Pid)
	return follow(progress, c.OutOrStdout())
}

// follow prints the progress that the new process reports. An error says that
// it does not serve.
func follow(progress io.Reader, out io.Writer) error {
	for lines := bufio.NewScanner(progress); lines.Scan(); {
		var n news
		if json.Unmarshal(lines.Bytes(), &n) != nil {
			continue
		}
		switch {
		case n.Error != "":
			return errors.New(n.Error)
		case n.Serves:
			return nil
		}
		fmt.Fprintln(out, n.Text)
	}
	return errors.New("the new process has ended: its log says why")
}

const (
	// reportVariable is the environment variable that tells a process started
	// by "gateway handover" to which descriptor it reports.
	reportVariable = "GATEWAY_HANDOVER_REPORT"

	firstExtraFile = 3 // of exec.Cmd
)

// news is one line of a report.
type news struct {
	Text   string `json:"text,omitempty"`
	Error  string `json:"error,omitempty"`  // the process does not serve, and ends
	Serves bool   `json:"serves,omitempty"` // it does
}

// A report sends the progress of a hand-over to "gateway handover", if that has
// started this process. A nil report sends nothing. Owned by the goroutine that
// starts the gateway.
type report struct{ to *os.File }

// newReport returns the report of this process.
func newReport() *report {
	fd, err := strconv.Atoi(os.Getenv(reportVariable))
	os.Unsetenv(reportVariable)
	if err != nil {
		return nil
	}
	syscall.CloseOnExec(fd)
	return &report{os.NewFile(uintptr(fd), "report")}
}

func (r *report) send(n news) {
	if r == nil || r.to == nil {
		return
	}
	line, _ := json.Marshal(n)
	_, _ = r.to.Write(append(line, '\n')) // whoever has started this process may be gone
	if n.Serves || n.Error != "" {
		r.to.Close()
		r.to = nil
	}
}

func (r *report) say(format string, args ...any) { r.send(news{Text: fmt.Sprintf(format, args...)}) }

func (r *report) serves() { r.send(news{Serves: true}) }

func (r *report) failed(err error) { r.send(news{Error: err.Error()}) }

// follows redirects the console to where the previous process writes, instead
// of the terminal of "gateway handover". If that cannot be opened, such as the
// journal's socket, nothing changes.
func (r *report) follows(pid int) {
	if r == nil {
		return
	}
	for fd := 1; fd <= 2; fd++ {
		file, err := os.OpenFile(fmt.Sprintf("/proc/%d/fd/%d", pid, fd), os.O_WRONLY|os.O_APPEND, 0)
		if err != nil {
			continue
		}
		_ = syscall.Dup3(int(file.Fd()), fd, 0)
		file.Close()
	}
}
