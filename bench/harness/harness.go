// Package harness is the frame of the programs that run gateways under adverse
// conditions: bench/attack and bench/chaos. Both build the gateway, start it with
// what it needs, connect clients that must not notice, do what they are for,
// measure the gateway before and after, and write a report. The harness has what
// does not depend on what is done: the command line, the working folder, the
// measurement of a gateway and the report's file.
package harness

import (
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/hometrip/gateway/bench/process"
)

// Main runs a program and ends the process: exit code 0, 2 for a request for
// help, and 1 for every error, which is printed.
func Main(name string, execute func(args []string) error) {
	switch err := execute(os.Args[1:]); {
	case errors.Is(err, flag.ErrHelp):
		os.Exit(2)
	case err != nil:
		fmt.Fprintln(os.Stderr, name+":", err)
		os.Exit(1)
	}
}

// A Workspace is a temporary folder with a gateway built from the working tree.
// Owned by the main goroutine.
type Workspace struct {
	Dir     string // for the gateways' working folders
	Gateway string // the program
	Root    string // of the repository
	Report  string // folder of the report
}

// NewWorkspace builds the gateway. report is the folder of the report; "": that
// of today in bench/results.
func NewWorkspace(name, report string) (*Workspace, error) {
	root, err := process.Root()
	if err != nil {
		return nil, err
	}
	if report == "" {
		report = process.Results(root)
	}
	dir, err := os.MkdirTemp("", name+"-")
	if err != nil {
		return nil, err
	}
	w := &Workspace{Dir: dir, Gateway: filepath.Join(dir, "gateway"), Root: root, Report: report}
	if err := process.Build(root, w.Gateway, "./cmd/gateway"); err != nil {
		w.Remove()
		return nil, err
	}
	return w, nil
}

// Remove deletes the folder.
func (w *Workspace) Remove() { _ = os.RemoveAll(w.Dir) }

// WriteReport writes a file of the report and prints its path, after summary and
// the time that the run has taken.
func (w *Workspace) WriteReport(name, text, summary string, took time.Duration) error {
	if err := os.MkdirAll(w.Report, 0o755); err != nil {
		return err
	}
	path := filepath.Join(w.Report, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		return err
	}
	fmt.Printf("%s%v, wrote %s\n", summary, took.Round(time.Second), path)
	return nil
}

// Usage is what a gateway uses, and reports of itself, at one time.
type Usage struct {
	process.Metrics       // nil: the gateway was not measured
	Resident        int64 // bytes
	Descriptors     int
}

// Measure scrapes the metrics of a running gateway at url and reads from the
// kernel what its process uses. If the process has ended, the error says how.
func Measure(client *http.Client, url string, s *process.Server) (u Usage, err error) {
	if u.Metrics, err = process.Scrape(client, url); err != nil {
		return Usage{}, errors.Join(err, s.Alive())
	}
	u.Descriptors = process.Descriptors(s.PID())
	u.Resident, err = process.Resident(s.PID())
	return u, err
}

// Await calls holds at intervals until it is true, and reports whether that was
// within the limit.
func Await(limit, interval time.Duration, holds func() bool) bool {
	for deadline := time.Now().Add(limit); !holds(); time.Sleep(interval) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}
