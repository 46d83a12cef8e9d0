package fairpool

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
)

// hold occupies a worker of the pool until release is called.
func hold(t *testing.T, p *Pool[string], client string) (release func()) {
	t.Helper()
	inside, let := make(chan struct{}), make(chan struct{})
	if !p.Do(client, 0, func(context.Context) { close(inside); <-let }) {
		t.Fatal("an idle pool refused a task")
	}
	<-inside
	return sync.OnceFunc(func() { close(let) })
}

func TestClientsTakeTurns(t *testing.T) {
	p := New[string](Config{Workers: 1, Bytes: 1 << 20})
	release := hold(t, p, "first")
	var order []string
	for _, task := range []string{"eve 1", "eve 2", "eve 3", "ann 1", "bob 1", "bob 2"} {
		if !p.Do(task[:3], 0, func(context.Context) { order = append(order, task) }) {
			t.Fatal(task)
		}
	}
	release()
	p.Close()
	if want := []string{"eve 1", "ann 1", "bob 1", "eve 2", "bob 2", "eve 3"}; !slices.Equal(order, want) {
		t.Errorf("tasks ran in the order %q, want %q", order, want)
	}
}

func TestOneClientRunsOnlyItsShareOfWorkers(t *testing.T) {
	const workers, share, tasks = 4, 2, 50
	p := New[string](Config{Workers: workers, Bytes: 1 << 20, Running: share})
	release := []func(){hold(t, p, "eve"), hold(t, p, "eve")}
	var ran atomic.Int32
	for range tasks {
		p.Do("eve", 0, func(context.Context) { ran.Add(1) })
	}
	done := make(chan struct{})
	p.Do("ann", 0, func(context.Context) { close(done) })
	<-done // two workers are free, and eve's tasks were queued first
	if n := ran.Load(); n != 0 {
		t.Errorf("%d more tasks of a client ran while %d of its tasks were running, want none", n, share)
	}
	for _, f := range release {
		f()
	}
	p.Close()
	if n := ran.Load(); n != tasks {
		t.Errorf("%d of %d tasks ran", n, tasks)
	}
	if len(p.all) != 0 || p.bytes != 0 || len(p.turn) != 0 {
		t.Errorf("%d queues, %d bytes, %d turns are left, want none", len(p.all), p.bytes, len(p.turn))
	}
}

// Many clients fill their queues. A client with nothing queued must still be accepted.
func TestClientsWithNothingQueuedAreAccepted(t *testing.T) {
	const bytes, size, share = 1 << 20, 1000, 3
	p := New[string](Config{Workers: 1, Bytes: bytes, Share: share})
	defer p.Close()
	release := hold(t, p, "first")
	defer release()
	for i := range 100 {
		eve := fmt.Sprint("eve", i)
		n := 0
		for p.Do(eve, size, func(context.Context) {}) {
			n++
		}
		if most := bytes / (share + 1) / size; n == 0 || n > most {
			t.Fatalf("%s queued %d tasks, want 1 to %d", eve, n, most)
		}
		if p.bytes > bytes {
			t.Fatalf("%d bytes are queued, the limit is %d", p.bytes, bytes)
		}
	}
	if p.Do("large", bytes, func(context.Context) {}) {
		t.Error("a task larger than the limit was accepted")
	}
	if !p.Do("ann", size, func(context.Context) {}) {
		t.Error("a client with nothing queued was refused")
	}
}

func TestCloseRunsQueuedTasksWithACanceledContext(t *testing.T) {
	p := New[string](Config{Workers: 2, Bytes: 1 << 20, Running: 1})
	release := hold(t, p, "ann")
	var over atomic.Int32
	for range 10 {
		p.Do("ann", 0, func(ctx context.Context) {
			if ctx.Err() != nil {
				over.Add(1)
			}
		})
	}
	closed := make(chan struct{})
	go func() { p.Close(); close(closed) }()
	<-p.ctx.Done()
	release()
	<-closed
	if over.Load() != 10 {
		t.Errorf("%d of 10 ran with an ended context", over.Load())
	}
	if p.Do("ann", 0, func(context.Context) {}) {
		t.Error("a closed pool accepted a task")
	}
	p.Close()
}
