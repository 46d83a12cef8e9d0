package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"strconv"
	"time"
)

const (
	defaultPingInterval = 25 * time.Second
	memoryLimit         = 128 << 20 // where a collection starts after all
)

func main() {
	batch := flag.Bool("batch", false, "write what is pending once per socket and turn")
	flag.Parse()
	debug.SetGCPercent(-1)
	debug.SetMemoryLimit(memoryLimit)
	runtime.LockOSThread()
	if err := run(*batch); err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(batch bool) error {
	port, err := envInt("PORT", 3002)
	if err != nil {
		return err
	}
	ping, err := envInt("PING_INTERVAL", int(defaultPingInterval/time.Millisecond))
	if err != nil {
		return err
	}
	s, err := listen(port, batch, time.Duration(ping)*time.Millisecond)
	if err != nil {
		return err
	}
	if err := s.joinBus(port); err != nil {
		return err
	}
	return s.serve()
}

func envInt(name string, fallback int) (int, error) {
	text := os.Getenv(name)
	if text == "" {
		return fallback, nil
	}
	n, err := strconv.Atoi(text)
	if err != nil || n <= 0 {
		return 0, fmt.Errorf("%s=%q: want a positive number", name, text)
	}
	return n, nil
}
