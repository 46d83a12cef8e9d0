// Command gateway is the HomeTrip Socket.IO gateway. "gateway help" lists what
// else it can do besides serving.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx := interruptible(os.Exit)
	if err := newCommand(serve).ExecuteContext(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "gateway:", err)
		os.Exit(exitCode(err))
	}
}

// interruptible returns a context that the first SIGINT or SIGTERM cancels.
// The second calls exit at once.
func interruptible(exit func(code int)) context.Context {
	ctx, cancel := context.WithCancel(context.Background())
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		<-signals
		cancel()
		<-signals
		exit(exitInterrupted)
	}()
	return ctx
}
