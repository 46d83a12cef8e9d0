package process

import (
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// StartOn starts cmd with its threads bound to one core; core < 0: to none. It
// is in a process group of its own and ends when this process does.
func StartOn(core int, cmd *exec.Cmd, start func() error) error {
	runtime.LockOSThread() // affinity is inherited from the thread that forks
	defer runtime.UnlockOSThread()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if core < 0 {
		return start()
	}
	var before, one unix.CPUSet
	if err := unix.SchedGetaffinity(0, &before); err != nil {
		return fmt.Errorf("sched_getaffinity: %w", err)
	}
	one.Set(core)
	if err := unix.SchedSetaffinity(0, &one); err != nil {
		return fmt.Errorf("pin to core %d: %w", core, err)
	}
	defer func() { _ = unix.SchedSetaffinity(0, &before) }()
	return start()
}

// Prefer gives a process of StartOn's, and what it starts, more of the processor
// than others get, if the user may do that: where processes are scheduled by
// session (autogroup(7)) and where they are not.
func Prefer(pid, niceness int) {
	_ = os.WriteFile(fmt.Sprintf("/proc/%d/autogroup", pid), []byte(strconv.Itoa(niceness)), 0)
	_ = unix.Setpriority(unix.PRIO_PGRP, pid, niceness)
}

// CPU is the CPU time a process has used, all threads, user and kernel: the
// sum that utime and stime of /proc/PID/stat round to ticks. It is read
// through the clock that the kernel keeps for each process.
func CPU(pid int) (time.Duration, error) {
	const schedClock = 2 // CPUCLOCK_SCHED: see clock_getcpuclockid(3)
	var ts unix.Timespec
	if err := unix.ClockGettime(^int32(pid)<<3|schedClock, &ts); err != nil {
		return 0, fmt.Errorf("CPU time of process %d: %w", pid, err)
	}
	return time.Duration(ts.Nano()), nil
}

// SessionCPU is the CPU time of a process of StartOn's and of those that it has
// started and that still run.
func SessionCPU(session int) (sum time.Duration) {
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		if of, err := unix.Getsid(pid); err != nil || of != session {
			continue
		}
		if cpu, err := CPU(pid); err == nil {
			sum += cpu
		}
	}
	return sum
}

// Resident is VmRSS of a process, in bytes.
func Resident(pid int) (int64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, fmt.Errorf("memory of process %d: %w", pid, err)
	}
	for line := range strings.Lines(string(b)) {
		if rest, ok := strings.CutPrefix(line, "VmRSS:"); ok {
			kb, err := strconv.ParseInt(strings.Fields(rest)[0], 10, 64)
			return kb << 10, err
		}
	}
	return 0, fmt.Errorf("memory of process %d: no VmRSS", pid)
}

// Descriptors counts the open descriptors of a process.
func Descriptors(pid int) int {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
	if err != nil {
		return 0
	}
	return len(entries)
}

// KillGroup ends a process and what it started; see StartOn for the session.
func KillGroup(cmd *exec.Cmd) {
	_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
	_ = cmd.Wait()
}
